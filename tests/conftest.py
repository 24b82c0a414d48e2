"""What every test may rely on: required services, a clean environment, seeded examples.

`--require browser,compose,docker,dockerd,gvisor,identity,kubernetes,postgres,slurm,prefect,mlflow`: a test that is marked with one of
these skips, with the reason, where the service is missing; named here, it fails instead. What a run was asked to prove is never skipped silently.
"""

import os
import shutil
import sys
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
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the tests start hundreds of processes: each would compile for seconds
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


@pytest.hookimpl(optionalhook=True)  # xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With `--dist loadscope`: by file, since those of a file share what they set up; all of a cluster's go to one process, for want of room."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # it has no types
        def _split_scope(self, nodeid: str) -> str:
            clusters = [name for name in ("slurm", "kubernetes") if name in nodeid.lower()]
            return clusters[0] if len(clusters) == 1 else nodeid.partition("::")[0]

    return Scheduling(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What failed is told when it does, not at the end, which a run that is ended from outside does not reach."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.nodeid} failed ({report.when}):\n{report.longreprtext}", file=sys.__stderr__, flush=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    required = item.config.stash[REQUIRED]
    for name in SERVICES:
        if item.get_closest_marker(name) and (reason := why_missing(name)):
            if name in required:
                pytest.fail(f"{name} is required and missing: {reason}", pytrace=False)
            pytest.skip(f"{name}: {reason}")
