"""Requests to a recorder, and its answers."""

import http.client
import json
import ssl
import time
import urllib.parse
import warnings

PROBLEM_JSON = "application/problem+json"
ANSWER_HEADER = "Netrewind-Answer"
COMPLETENESS_HEADER = "Netrewind-Completeness"
# Times that a request is sent again where the recorder says that it has no room now, and the longest wait between.
RETRIES_MAX = 5
WAIT_SECONDS_MAX = 30.0
# Bytes of an answer that is no capture file.
OBJECT_BYTES_MAX = 256 << 20


class Problem(Exception):
    """A request that was refused or failed: `status` is HTTP's, `document` the problem (RFC 9457) with `type`, `title`, `detail`."""

    def __init__(self, status, document):
        self.status = status
        self.document = document
        super().__init__(document.get("detail") or document.get("title") or f"HTTP status {status}")


class IncompleteAnswer(UserWarning):
    """An answer lacks packets: see its completeness."""


class _Response(http.client.HTTPResponse):
    """A response whose trailers are kept: the account of a long answer comes behind it."""

    trailers = None

    def _read_and_discard_trailer(self):
        self.trailers = http.client.parse_headers(self.fp)


class Answer:
    """An answer as it arrives: a file to read from."""

    def __init__(self, response, connection):
        self._response = response
        self._connection = connection

    def read(self, size=-1):
        """The next bytes: as many, or all that are left; none at the end. An answer that breaks off raises
        `http.client.IncompleteRead`."""
        if self._response.closed:
            return b""
        data = self._response.read() if size < 0 else self._response.read(size)
        if not data or size < 0:
            # Without the account at its end, the answer has broken off.
            if self._response.trailers is None and self._header(ANSWER_HEADER) is None:
                raise http.client.IncompleteRead(b"")
            self.close()
        return data

    def _header(self, name):
        trailers = self._response.trailers
        return (trailers.get(name) if trailers else None) or self._response.headers.get(name)

    @property
    def account(self):
        """Packets, bytes and completeness; None until the end of an answer that is long."""
        text = self._header(ANSWER_HEADER)
        return json.loads(text) if text else None

    @property
    def completeness(self):
        """Completeness as it is known: before the end, without what reading may find."""
        text = self._header(COMPLETENESS_HEADER)
        return self.account or (json.loads(text) if text else None)

    def check(self):
        """Warns of an answer that is not complete."""
        _warn(self.completeness)

    def close(self):
        """Ends the answer."""
        self._response.close()
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# Members of a completeness that say what an answer lacks, wherever they are not empty.
LACKS = ("gaps", "dropped", "no_longer_kept", "nothing_kept", "unreadable", "damaged", "limit_reached")


def lacking(completeness):
    """What an answer lacks, by its completeness; nothing where it is complete."""
    if completeness.get("complete"):
        return {}
    return {name: completeness[name] for name in LACKS if completeness.get(name)}


def _warn(completeness):
    lacks = lacking(completeness) if isinstance(completeness, dict) else None
    if lacks:
        warnings.warn(f"the answer is not complete: {json.dumps(lacks)}", IncompleteAnswer, stacklevel=3)


class Connection:
    """Where and how to ask."""

    def __init__(self, url, token=None, ca_file=None, timeout=120.0):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of a recorder, such as https://recorder:8640")
        self._parts = parts
        self._token = token
        self._timeout = timeout
        self._context = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None

    def _open(self):
        host, port = self._parts.hostname, self._parts.port
        if self._context is not None:
            connection = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        connection.response_class = _Response
        return connection

    def request(self, method, path, parameters, in_body, kind):
        """Asks. `kind` of the answer: `capture`, `json`, `text`, `bytes`, `nothing`, or `rows`: text where another `format` than
        json was asked for."""
        parameters = {name: value for name, value in parameters.items() if value is not None}
        headers = {"Accept-Encoding": "identity", "TE": "trailers"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        body, target = None, self._parts.path.rstrip("/") + path
        if in_body:
            body = json.dumps(parameters).encode()
            headers["Content-Type"] = "application/json"
        elif parameters:
            target += "?" + urllib.parse.urlencode(
                {name: _text(value) for name, value in parameters.items()}, doseq=True
            )
        for attempt in range(RETRIES_MAX + 1):
            connection = self._open()
            try:
                connection.request(method, target, body, headers)
                response = connection.getresponse()
                if response.status < 400:
                    return self._answer(response, connection, kind)
                problem = _problem(response)
                wait = response.headers.get("Retry-After")
            except BaseException:
                connection.close()
                raise
            connection.close()
            # Only what is refused before it is done is asked again.
            if response.status not in (429, 503) or wait is None or attempt == RETRIES_MAX:
                raise problem
            time.sleep(min(float(wait), WAIT_SECONDS_MAX))

    @staticmethod
    def _answer(response, connection, kind):
        if kind == "capture":
            return Answer(response, connection)
        data = response.read(OBJECT_BYTES_MAX + 1)
        connection.close()
        if len(data) > OBJECT_BYTES_MAX:
            raise Problem(response.status, {"detail": f"the answer has more than {OBJECT_BYTES_MAX} bytes"})
        if kind == "bytes":
            return data
        if kind == "nothing":
            return None
        if kind == "rows" and not response.headers.get("Content-Type", "").startswith("application/json"):
            _warn(json.loads(response.headers.get(COMPLETENESS_HEADER) or "{}"))
            return data.decode()
        if kind == "text":
            return data.decode()
        value = json.loads(data)
        if isinstance(value, dict):
            _warn(value.get("completeness"))
        return value


def _text(value):
    """A value as it is written in a query string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return [_text(item) for item in value] if isinstance(value, (list, tuple)) else value


def _problem(response):
    data = response.read(1 << 20)
    kind = response.headers.get("Content-Type", "").split(";")[0]
    try:
        document = json.loads(data) if kind == PROBLEM_JSON else {}
    except ValueError:
        document = {}
    return Problem(response.status, document if isinstance(document, dict) else {})
