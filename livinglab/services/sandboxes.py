"""Sandboxes: what an authority registers, version by version."""

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from livinglab.domain.access import Caller
from livinglab.domain.canonical import canonical, sha256
from livinglab.domain.errors import Forbidden, Invalid, NotFound
from livinglab.domain.sandbox import Release, Role
from livinglab.ports import Clock, Store, Tx
from livinglab.services.recording import Recorder, Subject

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], document: Any, what: str) -> M:
    """The document as that model; every fault becomes one `Invalid` that names its place."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or what
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Invalid(f"{first['msg'].removeprefix('Value error, ')}{more}", where=where) from error


@dataclass(frozen=True)
class Sandboxes:
    """Registering and reading specifications. They are public: criteria fixed beforehand are worth nothing unseen."""

    store: Store
    clock: Clock
    recorder: Recorder

    def register(self, caller: Caller, document: Any) -> Release:
        """Register a release of a sandbox. The same release twice is once.

        Raises:
            Invalid: the document is not a release that can be measured.
            Forbidden: the caller is not that sandbox's authority.
            Conflict: that version exists with other contents.
        """
        release = parse(Release, document, "release")
        spec = release.spec
        caller.need(spec.id, Role.AUTHORITY)
        with self.store.transaction() as tx:
            known = tx.sandbox(spec.id)
            if known and known[1] != caller.organisation:
                msg = f"the sandbox {spec.id!r} belongs to another authority."
                raise Forbidden(msg)
            if not tx.has_uploaded(caller.organisation, release.harness_image):
                msg = f"{caller.organisation} has uploaded no image {release.harness_image}."
                raise Invalid(msg, where="harness_image", hint="Upload the harness first: POST /v1/images.")
            if tx.release(release.digest):
                return release
            data = canonical(release)
            tx.add_release(release, caller.organisation, data, self.clock.now())
            subject = Subject(chain=f"sandbox-{spec.id}", organisation=caller.organisation, sandbox=spec.id)
            self.recorder.transition(tx, subject, "sandbox-registered", {
                "version": spec.version, "release": sha256(data), "specification": spec.digest,
                "criteria": spec.frozen_criteria().digest})  # fmt: skip
        return release

    def get(self, id_: str) -> tuple[Release, str]:
        """The newest release, and the authority."""
        with self.store.transaction(read_only=True) as tx:
            return newest(tx, id_)

    def page(self, after: str | None, limit: int) -> tuple[tuple[Release, str], ...]:
        """Newest releases by sandbox id."""
        with self.store.transaction(read_only=True) as tx:
            return tx.sandboxes(after, limit)


def newest(tx: Tx, id_: str) -> tuple[Release, str]:
    """The newest release of a sandbox and its authority; `NotFound`."""
    found = tx.sandbox(id_)
    if found is None:
        msg = f"there is no sandbox {id_!r}."
        raise NotFound(msg)
    return found
