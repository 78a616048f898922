#!/usr/bin/env python3
"""An office's traffic, for pictures of the page: office.py FOLDER [SEED]

Writes before.pcap (twenty minutes up to now), after.pcap (three minutes from now on) and places.mmdb. Everything in it is
made up: addresses of the world are those for documentation (RFC 5737), names those of RFC 2606. Data segments are cut to
their headers, as a snaplen would; their lengths are told.
"""
import math
import random
import struct
import sys
import time
from pathlib import Path

MINUTES_BEFORE, MINUTES_AFTER = 20, 3
SESSIONS_A_SECOND = 5.0
CLIENTS = 190
MSS, CUT_AT = 1448, 66
SYN, ACK, PSH, FIN, RST = 2, 16, 8, 1, 4

CITIES = [
    ("Frankfurt", "Germany", "DE", 50.11, 8.68), ("Amsterdam", "Netherlands", "NL", 52.37, 4.90), ("Dublin", "Ireland", "IE", 53.35, -6.26),
    ("Ashburn", "United States", "US", 39.04, -77.49), ("San Jose", "United States", "US", 37.34, -121.89), ("Dallas", "United States", "US", 32.78, -96.80),
    ("São Paulo", "Brazil", "BR", -23.55, -46.63), ("Singapore", "Singapore", "SG", 1.35, 103.82), ("Tokyo", "Japan", "JP", 35.68, 139.69),
    ("Sydney", "Australia", "AU", -33.87, 151.21), ("Mumbai", "India", "IN", 19.08, 72.88), ("Johannesburg", "South Africa", "ZA", -26.20, 28.05),
    ("Stockholm", "Sweden", "SE", 59.33, 18.07), ("Seoul", "South Korea", "KR", 37.57, 126.98), ("Toronto", "Canada", "CA", 43.65, -79.38),
    ("Warsaw", "Poland", "PL", 52.23, 21.01), ("Nairobi", "Kenya", "KE", -1.29, 36.82), ("Mexico City", "Mexico", "MX", 19.43, -99.13),
]
SITES = [
    "www", "mail", "cdn", "video", "static", "api", "login", "docs", "git", "packages", "updates", "meet", "chat", "maps", "news", "shop", "images",
    "telemetry", "storage", "status", "search", "ads", "fonts", "backup", "crm", "erp", "wiki", "calendar", "tickets", "files",
]


def ipv4(text):
    return bytes(int(part) for part in text.split("."))


class Office:
    """Packets in any order, until they are written."""

    def __init__(self, seed, now):
        self.chance = random.Random(seed)
        self.now, self.packets, self.ident = now, [], 0
        self.begin, self.end = now - MINUTES_BEFORE * 60, now + MINUTES_AFTER * 60
        self.clients = [f"10.20.{1 + n % 4}.{10 + n // 4}" for n in range(CLIENTS)]
        self.weights = [self.chance.paretovariate(1.1) for _ in self.clients]
        names = [f"{name}.example.{end}" for end in ("com", "net", "org") for name in SITES]
        nets = ["192.0.2.", "198.51.100.", "203.0.113."]
        self.sites = [(name, nets[n % 3] + str(5 + n * 2 % 240)) for n, name in enumerate(names)]
        self.site_weights = [1 / (1 + n) ** 0.8 for n in range(len(names))]
        self.chance.shuffle(self.site_weights)

    def frame(self, at, source, target, protocol, rest, length=0, ttl=64):
        """One packet; `length` bytes follow `rest` that were not kept."""
        self.ident = (self.ident + 1) & 0xFFFF
        mac = lambda address: bytes([2, 0]) + (address if address[0] == 10 else bytes([10, 20, 0, 1]))
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(rest) + length, self.ident, 0x4000, ttl, protocol, 0, source, target)
        words = sum(struct.unpack(">10H", header))
        while words >> 16:
            words = (words & 0xFFFF) + (words >> 16)
        header = header[:10] + struct.pack(">H", ~words & 0xFFFF) + header[12:]
        bytes_ = mac(target) + mac(source) + b"\x08\x00" + header + rest
        self.packets.append((at, bytes_, len(bytes_) + length))

    def udp(self, at, client, server, port, ask, answer, rtt):
        a, b, high = ipv4(client), ipv4(server), self.chance.randint(32768, 60999)
        for when, (one, other, from_, to, text) in ((at, (a, b, high, port, ask)), (at + rtt, (b, a, port, high, answer))):
            if text is not None:
                self.frame(when, one, other, 17, struct.pack(">HHHH", from_, to, 8 + len(text), 0) + text)

    def tcp(self, at, client, server, port, said, bulk_up=0, bulk_down=0, rtt=0.02, rate=2e6, state="closed"):
        """A connection: `said` are turns (from the client?, bytes), then bulk each way at a rate of bits a second."""
        ends = (ipv4(client), ipv4(server))
        ports = (self.chance.randint(32768, 60999), port)
        numbers = [self.chance.getrandbits(32), self.chance.getrandbits(32)]

        def send(when, side, flags, text=b"", length=0):
            rest = struct.pack(">HHIIBBHHH12s", ports[side], ports[1 - side], numbers[side] & 0xFFFFFFFF,
                               numbers[1 - side] & 0xFFFFFFFF if flags & ACK else 0, 0x80, flags, 502, 0, 0, b"\1\1\x08\n" + bytes(8)) + text
            self.frame(when, ends[side], ends[1 - side], 6, rest, length)
            numbers[side] += len(text) + length + (1 if flags & (SYN | FIN) else 0)

        send(at, 0, SYN)
        if state == "refused":
            return send(at + rtt, 1, RST | ACK)
        if state == "silent":
            for again in (1, 3):
                numbers[0] -= 1
                send(at + again, 0, SYN)
            return None
        send(at + rtt, 1, SYN | ACK)
        at += rtt * 1.02
        send(at, 0, ACK)
        for from_client, text in said:
            at += rtt * self.chance.uniform(0.55, 0.9)
            for place in range(0, len(text), MSS):
                send(at + place * 8e-9, 0 if from_client else 1, ACK | PSH, text[place:place + MSS])
        for side, total in ((0, bulk_up), (1, bulk_down)):
            sent = 0
            while sent < total and at < self.end:
                size = min(MSS, total - sent)
                at += (size + 66) * 8 / rate * self.chance.uniform(0.2, 1.8)
                if self.chance.random() < 0.002:
                    numbers[side] -= size
                send(at, side, ACK | (PSH if size < MSS else 0), length=size)
                sent += size
                if sent // MSS % 2 == 0:
                    send(at + rtt / 2, 1 - side, ACK)
        if state == "closed":
            send(at + rtt, 0, FIN | ACK)
            send(at + rtt * 2, 1, FIN | ACK)
            send(at + rtt * 2.1, 0, ACK)
        return None

    def lookup(self, at, client, name, address):
        question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
        ask = struct.pack(">HHHHHH", self.chance.getrandbits(16), 0x0100, 1, 0, 0, 0) + question
        answer = ask[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question + b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 300, 4) + ipv4(address)
        self.udp(at, client, "10.20.0.53", 53, ask, answer, 0.0008)

    def browse(self, at, client):
        place = self.chance.choices(range(len(self.sites)), self.site_weights)[0]
        name, address = self.sites[place]
        rtt = 0.008 + place * 7 % 23 * 0.009
        self.lookup(at, client, name, address)
        at += 0.003
        size = int(min(self.chance.paretovariate(0.9) * 4000, 4e6))
        size = size * 3 if name.startswith(("video", "cdn", "updates")) else size
        hello, answer = client_hello(name, self.chance), server_hello(self.chance)
        up = int(size * self.chance.uniform(0.3, 2)) if name.startswith(("storage", "backup", "files")) else self.chance.randint(300, 4000)
        rate = self.chance.choice((8e5, 2e6, 6e6))
        self.tcp(at, client, address, 443, [(True, hello), (False, answer), (True, b"\x14\3\3\0\1\1")], up, size, rtt, rate, self.chance.choice(("closed", "closed", "open")))

    def plain_web(self, at, client):
        host = self.chance.choice(("packages.example.net", "status.example.org", "wiki.example.com"))
        path = self.chance.choice(("/debian/dists/stable/InRelease", "/api/health", "/Main_Page", "/debian/pool/main/n/nginx/"))
        ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n"
        body = "".join(f'{{"service": "{name}", "state": "up", "latency_ms": {self.chance.randint(3, 90)}}},\n' for name in SITES[: self.chance.randint(6, 24)])
        answer = f"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nContent-Length: {len(body) + 4}\r\n\r\n[\n{body[:-2]}\n]\n"
        address = dict(self.sites)[host]
        self.lookup(at, client, host, address)
        self.tcp(at + 0.002, client, address, 80, [(True, ask.encode()), (False, answer.encode())], rtt=0.031)

    def inside(self, at, client):
        kind = self.chance.random()
        if kind < 0.3:
            self.tcp(at, client, "10.20.0.20", 445, [(True, b"\0\0\0\x90\xfeSMB@\0" + bytes(140)), (False, b"\0\0\0\xf0\xfeSMB@\0" + bytes(232))],
                     self.chance.randint(500, 60000), int(self.chance.paretovariate(0.9) * 20000) % 5000000, 0.0006, 3e7)
        elif kind < 0.45:
            self.tcp(at, client, "10.20.0.10", 389, [(True, b"0\x0c\2\1\1`\7\2\1\3\4\0\x80\0"), (False, b"0\x0c\2\1\1a\7\n\1\0\4\0\4\0")], 900, 3000, 0.0007)
        elif kind < 0.6:
            self.tcp(at, client, "10.20.0.30", 5432, [(True, b"\0\0\0\x08\4\xd2\x16/"), (False, b"N"), (True, struct.pack(">II", 41, 196608) + b"user\0report\0database\0sales\0\0\0\0\0\0\0")],
                     self.chance.randint(200, 9000), self.chance.randint(2000, 900000), 0.0005, 2e7, "open")
        elif kind < 0.7:
            self.tcp(at, client, "10.20.0.40", 22, [(True, b"SSH-2.0-OpenSSH_9.6\r\n"), (False, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")], 6000, 14000, 0.0006, 4e4, "open")
        elif kind < 0.8:
            self.udp(at, client, "10.20.0.1", 123, b"\x23\0\x0a\xe9" + bytes(44), b"\x24\1\0\xe9" + bytes(44), 0.0004)
        elif kind < 0.9:
            self.udp(at, client, "10.20.0.60", 514, f"<134>1 app[{self.chance.randint(200, 999)}]: session opened".encode(), None, 0)
        else:
            self.tcp(at, client, "10.20.0.25", 631, [], state=self.chance.choice(("refused", "silent")))

    def day(self):
        at = self.begin - 60
        while at < self.end:
            share = (at - self.begin) / (self.end - self.begin)
            busy = 1 + 0.5 * math.sin(share * 9) + 0.25 * math.sin(share * 41)
            at += self.chance.expovariate(SESSIONS_A_SECOND * max(busy, 0.2))
            client = self.chance.choices(self.clients, self.weights)[0]
            self.chance.choices((self.browse, self.inside, self.plain_web), (62, 30, 8))[0](at, client)
        minute = lambda n: self.begin + n * 60
        # A backup, a meeting, and somebody who looks for open ports.
        self.tcp(minute(6), "10.20.0.20", dict(self.sites)["backup.example.net"], 443, [(True, client_hello("backup.example.net", self.chance)), (False, server_hello(self.chance))], 52_000_000, 0, 0.018, 3.5e6)
        self.tcp(minute(13), "10.20.0.30", "10.20.0.20", 873, [(False, b"@RSYNCD: 31.0\n"), (True, b"@RSYNCD: 31.0\n")], 45_000_000, 0, 0.0005, 9e6)
        for n in range(3000):
            self.tcp(minute(16.4) + n * 0.012, "10.20.3.57", f"10.20.0.{1 + n % 60}", 1 + n * 7 % 9000, [], state="refused", rtt=0.0004)

    def write(self, path, from_, to):
        kept = sorted((packet for packet in self.packets if from_ <= packet[0] < to), key=lambda packet: packet[0])
        with open(path, "wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
            for at, text, length in kept:
                second = int(at)
                file.write(struct.pack("<IIII", second, int((at - second) * 1e9), len(text), length) + text)
        return len(kept)


def client_hello(name, chance):
    host = name.encode()
    sni = struct.pack(">HHHBH", 0, len(host) + 5, len(host) + 3, 0, len(host)) + host
    alpn = bytes.fromhex("0010000e000c02683208687474702f312e31")
    more = bytes.fromhex("000a00080006001d00170018000d000e000c040308040401050308050501002b0005040304030300 2d00020101".replace(" ", ""))
    extensions = sni + alpn + more + bytes.fromhex("00170000ff01000100")
    ciphers = bytes.fromhex("130113021303c02bc02fc02cc030cca9cca8")
    body = b"\3\3" + chance.randbytes(32) + b"\x20" + chance.randbytes(32) + struct.pack(">H", len(ciphers)) + ciphers + b"\1\0" + struct.pack(">H", len(extensions)) + extensions
    return b"\x16\3\1" + struct.pack(">H", len(body) + 4) + b"\1" + struct.pack(">I", len(body))[1:] + body


def server_hello(chance):
    extensions = bytes.fromhex("002b00020304")
    body = b"\3\3" + chance.randbytes(32) + b"\x20" + chance.randbytes(32) + b"\x13\1\0" + struct.pack(">H", len(extensions)) + extensions
    return b"\x16\3\3" + struct.pack(">H", len(body) + 4) + b"\2" + struct.pack(">I", len(body))[1:] + body


def database(sites):
    """A MaxMind DB (specification 2.0) with the city of each address."""

    def value(one):
        if isinstance(one, dict):
            return bytes([7 << 5 | len(one)]) + b"".join(value(k) + value(v) for k, v in one.items())
        if isinstance(one, str):
            return bytes([2 << 5 | len(one.encode())]) + one.encode()
        if isinstance(one, float):
            return bytes([3 << 5 | 8]) + struct.pack(">d", one)
        if isinstance(one, list):
            return bytes([len(one), 4]) + b"".join(map(value, one))
        kind, number = one
        digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return (bytes([kind << 5 | len(digits)]) if kind < 8 else bytes([len(digits), kind - 7])) + digits

    records, data = [], b""
    for city, country, code, latitude, longitude in CITIES:
        records.append(len(data))
        data += value({"city": {"names": {"en": city}}, "country": {"iso_code": code, "names": {"en": country}}, "location": {"latitude": latitude, "longitude": longitude}})
    nodes = [[None, None]]
    for number, (_, address) in enumerate(sites):
        bits, at = int.from_bytes(ipv4(address), "big"), 0
        for depth in range(31, 0, -1):
            side = bits >> depth & 1
            if nodes[at][side] is None:
                nodes[at][side] = len(nodes)
                nodes.append([None, None])
            at = nodes[at][side]
        nodes[at][bits & 1] = -1 - records[number * 5 % len(CITIES)]
    place = lambda one: len(nodes) if one is None else one if one >= 0 else len(nodes) + 16 - 1 - one
    tree = b"".join(struct.pack(">II", place(left), place(right)) for left, right in nodes)
    u16, u32, u64 = 5, 6, 9
    about = {"binary_format_major_version": (u16, 2), "binary_format_minor_version": (u16, 0), "build_epoch": (u64, 1767225600),
             "database_type": "Office-City", "description": {"en": "Made up"}, "ip_version": (u16, 4), "languages": ["en"],
             "node_count": (u32, len(nodes)), "record_size": (u16, 32)}
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + value(about)


if __name__ == "__main__":
    folder, seed = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    office = Office(seed, time.time())
    office.day()
    counts = office.write(folder / "before.pcap", office.begin, office.now), office.write(folder / "after.pcap", office.now, office.end)
    (folder / "places.mmdb").write_bytes(database(office.sites))
    print(*counts, "packets")
