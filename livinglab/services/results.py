"""What a run left: logs, verdict, measurements, documents, its receipt, each as far as the specification shows it to whoever asks."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from livinglab.domain.access import Caller, Document
from livinglab.domain.canonical import parse_json
from livinglab.domain.disclosure import is_sealed, may_read
from livinglab.domain.errors import Conflict, Forbidden, NotFound, PlatformFault
from livinglab.domain.replay import REPLAY_LIMIT, Replay
from livinglab.domain.run import Run
from livinglab.domain.sandbox import Channel
from livinglab.domain.situation import usage_of
from livinglab.domain.verdict import Measurement, MeasurementFile, SetVerdict
from livinglab.evidence.receipt import Receipt
from livinglab.ports import Artifacts, Store, Tx
from livinglab.services.runs import WHO_SEES_WHAT, release_of, require_channel, visible_run


@dataclass(frozen=True)
class Results:
    """Reading what runs left."""

    store: Store
    artifacts: Artifacts

    def log(self, caller: Caller, id_: str, role: str, offset: int, limit: int) -> bytes:
        """Log bytes of the newest attempt's pilot (or another of its containers, for those who oversee)."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.LOGS)
            if role != "pilot" and not caller.oversees(run.sandbox):
                msg = "only those who oversee the sandbox read the harness's logs."
                raise Forbidden(msg)
            return tx.read_log(tx.attempts(run.id)[-1].id, role, offset, limit)

    def receipt(self, caller: Caller, id_: str) -> Receipt:
        """The entry that says how the run ended, for whoever may see it.

        Raises:
            Conflict: it is not over.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            if not run.state.final:
                msg = f"run {run.id} is not over: it is {run.state}."
                raise Conflict(msg, hint="A receipt is given for the end of a run.")
            row = next(row for row in reversed(tx.ledger(run.plan)) if parse_json(row.entry)["run"] == run.id)
        return Receipt(run=run.id, plan=run.plan, ordinal=run.ordinal, state=run.state, verdict=run.verdict, counts=run.counts,
                       sequence=row.sequence, digest=row.digest, entry=row.entry.decode(), body=row.body.decode())  # fmt: skip

    def verdict(self, caller: Caller, id_: str) -> tuple[SetVerdict, bool]:
        """The verdict, and whether values are withheld from this caller.

        Raises:
            NotFound: the run has no verdict (yet); the message says how it stands.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            release = require_channel(tx, caller, run, Channel.VERDICT)
            document = self._document(tx, run, "verdict.json")
        verdict = SetVerdict.model_validate_json(self.artifacts.read(document.digest))
        role = caller.role_in(run.sandbox)
        if role and release.spec.disclosure.allows(Channel.MEASUREMENTS, role):
            return verdict, False
        hidden = tuple(r.model_copy(update={"measurement": None}) for r in verdict.results)
        return verdict.model_copy(update={"results": hidden}), True

    def measurements(self, caller: Caller, id_: str) -> tuple[Measurement, ...]:
        """What the harness measured; `Forbidden` for those whom the specification shows categories only."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.MEASUREMENTS)
            document = self._document(tx, run, "measurements.json")
        return MeasurementFile.model_validate_json(self.artifacts.read(document.digest)).measurements

    def usage(self, caller: Caller, id_: str) -> dict[str, dict[str, dict[str, float]]]:
        """What the containers of each attempt used, attempt → role → name → figure; `Forbidden` for those whom the specification does not show it."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.USAGE)
            return {attempt.id: usage_of(tx.journal(attempt.id)) for attempt in tx.attempts(run.id)}

    def replay(self, caller: Caller, id_: str) -> Replay:
        """The worst moments of a driven run; `Forbidden` for those whom the specification shows no plots.

        Raises:
            NotFound: the run left none (yet).
            PlatformFault: what the harness wrote is none.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            require_channel(tx, caller, run, Channel.PLOTS)
            document = self._document(tx, run, "measure/replay.json")
        try:
            if document.size <= REPLAY_LIMIT:
                return Replay.model_validate_json(self.artifacts.read(document.digest))
            fault = f"it has more than {REPLAY_LIMIT} bytes"
        except ValidationError as error:
            first = error.errors()[0]
            fault = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        msg = f"the harness's replay of run {run.id} is not what it should be: {fault}."
        raise PlatformFault(msg)

    def documents(self, caller: Caller, id_: str) -> tuple[tuple[Document, bool], ...]:
        """What the newest attempt left, and whether this caller may read it: what may be read, and what the chain names."""
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            disclosure = release_of(tx, run).spec.disclosure
            found = ((d, may_read(disclosure, caller, run.sandbox, d.name)) for d in tx.documents(tx.attempts(run.id)[-1].id))
            return tuple((document, readable) for document, readable in found if readable or is_sealed(document.name))

    def content(self, caller: Caller, id_: str, name: str) -> tuple[Document, Path]:
        """A document of the run, and where its bytes are.

        Raises:
            NotFound: the run left none of that name, or none that exists for this caller.
            Forbidden: the specification keeps it from this caller's role, who sees its digest.
        """
        with self.store.transaction(read_only=True) as tx:
            run = visible_run(tx, caller, id_)
            if not may_read(release_of(tx, run).spec.disclosure, caller, run.sandbox, name):
                if is_sealed(name):
                    msg = f"the specification of {run.sandbox!r} does not show {name} to {caller.role_in(run.sandbox) or 'this organisation'}."
                    raise Forbidden(msg, hint=WHO_SEES_WHAT)
                msg = f"run {run.id} has no document {name!r} that this role sees."
                raise NotFound(msg, hint=WHO_SEES_WHAT)
            document = self._document(tx, run, name)
        return document, self.artifacts.path(document.digest)

    def _document(self, tx: Tx, run: Run, name: str) -> Document:
        for attempt in reversed(tx.attempts(run.id)):
            for document in tx.documents(attempt.id):
                if document.name == name:
                    return document
        msg = f"run {run.id} has no {name.rpartition('/')[2].removesuffix('.json')}: it is {run.state}."
        raise NotFound(msg, hint=run.failure.sentence if run.failure else None)
