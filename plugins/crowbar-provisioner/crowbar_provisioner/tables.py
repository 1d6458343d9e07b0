"""The barclamp's tables, as the migrations make them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Text

from crowbar_core.tables import Database, JsonType, UtcDateTime

db = Database()


def _key() -> Column[int]:
    return Column("id", Integer, primary_key=True)


machines = db.Table(
    "provisioner_machines",
    _key(),
    Column("node_id", Integer, nullable=False),
    Column("uuid", String(36), nullable=False),
    Column("serial", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided_by", String(255), nullable=False),
    Column("firmware", String(8), nullable=False),
    Column("source", String(45), nullable=False),
    Column("expected_until", UtcDateTime),
    Column("late_until", UtcDateTime),
    Column("came_late_at", UtcDateTime),
    Column("claim_id", Integer),
    Column("problem", Text, nullable=False),
    Column("bmc_address", String(500), nullable=False),
    Column("bmc_given", Boolean, nullable=False),
    Column("joined", Boolean, nullable=False),
    Column("released", Boolean, nullable=False),
    Column("kexec_since", UtcDateTime),
    Column("kexec_boot", String(36), nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
)
macs = db.Table(
    "provisioner_macs",
    Column("mac", String(17), primary_key=True),
    Column("machine_id", Integer, nullable=False),
)
boots = db.Table(
    "provisioner_boots",
    _key(),
    Column("token_hash", String(64), nullable=False),
    Column("machine_id", Integer),
    Column("mac", String(17), nullable=False),
    Column("uuid", String(36), nullable=False),
    Column("serial", String(255), nullable=False),
    Column("firmware", String(8), nullable=False),
    Column("env", String(64), nullable=False),
    Column("source", String(45), nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("registered_at", UtcDateTime),
    Column("trusted", Boolean, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Column("report", JsonType, nullable=False),
)
happenings = db.Table(
    "provisioner_happenings",
    _key(),
    Column("machine_id", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("what", String(64), nullable=False),
    Column("detail", String(500), nullable=False),
)
erasures = db.Table(
    "provisioner_erasures",
    _key(),
    Column("run_id", Integer, nullable=False),
    Column("work", String(43), nullable=False),
    Column("node_id", Integer),
    Column("node", String(255), nullable=False),
    Column("disk", String(64), nullable=False),
    Column("serial", String(500), nullable=False),
    Column("wwn", String(500), nullable=False),
    Column("model", String(500), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("wanted_method", String(16), nullable=False),
    Column("pieces", JsonType),
    Column("state", String(16), nullable=False),
    Column("method", String(32), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("detail", String(500), nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("report", JsonType, nullable=False),
    Column("signature", String(100), nullable=False),
    Column("public_key", String(100), nullable=False),
)
burn_ins = db.Table(
    "provisioner_burn_ins",
    _key(),
    Column("run_id", Integer, nullable=False),
    Column("work", String(43), nullable=False),
    Column("node_id", Integer),
    Column("node", String(255), nullable=False),
    Column("seconds", Integer, nullable=False),
    Column("wish", JsonType, nullable=False),
    Column("boot_id", Integer),
    Column("state", String(16), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("detail", String(500), nullable=False),
    Column("parts", JsonType, nullable=False),
    Column("corrected", BigInteger, nullable=False),
    Column("uncorrected", BigInteger, nullable=False),
    Column("kernel", JsonType, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)
signing_keys = db.Table(
    "provisioner_signing_keys",
    _key(),
    Column("sealed", Text, nullable=False),
)
joins = db.Table(
    "provisioner_joins",
    _key(),
    Column("token_hash", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("url", String(300), nullable=False),
    Column("made_by", String(255), nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("machine_id", Integer),
)
rules = db.Table(
    "provisioner_rules",
    _key(),
    Column("name", String(64), nullable=False),
    Column("subnet", String(43), nullable=False),
    Column("mac_prefix", String(17), nullable=False),
    Column("serials", JsonType, nullable=False),
)
installs = db.Table(
    "provisioner_installs",
    _key(),
    Column("node_id", Integer, nullable=False),
    Column("run_id", Integer, nullable=False),
    Column("work", String(43), nullable=False),
    Column("os", String(64), nullable=False),
    Column("disk", JsonType, nullable=False),
    Column("image", JsonType, nullable=False),
    Column("state", String(16), nullable=False),
    Column("step", String(32), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("detail", String(500), nullable=False),
    Column("host_keys", JsonType, nullable=False),
    Column("kexec", String(8), nullable=False),
    Column("left_boot", String(36), nullable=False),
    Column("after_boot", Integer, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)
copies = db.Table(
    "provisioner_copies",
    _key(),
    Column("install_id", Integer, nullable=False),
    Column("boot_id", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("node", String(255), nullable=False),
    Column("address", String(45), nullable=False),
    Column("from_id", Integer),
    Column("depth", Integer, nullable=False),
    Column("heard_at", UtcDateTime, nullable=False),
    Column("came", String(500), nullable=False),
)
rescues = db.Table(
    "provisioner_rescues",
    Column("node_id", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("bootenv", String(64), nullable=False),
    Column("host_keys", JsonType, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)
powers = db.Table(
    "provisioner_powers",
    Column("node_id", Integer, primary_key=True),
    Column("state", String(8), nullable=False),
    Column("problem", String(500), nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
)
sleeps = db.Table(
    "provisioner_sleeps",
    Column("node_id", Integer, primary_key=True),
    Column("asleep", Boolean, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("runs", Integer, nullable=False),
)
consoles = db.Table(
    "provisioner_consoles",
    Column("node_id", Integer, primary_key=True),
    Column("heard_from", String(16), primary_key=True),
    Column("lines", JsonType, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
servers = db.Table(
    "provisioner_servers",
    _key(),
    Column("node_role_id", Integer, nullable=False),
    Column("addresses", JsonType, nullable=False),
    Column("port", Integer, nullable=False),
    Column("scripts", JsonType, nullable=False),
)
defaults = db.Table(
    "provisioner_defaults",
    _key(),
    Column("os", String(64), nullable=False),
    Column("keys", JsonType, nullable=False),
)
