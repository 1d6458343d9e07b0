"""Every error that Crowbar raises on purpose.

CrowbarError                     anything we can name; ``code`` is stable, ``status`` is its HTTP status
├── BadInput               422   the caller sent something that cannot be: mend the request
├── NotFound               404   the caller named something that is not there
├── Refused                409   the request is well formed, but the cluster's state forbids it
│   ├── InvalidTransition  409   a noderole cannot go from this state to that one
│   ├── StaleState         409   someone else was faster: read again
│   ├── PlanChanged        409   the plan that was insisted on no longer holds: read the new one
│   └── Veto               409   a barclamp objected
├── Unauthenticated        401   who are you?
├── Forbidden              403   you may not
├── PreconditionFailed     412   If-Match does not hold any more
├── Unavailable            503   a part that is needed does not answer: the operator can help
│   └── Held               503   somebody else has held the lock of all changes for too long
├── ConfigError                  the settings or the installation are wrong: the operator can help
│   └── BarclampError            a barclamp is wrong: its author can help
└── JigError                     what a jig raises to end a run
    ├── TemporaryError           try again after ``delay`` seconds
    │   ├── NodeUnreachable      the node does not answer: it is probed and may be marked dead
    │   └── Interrupted          it was cut off in the middle: how far it came cannot be told
    ├── PermanentError           do not try again: ERROR
    ├── RunTimeout               the run took longer than its role allows: ERROR
    └── RunCancelled             the run was told to stop, and what it started is gone
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """One thing wrong in an input: ``pointer`` is a JSON pointer to it, ``detail`` the fact and the way out."""

    pointer: str
    detail: str


class CrowbarError(Exception):
    """Anything Crowbar can name. The message is a whole sentence for a person."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)


class BadInput(CrowbarError):
    code = "invalid"
    status = 422


class NotFound(CrowbarError):
    code = "not-found"
    status = 404


class Refused(CrowbarError):
    code = "conflict"
    status = 409


class InvalidTransition(Refused):
    code = "invalid-transition"


class StaleState(Refused):
    code = "stale"


class PlanChanged(Refused):
    code = "plan-changed"


class Veto(Refused):
    """Raised by a barclamp inside a transaction: nothing of it happened."""

    code = "veto"


class Unauthenticated(CrowbarError):
    code = "unauthenticated"
    status = 401


class Forbidden(CrowbarError):
    code = "forbidden"
    status = 403


class PreconditionFailed(CrowbarError):
    code = "stale"
    status = 412


class Unavailable(CrowbarError):
    code = "unavailable"
    status = 503


class Held(Unavailable):
    """Somebody else has held the lock of all changes for longer than anybody waits."""


class ConfigError(CrowbarError):
    code = "config"


class BarclampError(ConfigError):
    code = "barclamp"


class JigError(CrowbarError):
    code = "jig"


class TemporaryError(JigError):
    """The run may succeed later: it is tried again after ``delay`` seconds, up to the role's retry limit."""

    def __init__(self, detail: str, *, delay: float = 5.0) -> None:
        super().__init__(detail)
        self.delay = delay


class NodeUnreachable(TemporaryError):
    """The node does not answer. Nothing is known of what it was doing."""


class Interrupted(TemporaryError):
    """The work had begun and was cut off: how far it came cannot be told. A destructive role is not tried again by
    that, but goes to ERROR with its fate unknown.
    """


class PermanentError(JigError):
    """The run failed and trying again would not help."""


class RunTimeout(JigError):
    """The run took longer than its role allows; what it started on the node has been killed."""


class RunCancelled(JigError):
    """The run was told to stop, and what it started on the node is gone."""


def told(error: BaseException | None) -> str:
    """How an exception that nobody turned into a sentence is shown: its kind and its words; of a database's error
    without the statement and the values, which may be secrets.
    """
    said: object = error
    if hasattr(error, "statement") and getattr(error, "orig", None) is not None:
        said = str(getattr(error, "orig", "")).strip().partition("\n")[0]
    return f"{type(error).__name__}: {said}"


_T = TypeVar("_T")


def or_missing(found: _T | None, what: str, key: object) -> _T:
    """What was looked for. Raises ``NotFound`` when it is None: "There is no node 7."."""
    if found is None:
        raise NotFound(f"There is no {what} {key}.")
    return found
