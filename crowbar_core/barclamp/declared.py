"""What a barclamp declares: its roles and attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

from crowbar_core.barclamp.views import Json

if TYPE_CHECKING:  # a task names its role, and a role its function of a task
    from crowbar_core.barclamp.jigs import Outcome, Task


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A named, typed piece of data.

    ``schema`` is a JSON Schema (2020-12) of the value. ``map`` is its place in the data tree, a slash path
    (``"dns/domain"``; the name when empty). An attribute of a role lives on the role's noderoles; one of a barclamp
    alone (no role) lives on nodes: its value is what the operator hinted, else what the node reported.
    ``secret`` values are encrypted at rest and masked wherever they are shown.

    ``required``: there must be a value. One that people set must be there when a noderole is committed, and cannot be
    unset; one that is not ``writable``, when a run has ended well; and no run begins whose role has or wants it and is
    given none. ``generate="token"``, of a role's secret that nobody has set: 43 random characters are made before the
    first run that is given it, once for each deployment that the role is in, or, ``per="node"``, for each noderole.
    """

    name: str
    schema: Mapping[str, Json] = field(default_factory=dict)
    description: str = ""
    map: str = ""
    default: Json = None
    writable: bool = True
    secret: bool = False
    required: bool = False
    generate: Literal["", "token"] = ""
    per: Literal["deployment", "node"] = "deployment"
    order: int = 1000

    @property
    def path(self) -> tuple[str, ...]:
        return tuple((self.map or self.name).split("/"))


class Want(str):
    """The name of a wanted attribute, with how it is wanted. It is the name: ``Want("ntp-address") == "ntp-address"``.

    ``gather``: not the value of one parent, but a list of ``{"node": NAME, "value": VALUE}``, ordered by the nodes'
    names, of all parents that have one. It lies where the attribute's value would.
    """

    gather: bool

    def __new__(cls, attribute: str, *, gather: bool = False) -> Self:
        made = super().__new__(cls, attribute)
        made.gather = gather
        return made


class Require(str):
    """The name of a required role, with where it must be. It is the name: ``Require("ntp-server") == "ntp-server"``.

    ``where="elsewhere"``: on another node. One on the same node does not count, and none is bound there for it; a
    service role that is not bound yet goes to the deployment's system node, as always.
    """

    where: Literal["anywhere", "elsewhere"]

    def __new__(cls, role: str, *, where: Literal["anywhere", "elsewhere"] = "anywhere") -> Self:
        if where not in ("anywhere", "elsewhere"):
            raise ValueError(f"Role {role} is required {where!r}; it can be required anywhere or elsewhere.")
        made = super().__new__(cls, role)
        made.where = where
        return made


@dataclass(frozen=True, kw_only=True)
class Role:
    """A unit of configuration that can be bound to a node. The flags and relations are described in the reference.

    ``timeout`` is in seconds, from the start of a run (in steps: of each call) to its kill; None: as the setting
    ``run_timeout`` says. ``max_attempts`` bounds how often a lost or temporarily failing run is tried; 0: whatever
    fails is tried for ever, after a delay that doubles from 1 s to 5 minutes, and a refresh that fails leaves the
    noderole ACTIVE. Such failures are shown as a problem. ``gather``: seconds for which changes are gathered into one
    refresh. ``on_change`` says what happens to an ACTIVE noderole when a value it wants changes: ``"rerun"`` (back to
    TODO, its children wait) or ``"refresh"`` (it runs again, its children are undisturbed). ``run`` is the function of
    a role of the jig ``python``, ``teardown`` the one that undoes what it made, before its noderole goes. ``template``
    is data below every other source. ``reboots``: a run may reboot the node
    or power it off, which a plan says. A node that dies during it takes neither the run nor what it rests upon on this
    node with it; when the run has ended, that goes back to work, on the system that came up. What a run of it does to
    the node must not be done again by the next run without need, or it never comes to rest. ``first_step``: the name of
    the step that a run is in from the moment that a worker takes it on. The first call finds ``Task.step`` None all the
    same, and may happen twice: a run that is lost in it goes on with this step, even if the role is destructive.
    ``requires`` names roles
    (``Require`` says where), ``wants`` attributes (``Want`` how). ``sole``: there is one noderole of it in the whole
    cluster, whatever its deployments, and a second is refused. ``like`` is for roles defined at run time alone
    (``DefineRole``).
    """

    name: str
    like: str = ""
    jig: str = "noop"
    description: str = ""
    requires: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    attaches: tuple[str, ...] = ()
    precedes: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    template: Mapping[str, Json] = field(default_factory=dict)
    timeout: float | None = None
    max_attempts: int = 3
    gather: float = 0.0
    on_change: Literal["rerun", "refresh"] = "rerun"
    run: Callable[[Task], Outcome | None] | None = None
    teardown: Callable[[Task], Outcome | None] | None = None
    discovery: bool = False
    bootstrap: bool = False
    implicit: bool = False
    cluster: bool = False
    destructive: bool = False
    abstract: bool = False
    service: bool = False
    milestone: bool = False
    powersave: bool = False
    library: bool = False
    reboots: bool = False
    sole: bool = False
    first_step: str = ""


FLAGS: Final = (
    "discovery",
    "bootstrap",
    "implicit",
    "cluster",
    "destructive",
    "abstract",
    "service",
    "milestone",
    "powersave",
    "library",
    "reboots",
)
"""The flags of a role that are kept with it in the catalogue, in the order in which they are shown."""


@dataclass(frozen=True, kw_only=True)
class Hint:
    """The name of a hint on nodes by which a barclamp is told their addresses of a network: ``of`` a family, or of
    cards.

    What is given where a node is registered (`--ip`, `--mac`) is written there. One of an IP address is checked
    wherever it is written, and the node has that address before any that only reports it. With ``network="*"`` it is
    for each network, whose name stands for the ``*`` in ``name``: ``Hint(name="home-in-*", of="ipv4",
    network="*")``. The value of one of ``macs`` is a list.
    """

    name: str
    of: Literal["ipv4", "ipv6", "macs"]
    network: str = "admin"

    def __post_init__(self) -> None:
        if self.name.count("*") != (self.network == "*"):
            raise ValueError(f"The hint {self.name} has one * if its network is *, and else none.")


@dataclass(frozen=True, kw_only=True)
class Barclamp:
    """What ``register_barclamp`` returns: the roles and attributes that a package brings.

    ``requires`` names other barclamps whose hooks are called before this one's (and after it on deletes). ``after``
    does the same for those that need not be installed. ``defines`` are the names, or patterns of names
    (``"network-*"``), of the roles that it may define at run time. ``settings`` is a dataclass whose fields are made
    with ``setting``: what the table ``[plugins.NAME]`` may hold. The core reads and checks it;
    ``cluster().settings(KIND)`` has the values, and the package's jigs are made with them. ``hints`` are those by which
    it is told addresses of nodes.
    """

    name: str
    help: str = ""
    requires: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()
    settings: type | None = None
    roles: tuple[Role, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    hints: tuple[Hint, ...] = ()
