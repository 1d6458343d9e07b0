"""The script jig as a barclamp: it probes nodes by ping and SSH, and runs the shell scripts of roles on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crowbar_core import Barclamp, Json, NodeView, Probe, hookimpl
from crowbar_jig_script.connections import connections_for
from crowbar_jig_script.probe import addresses_of, probe
from crowbar_jig_script.settings import Settings, read_settings


class ScriptBarclamp:
    """The hooks of this barclamp."""

    def __init__(self) -> None:
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """As configured; from the environment alone when nobody has configured anything."""
        return self._settings or read_settings({})

    def configure(self, config: Mapping[str, Json]) -> None:
        """``config`` is the table ``[plugins.jig-script]``. Raises ``ConfigError``."""
        self._settings = read_settings(config)

    @hookimpl
    def register_barclamp(self) -> Barclamp:
        return Barclamp(
            name="jig-script", help="Probes nodes by ping and SSH, and runs the shell scripts of roles on them as root."
        )

    @hookimpl
    def node_addresses(self, node: NodeView) -> Iterable[str]:
        return addresses_of(node)

    @hookimpl
    def probe_node(self, node: NodeView) -> Probe | None:
        return probe(node, connections_for(self.settings))


barclamp = ScriptBarclamp()

# The package itself is the plugin: its hooks are those of the one barclamp in it.
configure = barclamp.configure
register_barclamp = barclamp.register_barclamp
node_addresses = barclamp.node_addresses
probe_node = barclamp.probe_node
