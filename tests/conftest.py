"""What every test may rely on: required services, a clean environment, seeded examples.

`--require browser,docker,dockerd,gvisor,identity,kubernetes,postgres,slurm,prefect,mlflow`: a test that is marked with one of these skips, with
the reason, where the service is missing; named here, it fails instead. What a run was asked to prove is never skipped silently.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.fixtures.available import SERVICES, why_missing

pytest.register_assert_rewrite("tests.hostile")
pytest_plugins = [f"tests.fixtures.{name}" for name in ("browser", "engine", "servers", "identity", "kubernetes", "postgres", "slurm")]

HOME = pytest.StashKey[Path]()
REQUIRED = pytest.StashKey[frozenset[str]]()
KEPT = {"LIVINGLAB_CACHE", "LIVINGLAB_BASE", "LIVINGLAB_KUBECONFIG", "LIVINGLAB_KUBERNETES_BED", "LIVINGLAB_SLURM_BED"}
"""Settings of the build and of the test beds, not of a lab: they stay as they are."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require", default="", metavar="NAMES", help=f"fail, instead of skip, where one of these is missing: {','.join(SERVICES)}")


def pytest_configure(config: pytest.Config) -> None:
    required = frozenset(name.strip() for name in str(config.getoption("--require")).split(",") if name.strip())
    if unknown := required - SERVICES.keys():
        msg = f"--require: {', '.join(sorted(unknown))} is not known; the services are {', '.join(SERVICES)}"
        raise pytest.UsageError(msg)
    config.stash[REQUIRED] = required
    # The tests' processes see no lab, no server and no home of the person who runs them; and nothing phones home.
    for name in list(os.environ):
        if name.startswith(("LIVINGLAB_", "PREFECT_", "MLFLOW_")) and name not in KEPT:
            del os.environ[name]
    config.stash[HOME] = Path(tempfile.mkdtemp(prefix="livinglab-tests-"))
    os.environ |= {
        "DO_NOT_TRACK": "1",
        "LIVINGLAB_HOME": str(config.stash[HOME] / "lab"),
        "LIVINGLAB_LOGINS": str(config.stash[HOME] / "logins.json"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_HOME": str(config.stash[HOME] / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    _seed_hypothesis()


def _seed_hypothesis() -> None:
    """The same examples every time, and no deadline: a busy machine is not a bug."""
    from hypothesis import settings

    settings.register_profile("house", derandomize=True, deadline=None, database=None)
    settings.load_profile("house")


def pytest_unconfigure(config: pytest.Config) -> None:
    if home := config.stash.get(HOME, None):
        shutil.rmtree(home, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup`, the tests of a server that takes seconds to start share one."""
    for item in items:
        for name in ("prefect", "mlflow"):
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.xdist_group(name))
                break


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    required = item.config.stash[REQUIRED]
    for name in SERVICES:
        if item.get_closest_marker(name) and (reason := why_missing(name)):
            if name in required:
                pytest.fail(f"{name} is required and missing: {reason}", pytrace=False)
            pytest.skip(f"{name}: {reason}")
