"""``crowbar sledgehammer``: make the image that machines boot into to be discovered."""

from __future__ import annotations

from pathlib import Path

import click

from crowbar_core import CrowbarError
from crowbar_provisioner.sledgehammer.build import KERNELS, build

sledgehammer = click.Group("sledgehammer", help="The image that machines boot into to be discovered.")

CACHE = Path("/var/cache/crowbar/packages")


@sledgehammer.command("build")
@click.option(
    "--kernel",
    type=click.Choice(KERNELS),
    default="full",
    show_default=True,
    help="cloud: a small image for virtual machines alone.",
)
@click.option(
    "--to",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/crowbar/boot/sledgehammer"),
    show_default=True,
    help="Where the boot service finds it.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=CACHE,
    show_default=True,
    help="Where packages are kept for the next time.",
)
def build_(kernel: str, place: Path, cache: Path) -> None:
    """Make the image of Debian's packages, on a Debian of the same release and architecture; installs none of them."""
    try:
        made = build(place.absolute(), kernel=kernel, cache=cache.absolute())
    except CrowbarError as error:
        raise click.ClickException(error.detail) from error
    for name, checksum in sorted(made.sums.items()):
        click.echo(f"{checksum}  {made.place / name}")
