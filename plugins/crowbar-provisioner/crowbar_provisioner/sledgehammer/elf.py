"""Which libraries a program names, read from the file itself: it need not run on this machine."""

from __future__ import annotations

import struct
from pathlib import Path

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB = 1, 5


def needed(file: Path) -> tuple[str, ...]:
    """The names of its libraries, and the path of its loader; none for what is no 64-bit ELF file."""
    data = file.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return ()
    (offset,), (size, count) = struct.unpack_from("<Q", data, 0x20), struct.unpack_from("<HH", data, 0x36)
    headers = [struct.unpack_from("<IIQQQQQQ", data, offset + index * size) for index in range(count)]
    loads: list[tuple[int, int, int]] = [(one[3], one[2], one[5]) for one in headers if one[0] == PT_LOAD]

    def place(address: int) -> int:
        return next(address - start + at for start, at, length in loads if start <= address < start + length)

    names: list[str] = []
    for kind, _, at, _, _, length, _, _ in headers:
        if kind == PT_INTERP:
            names.append(data[at : at + length].rstrip(b"\0").decode())
        elif kind == PT_DYNAMIC:
            tags = list(struct.iter_unpack("<QQ", data[at : at + length]))
            strings = next((place(value) for tag, value in tags if tag == DT_STRTAB), 0)
            names += [_text(data, strings + value) for tag, value in tags if tag == DT_NEEDED]
    return tuple(names)


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
