"""Client of netrewind recorders: packets, conversations, and everything else that a recorder answers over HTTP.

    import netrewind

    recorder = netrewind.Client("https://recorder:8640", token="...")
    for packet in recorder.packets(from_="2h ago", filter="port 53"):
        print(packet.time_ns, packet.length, packet.data.hex())
    for flow in recorder.flows(query="sni:example.com"):
        print(flow["first"], flow["client"]["address"], flow["client_bytes"])
    recorder.save("alert.pcapng", community_id="1:wCb3OG7yAFWelaUydu0D+125CLM=", around="2026-11-22T09:31:01Z")

The methods of `Operations` are made from the recorder's OpenAPI document: one for each operation, with its parameters by name.
`from` is a keyword of Python: write `from_`.

An answer that breaks off is an exception. One that is not complete gives a warning, `IncompleteAnswer`, which
`warnings.simplefilter("error", netrewind.IncompleteAnswer)` makes an exception.
"""

from .connection import Answer, Connection, IncompleteAnswer, Problem
from .operations import VERSION, Operations
from .packets import CaptureError, Packet, read_packets

__version__ = VERSION
__all__ = [
    "Answer",
    "CaptureError",
    "Client",
    "IncompleteAnswer",
    "Operations",
    "Packet",
    "PacketAnswer",
    "Problem",
    "read_packets",
]


class PacketAnswer:
    """The packets of an answer, in the order of their times. When they have all been read, `account` says what the answer is: its
    packets, bytes, and completeness."""

    def __init__(self, answer):
        self._answer = answer
        self._packets = read_packets(answer)

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._packets)
        except StopIteration:
            self._answer.check()
            raise

    @property
    def account(self):
        """The account of the answer; None until its end."""
        return self._answer.account

    def close(self):
        """Ends the answer before its end."""
        self._answer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Client(Operations):
    """A recorder at this address. `token` is the text of a token, `ca_file` a file of certificates to trust in place of the system's,
    `timeout` the seconds to wait for the next bytes of an answer."""

    def __init__(self, url, token=None, ca_file=None, timeout=120.0):
        super().__init__(Connection(url, token, ca_file, timeout))

    def packets(self, **parameters):
        """The packets that `query_packets` finds, one by one; they are not kept."""
        return PacketAnswer(self.query_packets(**{**parameters, "format": "pcap"}))

    def save(self, path, **parameters):
        """Writes the packets that `query_packets` finds to a file, by its name a pcap or a pcapng file. Returns the account of the
        answer. A file that did not become complete is removed."""
        import os

        form = "pcapng" if str(path).endswith(".pcapng") else "pcap"
        answer = self.query_packets(**{"format": form, **parameters})
        unfinished = f"{path}.part"
        try:
            # Packets are private until their owner decides otherwise.
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                while piece := answer.read(1 << 18):
                    file.write(piece)
            os.replace(unfinished, path)
        except BaseException:
            if os.path.exists(unfinished):
                os.remove(unfinished)
            raise
        answer.check()
        return answer.account

    def flows(self, **parameters):
        """All conversations that `list_flows` finds, from one page to the next, in the order of `sort`."""
        limit = parameters.pop("limit", 1000)
        cursor = parameters.pop("cursor", None)
        while True:
            page = self.list_flows(**parameters, limit=limit, cursor=cursor)
            yield from page["flows"]
            cursor = page.get("next")
            if not cursor:
                return
