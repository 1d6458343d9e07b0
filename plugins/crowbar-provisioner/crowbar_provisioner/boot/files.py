"""Files below one root, streamed, in ranges. No name comes from a request, and links do not lead out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from werkzeug.http import parse_range_header
from werkzeug.wrappers import Request, Response

from crowbar_provisioner.boot.answers import NotHere

_BLOCK = 1 << 18


def opened(root: Path, *parts: str) -> FileIO:
    """Raises ``NotHere`` where there is no such file, or it lies outside."""
    try:
        home = root.resolve(strict=True)
        path = home.joinpath(*parts).resolve(strict=True)
        if not path.is_relative_to(home):
            raise NotHere("This file is not served: it lies outside.")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):
        raise NotHere(f"There is no {'/'.join(parts)} among the boot files.") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NotHere(f"{'/'.join(parts)} is no file.")
    return FileIO(handle, "rb")


def sent(
    request: Request, file: BinaryIO, *, etag: str = "", part: tuple[int, int | None] = (0, None)
) -> Response:  # fmt: skip
    """The whole of it, or the one range that is asked for; or the ``part`` from a first byte on, of so many bytes at
    most. The server reads as it sends.
    """
    size = os.fstat(file.fileno()).st_size
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-store"} | ({"ETag": f'"{etag}"'} if etag else {})
    first, last, status = min(part[0], size), size, 200
    if part[1] is not None:
        last = min(first + part[1], size)
    asked = request.headers.get("If-Range")
    found = parse_range_header(request.headers.get("Range")) if asked is None or asked == f'"{etag}"' else None
    if found is not None and found.units == "bytes" and len(found.ranges) == 1:
        asked_for = found.range_for_length(size)
        if asked_for is None:
            file.close()
            return Response(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        (first, last), status = asked_for, 206
        headers["Content-Range"] = f"bytes {first}-{last - 1}/{size}"
    headers["Content-Length"] = str(last - first)
    if request.method == "HEAD":
        file.close()
        return Response(status=status, headers=headers, mimetype="application/octet-stream")
    file.seek(first)
    wrapper: Callable[..., Any] | None = request.environ.get("wsgi.file_wrapper")
    body = wrapper(file, _BLOCK) if wrapper is not None else _Part(file, last - first)
    answer = Response(status=status, headers=headers, mimetype="application/octet-stream", direct_passthrough=True)
    answer.response = body
    return answer


class _Part:
    """So many bytes of a file from where it stands: for servers that do not send files by themselves."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file, self._left = file, count

    def __iter__(self) -> _Part:
        return self

    def __next__(self) -> bytes:
        piece = self._file.read(min(_BLOCK, self._left))
        if not piece:
            raise StopIteration
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        self._file.close()
