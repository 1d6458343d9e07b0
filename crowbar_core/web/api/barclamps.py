"""Barclamps and jigs: what is installed, what it brings, what is wrong with it."""

from __future__ import annotations

from crowbar_core.services.cluster import failed_hooks
from crowbar_core.store import listing as lists
from crowbar_core.web.api.collection import found_id, listed, reading
from crowbar_core.web.api.nouns import ATTRIBS, BARCLAMPS, JIGS, ROLES
from crowbar_core.web.api.operation import Answer, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts

reading(v2, BARCLAMPS, parameter="barclamp")
reading(v2, JIGS, parameter="jig")


def _name(barclamp: str) -> str:
    with parts().store.read() as session:
        return str(lists.one(session, BARCLAMPS, barclamp, fields=("name",))["name"])


@v2.get("/barclamps/<barclamp>/roles")
@api(permission="viewer", summary="The roles that a barclamp brings", listing=ROLES, many=True)
def roles_of_barclamp(barclamp: str) -> Answer:
    return listed(ROLES, filters={"barclamp_id": str(found_id(BARCLAMPS, barclamp))})


@v2.get("/barclamps/<barclamp>/attribs")
@api(permission="viewer", summary="The attributes that a barclamp brings", listing=ATTRIBS, many=True)
def attribs_of_barclamp(barclamp: str) -> Answer:
    return listed(ATTRIBS, filters={"barclamp_id": str(found_id(BARCLAMPS, barclamp))})


@v2.get("/barclamps/<barclamp>/hooks")
@api(permission="viewer", summary="The hooks that a barclamp implements")
def hooks_of_barclamp(barclamp: str) -> list[str]:
    name = _name(barclamp)
    return [hook for one in parts().registry.barclamps if one.name == name for hook in one.hooks]


@v2.post("/barclamps/<barclamp>/retry")
@api(permission="operator", summary="End a barclamp's quarantine, and call all its failed hooks again")
def retry_hooks(barclamp: str) -> dict[str, int]:
    retried, gone = failed_hooks.retry_all(parts(), current_actor(), _name(barclamp))
    return {"retried": retried, "gone": gone}


@v2.post("/barclamps/<barclamp>/dismiss")
@api(permission="operator", summary="Give up all failed hooks of a barclamp: they are shown no longer")
def dismiss_hooks(barclamp: str) -> dict[str, int]:
    return {"dismissed": failed_hooks.dismiss_all(parts(), current_actor(), _name(barclamp))}
