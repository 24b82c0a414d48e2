from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sites.kubernetes.server import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()
