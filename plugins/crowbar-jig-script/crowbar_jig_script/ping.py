"""ICMP echo from within the process: no fork for a probe, unless neither kind of socket is allowed."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import struct
import subprocess
import time

_ECHO = {socket.AF_INET: 8, socket.AF_INET6: 128}
_ECHO_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}


def ping(address: str, *, timeout: float, tries: int = 2) -> str | None:
    """None when the address answered, else the reason why not. Takes at most ``timeout`` times ``tries`` seconds."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    try:
        asking, raw = _open(family)
    except PermissionError:
        return _ping_program(address, timeout=timeout, tries=tries)
    except OSError as problem:
        return f"cannot ping: {problem.strerror}"
    with asking:
        reason = "no answer to ping"
        for number in range(1, tries + 1):
            try:
                # Connected, the socket gets what comes from this address only, and hears of "no route to host".
                asking.connect((address, 0))
                if _echo(asking, family, raw=raw, number=number, timeout=timeout):
                    return None
            except OSError as problem:
                reason = f"cannot ping: {problem.strerror or problem}"
        return reason


def _open(family: socket.AddressFamily) -> tuple[socket.socket, bool]:
    try:
        return socket.socket(family, socket.SOCK_DGRAM, _PROTOCOL[family]), False
    except PermissionError:
        # sysctl net.ipv4.ping_group_range leaves out even root by default; root may have a raw socket.
        return socket.socket(family, socket.SOCK_RAW, _PROTOCOL[family]), True


def _echo(asking: socket.socket, family: socket.AddressFamily, *, raw: bool, number: int, timeout: float) -> bool:
    # The text is random so that an answer to someone else's ping is not taken for ours.
    text = secrets.token_bytes(16)
    header = struct.pack("!BBHHH", _ECHO[family], 0, 0, os.getpid() & 0xFFFF, number)
    header = header[:2] + struct.pack("!H", _checksum(header + text)) + header[4:]
    deadline = time.monotonic() + timeout
    asking.settimeout(timeout)
    asking.send(header + text)
    while (left := deadline - time.monotonic()) > 0:
        asking.settimeout(left)
        try:
            answer = asking.recv(2048)
        except TimeoutError:
            return False
        if raw and family == socket.AF_INET:
            answer = answer[(answer[0] & 15) * 4 :]
        if answer[:1] == bytes([_ECHO_REPLY[family]]) and answer[8:] == text:
            return True
    return False


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _ping_program(address: str, *, timeout: float, tries: int) -> str | None:
    command = ["ping", "-n", "-q", "-c", "1", "-W", str(max(1, round(timeout))), address]
    for _ in range(tries):
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout + 1, check=False)
        except FileNotFoundError:
            return "cannot ping: ICMP sockets are not allowed, and there is no ping program"
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return None
    return "no answer to ping"
