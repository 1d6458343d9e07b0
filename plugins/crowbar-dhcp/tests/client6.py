"""A small client of DHCPv6: python3 client6.py CARD MAC ARCH|- ipxe|-: prints what it is told, as JSON."""

import ipaddress
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

card, mac, arch, ipxe = sys.argv[1:5]
duid = b"\0\3\0\1" + bytes.fromhex(mac.replace(":", ""))


def option(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def options(raw: bytes) -> list:
    found = []
    while len(raw) >= 4:
        code, length = struct.unpack("!HH", raw[:4])
        found.append((code, raw[4 : 4 + length]))
        raw = raw[4 + length :]
    return found


def opened() -> socket.socket:
    """Once the address of the link is no longer tentative."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    index = socket.if_nametoindex(card)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    deadline = time.monotonic() + 60
    while True:
        here = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
        mine = [one[0] for one in here if one[5] == card and one[3] == "20" and not int(one[4], 16) & 0x40]
        if mine:
            made.bind((str(ipaddress.IPv6Address(int(mine[0], 16))), 546, 0, index))
            return made
        if time.monotonic() > deadline:
            sys.exit("the card has no address of the link")
        time.sleep(0.02)


def asked(kind: int, more: bytes) -> bytes:
    wanted = struct.pack("!HHHH", 23, 24, 59, 16)
    said = option(1, duid) + option(6, wanted) + option(8, b"\0\0") + more
    if arch != "-":
        said += option(61, struct.pack("!H", int(arch)))
    if ipxe == "ipxe":
        said += option(15, b"\0\4iPXE")
    return bytes([kind]) + transaction + said


transaction = os.urandom(3)
sock = opened()
sock.settimeout(1)


def exchange(kind: int, answer: int, more: bytes) -> list:
    for _ in range(20):
        sock.sendto(asked(kind, more), ("ff02::1:2", 547, 0, socket.if_nametoindex(card)))
        try:
            while True:
                raw, _ = sock.recvfrom(4096)
                if raw[0] == answer and raw[1:4] == transaction:
                    return options(raw[4:])
        except TimeoutError:
            continue
    return []


association = option(3, b"\0\0\0\1" + bytes(8))
offered = dict(exchange(1, 2, association))
if not offered:
    print("{}")
    sys.exit()
got = dict(exchange(3, 7, option(2, offered[2]) + option(3, offered[3])))
told = {}
for code, value in options(got.get(3, b"")[12:]):
    if code == 5:
        told["ip"] = str(ipaddress.IPv6Address(value[:16]))
if 59 in got:
    told["boot"] = got[59].decode()
if 16 in got:
    told["vendor"] = got[16].hex()
if 23 in got:
    told["dns"] = [str(ipaddress.IPv6Address(got[23][at : at + 16])) for at in range(0, len(got[23]), 16)]
print(json.dumps(told))
