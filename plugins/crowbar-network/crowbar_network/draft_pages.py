"""What of networks was changed and waits, on pages: planned, committed or thrown away there, and told of on the page of
the deployment with which it is committed.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from werkzeug.wrappers import Response

from crowbar_core import DeploymentView, Panel, cluster, requires
from crowbar_core.pages import act, act_planned, fragment, row
from crowbar_network import drafts
from crowbar_network.listings import NETWORKS

pages = Blueprint("network_drafts", __name__)


@pages.post("/networks/<int:network>/drafts")
@requires("operator")
def act_on_drafts(network: int) -> Response:
    """Plans (``rehearse``), commits, or discards, as the form says."""
    name, to = row(NETWORKS, network)["name"], f"/networks/{network}"

    def commit() -> int:
        with cluster().change() as change:
            return drafts.commit(change, network)

    def discard() -> int:
        with cluster().change() as change:
            return drafts.discard(change, network)

    if request.form.get("do") == "discard":
        return act(discard, f"Network {name} stays as it is.", to)
    return act_planned(
        commit, lambda count: f"{_counted(count)} committed; the nodes that have network {name} follow.", to,
        title=f"Commit the drafts of network {name}",
    )  # fmt: skip


def _counted(count: int) -> str:
    return f"{count} change{'s are' if count != 1 else ' is'}"


def _on_deployment(deployment: DeploymentView) -> Any:
    with cluster().read() as session:
        waiting = drafts.waiting_in(session, deployment.id)
        told = drafts.drafts_of(session, [one.id for one in waiting])
    if not waiting:
        return None
    return fragment("crowbar_network/_waiting.html", waiting=waiting, told=told, deployment_id=deployment.id)


PANEL = Panel(on="deployment", title="Networks that were changed", render=_on_deployment, order=100)
