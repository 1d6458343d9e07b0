"""Clients of DHCP on one card, each with a MAC of its own: python3 - CARD storm COUNT, CARD storm6 COUNT or CARD ask.

``storm``: so many iPXE clients at once, each from its DISCOVER to the ACK, asking again after four seconds as ROMs do,
and then for the script that it is told: a line of JSON with the seconds until each had its address, until it had its
script, how many had none, and how often one asked again. ``storm6``: the same over IPv6 for their addresses, from one
address of the link and told apart by their DUIDs, asking again after a second (RFC 8415). ``ask``: for each line with a
MAC one with what it is offered; {} where that is nothing in a tenth of a second: Kea hears nobody while it is given a
configuration.
"""

import ipaddress
import json
import os
import resource
import select
import socket
import struct
import sys
import time

card, what = sys.argv[1:3]
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 25)
sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
sock.bind((card, 0x0800))
AGAIN, AGAIN6, SOON = 4.0, 1.0, 0.1
IPXE = bytes.fromhex("af03130101")
BROADCAST = b"\xff" * 4


def sum_of(raw: bytes) -> int:
    total = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(kind: int, mark: bytes, mac: bytes, more: bytes = b"") -> bytes:
    said = struct.pack("!BBBB4sHH16s", 1, 1, 6, 0, mark, 0, 0x8000, b"") + mac.ljust(16, b"\0") + bytes(192)
    said += b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + more
    said += bytes.fromhex("3c20") + b"PXEClient:Arch:00000:UNDI:002001" + bytes.fromhex("5d02000037050103064243ff")
    udp = struct.pack("!HHHH", 68, 67, 8 + len(said), 0) + said
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 16, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), BROADCAST)
    return b"\xff" * 6 + mac + b"\x08\0" + head[:10] + struct.pack("!H", sum_of(head)) + head[12:] + udp


def answer(raw: bytes) -> tuple:
    """Mark, kind, address and options of an answer; () if it is none."""
    if len(raw) < 282 or raw[23] != 17 or raw[34:38] != b"\0\x43\0\x44":
        return ()
    said, options = raw[42:], {}
    rest = said[240:]
    while len(rest) > 2 and rest[0] != 255:
        options[rest[0]], rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
    options["file"] = said[108:236].partition(b"\0")[0]
    return said[4:8], options.get(53, b"\0")[0], said[16:20], options


def ask() -> None:
    for line in sys.stdin:
        mac, mark = bytes.fromhex(line.strip().replace(":", "")), os.urandom(4)
        sock.send(frame(1, mark, mac))
        told, until = {}, time.monotonic() + SOON
        while not told and select.select([sock], [], [], max(0, until - time.monotonic()))[0]:
            said = answer(sock.recv(65535))
            if said and said[0] == mark and said[1] == 2:
                told = {"ip": str(ipaddress.IPv4Address(said[2])), "hostname": said[3].get(12, b"").decode()}
        print(json.dumps(told), flush=True)


class Fetch:
    """The script at a URL, by one who waits for nothing: call ``go_on`` when there is something to do."""

    def __init__(self, url: str) -> None:
        host, _, path = url.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        self.said, self.sent = bytearray(), False
        self.request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex((name, int(port or 80)))

    def go_on(self) -> bool:
        """Whether it has come."""
        if not self.sent:
            self.socket.send(self.request)
            self.sent = True
            return False
        new = self.socket.recv(65536)
        self.said += new
        if new:
            return False
        self.socket.close()
        head, _, script = bytes(self.said).partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0] or not script.startswith(b"#!ipxe"):
            raise SystemExit(f"no script: {bytes(self.said[:200])}")
        return True


def storm(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    clients = {
        number.to_bytes(4, "big"): bytes.fromhex("5254000a") + number.to_bytes(2, "big") for number in range(count)
    }
    began, acked, took, last, pending, fetching = {}, {}, {}, {}, {}, {}
    ready = select.epoll()
    ready.register(sock, select.EPOLLIN)

    def heard() -> None:
        said = answer(sock.recv(65535))
        if not said or said[0] not in pending:
            return
        mark, kind, address, options = said
        if kind == 5:
            acked[mark] = time.monotonic() - began[mark]
            del pending[mark]
            one = Fetch(options["file"].decode())
            fetching[one.socket.fileno()] = mark, one
            ready.register(one.socket, select.EPOLLOUT)
        elif kind == 2:
            more = bytes([50, 4]) + address + bytes([54, 4]) + options[54] + IPXE
            pending[mark] = frame(3, mark, clients[mark], more)
            last[mark] = time.monotonic()
            sock.send(pending[mark])

    def turn(seconds: float) -> bool:
        there = ready.poll(seconds)
        for number, _ in there:
            if number == sock.fileno():
                heard()
                continue
            mark, one = fetching[number]
            if one.go_on():
                took[mark] = time.monotonic() - began[mark]
                del fetching[number]
            else:
                ready.modify(number, select.EPOLLIN)
        return bool(there)

    for mark, mac in clients.items():
        pending[mark] = frame(1, mark, mac, IPXE)
        began[mark] = last[mark] = time.monotonic()
        sock.send(pending[mark])
        while turn(0):  # or what is sent to it meanwhile has no room
            pass
    until, again = time.monotonic() + 60, 0
    while (pending or fetching) and (now := time.monotonic()) < until:
        for mark in [one for one, at in last.items() if one in pending and now - at > AGAIN]:
            last[mark] = now
            again += 1
            sock.send(pending[mark])
        while (pending or fetching) and time.monotonic() - now < 0.25:
            turn(0.05)
    print(
        json.dumps({
            "acked": sorted(acked.values()), "seconds": sorted(took.values()), "lost": len(pending) + len(fetching),
            "again": again,
        })
    )  # fmt: skip


def option(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def options6(raw: bytes) -> dict:
    found = {}
    while len(raw) >= 4:
        code, length = struct.unpack("!HH", raw[:4])
        found[code], raw = raw[4 : 4 + length], raw[4 + length :]
    return found


def on_the_link() -> socket.socket:
    made, index = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), socket.if_nametoindex(card)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 25)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    with open("/proc/net/if_inet6") as there:
        [mine] = [line.split()[0] for line in there if line.split()[3] == "20" and line.split()[5] == card]
    made.bind((str(ipaddress.IPv6Address(int(mine, 16))), 546, 0, index))
    return made


def storm6(count: int) -> None:
    there, everybody = on_the_link(), ("ff02::1:2", 547, 0, socket.if_nametoindex(card))
    began, acked, last, pending, again = {}, {}, {}, {}, 0
    association = option(3, b"\0\0\0\1" + bytes(8))

    def said(kind: int, mark: bytes, more: bytes) -> bytes:
        duid = b"\0\3\0\1" + bytes.fromhex("5254000a") + mark[1:]
        return (
            bytes([kind]) + mark + option(1, duid) + option(6, struct.pack("!HH", 23, 59)) + option(8, b"\0\0") + more
        )

    def send(mark: bytes) -> None:
        last[mark] = time.monotonic()
        there.sendto(pending[mark], everybody)

    def hear(seconds: float) -> bool:
        if not select.select([there], [], [], seconds)[0]:
            return False
        raw = there.recv(65535)
        kind, mark, found = raw[0], raw[1:4], options6(raw[4:])
        if mark in pending and kind == 2 and pending[mark][0] == 1:
            pending[mark] = said(3, mark, option(2, found[2]) + option(3, found[3]))
            send(mark)
        elif mark in pending and kind == 7 and 5 in options6(found[3][12:]):
            acked[mark] = time.monotonic() - began[mark]
            del pending[mark]
        return True

    for number in range(count):
        mark = number.to_bytes(3, "big")
        pending[mark] = said(1, mark, association)
        began[mark] = time.monotonic()
        send(mark)
        while hear(0):
            pass
    until = time.monotonic() + 60
    while pending and (now := time.monotonic()) < until:
        for mark in [one for one, at in last.items() if one in pending and now - at > AGAIN6]:
            again += 1
            send(mark)
        while pending and time.monotonic() - now < 0.25:
            hear(0.05)
    print(json.dumps({"acked": sorted(acked.values()), "lost": len(pending), "again": again}))


if what == "storm6":
    storm6(int(sys.argv[3]))
elif what == "storm":
    storm(int(sys.argv[3]))
else:
    ask()
