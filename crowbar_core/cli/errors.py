"""What ends a command early, and the exit code that each of them means.

0    done                           2    wrong usage (click)
1    refused, or it went wrong      3    the server cannot be reached, or cannot answer now
130  interrupted (Ctrl-C)           141  nobody reads our output any more
"""

from __future__ import annotations

from collections.abc import Sequence

from crowbar_core.errors import CrowbarError, FieldError, Unavailable

FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130
NOBODY_READS = 141


class ApiError(CrowbarError):
    """The server refused the request. ``answer`` is its HTTP status, ``problem`` the code in its problem+json."""

    code = "api"

    def __init__(self, detail: str, *, answer: int, problem: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail, errors=errors)
        self.answer = answer
        self.problem = problem


class Unreachable(Unavailable):
    """No server answers at the address, or it says that it cannot answer now."""

    code = "unreachable"


class NobodyToAsk(CrowbarError):
    """A question that only a person can answer, where none is: ends as wrong usage does."""

    code = "nobody-to-ask"


class NotSettled(CrowbarError):
    """Something was waited for and ended otherwise."""

    code = "not-settled"
