"""What a site offers and when it takes runs: every reason against one, in figures."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from livinglab.domain.pilot import PilotManifest
from livinglab.domain.sandbox import SandboxSpec
from livinglab.domain.site import Offer, SiteRecord, SiteState, Window, longest_seconds, why_not_offered

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CRITERION = {"id": "completeness", "title": "All are there", "metric": "completeness", "direction": "at_least", "threshold": 1.0, "compare": "point",
             "interval": {"method": "none"}, "min_events": 0, "basis": "sandbox", "source": "tests", "rationale": "For the tests."}  # fmt: skip


def manifest(**resources: float) -> PilotManifest:
    return PilotManifest.model_validate({
        "name": "tiny", "version": "1", "title": "A pilot", "summary": "A pilot for tests.", "sandbox": "tiny", "task": "survival",
        "entrypoint": ["/x"], "resources": {"memory": 64 << 20, "cpus": 1, "wall_seconds": 10, "output_bytes": 1 << 20, **resources}})  # fmt: skip


def spec(**changes: Any) -> SandboxSpec:
    harness = {"resources": {"memory": 64 << 20, "cpus": 1, "wall_seconds": 100, "output_bytes": 1 << 20}}
    return SandboxSpec.model_validate({
        "id": "tiny", "version": 1, "title": "A tiny sandbox", "domain": "tests", "summary": "For the tests of sites.", "task": "survival",
        "data": {"card": "none", "visibility": "demonstration"}, "harness": harness, "slices": {"all": {"title": "All"}}, "criteria": [CRITERION],
        **changes})  # fmt: skip


def record(**changes: Any) -> SiteRecord:
    return SiteRecord.model_validate({"name": "meluxina", "kind": "slurm", "added_at": NOW, "changed_at": NOW, **changes})


def window(begin: float, end: float, id_: str = "win-1") -> Window:
    """From so many hours after now to so many."""
    return Window(id=id_, begin=NOW + timedelta(hours=begin), end=NOW + timedelta(hours=end), reason="new disks")


@pytest.mark.parametrize(("offer", "says"), [
    ({}, ()),
    ({"memory": 64 << 20, "cpus": 1, "wall_seconds": 100, "output_bytes": 1 << 20}, ()),
    ({"memory": 32 << 20}, ("the pilot asks for 67,108,864 bytes of memory, and the site offers 33,554,432",
                            "the harness asks for 67,108,864 bytes of memory, and the site offers 33,554,432")),
    ({"wall_seconds": 99.5}, ("the harness asks for 100 seconds, and the site offers 99.5",)),
    ({"output_bytes": 1 << 16, "cpus": 0.5}, ("the pilot asks for 1 cores, and the site offers 0.5",
                                              "the pilot asks for 1,048,576 bytes of output, and the site offers 65,536",
                                              "the harness asks for 1 cores, and the site offers 0.5",
                                              "the harness asks for 1,048,576 bytes of output, and the site offers 65,536")),
])  # fmt: skip
def test_every_figure_that_is_too_small_is_named(offer: dict[str, Any], says: tuple[str, ...]) -> None:
    assert why_not_offered(Offer.model_validate(offer), manifest(), spec()) == says


def test_gpus_are_offered_only_where_the_site_says_so() -> None:
    assert why_not_offered(Offer(), manifest(gpus=2), spec()) == ("the pilot asks for 2 GPUs, and the site offers 0",)
    assert why_not_offered(Offer(gpus=2), manifest(gpus=2), spec()) == ()


def test_data_that_are_not_public_are_refused_with_the_sites_reason() -> None:
    offer, restricted = Offer(public_data_only="pilot and hidden data share an account there"), spec(data={"card": "x", "visibility": "restricted"})
    assert why_not_offered(offer, manifest(), spec()) == ()
    assert why_not_offered(Offer(), manifest(), restricted) == ()
    says = "the data are restricted, and the site takes public data only: pilot and hidden data share an account there"
    assert why_not_offered(offer, manifest(), restricted) == (says,)


@pytest.mark.parametrize(("accepted", "says"), [
    ({}, "(a version of the specification with `isolation.witnesses.pids: [rlimit]` does)"),
    ({"pids": ["scheduler"]}, "(a version of the specification with `isolation.witnesses.pids: [scheduler, rlimit]` does)"),
    ({"pids": ["rlimit"]}, None),
    ({"pids": ["scheduler", "rlimit"], "cpu": ["scheduler"]}, None),
])  # fmt: skip
def test_a_witness_that_the_profile_does_not_accept_is_refused_with_what_to_add(accepted: dict[str, Any], says: str | None) -> None:
    found = why_not_offered(Offer(witnesses={"pids": ("rlimit",)}), manifest(), spec(isolation={"witnesses": accepted}))
    whole = f"the site shows pids by rlimit only, which the isolation profile does not accept {says}"
    assert found == ((whole,) if says else ())


@pytest.mark.parametrize(("changes", "seconds"), [
    ({}, 10 + 2 * 100),
    ({"harness": {"prepare": True, "resources": {"wall_seconds": 100}}}, 100 + 10 + 2 * 100),
])  # fmt: skip
def test_the_longest_that_a_run_may_take_is_the_sum_of_its_containers(changes: dict[str, Any], seconds: float) -> None:
    assert longest_seconds(manifest(), spec(**changes)) == seconds


def test_a_driven_pilot_and_its_driver_run_side_by_side() -> None:
    task = {"name": "own", "title": "Its own", "protocol": "step/1", "inputs": {}, "observations": {"x": "where it is"},
            "actions": [{"name": "a", "kind": "number", "meaning": "how much", "low": 0, "high": 1}],
            "metrics": [{"name": "completeness", "title": "All", "better": "higher", "source": "tests"}]}  # fmt: skip
    driven = spec(task=task, harness={"mode": "interactive", "resources": {"wall_seconds": 100}})
    assert longest_seconds(manifest(wall_seconds=10), driven) == 100 + 100
    assert longest_seconds(manifest(wall_seconds=300), driven) == 300 + 100


@pytest.mark.parametrize(("changes", "room"), [
    ({}, math.inf),
    ({"state": SiteState.DRAINING}, 0),
    ({"windows": (window(2, 3),)}, 7_200),
    ({"windows": (window(5, 6, "win-2"), window(2, 3))}, 7_200),
    ({"windows": (window(-1, 1),)}, 0),
    ({"windows": (window(-2, 0),)}, math.inf),
    ({"windows": (window(-2, -1), window(1, 2, "win-2"))}, 3_600),
    ({"state": SiteState.DRAINING, "windows": (window(2, 3),)}, 0),
])  # fmt: skip
def test_how_long_a_run_that_begins_now_may_last(changes: dict[str, Any], room: float) -> None:
    assert record(**changes).room(NOW) == room


def test_a_window_ends_after_it_begins() -> None:
    with pytest.raises(ValidationError, match="a window ends after it begins"):
        window(1, 1)
