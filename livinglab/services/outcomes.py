"""What an ended job left, taken into keeping, and what follows from it: statements, and whose failure it was."""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from livinglab.domain.access import Document
from livinglab.domain.canonical import canonical, digest_of
from livinglab.domain.disclosure import Left, Log
from livinglab.domain.errors import IsolationNotProven, NotFound, NothingKnown, PilotFault, PlatformFault, Unreachable
from livinglab.domain.isolation import Area, Attestation, Finding
from livinglab.domain.run import Cause, Failure, JobKey, JobRole, Step
from livinglab.domain.sandbox import Channel, Role
from livinglab.domain.situation import Situation
from livinglab.domain.verdict import MeasurementFile, SetVerdict
from livinglab.ports import Artifacts, JobSpec, Observation, Outcome, Site, Tx

__all__ = ["Area", "Collected", "HarnessRole", "collect"]

HarnessRole = Literal["prepare", "drive", "decode", "measure"]

MEASUREMENTS_LIMIT = 8 << 20
REPORT_LIMIT = 64 << 10
"""Bytes of decode.json and drive.json."""
_TAIL = 2_000
_SENTENCE = 500
_KILLED = 137
"""128 + SIGKILL: whoever lives together with one that has ended is ended by the site."""
_ABANDONED = 86_400.0  # seconds


@dataclass(frozen=True)
class Collected:
    """A job's outcome in keeping: everything in it is a blob, so the job itself may go."""

    key: JobKey
    data: dict[str, Any]
    """As the journal keeps it."""
    documents: tuple[Document, ...]
    report: bytes | None
    site_view: tuple[Finding, ...]
    log: bytes

    @property
    def exit_code(self) -> int:
        """The container's exit code."""
        return int(self.data["exit_code"])

    @property
    def limit(self) -> str | None:
        """The limit that ended it."""
        limit: str | None = self.data["limit"]
        return limit

    @property
    def ended_at(self) -> datetime:
        """When the container ended, by the site's clock."""
        return datetime.fromisoformat(self.data["ended_at"])

    @property
    def outputs(self) -> dict[str, str]:
        """Path → digest."""
        return dict(self.data["outputs"])

    def about(self) -> dict[str, str]:
        """What a statement about it names: of all that the container left, the one salted digest."""
        return {self.left.name: self.left.digest}

    @property
    def left(self) -> Document:
        """All that the container left, sealed: a document of the attempt from when a statement names it, and not before."""
        name = Left.name_of(self.key.role)
        return Document(subject=self.key.attempt, name=name, media_type="application/json", digest=self.data["left"], size=self.data["left_size"])

    def keep_log(self, tx: Tx) -> None:
        """The whole log, where followers read it."""
        if self.log:
            tx.append_log(self.key.attempt, self.key.role, 0, self.log)

    @classmethod
    def of(cls, data: Mapping[str, Any] | None, artifacts: Artifacts, key: JobKey) -> "Collected":
        """Again, from the journal."""
        if data is None:
            msg = f"job {key} was not collected."
            raise NotFound(msg)
        report = artifacts.read(data["report"]) if data["report"] else None
        return cls(key=key, data=dict(data), documents=tuple(Document.model_validate(d) for d in data["documents"]), report=report,
                   site_view=tuple(Finding.model_validate(f) for f in data["site_view"]), log=artifacts.read(data["log"]))  # fmt: skip


def collect(site: Site, artifacts: Artifacts, key: JobKey, work: Path) -> Collected:
    """Copy what the job left into the lab's own blobs. Idempotent until the site releases the job.

    By way of a folder of this call's own: a supervisor that has lost the attempt may still be at it.

    Raises:
        PlatformFault: it is not there any more, though nobody here has released it.
    """
    folder = work / "collect"
    folder.mkdir(parents=True, exist_ok=True)
    _forget_abandoned(folder)
    into = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=folder))
    try:
        outcome = site.collect(key, into)
    except NotFound as error:
        raise lost(site, key) from error
    else:
        return _keep(artifacts, key, outcome)
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _forget_abandoned(folder: Path) -> None:
    """What killed processes have left; nobody copies for as long as that."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def lost(site: Site, key: JobKey) -> PlatformFault:
    """The fault of a job that a site has started, and does not know any more."""
    msg = f"the {key.role} container was lost: site {site.name} answers that it is not there."
    return PlatformFault(msg)


def unreachable(site: Site, observation: Observation) -> Unreachable:
    """Of a job of which nothing is known: whether that is its site's silence, or a word of which nothing follows."""
    if observation.away:
        return Unreachable(f"site {site.name} does not answer: {observation.reason}")
    return NothingKnown(f"nothing is known of {observation.key} at site {site.name}: {observation.reason}.")


def _keep(artifacts: Artifacts, key: JobKey, outcome: Outcome) -> Collected:
    log = outcome.log_path.read_bytes()
    documents = [_document(artifacts, key, f"{key.role}.log", "text/plain", log)]
    outputs: dict[str, str] = {}
    for file in outcome.outputs:
        with (outcome.outputs_dir / file.path).open("rb") as stream:
            digest, size = artifacts.put_stream(iter(lambda: stream.read(1 << 20), b""), limit=file.size)
        outputs[file.path] = digest
        # The lab's own documents have no folder in their names; of what a container wrote, the measurements alone are among them.
        name = file.path if (key.role, file.path) == ("measure", "measurements.json") else f"{key.role}/{file.path}"
        documents.append(Document(subject=key.attempt, name=name, media_type="application/octet-stream", digest=digest, size=size))
    data = {
        "exit_code": outcome.exit_code, "limit": outcome.limit,
        "started_at": outcome.started_at.isoformat(), "ended_at": outcome.ended_at.isoformat(),
        "report": artifacts.put(outcome.report) if outcome.report else None, "site_view": [f.model_dump(mode="json") for f in outcome.site_view],
        "log": documents[0].digest, "log_bytes": outcome.log_bytes, "log_truncated": outcome.log_truncated, "outputs": outputs,
        "output_problem": outcome.output_problem, "usage": outcome.usage,
    }  # fmt: skip
    left = Left(
        salt=Left.new_salt(), role=key.role, exit_code=outcome.exit_code, limit=outcome.limit, output_problem=outcome.output_problem,
        started_at=outcome.started_at, ended_at=outcome.ended_at, outputs=outputs, usage=outcome.usage,
        log=Log(digest=documents[0].digest, bytes=outcome.log_bytes, truncated=outcome.log_truncated))  # fmt: skip
    sealed = store_json(artifacts, key.attempt, Left.name_of(key.role), left)
    data |= {"left": sealed.digest, "left_size": sealed.size, "documents": [d.model_dump(mode="json") for d in documents]}
    return Collected(key=key, data=data, documents=tuple(documents), report=outcome.report, site_view=outcome.site_view, log=log)


def _document(artifacts: Artifacts, key: JobKey, name: str, media_type: str, data: bytes) -> Document:
    return Document(subject=key.attempt, name=name, media_type=media_type, digest=artifacts.put(data), size=len(data))


def store_json(artifacts: Artifacts, attempt: str, name: str, model: BaseModel) -> Document:
    """A model's canonical bytes, as a document."""
    data = canonical(model)
    return Document(subject=attempt, name=name, media_type="application/json", digest=artifacts.put(data), size=len(data))


def store_attestation(artifacts: Artifacts, key: JobKey, attestation: Attestation) -> Document:
    """The judgement over probe and site view, as a document."""
    return store_json(artifacts, key.attempt, f"isolation-{key.role}.json", attestation)


def under(outputs: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The outputs below a folder, by their names in it."""
    return {name.removeprefix(prefix): digest for name, digest in outputs.items() if name.startswith(prefix)}


# --- whose failure ----------------------------------------------------------------------------------------------------


def isolation_failure(attestation: Attestation, collected: Collected, s: Situation | None = None) -> Failure | None:
    """Isolation that is not proven refuses the run, unless the pilot itself washed the proof away by flooding its log.

    What then stands first in the log is the pilot's, an imitation of a report perhaps; the site must still have seen all hold.
    """
    if attestation.holds:
        return None
    if attestation.report is None and collected.limit == "log_bytes" and all(f.holds for f in collected.site_view):
        return _limit_failure(collected, "log_bytes", s)
    return Failure(cause=Cause.POLICY, code="isolation-not-proven", sentence=f"Isolation was not proven: {'; '.join(attestation.reasons)}.")


def pilot_failure(s: Situation, collected: Collected) -> Failure | None:
    """How the pilot itself failed, if it did."""
    if collected.limit:
        return _limit_failure(collected, collected.limit, s)
    if collected.data["output_problem"]:
        problem = _said_of_outputs(s, collected.data["output_problem"])
        return Failure(cause=Cause.PILOT, code="output-unusable", sentence=f"The pilot's outputs cannot be used: {problem}")
    if collected.exit_code:
        return _exit_failure(s, collected)
    table = s.release.spec.family.output
    if not any(name in collected.outputs for name in (f"{table}.parquet", f"{table}.csv")):
        found = f" (found: {', '.join(sorted(collected.outputs)) or 'nothing'})" if _shown(s, Channel.OUTPUTS) else ""
        return Failure(cause=Cause.PILOT, code="output-missing", sentence=f"The pilot wrote no /out/{table}.parquet or {table}.csv{found}.")
    return None


def interactive_failure(s: Situation, pilot: Collected, drive: Collected, attestation: Attestation, artifacts: Artifacts) -> Failure | None:
    """How a pilot failed that was asked step by step, if it did: by a limit, by its end, or by what its driver says of its answers.

    Raises:
        IsolationNotProven, PlatformFault: it was the driver that failed.
    """
    if attestation.holds and pilot.limit:
        return _limit_failure(pilot, pilot.limit, s)
    if attestation.holds and drive.exit_code and pilot.exit_code and pilot.ended_at < drive.ended_at:
        return _exit_failure(s, pilot)  # the driver was ended because the pilot had
    check_harness(drive, attestation, "drive")
    status, reason = _report(drive, artifacts, "drive.json")
    if status == "ok":
        return _exit_failure(s, pilot) if pilot.exit_code not in (0, _KILLED) else None
    if status not in ("rejected", "left"):
        msg = f"the driver's report says {status[:40]!r}, which is no status that is known."
        raise PlatformFault(msg)
    if status == "left" and pilot.exit_code not in (0, _KILLED):
        return _exit_failure(s, pilot)
    sentence = _said_of_outputs(s, reason[:_SENTENCE] or "the driver rejected the answers without a reason.")
    return Failure(cause=Cause.PILOT, code="protocol", sentence=f"The pilot broke the protocol: {sentence}")


def _exit_failure(s: Situation, collected: Collected) -> Failure:
    said = _end_of_log(collected) if _shown(s, Channel.LOGS) else ""
    ended = f"exited with code {collected.exit_code}" if _shown(s, Channel.EXIT_CODE) else "ended with an error, by an exit code that is not shown"
    return Failure(cause=Cause.PILOT, code="exit-code", sentence=f"The pilot {ended}; 0 was expected.{said}")


def _shown(s: Situation, channel: Channel) -> bool:
    """May everybody who sees the run read of it in a sentence? A sentence is in the chain, which the participant reads."""
    return s.release.spec.disclosure.allows(channel, Role.PARTICIPANT)


def _said_of_outputs(s: Situation, sentence: str) -> str:
    """A sentence that may quote what the pilot wrote: names of files and columns, values."""
    return sentence if _shown(s, Channel.OUTPUTS) else "what is wrong with them is not shown in this sandbox. `livinglab try` rehearses them."


def _end_of_log(collected: Collected) -> str:
    """The end of a log, fit for a sentence: it is read in terminals, and must not move their cursors."""
    text = collected.log[-_TAIL:].decode(errors="replace").strip()
    tail = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return f" Its log ends: {tail}" if tail else " It wrote no log."


def _limit_failure(collected: Collected, limit: str, s: Situation | None = None) -> Failure:
    code, sentence = {
        "wall_seconds": ("out-of-time", "The pilot ran longer than its time limit"),
        "memory": ("out-of-memory", "The pilot used more memory than its limit"),
        "log_bytes": ("log-limit", "The pilot wrote more log than its limit"),
        "output_bytes": ("output-limit", "The pilot wrote more output than its limit"),
        "pids": ("process-limit", "The pilot started more processes than its limit"),
    }[limit]
    units = {"wall_seconds": "seconds", "pids": "processes"}.get(limit, "bytes")
    resources = s.pilot.manifest.resources if s else None
    amount = f" of {getattr(resources, limit):,.12g} {units}" if resources else ""
    amount += f" or {resources.output_files:,} files" if resources and limit == "output_bytes" else ""
    shown = f" (exit code {collected.exit_code})" if s and _shown(s, Channel.EXIT_CODE) else ""
    return Failure(cause=Cause.PILOT, code=code, sentence=f"{sentence}{amount}, and was ended{shown}.")


def check_harness(collected: Collected, attestation: Attestation, role: HarnessRole) -> None:
    """A harness that fails is the lab's fault, except where the decoder choked on a pilot's bytes.

    The sentence says nothing of its log: a harness has seen the hidden data, and everybody who sees the run reads the sentence.

    Raises:
        IsolationNotProven, PlatformFault, PilotFault
    """
    if not attestation.holds:
        msg = f"the isolation of the {role} container was not proven"
        raise IsolationNotProven(msg, reasons=attestation.reasons)
    if collected.exit_code == 0 and not collected.limit and not collected.data["output_problem"]:
        return
    ended = collected.limit or collected.data["output_problem"] or f"exit code {collected.exit_code}"
    if role == "decode" and collected.limit:
        msg = f"the outputs could not be decoded within the limits ({ended})."
        raise PilotFault(msg)
    msg = f"the harness failed at {role}: {ended}. Its log is kept for those who oversee the sandbox."
    raise PlatformFault(msg)


def _read_output(collected: Collected, artifacts: Artifacts, name: str, limit: int) -> bytes:
    digest = collected.outputs.get(name)
    if digest is None:
        msg = f"the harness wrote no {name}."
        raise PlatformFault(msg)
    with artifacts.open(digest) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        msg = f"the harness wrote a {name} of more than {limit} bytes."
        raise PlatformFault(msg)
    return data


def check_decoded(s: Situation, collected: Collected, artifacts: Artifacts) -> None:
    """`PilotFault` if the decoder rejected the outputs, with its sentence where that may be shown; `PlatformFault` if it left no table."""
    status, reason = _report(collected, artifacts, "decode.json")
    if status == "rejected":
        raise PilotFault(_said_of_outputs(s, reason[:_SENTENCE] or "the decoder rejected the outputs without a reason."))
    if status != "ok" or "table.parquet" not in collected.outputs:
        msg = "the decoder left no table."
        raise PlatformFault(msg)


def _report(collected: Collected, artifacts: Artifacts, name: str) -> tuple[str, str]:
    """Status and reason, as decoder or driver wrote them."""
    try:
        report = json.loads(_read_output(collected, artifacts, name, REPORT_LIMIT))
        return str(report["status"]), str(report.get("reason", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"the harness's {name} is not what it should be."
        raise PlatformFault(msg) from error


def check_measurements(collected: Collected, artifacts: Artifacts) -> MeasurementFile:
    """What the harness wrote, by its schema; `PlatformFault` if it is anything else. A harness is trusted to measure, not to write JSON."""
    data = _read_output(collected, artifacts, "measurements.json", MEASUREMENTS_LIMIT)
    try:
        return MeasurementFile.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"measurements.json: {'.'.join(map(str, first['loc']))}: {first['msg']}."
        raise PlatformFault(msg) from error


# --- what is stated ---------------------------------------------------------------------------------------------------


def admission(s: Situation, tx: Tx) -> dict[str, Any]:
    """Under which plan, as which run of it, and of how many of that organisation's before; and whose outputs it measures again, if it does."""
    body = s.plan.body
    return {
        "plan": s.plan.digest, "pilot": s.pilot.id, "image": s.pilot.image, "manifest": s.pilot.manifest.digest, "criteria": body.criteria,
        "release": body.release, "isolation": body.isolation, "harness": body.harness_image, "commitment": body.commitment, "site": s.run.site,
        "ordinal": s.run.ordinal, "measuredRuns": body.measured_runs,
        "runsBefore": tx.runs_before(s.run.organisation, s.run.sandbox, s.run.created_at),
        "reusedFrom": (s.done(Step.ATTEST) or {}).get("reused_from"),
    }  # fmt: skip


def isolation(spec: JobSpec, role: JobRole, attestation: Attestation) -> dict[str, Any]:
    """What was demanded, what was seen, and whether it holds. The nonce is bound, and by now no secret."""
    return {"role": role, "job": digest_of(spec.model_copy(update={"nonce": ""})), **attestation.model_dump(mode="json")}


def execution(s: Situation, collected: Collected) -> dict[str, Any]:
    """The run itself: from what, where, and the digest of what it left. How it ended in detail is for those whom the sandbox shows it."""
    d = collected.data
    return {
        "image": s.pilot.image, "entrypoint": list(s.pilot.manifest.entrypoint), "site": s.run.site, "ordinal": s.run.ordinal,
        "limit": d["limit"], "left": sealed(d),
    }  # fmt: skip


def sealed(collected: Mapping[str, Any]) -> dict[str, str]:
    """What is measured, by role → digest of all that its container left: the pilot, and the driver that wrote down what it answered."""
    return {"pilot": collected["left"]} | ({"drive": collected["drive"]["left"]} if "drive" in collected else {})


def measurement(s: Situation, collected: Collected) -> dict[str, Any]:
    """By which harness, of which outputs, on which hidden data, against which criteria."""
    return {
        "harness": s.release.harness_image, "hiddenData": s.plan.body.hidden_data, "criteria": s.plan.body.criteria,
        "replicates": s.plan.body.replicates, "left": sealed(s.done(Step.COLLECT) or {}),
        "ordinal": s.run.ordinal, "measurements": collected.outputs["measurements.json"], "visibility": s.release.spec.data.visibility,
    }  # fmt: skip


def verdict(s: Situation, result: SetVerdict) -> dict[str, Any]:
    """The verdict per criterion, without values: those are in the measurements, by digest."""
    return {
        "verdict": result.verdict, "criteria": s.plan.body.criteria, "semantics": result.semantics, "ordinal": s.run.ordinal,
        "visibility": s.release.spec.data.visibility,
        "results": [{"criterion": r.criterion, "severity": r.severity, "verdict": r.verdict} for r in result.results],
    }  # fmt: skip
