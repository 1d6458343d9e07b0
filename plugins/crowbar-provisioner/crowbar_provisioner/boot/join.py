"""A machine that runs already joins by itself: GET /join/TOKEN is what it runs, POST /v1/join what it is, and POST
/v1/join/alive that root lets Crowbar in.
"""

from __future__ import annotations

from crowbar_jig_script.remote import public_key
from werkzeug.wrappers import Request, Response

from crowbar_core import BadInput, Change, MarkAlive, cluster
from crowbar_provisioner.boot.answers import NotHere, Unauthorized, script, source_of, token_of
from crowbar_provisioner.joining import tokens
from crowbar_provisioner.joining.facts import registration
from crowbar_provisioner.joining.join import join
from crowbar_provisioner.joining.script import by_itself
from crowbar_provisioner.joining.tokens import Join
from crowbar_provisioner.machines import get, happened


def give(request: Request, token: str) -> Response:
    with cluster().change() as change:
        found = tokens.of_token(change.session, token, change.now)
    if found is None or found.machine_id is not None:
        raise NotHere("Nothing is here (any more): a command to join counts once, and for a while.")
    return script(by_itself(public_key(), url=found.url, token=token))


def hear(request: Request) -> Response:
    """Raises ``Unauthorized`` for a token that was used."""
    try:
        text = request.get_data().decode()
    except UnicodeDecodeError:
        raise BadInput("What the machine tells of itself is no text.") from None
    said = registration(text)
    with cluster().change() as change:
        found = _authorized(request, change)
        if found.machine_id is not None:
            raise Unauthorized("A machine has joined with this token already: ask for another command.")
        machine = join(change, said, source=source_of(request), name=found.name, by=found.made_by)
        tokens.use(change, found, machine.id)
        node = get(change.session, machine.id).node
    return script(f"This machine has joined, and is {node}.\n")


def alive(request: Request) -> Response:
    with cluster().change() as change:
        found = _authorized(request, change)
        if found.machine_id is None:
            raise Unauthorized("No machine has joined with this token yet.")
        machine = get(change.session, found.machine_id)
        if not machine.alive:
            change.apply(MarkAlive(node=machine.node, alive=True))
            happened(change, machine.id, "is up")
    return script("")


def _authorized(request: Request, change: Change) -> Join:
    found = tokens.of_token(change.session, token_of(request), change.now)
    if found is None:
        raise Unauthorized("The token is not valid (any more): ask for another command.")
    return found
