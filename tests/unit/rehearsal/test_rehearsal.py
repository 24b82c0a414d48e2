"""A rehearsal over a site in memory: what is followed, what is heard, what is kept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from livinglab.artifacts.vault import FileVault
from livinglab.bootstrap import lab_signer, open_lab
from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.errors import Conflict, Invalid, PlatformFault
from livinglab.domain.run import Cause, RunState
from livinglab.evidence.policy import TrustPolicy
from livinglab.evidence.verify import verify
from livinglab.rehearsal.parties import Parties
from livinglab.rehearsal.rehearsal import Play, Rehearsal, empty_folder, find_evidence, read_documents
from livinglab.services.engine import Engine
from livinglab.services.recording import Recorder
from livinglab.settings import Settings
from livinglab.sites.attest import attest
from livinglab.testing.fakes import Backend, FakeContainer, FakeSite
from tests.labs import TINY, manifest
from tests.unit.api.conftest import image_archive
from tests.unit.services.test_engine import harness, honest

SPEC = yaml.safe_load((TINY / "sandbox.yaml").read_text())


@dataclass
class InMemory(Parties):
    """The parties, at a lab whose site is in memory."""

    backend: Backend = field(default_factory=lambda: Backend(scripts={"pilot": honest, "python3": harness}))

    def supervisor(self, boundary: Callable[[str], None] | None = None) -> Supervisor:
        lab, vault = self.lab, self.lab.settings.vault_path
        release, _authority = lab.sandboxes.get("tiny")
        self.backend.images |= {release.harness_image, *(pilot.image for pilot in lab.applications.page(self.participant, None, 9))}
        for folder in vault.iterdir():
            self.backend.datasets[f"sha256:{folder.name}"] = {path.name: path.read_bytes() for path in folder.iterdir()}
        engine = Engine(store=lab.store, site=FakeSite(self.backend, lab.clock, name="docker"), artifacts=lab.artifacts, vault=FileVault(vault),
                        recorder=Recorder(lab.clock, lab_signer(lab.settings)), attest=attest, work=lab.settings.home / "work")  # fmt: skip
        return Supervisor(store=lab.store, engine=engine, clock=lab.clock, slots=1)


@pytest.fixture
def begun(tmp_path: Path) -> Rehearsal:
    """A rehearsal before its run."""
    images = {name: tmp_path / f"{name}.tar" for name in ("harness", "pilot")}
    for name, path in images.items():
        path.write_bytes(image_archive(text=name.encode()))
    spec, about = read_documents(SPEC, manifest("pilot"))
    parties = InMemory.meet(open_lab(Settings(home=tmp_path / "home")), spec.id)
    return Rehearsal.begin(parties, Play(spec, about, {}, TINY / "data" / "make.py", images["harness"], images["pilot"]))


def backend(begun: Rehearsal) -> Backend:
    assert isinstance(begun.parties, InMemory)
    return begun.parties.backend


def play(begun: Rehearsal) -> tuple[list[str], bytes]:
    """The kinds of what happened, and what was heard."""
    heard = bytearray()
    return [event.kind for event in begun.follow(heard.extend)], bytes(heard)


def test_a_rehearsal_is_followed_and_heard_to_its_verdict(begun: Rehearsal) -> None:
    kinds, heard = play(begun)
    assert (kinds[0], kinds[-1]) == ("run-queued", "run-ended")
    assert {"step-begun", "pilot-started", "run-judged"} <= set(kinds)
    assert heard == b"predicted\n"
    run, verdict = begun.ended(), begun.verdict()
    assert verdict
    assert (run.state, run.verdict, verdict.verdict) == (RunState.COMPLETED, "PASS", "PASS")
    assert {result.measurement.value for result in verdict.results if result.measurement} == {1.0, 0.75}, "values are not withheld from oneself"


def test_what_a_run_left_is_kept_with_evidence_that_holds(begun: Rehearsal, tmp_path: Path) -> None:
    play(begun)
    kept = tmp_path / "kept"
    begun.keep(kept)
    names = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert {"measurements.json", "verdict.json", "pilot.log", "pilot/predictions.csv", "decode/table.parquet", "dossier.zip"} <= names
    assert (kept / "pilot" / "predictions.csv").read_bytes() == b"id,risk\n"
    report = verify(kept / "dossier.zip", TrustPolicy.load(kept / "trust.json"))
    assert report.ok, report.problems


def test_of_a_harness_that_fails_the_log_is_there_to_be_read(begun: Rehearsal) -> None:
    def choke(c: FakeContainer) -> int:
        c.say(b"KeyError: 'horizon'\n")
        return 1

    backend(begun).scripts["python3"] = lambda c: harness(c) if c.spec.argv[-1] == "decode" else choke(c)
    play(begun)
    run = begun.ended()
    assert run.failure
    assert (run.state, run.failure.cause, begun.verdict()) == (RunState.FAILED, Cause.PLATFORM, None)
    assert begun.log("measure") == b"KeyError: 'horizon'\n"


def test_one_that_is_stopped_is_carried_by_nobody_and_has_no_end(begun: Rehearsal) -> None:
    backend(begun).scripts["pilot"] = lambda _c: None  # goes on and on
    events = begun.follow(lambda _data: None)
    assert any(event.data.get("step") == "execute" for event in events)
    events.close()
    with pytest.raises(PlatformFault, match="let go while it was running"):
        begun.ended()


def different(changes: dict[str, Any]) -> dict[str, Any]:
    about = manifest("pilot")
    return about | {"resources": about["resources"] | changes.pop("resources", {})} | changes


@pytest.mark.parametrize(("changes", "says"), [
    ({"sandbox": "medicine"}, "sandbox: the manifest is for sandbox 'medicine', and this one is 'tiny'."),
    ({"task": "doubling"}, "task: the sandbox measures 'survival', not 'doubling'."),
    ({"resources": {"memory": 1 << 40}}, "resources.memory: 1.09951e+12 is more than the sandbox allows"),
    ({"resources": {"gpus": 1}}, "resources.gpus: 1 is more than the sandbox allows"),
    ({"name": "No Slug"}, "name: "),
])  # fmt: skip
def test_documents_that_do_not_fit_are_refused_before_anything_is_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_documents(SPEC, different(changes))
    assert str(caught.value).startswith(says)


def test_required_documents_are_found_by_their_names_and_what_stands_in_for_the_others_is_taken(tmp_path: Path, begun: Rehearsal) -> None:
    kinds = ["application/pdf", "text/markdown"]
    demands = [("safety-case", kinds), ("plan-b", ["application/json"]), ("scan", ["application/pdf"]), ("note", ["text/plain"])]
    required = [{"name": name, "title": "A document", "must_hold": "Whatever it must.", "media_types": kinds} for name, kinds in demands]
    spec, about = read_documents(SPEC | {"required_evidence": required, "version": 2}, manifest("pilot"))
    (tmp_path / "safety_case.md").write_text("All is well.")
    (tmp_path / "plan-b.json").write_text("[]")
    evidence, missing = find_evidence(spec, tmp_path)
    assert (evidence["safety-case"], evidence["plan-b"]) == (("text/markdown", b"All is well."), ("application/json", b"[]"))
    assert missing == ("scan", "note")
    begun.parties.register(spec.model_dump(mode="json"), begun.parties.lab.sandboxes.get("tiny")[0].harness_image, TINY / "data" / "make.py")
    image = begun.parties.lab.applications.page(begun.parties.participant, None, 1)[0].image
    plan = begun.parties.propose(about.model_dump(mode="json"), image, "x", evidence)
    assert [document.name for document in plan.body.documents] == ["note", "plan-b", "safety-case", "scan"]


def test_an_archive_that_is_none_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "pilot.tar"
    archive.write_bytes(b"no archive")
    spec, about = read_documents(SPEC, manifest("pilot"))
    with pytest.raises(Invalid) as caught:
        Rehearsal.begin(Parties.meet(open_lab(Settings(home=tmp_path / "home")), spec.id), Play(spec, about, {}, tmp_path, archive, archive))
    assert str(caught.value).startswith(str(archive))


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    assert empty_folder(tmp_path / "new" / "folder").is_dir()
    with pytest.raises(Conflict, match="is not empty; nothing there is overwritten"):
        empty_folder(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["folder"]
