"""`crowbar assets`."""

from crowbar_core.commands import Given, add_create, add_destroy, add_list, add_show, add_update, noun

OPTIONS = (
    Given(name="node_id", help="The node that it is.", refers=True),
    Given(name="place", help="Where it stands."),
    Given(name="warranty_until", help="The day on which its warranty ends, as 2026-01-31."),
)
assets = noun("assets", "Machines as the inventory knows them.")
add_list(assets, "assets", ("id", "name", "node", "place", "warranty_until", "covered"), what="the assets")
add_show(assets, "assets", what="an asset")
add_create(assets, "assets", what="an asset", options=OPTIONS)
add_update(assets, "assets", what="an asset", options=OPTIONS)
add_destroy(assets, "assets", what="an asset")
