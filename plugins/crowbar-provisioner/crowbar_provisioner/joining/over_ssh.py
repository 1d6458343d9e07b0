"""A machine joins because an operator says where it is, and how to get in for once."""

from __future__ import annotations

from crowbar_jig_script.guest import Login, guest
from crowbar_jig_script.remote import Remote, public_key

from crowbar_core import CrowbarError, NodeView, Refused, cluster
from crowbar_provisioner.joining import script
from crowbar_provisioner.joining.facts import registration
from crowbar_provisioner.joining.join import join, refuse

_SECONDS = 60.0
_TRIED = 10.0


def join_over_ssh(address: str, login: Login, *, host_key: str, name: str = "", by: str) -> int:
    """The id of the machine that it is. Nothing of it is rebooted or installed: it is asked what it is, and root lets
    Crowbar's key in. Raises ``CrowbarError``; what is refused has changed nothing on it.
    """
    key = public_key()
    with guest(address, login, host_key=host_key) as there:
        asked = there.run(script.stock(key, peer=there.ours), timeout=_SECONDS)
        if asked.code != 0:
            raise Refused(f"{address} did not tell what it is: {_last(asked.err)}")
        said = registration(asked.out, [" ".join(host_key.split()[:2])])
        with cluster().read() as session:
            refuse(session, said, name)
        put = there.run(script.keys(key), timeout=_SECONDS)
        if put.code != 0:
            raise Refused(f"Root at {address} could not be given Crowbar's key: {_last(put.err)}")
    _try(address, host_key)
    with cluster().change() as change:
        return join(change, said, source=address, name=name, by=by, alive=True).id


def _try(address: str, host_key: str) -> None:
    remote = Remote.of_cluster(connect_timeout=_TRIED)
    node = NodeView(id=0, name=address, host_keys=(host_key,))
    try:
        if remote.ask(node, address, "exit 0", timeout=_TRIED).code == 0:
            return
        why = "its shell does not run programs"
    except CrowbarError as problem:
        why = problem.detail
    finally:
        remote.close()
    raise Refused(
        f"{address} has Crowbar's key now, and does not let root in with it: {why}. Set PermitRootLogin "
        "prohibit-password in its sshd_config, and join it again."
    )


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["it did not say why"])[-1].removeprefix("crowbar: ")[:300]
