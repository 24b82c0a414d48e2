"""What a participant sees of a run, channel by channel: a pilot that tells what it was shown by every way it has tells nobody who may not know."""

import base64
import json
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from livinglab.domain.access import Caller
from livinglab.domain.canonical import sha256
from livinglab.domain.disclosure import may_read
from livinglab.domain.errors import Forbidden, LivingLabError, NotFound, PlatformFault
from livinglab.domain.run import Run, RunState
from livinglab.domain.sandbox import Channel, Disclosure, Role
from livinglab.testing.fakes import FakeContainer
from tests.unit.services.test_engine import World, honest, make_world

CODE, NAME, SAID, DATA = 73, "marker-of-the-pilots.txt", b"said by the pilot", b"written by the pilot"
TOLD = {
    Channel.EXIT_CODE: (f"code {CODE}",), Channel.OUTPUTS: (NAME, sha256(DATA)), Channel.LOGS: (SAID.decode(), sha256(SAID)),
    Channel.USAGE: ("1234.5",),
}  # fmt: skip
"""Channel → what would show that it is open."""


def telling(c: FakeContainer) -> int:
    c.write(NAME, DATA)
    c.say(SAID)
    return CODE


def all_closed() -> dict[str, list[str]]:
    return {channel: ["authority"] for channel in (*TOLD, Channel.MEASUREMENTS, Channel.PLOTS)}


def carried(tmp_path: Path, script: object, disclosure: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> tuple[World, Run]:
    world = make_world(tmp_path, {}, disclosure=disclosure)
    world.backend.scripts["pilot"] = script  # type: ignore[assignment]
    collect = world.site.collect
    monkeypatch.setattr(world.site, "collect", lambda key, into: collect(key, into).model_copy(update={"usage": {"cpu_seconds": 1234.5}}))
    run = world.request()
    world.carry()
    return world, run


def seen(world: World, run: Run, caller: Caller, folder: Path) -> str:
    """Everything that this caller is shown of a run, by every way there is."""
    lab, found = world.lab, []
    asked = [
        *(partial(ask, caller, run.id) for ask in (lab.runs.get, lab.runs.why, lab.results.usage, lab.results.verdict, lab.results.measurements)),
        partial(lab.runs.events, caller, run.id, 0), partial(lab.results.log, caller, run.id, "pilot", 0, 1 << 20),
        partial(lab.results.documents, caller, run.id), partial(lab.results.receipt, caller, run.id),
        lambda: [row.body + b64(row.body) for row in lab.dossiers.ledger(caller, run.plan)],
    ]  # fmt: skip
    for ask in asked:
        try:
            found.append(repr(ask()))
        except (Forbidden, NotFound) as error:
            found.append(repr(error))
    for document, readable in lab.results.documents(caller, run.id):
        if readable:
            found.append(repr(lab.results.content(caller, run.id, document.name)[1].read_bytes()))
    lab.dossiers.write(caller, run.plan, folder / "dossier.zip")
    with ZipFile(folder / "dossier.zip") as archive:
        found += [repr((name, archive.read(name))) for name in archive.namelist()]
    return "\n".join(found)


def b64(envelope: bytes) -> bytes:
    """The payload of an envelope, as text."""
    document = json.loads(envelope)
    return base64.b64decode(document["payload"]) if "payload" in document else b""


@pytest.mark.parametrize("opened", list(TOLD))
def test_a_channel_that_is_open_is_seen_and_no_other(opened: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = carried(tmp_path, telling, all_closed() | {opened: ["participant", "authority"]}, monkeypatch)
    everything = seen(world, run, world.participant, tmp_path)
    assert world.look(run)[0].state is RunState.FAILED
    for channel, marks in TOLD.items():
        found = [mark for mark in marks if mark in everything]
        assert bool(found) is (channel is opened), (channel, found)


def test_who_oversees_sees_all_that_the_participant_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = carried(tmp_path, telling, all_closed(), monkeypatch)
    everything = seen(world, run, world.authority, tmp_path)
    left = json.loads(world.lab.results.content(world.authority, run.id, "left-pilot.json")[1].read_text())
    assert (left["exit_code"], left["outputs"], left["usage"]) == (CODE, {NAME: sha256(DATA)}, {"cpu_seconds": 1234.5})
    assert all(mark in everything for channel, marks in TOLD.items() if channel is not Channel.EXIT_CODE for mark in marks)


def test_two_runs_that_leave_the_same_are_sealed_under_two_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = carried(tmp_path, telling, all_closed(), monkeypatch)
    other = world.request("key-00000002")
    world.carry()
    sealed = [{d.name: d.digest for d, _ in world.lab.results.documents(world.participant, r.id)}["left-pilot.json"] for r in (run, other)]
    assert sealed[0] != sealed[1]


def test_what_the_decoder_says_of_the_outputs_is_said_to_those_who_may_read_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rejecting(c: FakeContainer) -> int:
        c.write("decode.json", json.dumps({"status": "rejected", "reason": f"column {NAME} is not known"}).encode())
        return 0

    sentences = {}
    for name, disclosure in {"closed": all_closed(), "open": all_closed() | {Channel.OUTPUTS: ["participant"]}}.items():
        (tmp_path / name).mkdir()
        world = make_world(tmp_path / name, {}, disclosure=disclosure)
        world.backend.scripts |= {"pilot": honest, "python3": rejecting}
        run = world.request()
        world.carry()
        failure = world.look(run)[0].failure
        assert failure
        sentences[name] = failure.sentence
    assert NAME in sentences["open"]
    assert NAME not in sentences["closed"]
    assert "not shown" in sentences["closed"]


@pytest.mark.parametrize(("name", "reader"), [
    ("../left-pilot.json", False), ("measure/replay.json", False), ("measure.log", False), ("decode/table.parquet", False),
    ("left-measure.json", False),
    ("key/key.parquet", False), ("", False), ("pilot/x", True), ("pilot.log", True), ("left-pilot.json", True), ("isolation-measure.json", True),
])  # fmt: skip
def test_what_a_harness_left_is_for_those_who_oversee(name: str, *, reader: bool) -> None:
    """Even where every channel of the pilot's is open to the participant: a harness has seen the hidden data."""
    shown = Disclosure.model_validate({channel: ["participant", "authority"] for channel in TOLD})
    caller = Caller(organisation="startup", roles={"tiny": Role.PARTICIPANT}, token="p")
    assert may_read(shown, caller, "tiny", name) is reader
    assert not may_read(shown, Caller(organisation="x", roles={"other": Role.PARTICIPANT}, token="x"), "tiny", name)


def test_a_document_that_is_not_shown_is_not_told_from_one_that_never_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = carried(tmp_path, telling, all_closed(), monkeypatch)

    def answer(name: str) -> str:
        with pytest.raises(LivingLabError) as caught:
            world.lab.results.content(world.participant, run.id, name)
        return f"{type(caught.value).__name__}: {caught.value}".replace(name, "NAME")

    assert answer(f"pilot/{NAME}") == answer("pilot/never-was.txt")
    assert answer("left-pilot.json").startswith("Forbidden")


def test_what_no_statement_names_yet_is_in_no_dossier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the campaign: an attempt that the platform failed between collecting and stating left a document that nobody had signed for."""
    world = make_world(tmp_path, {}, disclosure=all_closed())
    attest = world.engine.attest

    def once(*arguments: Any) -> Any:
        object.__setattr__(world.engine, "attest", attest)
        raise PlatformFault("the disk is full.")

    object.__setattr__(world.engine, "attest", once)
    run = world.request()
    world.carry()
    assert [a.state for a in world.look(run)[1]] == [RunState.FAILED, RunState.COMPLETED]
    world.lab.dossiers.write(world.authority, run.plan, tmp_path / "dossier.zip")
    with ZipFile(tmp_path / "dossier.zip") as archive:
        left = {name for name in archive.namelist() if name.endswith("left-pilot.json")}
    assert left == {f"documents/{run.id}.2/left-pilot.json"}
