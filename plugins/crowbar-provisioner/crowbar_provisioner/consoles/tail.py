"""The last lines of what a machine writes, as they may be shown: bounded, no control characters, no secrets. Pure."""

from __future__ import annotations

import re
import threading
import unicodedata

MOST_LINES = 100
LONGEST = 240
KEPT_BYTES = 32 * 1024
MASK = "***"

_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_TO_PLACE = re.compile(r"\x1b\[[0-9;]*[Hf]|\x1b[DEM]|\x1b\[[0-9]*[A-GJ]")
"""Sequences by which a terminal writes somewhere else: what comes then is another line."""
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_SECRETS = (
    # A token may stand on two lines, where a terminal has broken the first one. All of them are bounded, as a machine's
    # text may be an attacker's: none takes longer than in proportion to its length.
    (re.compile(r"(/b/|/join/|[Bb]earer |token=)[A-Za-z0-9_-](?:\n?[A-Za-z0-9_-]){42}"), rf"\1{MASK}"),
    (re.compile(r"(/b/|/join/|[Bb]earer )[A-Za-z0-9_-]+"), rf"\1{MASK}"),
    (re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"), MASK),
    (re.compile(r"(?i)((?:token|passw(?:or)?d|passphrase|secret)\w{0,16}[\"']? {0,3}[=:] {0,3})\S+"), rf"\1{MASK}"),
    (re.compile(r"\$(?:1|2[aby]|5|6|7|y|gy)\$[^\s:,\"']{8,}"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|\Z)"), MASK),
    (re.compile(r"^[A-Za-z0-9+/]{60,}={0,2}$", re.MULTILINE), MASK),
    (re.compile(r"(://[^\s/:@]{0,64}:)[^\s/@]{1,256}@"), rf"\1{MASK}@"),
)


def lines_of(text: str, most: int = MOST_LINES, *, without: int = 0) -> list[str]:
    """What is to be seen of it, the last lines; what is repeated stands once. ``without`` so many of the first."""
    plain = _SEQUENCE.sub("", _TO_PLACE.sub("\n", text)).replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    plain = "".join(one for one in plain if one == "\n" or unicodedata.category(one) not in _UNPRINTABLE)
    for what, shown in _SECRETS:
        plain = what.sub(shown, plain)
    found: list[str] = []
    for line in plain.split("\n")[without:]:
        short = line.rstrip()[:LONGEST]
        if short.strip() and (not found or found[-1] != short):
            found.append(short)
    return found[-most:]


class Tail:
    """Keeps the end of what comes, from whichever thread. ``changed`` until it is looked at."""

    def __init__(self) -> None:
        self._kept = b""
        self._cut = False
        self._lock = threading.Lock()
        self.changed = False

    def add(self, new: bytes) -> None:
        with self._lock:
            kept = self._kept + new
            self._cut = self._cut or len(kept) > KEPT_BYTES
            self._kept = kept[-KEPT_BYTES:]
            self.changed = True

    def lines(self, most: int = MOST_LINES) -> list[str]:
        """Without the first two of what was cut: half a token is not known for one."""
        with self._lock:
            kept, cut, self.changed = self._kept, self._cut, False
        text = kept.decode(errors="replace")
        return lines_of(text, most, without=2 if cut else 0)
