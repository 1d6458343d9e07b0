"""A machine's firmware: python3 pxe.py CARD MAC ARCH|- ipxe|- CLASS: asks, as PXE says, for an address, and whoever
answers without one for what it boots; prints what it was told, as JSON. Without ARCH it is an operating system.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

card, mac, arch, ipxe, kind = sys.argv[1:6]
ALL, ZERO = ("255.255.255.255", 67), "0.0.0.0"
QUIET = 3
"""After how many seconds without an answer there is none."""
mark = os.urandom(4)
said: "list[tuple[int, bytes]]" = [(55, bytes((1, 3, 6, 43, 54, 60, 66, 67)))]
if arch != "-":
    said += [(93, struct.pack("!H", int(arch))), (97, bytes(17)), (60, f"{kind}:Arch:{int(arch):05d}".encode())]
if ipxe == "ipxe":
    said += [(77, b"iPXE"), (175, bytes.fromhex("b105018086000001"))]
about = b"".join(bytes((code, len(value))) + value for code, value in said)


def question(what: int, own: str = ZERO, more: bytes = b"") -> bytes:
    broadcast = 0x8000 if own == ZERO else 0
    head = struct.pack("!BBBB4sHH4s12x", 1, 1, 6, 0, mark, 0, broadcast, socket.inet_aton(own))
    hardware = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    return head + hardware + bytes(192) + bytes.fromhex("63825363") + bytes((53, 1, what)) + about + more + b"\xff"


def answer(raw: bytes) -> dict:
    options, rest = {}, raw[240:]
    while len(rest) > 2 and rest[0] != 255:
        if rest[0]:
            options[rest[0]] = rest[2 : 2 + rest[1]]
        rest = rest[1:] if rest[0] == 0 else rest[2 + rest[1] :]
    named = options.get(67, raw[108:236]).split(b"\0")[0].decode()
    return {
        "type": options.get(53, b"\0")[0], "ip": socket.inet_ntoa(raw[16:20]), "next": socket.inet_ntoa(raw[20:24]),
        "by": socket.inet_ntoa(options[54]) if 54 in options else "", "class": options.get(60, b"").decode(),
        "file": named,
    }  # fmt: skip


def listening(own: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_REUSEADDR, socket.SO_BROADCAST):
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, card.encode())
    made.bind((own, 68))
    return made


def heard(sock: socket.socket, to: tuple, asked: bytes, what: int, enough: Callable[[list], bool]) -> list:
    found: list = []
    for _ in range(8):
        sock.sendto(asked, to)
        until = time.monotonic() + QUIET
        while not enough(found) and (left := until - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                raw = sock.recv(4096)
            except TimeoutError:
                break
            one = answer(raw) if raw[4:8] == mark else {}
            if one.get("type") == what and one not in found:
                found.append(one)
        if found:
            break
    return found


sock = listening("")
offers = heard(sock, ALL, question(1), 2, lambda found: len({one["ip"] == ZERO for one in found}) == 2)
whole = next((one for one in offers if one["ip"] != ZERO), None)
proxy = next((one for one in offers if one["ip"] == ZERO), None)
told: dict = {}
if whole:
    chosen = bytes((50, 4)) + socket.inet_aton(whole["ip"]) + bytes((54, 4)) + socket.inet_aton(whole["by"])
    for one in heard(sock, ALL, question(3, more=chosen), 5, bool)[:1]:
        told = {"ip": one["ip"], "by": one["by"], "boot": one["file"], "boot by": one["by"] if one["file"] else ""}
if told and proxy:
    # As UEFI does, and BIOS where it is asked to: with its address, at the other one's port 4011.
    sock.close()
    subprocess.run(["ip", "addr", "add", f"{told['ip']}/16", "dev", card], check=True)
    again = heard(listening(told["ip"]), (proxy["by"], 4011), question(3, told["ip"]), 5, bool)
    subprocess.run(["ip", "addr", "flush", "dev", card], check=True)
    assert [one["file"] for one in again] == [proxy["file"]], (proxy, again)
    told |= {"boot": proxy["file"], "boot by": proxy["by"], "next": proxy["next"], "class": proxy["class"]}
print(json.dumps(told))
