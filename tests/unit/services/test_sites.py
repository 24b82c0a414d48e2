"""The registry: what operators may add and change, and what a run that is asked for is held against."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from livinglab.bootstrap import Lab, open_lab, open_site
from livinglab.domain.errors import Conflict, Invalid, NotFound, Refused
from livinglab.domain.run import RunState
from livinglab.domain.site import Offer, SiteState
from livinglab.services.admission import why_not_admitted
from livinglab.settings import Settings
from livinglab.sites.docker import DockerSite
from livinglab.sites.slurm.site import SlurmSite
from livinglab.testing.fakes import FakeClock
from tests.unit.services.test_engine import World, make_world

CLUSTER: dict[str, Any] = {"kind": "slurm", "settings": {"scratch": "/scratch/lab"}}
SSH: dict[str, Any] = {"kind": "ssh", "host": "login.example.org", "user": "lab", "identity": "/etc/lab/key", "known_hosts": "/etc/lab/known_hosts"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    launcher = tmp_path / "launcher"
    launcher.touch()
    return Lab(**{**vars(open_lab(Settings(home=tmp_path / "home", launcher=launcher))), "clock": FakeClock()})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, {})


def test_a_cluster_is_registered_with_what_any_cluster_offers(lab: Lab) -> None:
    made = lab.sites.add("meluxina", {**CLUSTER, "offer": {"gpus": 4}}, "ops")
    assert made == lab.sites.get("meluxina")
    assert made.offer == Offer(gpus=4, witnesses={"pids": ("rlimit",)},
                               public_data_only="pilot and hidden data would share one account at the cluster")  # fmt: skip
    assert made.settings["poll_seconds"] == 0.25
    assert [s.name for s in lab.sites.listed()] == ["docker", "meluxina"]
    with pytest.raises(Conflict, match="there is a site 'meluxina' already"):
        lab.sites.add("meluxina", CLUSTER, "ops")


def test_an_operator_may_say_otherwise(lab: Lab) -> None:
    made = lab.sites.add("meluxina", {**CLUSTER, "offer": {"public_data_only": None, "witnesses": {}}}, "ops")
    assert made.offer == Offer()


@pytest.mark.parametrize(("document", "says"), [
    ({"kind": "pbs"}, r"kind: Input should be 'docker', 'kubernetes' or 'slurm'"),
    ({"kind": "slurm"}, r"settings\.scratch: Field required"),
    ({"kind": "slurm", "settings": {"scratch": "scratch"}}, r"settings\.scratch: an absolute path"),
    ({"kind": "slurm", "settings": {"scratch": "/s", "password": "x"}}, r"settings\.password: Extra inputs"),
    ({"kind": "slurm", "settings": {"scratch": "/s", "access": {**SSH, "port": 0}}}, r"settings\.access\.ssh\.port: "),
    ({"kind": "slurm", "settings": {"scratch": "/s", "rest": {"url": "ftp://x", "user": "u", "token": "/t"}}}, r"settings\.rest\.url: "),
    ({**CLUSTER, "offer": {"gpus": -1}}, r"offer\.gpus: "),
    ({**CLUSTER, "offer": {"witnesses": {"pids": ["hearsay"]}}}, r"offer\.witnesses\.pids\.0: "),
    ({"kind": "docker", "settings": {"scratch": "/s"}}, r"settings\.scratch: Extra inputs"),
    ({"kind": "docker", "offer": {"gpus": 1}}, r"site: a site of kind 'docker' gives no GPU"),
])  # fmt: skip
def test_a_file_that_will_not_do_is_answered_with_the_place(lab: Lab, document: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=f"^{says}"):
        lab.sites.add("meluxina", document, "ops")
    assert [s.name for s in lab.sites.listed()] == ["docker"]


def test_a_name_is_one_that_fits_a_job(lab: Lab) -> None:
    with pytest.raises(Invalid, match=r"^name: expected 1 to 63 of a-z"):
        lab.sites.add("MeluXina", CLUSTER, "ops")


def test_each_kind_is_opened_as_what_it_is(lab: Lab) -> None:
    lab.sites.add("here", {"kind": "slurm", "settings": {"scratch": "/s", "access": {"kind": "local", "prefix": ["sudo", "-n"]}}}, "ops")
    lab.sites.add("there", {"kind": "slurm", "settings": {"scratch": "/s", "partition": "gpu", "access": SSH}}, "ops")
    lab.sites.add("gvisor", {"kind": "docker", "settings": {"runtime": "runsc"}}, "ops")
    here, there, docker, gvisor = (open_site(lab, name) for name in ("here", "there", "docker", "gvisor"))
    assert isinstance(here, SlurmSite)
    assert isinstance(there, SlurmSite)
    assert (here.name, there.name, there.settings.partition) == ("here", "there", "gpu")
    assert here._shell.prefix == ("sudo", "-n")  # type: ignore[attr-defined]
    assert there._shell.prefix[-1] == "login.example.org"  # type: ignore[attr-defined]
    assert isinstance(docker, DockerSite)
    assert isinstance(gvisor, DockerSite)
    assert (docker.name, gvisor.name) == ("docker", "gvisor")
    with pytest.raises(Invalid, match=r"unknown site 'ther'\. Known: there, .*docker"):
        open_site(lab, "ther")


def test_a_site_drains_from_when_it_was_first_said(lab: Lab) -> None:
    assert isinstance(lab.clock, FakeClock)
    begun = lab.sites.drain("docker", "ops", "a new kernel").changed_at
    lab.clock.advance(timedelta(hours=1))
    again = lab.sites.drain("docker", "boss", "a new disk, too")
    assert (again.state, again.reason, again.changed_by, again.changed_at) == (SiteState.DRAINING, "a new disk, too", "boss", begun)
    opened = lab.sites.resume("docker", "ops")
    assert (opened.state, opened.reason, opened.changed_at >= begun + timedelta(hours=1)) == (SiteState.OPEN, "", True)
    assert lab.sites.resume("docker", "somebody") == opened
    with pytest.raises(Invalid, match="reason: a site is drained for a reason"):
        lab.sites.drain("docker", "ops", " ")
    with lab.store.transaction(read_only=True) as tx:
        assert [(e.kind, e.data["by"]) for e in tx.events(0, 9)] == [("site-draining", "ops"), ("site-draining", "boss"), ("site-open", "ops")]
        assert len(tx.ledger("site-docker")) == 3


def test_windows_are_kept_by_their_beginning_and_called_off_by_their_id(lab: Lab) -> None:
    now = lab.clock.now()
    late = lab.sites.add_window("docker", now + timedelta(days=2), now + timedelta(days=3), "new disks", "ops")
    soon = lab.sites.add_window("docker", now + timedelta(days=1), now + timedelta(days=2), "a new kernel", "ops")
    assert lab.sites.get("docker").windows == (soon, late)
    assert lab.sites.get("docker").room(now) == 86_400
    with pytest.raises(Invalid, match="end: it was over at"):
        lab.sites.add_window("docker", now - timedelta(days=2), now, "long ago", "ops")
    with pytest.raises(Invalid, match="a window ends after it begins"):
        lab.sites.add_window("docker", now + timedelta(days=2), now + timedelta(days=1), "backwards", "ops")
    lab.sites.remove_window("docker", soon.id, "ops")
    assert lab.sites.get("docker").windows == (late,)
    with pytest.raises(NotFound, match=f"has no window {soon.id!r} .it has {late.id}"):
        lab.sites.remove_window("docker", soon.id, "ops")
    lab.sites.remove_window("docker", late.id, "ops")
    assert lab.sites.get("docker").room(now) == math.inf


def test_a_site_to_which_something_refers_stays(world: World) -> None:
    world.request()
    with pytest.raises(Conflict, match="site 'docker' stays: every lab has it"):
        world.lab.sites.remove("docker", "ops")
    world.lab.sites.add("meluxina", CLUSTER, "ops")
    world.lab.sites.remove("meluxina", "ops")
    with pytest.raises(Invalid, match="unknown site 'meluxina'"):
        world.lab.sites.get("meluxina")


def test_what_refers_to_a_site_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livinglab.services.sites.FIRST", "another")
    says = f"1 of the lab's runs were asked for there; plan {world.plan} names it; the specification of tiny names it"
    world.request()
    with pytest.raises(Conflict, match=says):
        world.lab.sites.remove("docker", "ops")


def test_how_many_wait_and_run(world: World) -> None:
    first, second = world.request(), world.request("key-00000002")
    with world.lab.store.transaction() as tx:
        tx.update_run(second.model_copy(update={"held_by": "ministry"}), second)
    found = world.lab.sites.status("docker")
    assert (found.queued, found.held, found.running) == (2, 1, 0)
    with world.lab.store.transaction() as tx:
        tx.update_run(first.to(RunState.RUNNING), first)
    found = world.lab.sites.status("docker")
    assert (found.queued, found.held, found.running) == (1, 1, 1)


# --- admission --------------------------------------------------------------------------------------------------------


@pytest.fixture
def offered(world: World) -> Any:
    def change(**offer: Any) -> None:
        with world.lab.store.transaction() as tx:
            before = tx.site("docker")
            assert before is not None
            tx.update_site(before.model_copy(update={"offer": Offer.model_validate(offer)}), before)

    return change


def test_a_run_is_held_against_the_site_when_it_is_asked_for(world: World, offered: Any) -> None:
    offered(memory=32 << 20, witnesses={"pids": ("rlimit",)})
    with pytest.raises(Refused) as refused:
        world.request()
    assert refused.value.reasons[0] == "at site 'docker', the pilot asks for 67,108,864 bytes of memory, and the site offers 33,554,432"
    assert "isolation.witnesses.pids: [rlimit]" in refused.value.reasons[-1]
    offered()
    assert world.request().state is RunState.QUEUED


def test_and_again_when_it_begins(world: World, offered: Any) -> None:
    run = world.request()
    offered(wall_seconds=5)
    world.carry()
    ended, _attempts = world.look(run)
    assert ended.state is RunState.REFUSED
    assert ended.failure is not None
    assert "the pilot asks for 10 seconds, and the site offers 5" in ended.failure.sentence


def test_a_site_that_is_not_there_is_refused_with_those_that_are(world: World) -> None:
    world.lab.sites.add("meluxina", CLUSTER, "ops")
    with pytest.raises(Refused) as refused:
        world.lab.runs.request(world.participant, {"plan": world.plan, "site": "vega"}, "key-00000009")
    assert refused.value.reasons == ("the plan does not name the site 'vega' (it names docker)", "there is no site 'vega' (known: docker, meluxina)")


def test_draining_refuses_nobody(world: World) -> None:
    world.lab.sites.drain("docker", "ops", "a new kernel")
    run = world.request()
    assert run.longest_seconds == 10 + 2 * world_harness_seconds(world)
    with world.lab.store.transaction(read_only=True) as tx:
        plan = tx.plan(world.plan)
        assert plan is not None
        assert why_not_admitted(tx, plan, "docker", datetime(2026, 3, 2, tzinfo=UTC).date(), run) == ()


def world_harness_seconds(world: World) -> float:
    return world.lab.sandboxes.get("tiny")[0].spec.harness.resources.wall_seconds
