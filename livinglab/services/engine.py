"""The run engine: `advance` carries an attempt one step further, over a journal that survives a kill between any two lines.

Every step is: read the journal; do a side effect that is find-or-create; write in one transaction what it left. A step
that is interrupted is begun again, and finds what it did. Prefect's flow and inline dispatch do nothing but call this.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from livinglab.domain.disclosure import PILOTS
from livinglab.domain.errors import PilotFault, PlatformFault, Refused, StaleEpoch, Unreachable, no_room
from livinglab.domain.isolation import Attestation, Finding, IsolationProfile
from livinglab.domain.plan import PlanState
from livinglab.domain.run import Cause, Failure, JobKey, RunState, Step
from livinglab.domain.sandbox import Channel
from livinglab.domain.situation import Situation
from livinglab.domain.verdict import MeasurementFile, judge
from livinglab.ports import Artifacts, JobSpec, Observation, Progress, Queueing, Seen, Site, Store, Tx, Vault
from livinglab.services import outcomes
from livinglab.services.admission import why_not_admitted
from livinglab.services.budget import count
from livinglab.services.jobs import context, job
from livinglab.services.journal import Journal, failure_of
from livinglab.services.queueing import Maintenance, PostponedError, heed_queue, postponed
from livinglab.services.reach import Reach
from livinglab.services.recording import Recorder, Subject
from livinglab.services.runs import request_cancel
from livinglab.services.sealing import Sealing

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=2)
LOG_PULL = 256 << 10
POSTPONED = timedelta(seconds=10)
"""What is not begun for the sake of maintenance is looked at again after so long at the latest: the window may be called off, or the run."""

Attest = Callable[[IsolationProfile, JobSpec, bytes | None, tuple[Finding, ...], int], Attestation]
"""Judges a launcher's report beside the site's own view (see `sites.attest`)."""

Boundary = Callable[[str], None]
"""Called between any two side effects, with the name of the place: where a test kills the process."""


@dataclass(frozen=True)
class Engine:
    """Carries the attempts of one site."""

    store: Store
    site: Site
    artifacts: Artifacts
    recorder: Recorder
    vault: Vault
    attest: Attest
    work: Path
    boundary: Boundary = lambda _place: None

    @property
    def journal(self) -> Journal:
        """The journal, under this engine's recorder."""
        return Journal(self.store, self.recorder)

    @cached_property
    def reach(self) -> Reach:
        """Whether anything can be done at the site, as whoever carries its attempts finds."""
        return Reach(self.store, self.recorder, self.site.name)

    @property
    def _maintenance(self) -> Maintenance:
        return Maintenance(self.store, self.recorder.clock, self.site.name)

    def advance(self, attempt_id: str, epoch: int) -> Progress:
        """Do the next step of an attempt that this process holds at `epoch`, as far as it goes without waiting.

        Raises:
            StaleEpoch: another supervisor holds the attempt; nothing was written.
            Unreachable: a backend is away, or a disk is full; nothing changed, try again later.
        """
        s = self.journal.situation(attempt_id)
        if s.attempt.epoch != epoch:
            msg = f"attempt {attempt_id} is at epoch {s.attempt.epoch}, not {epoch}."
            raise StaleEpoch(msg)
        if s.attempt.state.final:
            return Progress(step=Step.SEAL, done=True)
        s = self._heed_stops(s)
        step = s.next_step
        try:
            waiting = self._steps[step](self, s)
        except (StaleEpoch, Unreachable):
            raise
        except PostponedError as error:
            return Progress(step=step, done=False, by=error.until)
        except Exception as error:
            if full := no_room(error):
                raise full from error
            if step in (Step.RELEASE, Step.SEAL):
                raise  # nothing is left to fail: tried again until it is done
            if isinstance(error, PilotFault):
                log.info("attempt %s failed at %s, by its pilot", attempt_id, step)  # no error of this worker's: it fills no log with traces
            else:
                log.exception("attempt %s failed at %s", attempt_id, step)
            self.journal.fail(s, failure_of(step, error))
            waiting = ()
        by = self._maintenance.turns_at(job(s, waiting[0].role)) if waiting and isinstance(self.site, Queueing) else None
        return Progress(step=step, done=step is Step.SEAL, waiting=waiting, by=by)

    def upcoming(self, attempt_id: str) -> Step | None:
        """The step that `advance` would do next; None once the attempt is final."""
        s = self.journal.situation(attempt_id)
        return None if s.attempt.state.final else s.next_step

    # --- stopping ------------------------------------------------------------------------------------------------------

    def _heed_stops(self, s: Situation) -> Situation:
        """A plan that is no longer in force cancels its runs; a cancelled run goes straight to its release."""
        if s.plan.state in (PlanState.SUSPENDED, PlanState.TERMINATED) and not s.run.state.final and s.run.state is not RunState.CANCELLING:
            with self.store.transaction() as tx:
                run = tx.run(s.run.id) or s.run
                if run.state in (RunState.QUEUED, RunState.RUNNING):
                    run = request_cancel(tx, self.recorder, run, s.plan.body.authority, f"the plan is {s.plan.state}")
            s = replace(s, run=run)
        if s.run.state is RunState.CANCELLING and s.attempt.failure is None and s.done(Step.JUDGE) is None:
            sentence = f"Cancelled by {s.run.cancel_requested_by}: {s.run.cancel_reason}"
            self.journal.fail(s, Failure(cause=Cause.POLICY, code="cancelled", sentence=sentence))
            s = self.journal.situation(s.attempt.id)
        return s

    # --- the steps -----------------------------------------------------------------------------------------------------

    def _admit(self, s: Situation) -> tuple[JobKey, ...]:
        missing = [name for name, ref in (("participant", s.release.participant_data), ("hidden", s.release.hidden_data))
                   if not self.site.has_dataset(ref.digest)]  # fmt: skip
        if missing:
            msg = f"the {' and '.join(missing)} data of this plan are not in the vault of site {self.site.name!r}."
            raise PlatformFault(msg, hint="Place them with `livinglab sandbox prepare`.")
        self.vault.secret(s.release.commitment)

        def admitted(tx: Tx, subject: Subject) -> None:
            self._check_admission(tx, s)
            run, attempt = tx.run(s.run.id) or s.run, tx.attempt(s.attempt.id) or s.attempt
            if run.state is RunState.QUEUED:
                tx.update_run(run.to(RunState.RUNNING), run)
            if attempt.state is RunState.QUEUED:
                tx.update_attempt(attempt.to(RunState.RUNNING), s.attempt.epoch)
            self.recorder.state(tx, subject, "admission", {"plan": s.plan.digest, "pilot": s.pilot.image}, outcomes.admission(s, tx))
            self.recorder.tell(tx, subject, "run-admitted", {"site": s.run.site})

        self.journal.finish(s, Step.ADMIT, {}, also=admitted)
        self.boundary("admit:done")
        return ()

    def _check_admission(self, tx: Tx, s: Situation) -> None:
        """Asked of the plan as it is in this transaction: it may have been stopped since the situation was read."""
        plan = tx.plan(s.plan.id) or s.plan
        reasons = why_not_admitted(tx, plan, s.run.site, self.recorder.clock.now().date(), s.run)
        if reasons:
            msg = "the run may not start"
            raise Refused(msg, reasons=reasons)

    def _images(self, s: Situation) -> tuple[JobKey, ...]:
        self.journal.begin(s, Step.IMAGES, {})
        ids = {digest: self.site.ensure_image(digest) for digest in (s.pilot.image, s.release.harness_image)}
        self.boundary("images:ensured")
        self.journal.finish(s, Step.IMAGES, {"derived": ids})
        return ()

    def _prepare(self, s: Situation) -> tuple[JobKey, ...]:
        return self._harness_job(s, Step.PREPARE, "prepare")

    def _stage(self, s: Situation) -> tuple[JobKey, ...]:
        self.journal.begin(s, Step.STAGE, {})
        prepared = s.done(Step.PREPARE)
        if prepared:
            self._push(s, "inputs", outcomes.under(prepared["outputs"], "inputs/"))
        self.boundary("stage:pushed")
        self.journal.finish(s, Step.STAGE, {})
        return ()

    def _execute(self, s: Situation) -> tuple[JobKey, ...]:
        if s.release.spec.family.interactive and Step.EXECUTE not in s.journal:
            self._push_context(s, Step.EXECUTE, "drive")
        waiting = self._run_job(s, Step.EXECUTE, job(s, "pilot"), also=lambda tx, _subject: self._check_admission(tx, s))
        if waiting:
            return waiting
        left = s.journal[Step.EXECUTE].data if Step.EXECUTE in s.journal else {}
        self.journal.finish(s, Step.EXECUTE, {name: value for name, value in left.items() if name in ("handle", "created")})
        self.boundary("execute:done")
        return ()

    def _collect(self, s: Situation) -> tuple[JobKey, ...]:
        found = {c.role: outcomes.collect(self.site, self.artifacts, s.key(c.role), self.work) for c in job(s, "pilot").containers}
        self.boundary("collect:stored")

        def keep(tx: Tx, _subject: Subject) -> None:
            for collected in found.values():
                collected.keep_log(tx)

        documents = [document for collected in found.values() for document in collected.documents]
        data = found["pilot"].data | {role: collected.data for role, collected in found.items() if role != "pilot"}
        self.journal.finish(s, Step.COLLECT, data, documents=documents, also=keep)
        self.boundary("collect:done")
        return ()

    def _attest(self, s: Situation) -> tuple[JobKey, ...]:
        spec, left = job(s, "pilot"), s.done(Step.COLLECT) or {}
        found = {c.role: outcomes.Collected.of(left if c.role == "pilot" else left[c.role], self.artifacts, s.key(c.role)) for c in spec.containers}
        seen = {role: self._attestation(spec, collected) for role, collected in found.items()}
        documents = {role: outcomes.store_attestation(self.artifacts, s.key(role), attestation) for role, attestation in seen.items()}
        pilot, drive = found["pilot"], found.get("drive")
        failure = outcomes.isolation_failure(seen["pilot"], pilot, s)
        if failure is None and drive:
            failure = outcomes.interactive_failure(s, pilot, drive, seen["drive"], self.artifacts)
        elif failure is None:
            failure = outcomes.pilot_failure(s, pilot)

        def state(tx: Tx, subject: Subject) -> None:
            for role, document in documents.items():
                image = {"pilot": s.pilot.image} if role == "pilot" else {"harness": s.release.harness_image}
                self.recorder.state(tx, subject, "isolation", {**image, document.name: document.digest}, outcomes.isolation(spec, role, seen[role]))
            about = {name: digest for collected in found.values() for name, digest in collected.about().items()}
            self.recorder.state(tx, subject, "execution", about, outcomes.execution(s, pilot))
            count(tx, s, PILOTS)

        holds = all(attestation.holds for attestation in seen.values())
        named = [*documents.values(), *(collected.left for collected in found.values())]
        self.journal.finish(s, Step.ATTEST, {"holds": holds}, documents=named, also=state, failure=failure)
        self.boundary("attest:done")
        return ()

    def _decode(self, s: Situation) -> tuple[JobKey, ...]:
        if Step.DECODE not in s.journal:
            self._push(s, "sealed", (s.done(Step.COLLECT) or {})["outputs"])
        return self._harness_job(s, Step.DECODE, "decode")

    def _measure(self, s: Situation) -> tuple[JobKey, ...]:
        if Step.MEASURE not in s.journal:
            if s.release.spec.family.interactive:
                self._push(s, "recording", (s.done(Step.COLLECT) or {})["drive"]["outputs"])
            else:
                decoded = (s.done(Step.DECODE) or {})["outputs"]
                self._push(s, "decoded", {name: digest for name, digest in decoded.items() if name == "table.parquet"})
            if prepared := s.done(Step.PREPARE):
                self._push(s, "key", outcomes.under(prepared["outputs"], "key/"))
        return self._harness_job(s, Step.MEASURE, "measure")

    def _judge(self, s: Situation) -> tuple[JobKey, ...]:
        measured = (s.done(Step.MEASURE) or {})["outputs"]["measurements.json"]
        measurements = MeasurementFile.model_validate_json(self.artifacts.read(measured)).measurements
        verdict = judge(s.release.spec.frozen_criteria(s.plan.body.measured_runs), measurements)
        document = outcomes.store_json(self.artifacts, s.attempt.id, "verdict.json", verdict)
        self.boundary("judge:stored")

        def state(tx: Tx, subject: Subject) -> None:
            about = {"verdict.json": document.digest, "measurements.json": measured, "criteria": s.plan.body.criteria}
            self.recorder.state(tx, subject, "verdict", about, outcomes.verdict(s, verdict))
            self.recorder.tell(tx, subject, "run-judged", {"verdict": verdict.verdict})

        self.journal.finish(s, Step.JUDGE, {"verdict": verdict.verdict}, documents=[document], also=state)
        self.boundary("judge:done")
        return ()

    def _release(self, s: Situation) -> tuple[JobKey, ...]:
        """Everything of the attempt is seen dead before anything is removed, and the time of seeing it is kept."""
        keys = [key for key in self.site.owned() if key.attempt == s.attempt.id]
        seen = self.site.observe(keys) if keys else {}
        if unreachable := next((o for o in seen.values() if o.seen is Seen.UNREACHABLE), None):
            raise outcomes.unreachable(self.site, unreachable)
        alive = tuple(key for key, o in seen.items() if o.seen in (Seen.RUNNING, Seen.PENDING))
        for key in alive:
            self.site.cancel(key, GRACE)
            self.boundary("release:cancelled")
        if alive:
            return alive
        now = self.recorder.clock.now()
        self.site.release(s.attempt.id)
        self.boundary("release:released")
        self.journal.finish(s, Step.RELEASE, {"seen_dead_at": now.isoformat(), "jobs": sorted(str(key) for key in keys)})
        return ()

    def _seal(self, s: Situation) -> tuple[JobKey, ...]:
        Sealing(self.store, self.recorder).seal(s)
        self.boundary("seal:done")
        return ()

    _steps = {
        Step.ADMIT: _admit, Step.IMAGES: _images, Step.PREPARE: _prepare, Step.STAGE: _stage, Step.EXECUTE: _execute, Step.COLLECT: _collect,
        Step.ATTEST: _attest, Step.DECODE: _decode, Step.MEASURE: _measure, Step.JUDGE: _judge, Step.RELEASE: _release, Step.SEAL: _seal,
    }  # fmt: skip

    # --- jobs ----------------------------------------------------------------------------------------------------------

    def _push(self, s: Situation, area: outcomes.Area, blobs: dict[str, str]) -> None:
        self.site.push(s.attempt.id, area, {name: self.artifacts.path(digest) for name, digest in blobs.items()})

    def _push_context(self, s: Situation, step: Step, role: outcomes.HarnessRole) -> None:
        secret = None if role == "decode" else self.vault.secret(s.release.commitment)
        self._push(s, "context", {"context.json": self.artifacts.put(context(s, role, secret))})
        self.boundary(f"{step}:pushed")

    def _attestation(self, spec: JobSpec, collected: outcomes.Collected) -> Attestation:
        """Of one of a job's containers, by what was demanded of that one."""
        return self.attest(spec.profile, spec.only(collected.key.role), collected.report, collected.site_view, collected.exit_code)

    def _run_job(self, s: Situation, step: Step, spec: JobSpec, also: Callable[[Tx, Subject], None] | None = None) -> tuple[JobKey, ...]:
        """Intent, submit, handle, observe. Returns the keys that are waited for, and nothing once all were seen to have ended.

        A job whose handle is written is never submitted again: if it is gone, it is lost, and that is the platform's fault.
        """
        keys = spec.keys
        entry = s.journal.get(step)
        if entry is None or "handle" not in entry.data:
            new = entry is None or "waiting" in entry.data  # otherwise it may have been submitted, and is looked for
            if new and (window := self._maintenance.keeps_off(spec)):
                self.journal.begin(s, step, postponed(window))
                raise PostponedError(min(window.end, self.recorder.clock.now() + POSTPONED))
            self.journal.begin(s, step, {}, also)  # also where there is an intent: it may be of days ago, and the plan over since
            self.boundary(f"{step}:intent")
            handle = self.site.submit(spec, keys[0])
            self.boundary(f"{step}:submitted")
            self.journal.note(s, step, {"handle": handle.id, "created": handle.created}, lambda tx, subject: self._tell_started(tx, s, subject, step))
            self.boundary(f"{step}:handle")
            return keys
        seen = self.site.observe(keys)
        for key, observation in seen.items():
            if observation.seen is Seen.UNREACHABLE:
                raise outcomes.unreachable(self.site, observation)
            if observation.seen is Seen.ABSENT:
                raise outcomes.lost(self.site, key)
        alive = tuple(key for key in keys if seen[key].seen is not Seen.EXITED)
        if alive:
            self._heed_queue(s, step, spec, seen.values())
        for key in alive:
            self._pull_log(s, key)
        return alive

    def _heed_queue(self, s: Situation, step: Step, spec: JobSpec, seen: Collection[Observation]) -> None:
        data, pending = s.journal[step].data, next((o for o in seen if o.seen is Seen.PENDING), None)
        kept = heed_queue(self.site, s, data, pending, self._maintenance.keeps_off(spec) if pending else None)
        if kept != data:
            self.journal.note(s, step, kept)

    def _tell_started(self, tx: Tx, s: Situation, subject: Subject, step: Step) -> None:
        if step is Step.EXECUTE:
            self.recorder.tell(tx, subject, "pilot-started", {"site": self.site.name, "ordinal": s.run.ordinal})

    def _pull_log(self, s: Situation, key: JobKey) -> None:
        """Keep what a running container has said so far, for those who follow it."""
        with self.store.transaction(read_only=True) as tx:
            offset = tx.log_size(s.attempt.id, key.role)
        data = self.site.logs(key, offset, LOG_PULL)
        if data:
            with self.store.transaction() as tx:
                tx.append_log(s.attempt.id, key.role, offset, data)
                count(tx, s, (Channel.LOGS,) if key.role == "pilot" else ())

    def _harness_job(self, s: Situation, step: Step, role: outcomes.HarnessRole) -> tuple[JobKey, ...]:
        """Run one verb of the harness, attest it as a pilot is attested, and keep what it wrote."""
        if step not in s.journal:
            self._push_context(s, step, role)
        spec = job(s, role)
        waiting = self._run_job(s, step, spec)
        if waiting:
            return waiting
        collected = outcomes.collect(self.site, self.artifacts, s.key(role), self.work)
        attestation = self._attestation(spec, collected)
        document = outcomes.store_attestation(self.artifacts, s.key(role), attestation)
        with self.store.transaction() as tx:
            collected.keep_log(tx)  # before anything is judged of it: where the harness failed, it is all that says why
        outcomes.check_harness(collected, attestation, role)
        if role == "decode":
            outcomes.check_decoded(s, collected, self.artifacts)
        if role == "measure":
            outcomes.check_measurements(collected, self.artifacts)
        self.boundary(f"{step}:stored")

        def state(tx: Tx, subject: Subject) -> None:
            self.recorder.state(tx, subject, "isolation", {"harness": s.release.harness_image, document.name: document.digest, **collected.about()},
                                outcomes.isolation(spec, role, attestation))  # fmt: skip
            if role == "measure":
                about = {"measurements.json": collected.outputs["measurements.json"]}
                self.recorder.state(tx, subject, "measurement", about, outcomes.measurement(s, collected))
                count(tx, s)

        self.journal.finish(s, step, collected.data, documents=[document, collected.left, *collected.documents], also=state)
        self.boundary(f"{step}:done")
        return ()
