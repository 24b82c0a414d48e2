"""A sandbox's data on their way into the vault: drawn by the sandbox's own script, split with a secret that the vault keeps."""

import importlib.util
import tempfile
import traceback
from pathlib import Path
from typing import Any, TypedDict

from livinglab.artifacts.vault import FileVault
from livinglab.domain.errors import Invalid

_PARTS = ("participant", "hidden")


class Bindings(TypedDict):
    """What a release says of its data."""

    participant_data: dict[str, Any]
    hidden_data: dict[str, Any]
    commitment: str


def place_data(vault: FileVault, script: Path, secret: bytes | None = None) -> Bindings:
    """Draw the secret (unless one is given), let the script's `make(out, secret)` split the data with it, and keep both.

    What the script writes lies in the vault from the beginning: the hidden part is nobody else's to read.

    Raises:
        Invalid: there is no such script, it failed, or it did not write files to `participant` and `hidden`.
    """
    if not script.is_file():
        raise Invalid(f"there is no {script}.", hint="It defines make(out: Path, secret: bytes), which writes participant/ and hidden/.")
    drawn, commitment = vault.new_secret(secret)
    with tempfile.TemporaryDirectory(dir=vault.root) as scratch:
        out = Path(scratch)
        _make(script, out, drawn)
        missing = [name for name in _PARTS if not (out / name).is_dir()]
        if missing:
            raise Invalid(f"make() wrote no folder {' and no folder '.join(missing)}.", where=str(script), hint="It writes participant/ and hidden/.")
        participant, hidden = (vault.add(out / name).model_dump(mode="json") for name in _PARTS)
    return {"participant_data": participant, "hidden_data": hidden, "commitment": commitment}


def _make(script: Path, out: Path, secret: bytes) -> None:
    """Whatever the script raises becomes one `Invalid`, with the line of the script where it happened."""
    spec = importlib.util.spec_from_file_location("sandbox_data", script)
    assert spec and spec.loader  # noqa: S101, PT018 - a file that is there has a loader
    module: Any = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.make(out, secret)
    except SyntaxError as error:
        raise Invalid(f"line {error.lineno}: {error.msg}.", where=str(script)) from error
    except Exception as error:
        lines = [str(frame.lineno) for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
        place = f", line {lines[-1]}" if lines else ""
        hint = "Install the data's libraries: the extra `measuring` has those of the lab." if isinstance(error, ImportError) else None
        raise Invalid(f"make() failed: {type(error).__name__}: {error}", where=f"{script}{place}", hint=hint) from error
