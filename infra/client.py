"""Makes a typed Python client of the API, from the API's own OpenAPI document: `infra/client.py [FOLDER]`."""

import json
import os
import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from openapi_python_client import Config, MetaType, generate
from openapi_python_client.config import ConfigFile

from livinglab.bootstrap import open_lab
from livinglab.settings import Settings
from sandbox_api.app import create_app

ROOT = Path(__file__).resolve().parent.parent
OUT = Path("dist/client")
BYTES = ("application/x-tar", "application/x-pem-file", "application/partial-upload", "application/zip", "application/pdf", "text/markdown",
         "text/plain")  # fmt: skip
"""Media types that are sent, or kept, byte for byte; the generator knows one such."""
OWN_TYPE = '    headers["Content-Type"] = body.mime_type or '


def document() -> dict[str, Any]:
    """What a lab answers at `/openapi.json`."""
    with tempfile.TemporaryDirectory(prefix="ll-") as home:
        return create_app(open_lab(Settings(home=Path(home)))).openapi()


def make(folder: Path) -> list[str]:
    """Write the package into a folder, in place of what is there; what the generator could not do is told."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    described = document()
    several = _of_several_types(described)
    with tempfile.TemporaryDirectory(prefix="ll-") as scratch:
        source = Path(scratch) / "openapi.json"
        source.write_text(json.dumps(described))
        tidied = [f"{sys.executable} -m ruff {what} ." for what in ("check --fix-only", "format")]
        asked = ConfigFile(content_type_overrides=dict.fromkeys(BYTES, "application/octet-stream"), post_hooks=tidied)
        with redirect_stdout(sys.stderr):
            missed = generate(config=Config.from_sources(asked, MetaType.SETUP, source, "utf-8", overwrite=False, output_path=folder))
    for operation, first in several.items():
        (module,) = folder.glob(f"*/api/*/{operation}.py")
        module.write_text(module.read_text().replace(f'    headers["Content-Type"] = "{first}"', f'{OWN_TYPE}"{first}"'))
    return [f"{error.header}: {error.detail}" for error in missed]


def _of_several_types(described: dict[str, Any]) -> dict[str, str]:
    """Operation → the first media type of its body, where there are several. The generator would send all as the last: it sees the first alone."""
    first = {}
    for operation in (operation for item in described["paths"].values() for operation in item.values()):
        content = operation.get("requestBody", {"content": {}})["content"]
        for media_type in list(content)[1:]:
            del content[media_type]
            first[operation["operationId"]] = next(iter(content))
    return first


def main() -> int:
    """Make it, and say how it is installed."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / OUT
    if missed := make(folder):
        print("\n".join(missed), file=sys.stderr)
        return 1
    where = os.path.relpath(folder)
    print(f"{where}: a typed client of the API. Install it: pip install {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
