"""One run that counts for nothing, from the parties' folders to what it left."""

import shutil
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livinglab.domain.access import Document, Event
from livinglab.domain.documents import MediaType
from livinglab.domain.errors import Conflict, PlatformFault
from livinglab.domain.pilot import PilotManifest
from livinglab.domain.run import Run
from livinglab.domain.sandbox import Role, SandboxSpec
from livinglab.domain.verdict import SetVerdict
from livinglab.rehearsal.parties import Evidence, Parties, carry
from livinglab.services.applications import check_fits
from livinglab.services.sandboxes import parse

POLL = 0.1
"""Seconds between two looks at what happened."""
_LOG = 256 << 10  # bytes at a look
_TEXT = b"This stands in for a document, in a rehearsal.\n"
_STANDS_IN = {MediaType.MARKDOWN: _TEXT, MediaType.TEXT: _TEXT, MediaType.PDF: b"%PDF-", MediaType.JSON: b"{}"}


@dataclass(frozen=True)
class Play:
    """What is rehearsed: a specification and a manifest that fit, required evidence, the script that makes the data, and two images' archives."""

    spec: SandboxSpec
    manifest: PilotManifest
    evidence: Evidence
    script: Path
    harness: Path
    pilot: Path


def read_documents(spec: dict[str, Any], manifest: dict[str, Any]) -> tuple[SandboxSpec, PilotManifest]:
    """Both documents; `Invalid` with the place where one of them does not hold, or does not fit the other."""
    read = parse(SandboxSpec, spec, "specification"), parse(PilotManifest, manifest, "manifest")
    check_fits(read[1], read[0])
    return read


def find_evidence(spec: SandboxSpec, folder: Path) -> tuple[Evidence, tuple[str, ...]]:
    """What the sandbox requires, by files of the documents' names (with `-` or `_`) in the pilot's folder, and the names of what is not there.

    For that, something stands in: a rehearsal needs no document, and what it is is for people to judge.
    """
    evidence, missing = {}, []
    for required in spec.required_evidence:
        names = [(kind, f"{name}.{kind.suffix}") for kind in required.media_types for name in (required.name, required.name.replace("-", "_"))]
        kind, data = next(((kind, (folder / file).read_bytes()) for kind, file in names if (folder / file).is_file()), (required.media_types[0], b""))
        if not data:
            missing.append(required.name)
        evidence[required.name] = (kind.value, data or _STANDS_IN[kind])
    return evidence, tuple(missing)


@dataclass(frozen=True)
class Rehearsal:
    """A run at a lab that has no other."""

    parties: Parties
    run: Run

    @classmethod
    def begin(cls, parties: Parties, play: Play) -> "Rehearsal":
        """Take in the images, make the data, agree on a plan and queue a run.

        Raises:
            Invalid: an archive that is none, data that could not be made, documents that do not fit.
            Refused: the sandbox would not admit it either.
        """
        harness, pilot = parties.upload(Role.AUTHORITY, play.harness), parties.upload(Role.PARTICIPANT, play.pilot)
        parties.register(play.spec.model_dump(mode="json"), harness, play.script)
        proposed = parties.propose(play.manifest.model_dump(mode="json"), pilot, "A rehearsal, which counts for nothing", play.evidence)
        plan = parties.sign(proposed)
        return cls(parties, parties.request(plan))

    def follow(self, heard: Callable[[bytes], None]) -> Generator[Event]:
        """Carry the run in a thread of its own; what happens, until it is over. `heard` gets what the pilot writes meanwhile.

        Closed before that, it stops carrying, and returns when nobody carries any more; containers may be left.
        """
        supervisor = self.parties.supervisor()
        carrier = threading.Thread(target=carry, args=(supervisor,), name="rehearsal")
        carrier.start()
        after = said = 0
        try:
            while True:
                over = not carrier.is_alive()
                events = self.parties.lab.runs.events(self.parties.authority, self.run.id, after)
                yield from events
                after = events[-1].id if events else after
                said += self._hear(heard, said)
                if over and not events:
                    return
                if not events:
                    time.sleep(POLL)
        finally:
            supervisor.stopping.set()
            carrier.join()

    def _hear(self, heard: Callable[[bytes], None], offset: int) -> int:
        data = self.log("pilot", offset, _LOG)
        if data:
            heard(data)
        return len(data)

    def log(self, role: str, offset: int = 0, limit: int = 8 << 20) -> bytes:
        """What a container of the newest attempt wrote; whatever the specification discloses, both sides are one's own here."""
        attempt = self._newest_attempt()
        with self.parties.lab.store.transaction(read_only=True) as tx:
            return tx.read_log(attempt, role, offset, limit)

    def now(self) -> Run:
        """The run as it is now."""
        return self.parties.lab.runs.get(self.parties.authority, self.run.id)[0]

    def ended(self) -> Run:
        """The run, which is over; `PlatformFault` if it was let go before."""
        run = self.now()
        if not run.state.final:
            msg = f"the run was let go while it was {run.state}; what is above says why."
            raise PlatformFault(msg)
        return run

    def verdict(self) -> SetVerdict | None:
        """The verdict with all its values; None for a run that has none."""
        found = [d for d in self._documents() if d.name == "verdict.json"]
        return SetVerdict.model_validate_json(self.parties.lab.artifacts.read(found[0].digest)) if found else None

    def keep(self, folder: Path) -> None:
        """Everything that the run left, by its name, with the dossier and whom to trust to check it."""
        for document in self._documents():
            target = folder / document.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.parties.lab.artifacts.path(document.digest), target)
        policy = self.parties.write_dossier(self.run.plan, folder / "dossier.zip")
        (folder / "trust.json").write_text(policy.dump() + "\n")

    def _documents(self) -> tuple[Document, ...]:
        attempt = self._newest_attempt()
        with self.parties.lab.store.transaction(read_only=True) as tx:
            return tx.documents(attempt)

    def _newest_attempt(self) -> str:
        return self.parties.lab.runs.get(self.parties.authority, self.run.id)[1][-1].id


def empty_folder(folder: Path) -> Path:
    """That folder, made if it is not there; `Conflict` if it holds anything."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        msg = f"{folder} is not empty; nothing there is overwritten."
        raise Conflict(msg, hint="Name a folder that does not exist yet.")
    return folder
