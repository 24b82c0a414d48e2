"""The checkout that a folder lies in."""

from pathlib import Path

BUILD = Path("infra") / "images" / "build.sh"
"""What builds images there."""


def checkout_of(folder: Path) -> Path | None:
    """The root of the checkout of livinglab in which the folder (which need not be there) lies, or None."""
    return next((parent for parent in folder.resolve().parents if (parent / BUILD).is_file()), None)
