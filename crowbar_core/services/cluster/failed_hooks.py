"""What an operator does about hooks that failed for good: have them called again, or dismiss them."""

from __future__ import annotations

from collections.abc import Collection

from crowbar_core.errors import Refused
from crowbar_core.plugins import Registry
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.store import events, quarantine


def gone(registry: Registry, plugin: str, hook: str) -> bool:
    """Whether the plugin is loaded, and has no such hook any more."""
    return plugin in registry.plugins and not any(one.plugin == plugin for one in registry.implementations(hook))


def retry(parts: Parts, actor: Actor, delivery_id: int) -> bool:
    """Let a failed delivery of an event to a plugin be tried again, and end the quarantine of that. False when it has
    not failed. Refused when the plugin has no such hook any more.
    """
    with change(parts, actor) as turn:
        found = quarantine.failed(turn.session, delivery_id=delivery_id)
        for one in found:
            if gone(parts.registry, one.plugin, one.hook):
                raise Refused(
                    f"Barclamp {one.plugin} has no {one.hook} any more, so it cannot be called again. "
                    f"Dismiss it: crowbar hooks dismiss {one.id}."
                )
            quarantine.lift(turn.session, [one.plugin])
        _try(turn, [one.id for one in found])
        turn.audit("delivery.retry", "deliveries", ids=[delivery_id])
        return bool(found)


def retry_all(parts: Parts, actor: Actor, barclamp: str) -> tuple[int, int]:
    """End the quarantine of a barclamp, and let all that it was not told, or failed in, be tried again. Returns how
    many deliveries that are, and how many stay failed as the barclamp has no such hook any more.
    """
    with change(parts, actor) as turn:
        failed = quarantine.failed(turn.session, plugin=barclamp)
        again = [one.id for one in failed if not gone(parts.registry, barclamp, one.hook)]
        _try(turn, again)
        quarantine.lift(turn.session, [barclamp])
        turn.audit("barclamp.retry", f"barclamp {barclamp}", deliveries=len(again))
        return len(again), len(failed) - len(again)


def dismiss(parts: Parts, actor: Actor, delivery_id: int) -> bool:
    """Give up a failed delivery: it is never tried again, and shown no longer. False when it has not failed."""
    with change(parts, actor) as turn:
        found = quarantine.failed(turn.session, delivery_id=delivery_id)
        for one in found:
            events.dismiss(turn.session, [one.id])
            turn.audit("delivery.dismiss", f"barclamp {one.plugin}", ids=[one.id], hook=one.hook, of=one.subject)
        return bool(found)


def dismiss_all(parts: Parts, actor: Actor, barclamp: str) -> int:
    """The same with all of a barclamp, and with the questions that it could not answer. Returns how many they are."""
    with change(parts, actor) as turn:
        failed = quarantine.failed(turn.session, plugin=barclamp)
        events.dismiss(turn.session, [one.id for one in failed])
        count = len(failed) + events.forget_errors(turn.session, barclamp)
        hooks = sorted({one.hook for one in failed})
        turn.audit("barclamp.dismiss", f"barclamp {barclamp}", deliveries=len(failed), hooks=hooks)
        return count


def _try(turn: Turn, delivery_ids: Collection[int]) -> None:
    events.retry_failed(turn.session, delivery_ids)
    turn.after.append(turn.parts.woken.set)
    turn.parts.store.notify(turn.session)
