"""`crowbar events` and `crowbar audits`: what happened, and who did it; `crowbar jigs`: what carries roles out."""

from __future__ import annotations

from crowbar_core.cli.context import noun
from crowbar_core.cli.output import Column
from crowbar_core.cli.verbs import add_list, add_show

events = noun("events", "What happened, and which barclamps were told of it; newest first.")
told = Column("deliveries", lambda row: [f"{one['plugin']} {one['state']}" for one in row.get("deliveries") or ()])
add_list(events, "events", ("id", "created_at", "hook", "subject", told), what="the events, newest first",
         filters={"hook": "Only those of this hook, as on_active.", "subject": "Only what is about it: 'node 3'."},
         )  # fmt: skip
add_show(events, "events", what="an event with its deliveries")

audits = noun("audits", "The audit trail: who did what, from where; newest first.")
add_list(audits, "audits", ("id", "at", "actor", "remote", "action", "subject", "detail"), what="the audit trail",
         filters={"actor": "Only what this user did.", "action": "Only this, as node.change.",
                  "subject": "Only what is about this: 'node web1.rack2.example.com'."})  # fmt: skip
add_show(audits, "audits", what="an entry, with what was and what is")

jigs = noun("jigs", "What carries roles out.")
add_list(jigs, "jigs", ("id", "name", "installed", "distribution", "description"), what="the jigs", order="name")
add_show(jigs, "jigs", what="a jig")
