"""The first schema: nodes, roles, deployments, the graph, runs, events, users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audits")),
    )
    op.create_table(
        "barclamps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("distribution", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("package", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="loaded", nullable=False),
        sa.Column("error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.CheckConstraint("state IN ('loaded', 'failed', 'disabled', 'missing')", name=op.f("ck_barclamps_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_barclamps")),
        sa.UniqueConstraint("name", name=op.f("uq_barclamps_name")),
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("system", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("committed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.CheckConstraint("committed OR NOT system", name=op.f("ck_deployments_system_is_committed")),
        sa.CheckConstraint("system = (parent_id IS NULL)", name=op.f("ck_deployments_only_system_is_root")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["deployments.id"], name=op.f("fk_deployments_parent_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_deployments_parent_id"), "deployments", ["parent_id"], unique=False)
    op.create_index(
        "uq_deployments_one_system",
        "deployments",
        ["system"],
        unique=True,
        sqlite_where=sa.text("system"),
        postgresql_where=sa.text("system"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hook", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("payload", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_subject", "events", ["subject", "id"], unique=False)
    op.create_table(
        "groups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("category", sa.String(length=16), server_default="tag", nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.CheckConstraint("category IN ('class', 'rack', 'tag', 'ui')", name=op.f("ck_groups_category")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("category", "name", name=op.f("uq_groups_category_name")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "jigs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("distribution", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("installed", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jigs")),
        sa.UniqueConstraint("name", name=op.f("uq_jigs_name")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "provenance",
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("subject_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("layer", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("subject", "subject_id", "layer", "path", name=op.f("pk_provenance")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("role", sa.String(length=16), server_default="viewer", nullable=False),
        sa.Column("locked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.CheckConstraint("role IN ('admin', 'operator', 'viewer')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("plugin", sa.String(length=128), nullable=False),
        sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.String(length=8), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("traceback", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'done', 'failed')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_deliveries_event_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("event_id", "plugin", name=op.f("uq_deliveries_event_id_plugin")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_state_plugin", "deliveries", ["state", "plugin"], unique=False)
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["event_id", "position"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "roles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("barclamp_id", sa.Integer(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("jig_name", sa.Text(), nullable=False),
        sa.Column("ready", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("discovery", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("bootstrap", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("implicit", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("cluster", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("destructive", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("abstract", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("service", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("milestone", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("powersave", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("library", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("requires", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("wants", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("provides", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("conflicts", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("attaches", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("precedes", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("template", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("on_change", sa.String(length=8), server_default="rerun", nullable=False),
        sa.Column("timeout", sa.Double(), server_default=sa.text("600"), nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default=sa.text("3"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["barclamp_id"], ["barclamps.id"], name=op.f("fk_roles_barclamp_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roles")),
        sa.UniqueConstraint("name", name=op.f("uq_roles_name")),
    )
    op.create_index(op.f("ix_roles_barclamp_id"), "roles", ["barclamp_id"], unique=False)
    op.create_table(
        "attribs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("barclamp_id", sa.Integer(), nullable=False),
        sa.Column("role_id", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("map", sa.Text(), nullable=False),
        sa.Column("schema", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("default", JSON, server_default=sa.text("'null'"), nullable=False),
        sa.Column("writable", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("secret", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("order", sa.Integer(), server_default=sa.text("1000"), nullable=False),
        sa.ForeignKeyConstraint(
            ["barclamp_id"], ["barclamps.id"], name=op.f("fk_attribs_barclamp_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_attribs_role_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribs")),
        sa.UniqueConstraint("name", name=op.f("uq_attribs_name")),
    )
    op.create_index(op.f("ix_attribs_barclamp_id"), "attribs", ["barclamp_id"], unique=False)
    op.create_index(op.f("ix_attribs_role_id"), "attribs", ["role_id"], unique=False)
    op.create_table(
        "deployment_roles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=False),
        sa.Column("role_id", sa.Integer(), nullable=False),
        sa.Column("proposed_data", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("committed_data", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("wall", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_deployment_roles_deployment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["role_id"], ["roles.id"], name=op.f("fk_deployment_roles_role_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment_roles")),
        sa.UniqueConstraint("deployment_id", "role_id", name=op.f("uq_deployment_roles_deployment_id_role_id")),
    )
    op.create_index(op.f("ix_deployment_roles_role_id"), "deployment_roles", ["role_id"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("admin", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("system", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("alive", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("available", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("allocated", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("bootenv", sa.Text(), server_default="local", nullable=False),
        sa.Column("order", sa.Integer(), server_default=sa.text("1000"), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=False),
        sa.Column("target_role_id", sa.Integer(), nullable=True),
        sa.Column("discovery", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("hint", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("host_keys", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("probed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.CheckConstraint("alive OR NOT system", name=op.f("ck_nodes_system_is_alive")),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_nodes_deployment_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["target_role_id"], ["roles.id"], name=op.f("fk_nodes_target_role_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_nodes_deployment_id"), "nodes", ["deployment_id"], unique=False)
    op.create_index(op.f("ix_nodes_target_role_id"), "nodes", ["target_role_id"], unique=False)
    op.create_table(
        "hammers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("config", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_hammers_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hammers")),
        sa.UniqueConstraint("node_id", "name", name=op.f("uq_hammers_node_id_name")),
    )
    op.create_table(
        "node_groups",
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_node_groups_group_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_node_groups_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "group_id", name=op.f("pk_node_groups")),
    )
    op.create_index(op.f("ix_node_groups_group_id"), "node_groups", ["group_id"], unique=False)
    op.create_table(
        "node_roles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("role_id", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("blockers", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cohort", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("available", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("rerun", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("done", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("order", sa.Integer(), server_default=sa.text("1000"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("proposed_data", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("committed_data", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("sysdata", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("wall", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.CheckConstraint(
            "blockers = 0 OR state NOT IN (1, 2, 0)", name=op.f("ck_node_roles_ready_means_parents_active")
        ),
        sa.CheckConstraint("blockers > 0 OR state <> 3", name=op.f("ck_node_roles_blocked_means_blockers")),
        sa.CheckConstraint("blockers >= 0", name=op.f("ck_node_roles_blockers")),
        sa.CheckConstraint("cohort >= 1", name=op.f("ck_node_roles_cohort")),
        sa.CheckConstraint("state BETWEEN -1 AND 4", name=op.f("ck_node_roles_state")),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_node_roles_deployment_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_node_roles_node_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_node_roles_role_id"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node_roles")),
        sa.UniqueConstraint("node_id", "role_id", name=op.f("uq_node_roles_node_id_role_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_node_roles_deployment_state", "node_roles", ["deployment_id", "state"], unique=False)
    op.create_index("ix_node_roles_node_state", "node_roles", ["node_id", "state", "cohort", "id"], unique=False)
    op.create_index(op.f("ix_node_roles_role_id"), "node_roles", ["role_id"], unique=False)
    op.create_index(
        "ix_node_roles_runnable",
        "node_roles",
        ["node_id", "cohort", "id"],
        unique=False,
        sqlite_where=sa.text("state = 1 OR (state = 0 AND rerun)"),
        postgresql_where=sa.text("state = 1 OR (state = 0 AND rerun)"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("node_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("CURRENT_TIMESTAMP"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('admin', 'operator', 'viewer', 'node')", name=op.f("ck_tokens_role")),
        sa.CheckConstraint("(user_id IS NULL) <> (node_id IS NULL)", name=op.f("ck_tokens_user_or_node")),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_tokens_node_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tokens_node_id"), "tokens", ["node_id"], unique=False)
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"], unique=False)
    op.create_table(
        "edges",
        sa.Column("parent_id", sa.Integer(), nullable=False),
        sa.Column("child_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), server_default="data", nullable=False),
        sa.CheckConstraint("kind IN ('data', 'order')", name=op.f("ck_edges_kind")),
        sa.CheckConstraint("parent_id <> child_id", name=op.f("ck_edges_not_itself")),
        sa.ForeignKeyConstraint(["child_id"], ["node_roles.id"], name=op.f("fk_edges_child_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["parent_id"], ["node_roles.id"], name=op.f("fk_edges_parent_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("parent_id", "child_id", name=op.f("pk_edges")),
    )
    op.create_index(op.f("ix_edges_child_id"), "edges", ["child_id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("node_role_id", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("refresh", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("pending", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("input", JSON, server_default=sa.text("'{}'"), nullable=False),
        sa.Column("exit_reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("worker", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rung_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("log_lines", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "(state IN ('queued', 'running', 'cancelling')) = (finished_at IS NULL)",
            name=op.f("ck_runs_finished_means_a_time"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled', 'lost')",
            name=op.f("ck_runs_state"),
        ),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name=op.f("fk_runs_node_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["node_role_id"], ["node_roles.id"], name=op.f("fk_runs_node_role_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_node", "runs", ["node_id", "id"], unique=False)
    op.create_index("ix_runs_node_role", "runs", ["node_role_id", "id"], unique=False)
    op.create_index(
        "ix_runs_open",
        "runs",
        ["state", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('queued', 'running', 'cancelling')"),
        postgresql_where=sa.text("state IN ('queued', 'running', 'cancelling')"),
    )
    op.create_index(
        "uq_runs_one_open_per_node",
        "runs",
        ["node_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running', 'cancelling')"),
        postgresql_where=sa.text("state IN ('queued', 'running', 'cancelling')"),
    )
    op.create_table(
        "run_logs",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_logs_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_logs")),
    )
    op.create_table(
        "hook_errors",
        sa.Column("plugin", sa.String(length=128), nullable=False),
        sa.Column("hook", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("traceback", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("plugin", "hook", name=op.f("pk_hook_errors")),
    )
    for name in ("deployments", "nodes", "users"):
        op.create_index(f"uq_{name}_lower_name", name, [sa.text("lower(name)")], unique=True)
