"""What is done with an object: one table, of which the API makes its calls, the pages their buttons, forms and hints.

Creating, changing, setting values and whatever takes a second object are not here: they are forms of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from pydantic import BaseModel, Field

from crowbar_core.barclamp import Permission, Probe
from crowbar_core.domain.states import OPEN_RUN_STATES, State
from crowbar_core.services.cluster import binding, groups, hammers, liveness, steering
from crowbar_core.services.cluster import deployments as deployment_service
from crowbar_core.services.cluster import nodes as node_service
from crowbar_core.services.people import users as user_service
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.store.listing import Listing
from crowbar_core.web.api.nouns import DEPLOYMENT_ROLES, DEPLOYMENTS, GROUPS, HAMMERS, NODE_ROLES, NODES, RUNS, USERS
from crowbar_core.web.api.operation import Body, Force, Query

PAGES: Final[Mapping[str, str]] = {NODE_ROLES.plural: "noderoles"}
"""Nouns that pages and commands call otherwise than the API does."""


class Plan(Query):
    plan: str | None = Field(None, max_length=128, description="Commit only if the plan with this id still holds.")


class Hold(Body):
    reason: str = Field("", max_length=500, description="Why, for whoever finds it held.")


class Cancel(Body):
    hold: bool = Field(True, description="Keep the noderole from being run again until it is released.")


class Finish(Body):
    succeeded: bool
    wall: dict[str, Any] | None = Field(None, description="What the run reports, merged into the noderole's wall.")
    reason: str = Field("", max_length=4096)


class Power(Body):
    action: str = Field(min_length=1, max_length=64)


def _always(_: Any) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something a person may do on a page, with the API call and the command that do the same.

    ``asks`` is the page that asks first, for what destroys (a view that gives ``ask_page``): then this is a way there,
    and no button.
    """

    label: str
    url: str
    api: str
    cli: str
    kind: str = ""
    permission: Permission = "operator"
    asks: str = ""
    fields: Mapping[str, str] | None = None
    text: tuple[str, str] | None = None
    """A field that may be filled in: its name, and what is to be said."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One act on one object of a noun: a PUT of the API (or its DELETE), a form of a page, a command."""

    of: Listing
    name: str
    """In the paths of API and pages, on the command line, and where it is asked what would be lost."""
    label: str
    """On the button, and of its plan: "Commit node web1"."""
    act: Callable[..., Any]
    """Is given the parts, the actor, the object's id, and the fields of ``takes`` by keyword."""
    summary: str
    """What the API says of it."""
    said: str | Callable[[Any], str] = ""
    """What a page says afterwards, of the result; without it no page has it."""
    takes: type[BaseModel] | None = None
    permission: Permission = "operator"
    kind: str = ""
    """How the button looks: primary, danger."""
    plans: bool = False
    asks: bool = False
    """It may destroy something, which is told of and asked for before (``losses``)."""
    removes: bool = False
    """The object is gone afterwards, or on its way."""
    answer: Callable[[Any], Any] | None = None
    """What the API answers with, of the result, instead of the object."""
    offered: Callable[[Any], bool] = _always
    """Whether a page offers it for this line."""
    text: tuple[str, str] | None = None
    """A field that may be filled in beside the button: its name, and what is to be said."""
    word: str = ""
    """In paths and on the command line, if that is another one than ``name``."""
    fields: Mapping[str, Any] | None = None
    """Fields of ``takes`` that a button of it sends."""

    @property
    def noun(self) -> str:
        return self.of.plural

    @property
    def parameter(self) -> str:
        """What the object is called in the paths of the API."""
        return "node_role" if self.of is NODE_ROLES else self.of.noun.replace(" ", "_")

    @property
    def page(self) -> str:
        """Where the pages of its noun begin."""
        return f"/{PAGES.get(self.noun, self.noun)}"

    def page_of(self, key: int) -> str:
        """The page that an object of it has, or is listed on."""
        return self.page if self.of is USERS else f"{self.page}/{key}"

    def url(self, key: int | str) -> str:
        """Where its form is sent to."""
        return f"{self.page}/{key}/{self.word or self.name}"

    def ask(self, key: int, **carried: str) -> str:
        """The page that says what would be lost. It carries over what is not empty."""
        query = urlencode({name: value for name, value in carried.items() if value})
        return f"/ask/{self.noun}/{key}/{quote(self.name, safe='')}{f'?{query}' if query else ''}"

    def api(self, key: int | str) -> str:
        """The call that does the same."""
        body = f" {json.dumps(self.fields)}" if self.fields else ""
        path = f"/api/v2/{self.noun}/{key}"
        return f"DELETE {path}" if self.removes else f"PUT {path}/{self.word or self.name}{body}"

    def command(self, name: int | str) -> str:
        """The command that does the same."""
        said = [self.page.removeprefix("/"), self.word or self.name, str(name)]
        for field, value in (self.fields or {}).items():
            said.append(value if isinstance(value, str) else f"--{'' if value else 'no-'}{field}")
        return " ".join(("crowbar", *said))

    def action(self, key: int, name: int | str = "", *, label: str = "", back: str = "") -> Action:
        """Its button on a page, for the object ``key`` that the command line calls ``name``. ``back``: where to go
        when it is gone.
        """
        return Action(
            label=label or self.label,
            url=self.url(key),
            api=self.api(key),
            cli=self.command(name or key),
            kind=self.kind,
            permission=self.permission,
            asks=self.ask(key, back=back) if self.asks and self.kind == "danger" else "",
            fields=None if self.fields is None else {one: str(value) for one, value in self.fields.items()},
            text=self.text,
        )


def power(action: str) -> Verb:
    """What a hammer of a node does, as a verb."""
    return Verb(
        of=NODES, name=action, word="power", label=f"Power {action}", act=hammers.power, takes=Power,
        summary=f"Power {action}", said=lambda line: f"Power: {line}", asks=hammers.stops(action),
        kind="danger" if hammers.stops(action) else "", fields={"action": action},
    )  # fmt: skip


def find(noun: str, name: str) -> Verb | None:
    """The verb of that name of a noun (in the plural, as in the API)."""
    return next((one for one in VERBS if (one.noun, one.name) == (noun, name)), None)


def buttons(
    of: Listing, line: Any, name: int | str = "", *, danger: bool = False, labels: Mapping[str, str] | None = None,
    back: str = "",
) -> list[Action]:  # fmt: skip
    """What a page offers to do with an object, in order; or, with ``danger``, those of it that destroy. ``labels``:
    what verbs are called here, which are then offered in any case.
    """
    named = labels or {}
    return [
        one.action(line.id, name, label=named.get(one.name, ""), back=back)
        for one in VERBS
        if one.of is of and one.said and (one.kind == "danger") is danger and (one.name in named or one.offered(line))
    ]


def _in(*states: State) -> Callable[[Any], bool]:
    return lambda line: line.state in states


def _no_system(line: Any) -> bool:
    return not line.system


def _probed(found: Probe) -> str:
    if found.alive:
        return f"It is alive{f' at {found.address}' if found.address else '; where, its barclamp does not tell'}."
    return f"It is not alive: {found.reason or 'it does not say why'}"


def _cancel(parts: Parts, actor: Actor, run_id: int, *, hold: bool) -> str:
    steering.cancel_run(parts, actor, run_id, hold=hold)
    return f"Run {run_id} is being cancelled.{' Its noderole is held until you release it.' if hold else ''}"


RETRY: Final = Verb(
    of=NODE_ROLES, name="retry", label="Retry", act=steering.retry, plans=True, kind="primary",
    summary="Try a failed noderole again", said="It is tried again.", offered=_in(State.ERROR),
)  # fmt: skip
CANCEL: Final = Verb(
    of=RUNS, name="cancel", label="Cancel and hold", act=_cancel, takes=Cancel, kind="danger",
    summary="Cancel a run; what it started on the node is killed", said=str,
    offered=lambda line: line.state in OPEN_RUN_STATES,
)  # fmt: skip
VERBS: Final[tuple[Verb, ...]] = (
    # ------------------------------------------------------------ nodes
    Verb(
        of=NODES, name="commit", label="Commit", act=node_service.commit_node, plans=True, asks=True,
        summary="Accept a node: commit its proposed noderoles and all drafts on it",
        said="What was proposed on the node is committed.",
    ),
    Verb(
        of=NODES, name="propose", label="Propose", act=node_service.propose_node, plans=True,
        summary="Take all noderoles of a node back to PROPOSED",
        said="What is on the node is proposed, for editing.",
    ),
    Verb(
        of=NODES, name="probe", label="Probe now", act=lambda parts, _, key: liveness.probe(parts, key),
        summary="Test now whether a node is alive", said=_probed,
        answer=lambda found: {
            "alive": found.alive, "address": found.address, "reason": found.reason,
            "host_keys": list(found.host_keys),
        },
    ),
    Verb(
        of=NODES, name="redeploy", label="Redeploy", act=node_service.redeploy_node, plans=True, asks=True,
        kind="danger", offered=_no_system, summary="Do all of a node again, destructive roles too",
        said="The node is redeployed.",
    ),
    Verb(
        of=NODES, name="destroy", label="Destroy", act=node_service.delete_node, takes=Force,
        plans=True, asks=True, removes=True, kind="danger", offered=_no_system,
        summary="Remove a node; its running run is cancelled first, and what its roles made on it is torn down",
        said="The node is gone.",
    ),
    # ------------------------------------------------------------ deployments
    Verb(
        of=DEPLOYMENTS, name="commit", label="Commit", act=deployment_service.commit, takes=Plan, plans=True,
        asks=True, kind="primary", summary="Commit a deployment: its drafts and what is proposed in it",
        said="Committed. The annealer works on it.", offered=lambda line: not line.committed,
    ),
    Verb(
        of=DEPLOYMENTS, name="propose", label="Propose", act=deployment_service.propose, plans=True,
        summary="Take a deployment back to PROPOSED", offered=lambda line: line.committed and not line.system,
        said="Proposed: nothing new is started in it until you commit.",
    ),
    Verb(
        of=DEPLOYMENTS, name="recall", label="Recall", act=deployment_service.recall, plans=True,
        summary="As propose, and discard its drafts", offered=lambda line: line.committed and not line.system,
        said="Recalled: nothing new is started in it until you commit.",
    ),
    Verb(
        of=DEPLOYMENTS, name="destroy", label="Destroy", act=deployment_service.delete_deployment,
        takes=Force,         plans=True, asks=True, removes=True, kind="danger", offered=_no_system,
        summary="Unbind all of a deployment and remove it", said="The deployment is gone.",
    ),
    # ------------------------------------------------------------ noderoles
    RETRY,
    Verb(
        of=NODE_ROLES, name="commit", label="Commit", act=steering.commit, plans=True, asks=True, kind="primary",
        summary="Commit one noderole, or its drafts", said="It is committed.", offered=_in(State.PROPOSED),
    ),
    Verb(
        of=NODE_ROLES, name="rerun", label="Run again", act=steering.rerun, plans=True,
        summary="Run an ACTIVE noderole again; its children wait",
        said="It runs again; what depends on it waits meanwhile.", offered=_in(State.ACTIVE),
    ),
    Verb(
        of=NODE_ROLES, name="refresh", label="Refresh", act=steering.refresh, plans=True,
        summary="Run an ACTIVE noderole again; its children are not disturbed",
        said="It runs again; what depends on it is not disturbed.", offered=_in(State.ACTIVE),
    ),
    Verb(
        of=NODE_ROLES, name="propose", label="Propose", act=steering.propose, plans=True,
        summary="Take a noderole back to PROPOSED", said="It is proposed, for editing.",
        offered=lambda line: line.state not in (State.TRANSITION, State.PROPOSED),
    ),
    Verb(
        of=NODE_ROLES, name="hold", label="Hold", act=steering.hold, takes=Hold, text=("reason", "why"),
        summary="Keep a noderole from being run", said="It is held: nothing new is started for it.",
        offered=lambda line: line.available,
    ),
    Verb(
        of=NODE_ROLES, name="release", label="Release", act=steering.release, summary="Let a held noderole run again",
        said="It is released.", offered=lambda line: not line.available,
    ),
    Verb(
        of=NODE_ROLES, name="error", label="Put into ERROR", act=steering.force_error,
        summary="Put a noderole into ERROR by hand",
    ),
    Verb(
        of=NODE_ROLES, name="unbind", label="Unbind", act=binding.unbind, takes=Force, plans=True, asks=True,
        removes=True, kind="danger", answer=lambda going: {"node_roles": list(going)},
        summary="Unbind a role from a node, with what needs it there, once what it made is torn down",
        said=lambda going: f"{len(going)} noderole{'s' if len(going) != 1 else ''} unbound.",
    ),
    # ------------------------------------------------------------ runs
    CANCEL,
    Verb(
        of=RUNS, name="wake", label="Wake", act=steering.wake_run, permission="node",
        summary="Have a run in steps called again: what it waits for may have happened",
    ),
    Verb(
        of=RUNS, name="finish", label="Finish", act=steering.finish_pending, takes=Finish, permission="node",
        summary="End a run that goes on elsewhere",
    ),
    # ------------------------------------------------------------ what else there is
    Verb(
        of=DEPLOYMENT_ROLES, name="commit", label="Commit", act=deployment_service.commit_role,
        summary="Make the proposed values the ones that count",
    ),
    Verb(
        of=DEPLOYMENT_ROLES, name="propose", label="Propose", act=deployment_service.propose_role,
        summary="Begin to edit the values again",
    ),
    Verb(
        of=DEPLOYMENT_ROLES, name="destroy", label="Take out", act=deployment_service.remove_role, removes=True,
        summary="Take a role out of a deployment",
    ),
    Verb(
        of=GROUPS, name="destroy", label="Destroy", act=groups.delete_group, asks=True, removes=True,
        summary="Remove a group; its nodes stay",
    ),
    Verb(
        of=HAMMERS, name="destroy", label="Destroy", act=hammers.remove_hammer, asks=True, removes=True,
        summary="Take a hammer away from its node",
    ),
    Verb(
        of=USERS, name="lock", label="Lock", act=user_service.lock, permission="admin", summary="Keep a user out",
        said="The user is locked.", offered=lambda one: not one.locked,
    ),
    Verb(
        of=USERS, name="unlock", label="Unlock", act=user_service.unlock, permission="admin",
        summary="Let a locked user in again", said="The user is unlocked.", offered=lambda one: one.locked,
    ),
    Verb(
        of=USERS, name="destroy", label="Destroy", act=user_service.delete_user, permission="admin",
        asks=True, removes=True, kind="danger", summary="Remove a user and their tokens", said="The user is gone.",
    ),
)  # fmt: skip
