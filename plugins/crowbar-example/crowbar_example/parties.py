"""What the example tells other barclamps: where its members meet. Whoever listens needs nothing of this package."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from crowbar_core import DeploymentRoleView, Intent, cluster, hookimpl, hookspec


@dataclass(frozen=True, kw_only=True)
class Party:
    """A deployment with members."""

    deployment: str


@hookspec
def on_example_party(party: Party) -> Iterable[Intent]:  # type: ignore[empty-body]
    """A deployment is going to have members."""


@hookspec
def on_example_party_delete(party: Party) -> Iterable[Intent]:  # type: ignore[empty-body]
    """It will have none any more. Reverse dependency order."""


@hookimpl
def register_hookspecs() -> ModuleType:
    return sys.modules[__name__]


@hookimpl
def on_deployment_create(deployment_role: DeploymentRoleView) -> None:
    _tell("on_example_party", deployment_role)


@hookimpl
def on_deployment_delete(deployment_role: DeploymentRoleView) -> None:
    _tell("on_example_party_delete", deployment_role)


def _tell(hook: str, deployment_role: DeploymentRoleView) -> None:
    if deployment_role.role == "example-hello":
        party = Party(deployment=deployment_role.deployment)
        with cluster().change() as change:
            change.publish(hook, f"party {deployment_role.id}", party=party)
