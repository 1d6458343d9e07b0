"""What follows a change, after its commit: the table says what each address is used for, and others hear of it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import update

from crowbar_core import Bind, Change, Intent, NodeRoleView, NodeView, Refresh, RunView, cluster, hookimpl
from crowbar_example_addresses.pool import ADDRESS, HOSTS, held, holder

USES = {
    "PROPOSED": "reserved",
    "BLOCKED": "waiting",
    "TODO": "waiting",
    "TRANSITION": "being set up",
    "ACTIVE": "in use",
    "ERROR": "faulty",
}


def _note(node_role: NodeRoleView) -> None:
    """Called late or twice it does no harm: it writes down what is so when it is called."""
    with cluster().change() as change:
        mine = held.c.node_id == node_role.node.id
        change.session.execute(update(held).where(mine).values(use=USES[node_role.state]))


@hookimpl(roles=(ADDRESS,))
def on_proposed(node_role: NodeRoleView) -> None:
    _note(node_role)


@hookimpl(roles=(ADDRESS,))
def on_blocked(node_role: NodeRoleView) -> None:
    _note(node_role)


@hookimpl(roles=(ADDRESS,))
def on_todo(node_role: NodeRoleView) -> None:
    _note(node_role)


@hookimpl(roles=(ADDRESS,))
def on_transition(node_role: NodeRoleView) -> None:
    _note(node_role)


@hookimpl(roles=(ADDRESS,))
def on_error(node_role: NodeRoleView) -> None:
    _note(node_role)


@hookimpl(roles=(ADDRESS,))
def on_active(node_role: NodeRoleView) -> Iterable[Intent]:
    """From now on it is in the list."""
    _note(node_role)
    return [Refresh(role=HOSTS)]


@hookimpl
def on_run_finished(run: RunView) -> None:
    """Why the last run failed; nothing, when it did not."""
    if run.role == ADDRESS and not run.teardown:
        node = cluster().node(run.node)
        with cluster().change() as change:
            said = "" if run.state == "succeeded" else run.exit_reason
            change.session.execute(update(held).where(held.c.node_id == node.id).values(problem=said))


@hookimpl
def on_node_create(node: NodeView) -> Iterable[Intent]:
    """Who comes with a wish is not to be asked again."""
    return [Bind(role=ADDRESS, node=node.name)] if "example-wish" in node.hint else []


@hookimpl
def on_node_change(node: NodeView, changed: frozenset[str]) -> None:
    """Who has an address and wishes another moves; what check_node let pass may have been taken meanwhile."""
    wish = str(node.hint.get("example-wish", ""))
    if "hint" not in changed or not wish:
        return
    with cluster().change() as change:
        if holder(change.session, wish) is None:
            move(change, node, wish)


def move(change: Change, node: NodeView, address: str) -> None:
    """Give a node another address: it is set up there, and the list of all is written anew."""
    change.session.execute(update(held).where(held.c.node_id == node.id).values(address=address))
    change.apply(Refresh(role=ADDRESS, node=node.name), Refresh(role=HOSTS))


@hookimpl
def on_node_delete(node: NodeView) -> Iterable[Intent]:
    """Its address went with it, and so must its line in the list."""
    return [Refresh(role=HOSTS)]
