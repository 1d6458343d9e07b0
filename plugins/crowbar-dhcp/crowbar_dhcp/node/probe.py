"""Asks for addresses as a new machine does, and says who offers one: python3 - CARD...: JSON, a line.

{"own": [MAC or address, ...], "offers": [{"card": ..., "family": 4, "address": ..., "mac": ...}, ...]}
"""

import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

SECONDS = 3.0
MACHINE = bytes.fromhex("02006372770a")  # of nobody: an address that is offered to it is never taken
mark = os.urandom(4)


def sum_of(raw: bytes) -> int:
    raw += b"\0" * (len(raw) % 2)
    total = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


def discover() -> bytes:
    asked = struct.pack("!BBBB4sHH16s", 1, 1, 6, 0, mark, 0, 0x8000, b"") + MACHINE.ljust(16, b"\0") + bytes(192)
    asked += bytes.fromhex("63825363350101370401030642ff")
    asked = asked.ljust(300, b"\0")
    udp = struct.pack("!HHHH", 68, 67, 8 + len(asked), 0) + asked
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 16, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    return b"\xff" * 6 + MACHINE + b"\x08\0" + head[:10] + struct.pack("!H", sum_of(head)) + head[12:] + udp


def solicit(own: bytes, here: bytes) -> bytes:
    duid = b"\0\3\0\1" + MACHINE
    asked = b"\1" + mark[:3] + struct.pack("!HH", 1, len(duid)) + duid
    asked += struct.pack("!HHH", 8, 2, 0) + struct.pack("!HHIII", 3, 12, 1, 0, 0)
    there = ipaddress.IPv6Address("ff02::1:2").packed
    bare = struct.pack("!HHHH", 546, 547, 8 + len(asked), 0) + asked
    total = sum_of(here + there + struct.pack("!II", len(bare), 17) + bare)
    udp = bare[:6] + struct.pack("!H", total) + asked
    head = struct.pack("!IHBB", 0x60000000, len(udp), 17, 1) + here + there
    return bytes.fromhex("333300010002") + own + b"\x86\xdd" + head + udp


def offer(raw: bytes) -> "dict[str, object] | None":
    """What an Ethernet frame offers to this question."""
    kind, mac = raw[12:14], raw[6:12].hex(":")
    if kind == b"\x08\0" and len(raw) > 282 and raw[23] == 17:
        udp = 14 + 4 * (raw[14] & 15)
        said = raw[udp + 8 :]
        if raw[udp : udp + 4] != struct.pack("!HH", 67, 68) or said[:1] != b"\2" or said[4:8] != mark:
            return None
        return {"family": 4, "address": str(ipaddress.IPv4Address(server(said[240:]) or raw[26:30])), "mac": mac}
    if kind == b"\x86\xdd" and raw[20] == 17 and raw[54:56] == b"\x02\x23" and raw[62:66] == b"\2" + mark[:3]:
        return {"family": 6, "address": str(ipaddress.IPv6Address(raw[22:38])), "mac": mac}
    return None


def server(options: bytes) -> bytes:
    while len(options) > 2 and options[0] != 255:
        if options[0] == 54:
            return options[2:6]
        options = options[1:] if options[0] == 0 else options[2 + options[1] :]
    return b""


def main() -> None:
    links = {}
    own = set()
    for path in Path("/sys/class/net").iterdir():
        own.add((path / "address").read_text().strip())
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        address, _, _, scope, _, card = line.split()
        own.add(str(ipaddress.IPv6Address(int(address, 16))))
        if scope == "20":
            links[card] = bytes.fromhex(address)
    found, sockets = {}, {}
    for card in sys.argv[1:]:
        try:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            made.bind((card, 3))
            made.send(discover())
            if card in links:
                mac = bytes.fromhex(Path(f"/sys/class/net/{card}/address").read_text().strip().replace(":", ""))
                made.send(solicit(mac, links[card]))
        except OSError:
            continue  # it is down, or no Ethernet
        sockets[made] = card
    until = time.monotonic() + SECONDS
    while sockets and (left := until - time.monotonic()) > 0:
        for one in select.select(list(sockets), [], [], left)[0]:
            try:
                raw, where = one.recvfrom(65535)
            except OSError:
                del sockets[one]
                continue
            said = offer(raw)
            if said and where[2] != socket.PACKET_OUTGOING:
                found[sockets[one], said["family"], said["mac"]] = {"card": sockets[one], **said}
    print(json.dumps({"own": sorted(own), "offers": list(found.values())}))


if __name__ == "__main__":
    main()
