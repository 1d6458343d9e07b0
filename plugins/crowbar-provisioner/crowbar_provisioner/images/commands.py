"""``crowbar images``: make the images that are written to disks."""

from __future__ import annotations

from pathlib import Path

import click

from crowbar_core import CrowbarError
from crowbar_provisioner.images.build import OS, build

images = click.Group("images", help="Images of operating systems, as they are written to disks.")


@images.command("build")
@click.argument("name", type=click.Choice((OS,)))
@click.option(
    "--to",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/crowbar/boot/images"),
    show_default=True,
    help="Where the boot service finds it.",
)
def build_(name: str, place: Path) -> None:
    """Make the image of Debian's packages, on a Debian of that release, as root."""
    try:
        made = build(place.absolute())
    except CrowbarError as error:
        raise click.ClickException(error.detail) from error
    click.echo(str(made))
