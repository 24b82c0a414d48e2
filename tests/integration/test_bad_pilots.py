"""Images that misbehave, and containers that are stopped or vanish, on the real engine: each with a clear sentence, and nothing is lost."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from livinglab.bootstrap import open_supervisor
from livinglab.dispatch.inline import carry_inline
from livinglab.domain.errors import Invalid
from livinglab.domain.plan import PlanState
from livinglab.domain.run import Cause, Run, RunState
from livinglab.rehearsal.parties import chunks
from tests.labs import Parties, pilots_archive
from tests.waiting import until

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return Parties.gather(tmp_path_factory.mktemp("lab"))


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any]], None], *more: tarfile.TarInfo) -> Path:
    """The pilots' own archive, with another configuration and with further entries; every digest is right."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        contents = {m.name: old.extractfile(m) for m in old if m.isfile()}
        (index,) = json.load(contents.pop("manifest.json"))  # type: ignore[arg-type]
        config = json.load(contents.pop(index["Config"]))  # type: ignore[arg-type]
        change(config)
        body = json.dumps(config).encode()
        index["Config"] = f"{hashlib.sha256(body).hexdigest()}.json"
        written = {"manifest.json": json.dumps([index]).encode(), index["Config"]: body}
        for name, data in {**written, **{name: stream.read() for name, stream in contents.items() if stream}}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
        for member in more:
            new.addfile(member)
    return target


def link(name: str, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


@pytest.mark.parametrize(("user", "more", "sentence"), [
    ("", (), "the image's user is root. Add a line like `USER 65532:65532`"),
    ("0", (), "the image's user is root."),
    ("65532", (link("shadow", "/etc/shadow"),), "'shadow' is a link, a device or sparse"),
    ("65532", (link("x/layer.tar", "../../etc/shadow"),), "is a link to what is no layer of this archive"),
    ("65532", (tarfile.TarInfo("../../etc/cron.d/x"),), "'../../etc/cron.d/x' leads out of the archive"),
])  # fmt: skip
def test_an_image_that_the_lab_does_not_take_changes_nothing(
    parties: Parties, tmp_path: Path, user: str, more: tuple[tarfile.TarInfo, ...], sentence: str
) -> None:
    archive = rewritten(pilots_archive(), tmp_path / "bad.tar", lambda config: config["config"].update(User=user), *more)
    with pytest.raises(Invalid) as caught:
        parties.lab.images.upload(parties.participant, chunks(archive))
    assert sentence in str(caught.value)
    assert not list((parties.lab.settings.home / "blobs" / "incoming").iterdir())
    good = rewritten(pilots_archive(), tmp_path / "good.tar", lambda _config: None)
    assert parties.lab.images.upload(parties.participant, chunks(good)).digest == parties.image


def test_the_participant_sees_categories_and_the_authority_sees_values(parties: Parties) -> None:
    run = parties.run()
    shown, withheld = parties.lab.results.verdict(parties.participant, run.id)
    assert withheld
    assert [r.verdict for r in shown.results] == ["PASS", "PASS", "INCONCLUSIVE"]
    assert all(r.measurement is None for r in shown.results)
    values, withheld = parties.lab.results.verdict(parties.authority, run.id)
    assert not withheld
    assert all(r.measurement for r in values.results)


class Carried:
    """A worker in a thread, that is stopped at the end."""

    def __init__(self, parties: Parties) -> None:
        self.supervisor = open_supervisor(parties.lab, "docker")
        self.thread = threading.Thread(target=self.supervisor.serve, args=(lambda a: carry_inline(self.supervisor, a),))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def until_it_is(parties: Parties, run: Run, *states: RunState, seconds: float = 60) -> Run:
    """The run, once it is in one of these states."""
    until(lambda: parties.state(run).state in states, seconds, f"the run is not {' or '.join(states)}")
    return parties.state(run)


def started(parties: Parties, run: Run) -> None:
    """Wait for its pilot's start."""
    until(lambda: any(e.kind == "pilot-started" for e in parties.lab.runs.events(parties.authority, run.id, 0)))


def test_a_cancel_stops_the_container_and_the_record_says_when_it_was_seen_dead(parties: Parties) -> None:
    run = parties.request(parties.plan("python3", "/app/bad.py", "hang"))
    with Carried(parties) as carried:
        started(parties, run)
        asked = parties.lab.clock.now()
        parties.lab.runs.cancel(parties.participant, run.id, "wrong model")
        ended = until_it_is(parties, run, RunState.CANCELLED)
        attempt = parties.lab.runs.get(parties.authority, run.id)[1][0]
        assert ended.failure
        assert "wrong model" in ended.failure.sentence
        assert attempt.cancel_seen_dead_at
        assert attempt.cancel_seen_dead_at > asked
        assert not [key for key in carried.supervisor.engine.site.owned() if key.attempt == attempt.id]


def test_suspending_a_plan_stops_what_runs_under_it(parties: Parties) -> None:
    plan = parties.plan("python3", "/app/bad.py", "hang")
    run = parties.request(plan)
    with Carried(parties):
        started(parties, run)
        parties.lab.plans.stop(parties.authority, plan.id, PlanState.SUSPENDED, "a question first")
        ended = until_it_is(parties, run, RunState.CANCELLED)
    assert ended.failure
    assert "the plan is suspended" in ended.failure.sentence


def test_a_container_that_vanishes_is_the_platforms_fault_and_is_tried_again(parties: Parties) -> None:
    import docker

    run = parties.request(parties.plan("python3", "/app/tiny.py", "3"))
    with Carried(parties):
        started(parties, run)
        engine = docker.APIClient()
        (container,) = engine.containers(filters={"label": f"livinglab.key={run.id}.1.pilot"})
        engine.remove_container(container["Id"], force=True)
        ended = until_it_is(parties, run, RunState.COMPLETED)
    attempts = parties.lab.runs.get(parties.authority, run.id)[1]
    assert [a.state for a in attempts] == [RunState.FAILED, RunState.COMPLETED]
    assert attempts[0].failure
    assert attempts[0].failure.cause is Cause.PLATFORM
    assert "was lost" in attempts[0].failure.sentence
    assert ended.verdict == "PASS"


def test_nothing_is_left_behind(parties: Parties) -> None:
    assert str(parties.lab.settings.home) not in Path("/proc/mounts").read_text()
