"""Packets of a pcap file with nanoseconds, as recorders send it."""

import struct
from typing import NamedTuple

MAGIC = 0xA1B23C4D
HEADER = struct.Struct("<IHHiIII")
RECORD = struct.Struct("<IIII")
# A packet has at most so many captured bytes.
CAPLEN_MAX = 262_144
NS_A_SECOND = 1_000_000_000


class CaptureError(Exception):
    """An answer is no pcap file of nanoseconds, or ends within a packet."""


class Packet(NamedTuple):
    """A packet: its time in nanoseconds since 1970, its length on the wire, its captured bytes, and the link type that tells what they
    are (LINKTYPE_ of https://www.tcpdump.org/linktypes.html)."""

    time_ns: int
    length: int
    data: bytes
    link_type: int


def _exactly(source, size, what):
    data = b""
    while len(data) < size:
        piece = source.read(size - len(data))
        if not piece:
            if not data and what is None:
                return None
            raise CaptureError(f"the answer ends within {what or 'the header of a packet'}")
        data += piece
    return data


class _Buffered:
    """Reads from the source in large pieces."""

    def __init__(self, source):
        self._source = source
        self._data = b""
        self._at = 0

    def read(self, size):
        if self._at == len(self._data):
            self._data, self._at = self._source.read(1 << 18), 0
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece


def read_packets(source):
    """The packets of a file: anything with `read(size)`."""
    source = _Buffered(source)
    magic, _, _, _, _, _, network = HEADER.unpack(_exactly(source, HEADER.size, "the header of the file"))
    if magic != MAGIC:
        raise CaptureError("the answer is not a pcap file of nanoseconds")
    link_type = network & 0xFFFF
    while (header := _exactly(source, RECORD.size, None)) is not None:
        seconds, nanoseconds, caplen, length = RECORD.unpack(header)
        if caplen > CAPLEN_MAX:
            raise CaptureError(f"a packet has {caplen} captured bytes")
        data = _exactly(source, caplen, "a packet")
        yield Packet(seconds * NS_A_SECOND + nanoseconds, length, data, link_type)
