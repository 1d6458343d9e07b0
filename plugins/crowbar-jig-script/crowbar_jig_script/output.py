"""Telling apart, in what a node sends, the lines of the scripts from the words of the part that runs them."""

from __future__ import annotations

from collections.abc import Callable

from crowbar_core import PermanentError

LONGEST = 64 << 10
"""Bytes of a line that are logged; the rest of it is counted."""


class Lines:
    """Cuts a stream into lines as it arrives; holds at most one line's beginning."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._begun = b""
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        first, last = data.find(b"\n"), data.rfind(b"\n")
        if first < 0:
            self._add(data)
            return
        self._add(data[:first])
        self._emit()
        if first < last:
            # Most lines are whole and short, and of these there may be millions.
            for line in data[first + 1 : last].decode("utf-8", "replace").split("\n"):
                if len(line) <= LONGEST // 4:
                    self._write(line.rstrip("\r"))
                else:
                    self._add(line.encode())
                    self._emit()
        self._add(data[last + 1 :])

    def end(self) -> None:
        """What was begun is a line, though nothing ended it."""
        if self._begun or self._dropped:
            self._emit()

    def _add(self, piece: bytes) -> None:
        room = LONGEST - len(self._begun)
        self._begun += piece[:room]
        self._dropped += max(0, len(piece) - room)

    def _emit(self) -> None:
        line = self._begun.rstrip(b"\r").decode("utf-8", "replace")
        if self._dropped:
            line += f" [… {self._dropped} bytes more]"
        self._begun, self._dropped = b"", 0
        self._write(line)


class Output:
    """One of the two streams of a run. A word is what follows the mark, which no output holds by chance."""

    def __init__(
        self, token: str, *, line: Callable[[str], None], word: Callable[[str], None], max_report: int
    ) -> None:
        self._mark = f"\x1e{token}\x1e".encode()
        self._lines = Lines(line)
        self._word = word
        self._max_report = max_report
        self._held = b""
        self._collecting = False
        self.report = b""
        """What came between the word ``report`` and the next one; of too long a one, a byte more than allowed."""

    def feed(self, data: bytes) -> None:
        held = self._held + data
        while (at := held.find(self._mark)) >= 0:
            end = held.find(b"\n", at)
            if end < 0:
                if len(held) - at > LONGEST:
                    raise PermanentError("The node sent a word without an end.")
                break
            self._pass_on(held[:at])
            self._collecting = False
            word = held[at + len(self._mark) : end].decode("utf-8", "replace").strip()
            held = held[end + 1 :]
            if word == "report":
                self._collecting, self.report = True, b""
            else:
                self._lines.end()
                self._word(word)
        if at < 0:
            # The mark may have come in part: hold back as much of the end as could be its beginning.
            keep = _overlap(held, self._mark)
            self._pass_on(held[: len(held) - keep])
            held = held[len(held) - keep :]
        self._held = held

    def end(self) -> None:
        self._pass_on(self._held)
        self._held = b""
        self._lines.end()

    def _pass_on(self, data: bytes) -> None:
        if not self._collecting:
            self._lines.feed(data)
            return
        # Too much is not refused here, where the script still runs, but when the report is read.
        self.report += data[: self._max_report + 1 - len(self.report)]


def _overlap(data: bytes, mark: bytes) -> int:
    """The length of the longest end of ``data`` with which ``mark`` begins."""
    tail = data[-(len(mark) - 1) :]
    first = tail.find(mark[:1])
    while first >= 0:
        if mark.startswith(tail[first:]):
            return len(tail) - first
        first = tail.find(mark[:1], first + 1)
    return 0
