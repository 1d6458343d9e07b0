"""Hooks that a barclamp publishes: others hear of them without knowing it, at least once and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from crowbar_core import Attribute, Barclamp, NodeRoleView, NodeView, Role, SetAttribute, hookimpl, hookspec
from crowbar_core.errors import BarclampError, NotFound
from crowbar_core.services.annealing.annealer import change
from crowbar_core.testing import Testbed


@dataclass(frozen=True, kw_only=True)
class Network:
    """The publisher's own; listeners do not import it."""

    name: str
    ranges: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


@hookspec
def on_network_create(network: Network, nodes: Sequence[NodeView]) -> None: ...


@hookspec
def on_network_delete(network: Network) -> None: ...


@hookspec
def on_leased(node_role: NodeRoleView) -> None: ...


@hookspec
def leases_of(network: Network, session: object) -> None: ...


@hookspec(firstresult=True)
def best_range(network: Network) -> None: ...


def specs(*hooks: Callable[..., Any], name: str = "specs") -> ModuleType:
    module = ModuleType(name)
    for function in hooks:
        setattr(module, function.__name__, function)
    return module


HOOKS = specs(on_network_create, on_network_delete, on_leased, leases_of, best_range)


def plugin(name: str, *hooks: Callable[..., Any], publishes: ModuleType | None = None, **values: Any) -> ModuleType:
    @hookimpl
    def register_barclamp() -> Barclamp:
        return Barclamp(name=name, **values)

    @hookimpl
    def register_hookspecs() -> ModuleType:
        assert publishes is not None
        return publishes

    return specs(register_barclamp, *hooks, *((register_hookspecs,) if publishes else ()), name=f"barclamp_{name}")


def publisher(**values: Any) -> ModuleType:
    return plugin("network", publishes=HOOKS, **values)


def listener(heard: list[Any], name: str = "dns", **values: Any) -> ModuleType:
    @hookimpl(optional=True)
    def on_network_create(network: Any, nodes: Any) -> None:
        heard.append((name, network, nodes))

    @hookimpl(optional=True)
    def on_network_delete(network: Any) -> None:
        heard.append((name, network.name))

    return plugin(name, on_network_create, on_network_delete, **values)


def tell(bed: Testbed, hook: str, subject: str, **arguments: Any) -> None:
    with bed.change() as change:
        change.publish(hook, subject, **arguments)


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def bed(heard: list[Any], database_url: str) -> Iterator[Testbed]:
    with Testbed(publisher(), listener(heard), database_url=database_url) as made:
        yield made


def test_a_published_hook_is_heard_with_the_publishers_dataclass_made_again(bed: Testbed, heard: list[Any]) -> None:
    node = bed.add_node("n1")
    network = Network(name="admin", ranges=("a", "b"), extra={"mtu": 1500})
    tell(bed, "on_network_create", "network admin", network=network, nodes=[node])
    assert heard == [], "nobody is told before the commit, nor in it"
    bed.deliver()
    assert heard == [("dns", network, (node,))]
    assert type(heard[0][1]) is Network
    bed.deliver()
    assert len(heard) == 1


def test_a_published_hook_is_not_told_when_its_change_is_undone(bed: Testbed, heard: list[Any]) -> None:
    def undone() -> None:
        with bed.change() as change:
            change.publish("on_network_delete", "network admin", network=Network(name="admin"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    bed.deliver()
    assert heard == []


def test_a_published_hook_is_told_again_after_a_failure_in_the_order_of_its_subject(database_url: str) -> None:
    heard: list[str] = []

    @hookimpl
    def on_network_delete(network: Network) -> None:
        heard.append(network.name)
        if heard == ["a1"]:
            raise RuntimeError("not yet")

    with Testbed(publisher(), plugin("dns", on_network_delete), database_url=database_url) as bed:
        for name in ("a1", "b1", "a2"):
            tell(bed, "on_network_delete", f"network {name[0]}", network=Network(name=name))
        bed.anneal_until_quiet()
    assert heard == ["a1", "b1", "a1", "a2"]


def test_hooks_whose_names_end_with_delete_are_called_in_reverse_order(heard: list[Any]) -> None:
    first, second = listener(heard, "first"), listener(heard, "second", after=("first",))
    with Testbed(second, first, publisher()) as bed:
        tell(bed, "on_network_create", "network a", network=Network(name="a"), nodes=[])
        tell(bed, "on_network_delete", "network a", network=Network(name="a"))
        bed.deliver()
    assert [one[0] for one in heard] == ["first", "second", "second", "first"]


def test_an_optional_hook_is_no_error_when_its_publisher_is_not_there(heard: list[Any]) -> None:
    with Testbed(listener(heard)) as bed:
        assert bed.problems() == []
        (one,) = [one for one in bed.parts.registry.barclamps if one.name == "dns"]
        assert one.hooks == ("register_barclamp",)
        with pytest.raises(BarclampError, match="No loaded barclamp publishes a hook on_network_create"):
            tell(bed, "on_network_create", "network a", network=Network(name="a"), nodes=[])


def test_a_hook_that_is_not_optional_needs_its_publisher() -> None:
    @hookimpl
    def on_network_delete(network: Any) -> None: ...

    with pytest.raises(BarclampError, match=r"no hook on_network_delete.*optional=True"):
        Testbed(plugin("dns", on_network_delete))


def test_after_orders_without_requiring(heard: list[Any]) -> None:
    with Testbed(plugin("b", after=("c", "nowhere")), plugin("c"), plugin("a", after=("b",))) as bed:
        assert bed.parts.registry.plugins == ("crowbar", "c", "b", "a")
    with pytest.raises(BarclampError, match="come after each other, in a circle"):
        Testbed(plugin("a", after=("b",)), plugin("b", requires=("a",)))


def test_a_listener_returns_intents_as_for_any_other_hook(database_url: str) -> None:
    @hookimpl
    def on_leased(node_role: NodeRoleView) -> list[SetAttribute]:
        return [SetAttribute(node=node_role.node.name, attribute="leased", value=node_role.role)]

    heard: list[str] = []
    unheard = hookimpl(roles=("other-*",))(lambda node_role: heard.append(node_role.role))
    unheard.__name__ = "on_leased"
    leased = Attribute(name="leased", schema={"type": "string"})
    dns = plugin("dns", on_leased, attributes=(leased,), roles=(Role(name="base"),))
    with Testbed(publisher(), dns, plugin("more", unheard), database_url=database_url) as bed:
        bed.add_node("n1")
        view = bed.bind("base", "n1")
        tell(bed, "on_leased", "lease 1", node_role=view)
        bed.deliver()
        assert bed.value("leased", "n1") == "base"
        assert heard == []


def test_ask_answers_plugin_by_plugin_and_one_that_raises_is_shown() -> None:
    @hookimpl
    def leases_of(network: Network) -> list[str]:
        return [f"1 of {network.name}"]

    @hookimpl
    def best_range(network: Network) -> str:
        return network.ranges[0]

    def broken(session: object) -> None:
        raise RuntimeError("no address")

    broken.__name__ = "leases_of"
    one, two = plugin("one", leases_of, best_range), plugin("two", hookimpl(broken))
    with Testbed(publisher(), one, two, plugin("three", best_range)) as bed:
        network = Network(name="admin", ranges=("r",))
        assert bed.ask("leases_of", network=network) == (("one", ["1 of admin"]),)
        assert bed.ask("best_range", network=network) == (("one", "r"),)
        assert [(one.plugin, one.hook, one.error) for one in bed.hook_failures()] == [
            ("two", "leases_of", "RuntimeError: no address")
        ]
        with pytest.raises(NotFound, match="Nobody publishes a question 'on_network_delete'"):
            bed.ask("on_network_delete", network=network)


@pytest.mark.parametrize(
    "hook, subject, arguments, said",
    [
        ("on_network_delete", "network 1", {}, "needs the argument 'network'; its arguments are: network"),
        ("on_network_delete", "network 1", {"network": 1, "more": 2}, "has no argument 'more'"),
        ("on_network_delete", "network 1", {"network": object()}, "network is a object, which has no form in JSON"),
        ("on_network_delete", "", {"network": 1}, "1 to 64 characters"),
        ("leases_of", "network 1", {"network": 1, "session": 1}, "is a question of barclamp network"),
        ("on_node_create", "node 1", {"node": 1}, "No loaded barclamp publishes a hook on_node_create"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_sentence(
    hook: str, subject: str, arguments: dict[str, Any], said: str
) -> None:
    with Testbed(publisher()) as bed, pytest.raises(BarclampError, match=said):
        tell(bed, hook, subject, **arguments)


def test_what_no_longer_fits_is_shown_and_tried_again(heard: list[Any], bed: Testbed) -> None:
    with change(bed.parts, bed.actor) as turn:  # as an older version of the publisher wrote it
        turn.tell("on_network_delete", "network a", arguments={"network": {"nothing": 1}})
    bed.anneal_until_quiet()
    (failure,) = bed.hook_failures()
    assert failure.plugin == "dns"
    assert "name" in failure.error
    assert heard == []


def test_two_publishers_of_one_hook_and_one_that_cannot_be_told_do_not_load() -> None:
    with pytest.raises(BarclampError, match="publishes the hook on_network_create, as network does already"):
        Testbed(publisher(), plugin("other", publishes=specs(on_network_create)))

    @hookspec
    def on_odd(thing: Testbed) -> None: ...

    with pytest.raises(BarclampError, match="on_odd cannot be told with its argument 'thing': a Testbed has no form"):
        Testbed(plugin("other", publishes=specs(on_odd)))

    @hookspec
    def on_node_create(node: NodeView) -> None: ...

    with pytest.raises(BarclampError, match="publishes the hook on_node_create, as the core does already"):
        Testbed(plugin("other", publishes=specs(on_node_create)))
