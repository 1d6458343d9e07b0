"""Is this process alive, is it ready, and is all well: for supervisors, load balancers and operators."""

from __future__ import annotations

from typing import Any

from crowbar_core.services.watch.health import CHECKS, gather
from crowbar_core.web.api.operation import Answer, api
from crowbar_core.web.api.routes import outside, v2
from crowbar_core.web.auth import parts


@outside.get("/healthz")
@api(permission="public", summary="200 while this process lives")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@outside.get("/readyz")
@api(permission="public", summary="200 when this process can do its work (perhaps degraded), else 503", statuses=(503,))
def readyz() -> Answer:
    """Says what is wrong without telling strangers more than that: names, addresses and paths are for viewers."""
    found = gather(parts())
    said = [one for one in found.findings if one.grade != "warning"]
    value: dict[str, Any] = {
        "status": found.status,
        "detail": "; ".join(one.detail for one in said) or "all is well",
        "checks": {check: found.of(check) for check in CHECKS},
        "warnings": [one.detail for one in found.findings if one.grade == "warning"],
    }
    fatal = found.grade == "fatal"
    return Answer(value=value, status=503 if fatal else 200, headers={"Retry-After": "5"} if fatal else {})


@v2.get("/health")
@api(permission="viewer", summary="How well the whole is: everything that is looked at, and what is wrong with it")
def health() -> dict[str, Any]:
    found = gather(parts())
    return {
        "status": found.status,
        "checks": {check: found.grade_of(check) for check in CHECKS},
        "findings": [
            {"check": one.check, "grade": one.grade, "detail": one.detail, "names": list(one.names)}
            for one in found.findings
        ],
    }
