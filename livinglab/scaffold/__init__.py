"""Working pairs to start a domain from: templates that are rendered into folders, with no library but the standard one."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from livinglab.domain.errors import Conflict, Invalid
from livinglab.domain.model import check_slug

Side = Literal["sandbox", "pilot"]
LONGEST = 40
_SUFFIX = ".tmpl"


def write_scaffold(side: Side, name: str, into: Path, *, place: str, interactive: bool = False) -> list[Path]:
    """Write one side of the domain `name` into a folder that holds nothing yet; the files that were written.

    Args:
        place: the folder as seen from the checkout's root: what the image's app.list says.
        interactive: of a pilot that is asked step by step, with a family of the sandbox's own; else of a batch one.

    Raises:
        Invalid: the name cannot be a sandbox's id. Conflict: there is something in the folder.
    """
    try:
        check_slug(name)
    except ValueError as error:
        raise Invalid(f"{name!r} cannot name a domain: {error}.") from error
    if len(name) > LONGEST:
        raise Invalid(f"the name has {len(name)} characters, and may have {LONGEST}: other names are made from it.")
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        msg = f"{into} is there already; nothing is overwritten."
        raise Conflict(msg, hint="Name another folder: --into FOLDER.")
    values = {"name": name, "title": name.replace("-", " ").capitalize(), "place": place, "sandbox": f"sandboxes/{name}"}
    templates = files(__name__) / "templates"
    written = []
    for kind in ("common", "interactive" if interactive else "batch"):
        written += _render(templates / kind / side, into, values)
    return sorted(written)


def _render(source: Traversable, target: Path, values: dict[str, str]) -> list[Path]:
    """A folder of templates, with `{{name}}` and the like replaced by their values."""
    written = []
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            written += _render(entry, target / entry.name, values)
        elif entry.name.endswith(_SUFFIX):
            text = entry.read_text(encoding="utf-8")
            for name, value in values.items():
                text = text.replace("{{" + name + "}}", value)
            path = target / entry.name.removesuffix(_SUFFIX)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written
