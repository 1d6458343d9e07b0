"""Hooks that failed for good: told truthfully, tried again, dismissed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

from click.testing import CliRunner
from sqlalchemy import text

from crowbar_core import Barclamp, NodeView, Role, hookimpl
from crowbar_core.cli.root import root
from crowbar_core.testing import Testbed

ROLE = Role(name="web")


@hookimpl
def on_node_create(node: NodeView) -> None:
    raise ValueError("no rack")


@hookimpl
def node_role_data(node: NodeView) -> None:
    raise ValueError("no data")


@hookimpl
def on_active() -> None:
    """So that something is told of."""


def racks(*hooks: object) -> ModuleType:
    @hookimpl
    def register_barclamp() -> Barclamp:
        return Barclamp(name="racks", roles=(ROLE,))

    module = ModuleType("racks")
    for one in (register_barclamp, *hooks):
        setattr(module, one.__name__, one)  # type: ignore[attr-defined]
    return module


def failed(directory: Path, *nodes: str) -> None:
    """A server on which a hook fails for these nodes."""
    with Testbed(racks(on_node_create, on_active), data_dir=str(directory), hook_attempts=1) as bed:
        for name in nodes:
            bed.add_node(name)
        bed.deliver()
        assert len(bed.hook_failures("racks")) == len(nodes)
        assert "failed for good" in grumbling(bed)


def grumbling(bed: Testbed) -> str:
    return bed.cli("ping").output


def done(bed: Testbed, *args: str) -> str:
    result = bed.cli(*args)
    assert result.exit_code == 0, result.output
    return result.stdout + result.stderr


def test_a_failed_hook_that_the_barclamp_has_no_more_is_told_so_and_dismissed(tmp_path: Path) -> None:
    failed(tmp_path, "n1", "n2", "n3")
    with Testbed(racks(on_active), data_dir=str(tmp_path), hook_attempts=1) as bed:
        said = done(bed, "hooks", "retry", "--barclamp", "racks")
        assert "0 of its failed hooks are tried again" in said
        assert "3 are not: it has no such hook any more" in said
        assert "crowbar hooks dismiss --barclamp racks" in said
        first, *others = sorted(one.delivery_id or 0 for one in bed.hook_failures("racks"))
        again = bed.cli("hooks", "retry", str(first))
        assert again.exit_code == 1
        assert f"racks has no on_node_create any more, so it cannot be called again. Dismiss it: crowbar hooks dismiss {first}." in again.stderr  # fmt: skip  # noqa: E501
        done(bed, "hooks", "dismiss", str(first))
        assert sorted(one.delivery_id or 0 for one in bed.hook_failures("racks")) == others
        assert bed.cli("hooks", "dismiss", str(first)).exit_code == 1, "it is dismissed already"
        page = bed.web("operator").get("/barclamps/racks").get_data(as_text=True)
        for place in (f"/deliveries/{others[0]}/dismiss", "/barclamps/racks/dismiss"):
            assert f'action="{place}"' in page
            assert f'action="{place}"' not in bed.web("viewer").get("/barclamps/racks").get_data(as_text=True)
        assert bed.web("viewer").post("/api/v2/barclamps/racks/dismiss", json={}).status_code == 403
        assert "2 failed hooks of barclamp racks are dismissed" in done(bed, "hooks", "dismiss", "--barclamp", "racks")
        assert bed.hook_failures("racks") == []
        assert "failed for good" not in grumbling(bed)
        audit = json.loads(done(bed, "audits", "list", "--format", "json"))
        (one,) = [row for row in audit if row["action"] == "delivery.dismiss"]
        assert (one["subject"], one["detail"]["hook"]) == ("barclamp racks", "on_node_create")
        (every,) = [row for row in audit if row["action"] == "barclamp.dismiss"]
        assert every["detail"] == {"deliveries": 2, "hooks": ["on_node_create"]}


def test_what_waits_for_a_hook_that_is_gone_fails_with_the_reason(tmp_path: Path) -> None:
    with Testbed(racks(on_node_create, on_active), data_dir=str(tmp_path), hook_attempts=5) as bed:
        bed.add_node("n1")
    with Testbed(racks(on_active), data_dir=str(tmp_path)) as bed:
        bed.deliver()
        (one,) = bed.hook_failures("racks")
        assert one.error == (
            f"it is loaded, and has no on_node_create any more; crowbar hooks dismiss {one.delivery_id} takes this away"
        )


def test_purging_a_barclamp_takes_its_failed_hooks_with_it(tmp_path: Path) -> None:
    failed(tmp_path, "n1", "n2")
    with Testbed(data_dir=str(tmp_path)) as bed:
        assert "2 hooks have failed for good" in grumbling(bed)
        with bed.parts.store.write() as session:
            session.execute(text("CREATE TABLE racks_racks (id INTEGER)"))
    line = ["db", "purge", "racks", "--yes", "--data-dir", str(tmp_path)]
    purged = CliRunner().invoke(root, line)
    assert purged.exit_code == 0, purged.output
    assert "Removed: racks_racks." in purged.output
    assert "2 hooks of it that had failed, or waited to be called, are dismissed." in purged.output
    with Testbed(data_dir=str(tmp_path)) as bed:
        assert "failed for good" not in grumbling(bed)
        assert bed.hook_failures() == []
