"""What a participant does, with the client that `make client` makes. Checked against that client's types, then executed at a real server."""

from collections.abc import Callable
from datetime import date, datetime
from hashlib import sha256
from http import HTTPStatus
from io import BytesIO
from typing import Any, TypeVar

from livinglab_client import AuthenticatedClient
from livinglab_client.api.evidence import get_dossier, get_evidence
from livinglab_client.api.identity import who_am_i
from livinglab_client.api.images import append_to_upload, begin_upload, finish_upload, get_upload, give_up_upload
from livinglab_client.api.keys import list_keys, register_key, revoke_key
from livinglab_client.api.pilots import attach_document, get_pilot_document, list_pilot_documents, list_pilots, submit_pilot
from livinglab_client.api.plans import get_budget, get_plan, get_plan_body, propose_plan, sign_plan
from livinglab_client.api.runs import (
    cancel_run,
    follow_events,
    get_log,
    get_run,
    get_verdict,
    hold_run,
    list_attempts,
    list_documents,
    list_runs,
    list_steps,
    release_run,
    request_run,
    why_run,
)
from livinglab_client.api.sandboxes import get_sandbox, list_sandboxes
from livinglab_client.api.sites import list_sites
from livinglab_client.models import (
    AttemptView,
    Budget,
    Cancellation,
    DocumentView,
    Envelope,
    Hold,
    ImageView,
    KeyView,
    Me,
    MediaType,
    PagePilot,
    PageRun,
    PageSandboxView,
    Pilot,
    PilotDocumentView,
    PilotManifest,
    PilotSubmission,
    Plan,
    PlanBody,
    PlanProposal,
    Problem,
    RequiredDocument,
    RequiredDocumentView,
    Role,
    Run,
    RunState,
    RunSubmission,
    RunView,
    SandboxView,
    Signature,
    SiteView,
    StepView,
    UploadBegin,
    UploadView,
    Why,
)
from livinglab_client.types import File, Response

T = TypeVar("T")


def the(kind: type[T], answer: object) -> T:
    """What came, which is one of these."""
    assert isinstance(answer, kind), answer
    return answer


def all_of(kind: type[T], answer: object) -> list[T]:
    return [the(kind, one) for one in the(list, answer)]


def refused(answer: Response[Any], status: HTTPStatus, title: str) -> Problem:
    problem = the(Problem, answer.parsed)
    assert (answer.status_code, problem.status, problem.title) == (status, status.value, title), problem
    return problem


def look_around(lab: AuthenticatedClient) -> None:
    """Who one is, and what there is."""
    assert the(Me, who_am_i.sync(client=lab)).roles.additional_properties == {"tiny": Role.PARTICIPANT}
    page = the(PageSandboxView, list_sandboxes.sync(client=lab, limit=1))
    spec = the(SandboxView, get_sandbox.sync(page.items[0].id, client=lab)).document.spec
    assert [criterion.id for criterion in spec.criteria], "the criteria come as they were fixed"
    assert [document.name for document in all_of(RequiredDocument, spec.required_evidence)] == ["safety-case"]
    assert [site.name for site in all_of(SiteView, list_sites.sync(client=lab))] == ["docker"]


def register(lab: AuthenticatedClient, pem: bytes) -> None:
    key = the(KeyView, register_key.sync(client=lab, body=File(BytesIO(pem))))
    assert key.pem.encode() == pem
    assert key in all_of(KeyView, list_keys.sync(client=lab))


def revoke(lab: AuthenticatedClient, pem: bytes) -> None:
    """A key of one's own, once and for all."""
    key = the(KeyView, register_key.sync(client=lab, body=File(BytesIO(pem))))
    assert key.revoked_at is None
    revoked = the(KeyView, revoke_key.sync(key.key_id, client=lab))
    assert the(datetime, revoked.revoked_at) >= key.created_at
    assert revoked in all_of(KeyView, list_keys.sync(client=lab))
    refused(register_key.sync_detailed(client=lab, body=File(BytesIO(pem))), HTTPStatus.CONFLICT, "conflict")
    refused(revoke_key.sync_detailed("0" * 64, client=lab), HTTPStatus.NOT_FOUND, "not-found")


def upload(lab: AuthenticatedClient, archive: bytes) -> ImageView:
    """In two parts; another upload is given up."""
    other = the(UploadView, begin_upload.sync(client=lab, body=UploadBegin(7, "sha256:" + "2" * 64)))
    assert give_up_upload.sync_detailed(other.id, client=lab).status_code == HTTPStatus.NO_CONTENT
    refused(get_upload.sync_detailed(other.id, client=lab), HTTPStatus.NOT_FOUND, "not-found")
    begun = the(UploadView, begin_upload.sync(client=lab, body=UploadBegin(len(archive), "sha256:" + sha256(archive).hexdigest())))
    for part in (archive[:1000], archive[1000:]):
        answer = append_to_upload.sync_detailed(begun.id, client=lab, body=File(BytesIO(part)), upload_offset=begun.offset)
        begun = the(UploadView, answer.parsed)
        assert answer.headers["Upload-Offset"] == str(begun.offset)
    return the(ImageView, finish_upload.sync(begun.id, client=lab))


def apply(lab: AuthenticatedClient, about: dict[str, Any], image: str, texts: dict[MediaType, bytes]) -> Pilot:
    """Once, however often; with the one document that is required, of each type in turn."""
    submission = PilotSubmission(PilotManifest.from_dict(about), image)
    answers = [submit_pilot.sync_detailed(client=lab, body=submission, idempotency_key="application-1") for _ in range(2)]
    pilot, again = (the(Pilot, answer.parsed) for answer in answers)
    assert pilot == again
    assert answers[0].headers["Location"] == f"/v1/pilots/{pilot.id}"
    for media_type, text in texts.items():
        attached = attach_document.sync(pilot.id, "safety-case", client=lab, body=File(BytesIO(text), mime_type=media_type.value))
        assert the(PilotDocumentView, attached).media_type == media_type
        assert the(File, get_pilot_document.sync(pilot.id, "safety-case", client=lab)).payload.read() == text
    (document,) = all_of(RequiredDocumentView, list_pilot_documents.sync(pilot.id, client=lab))
    assert the(PilotDocumentView, document.attached).size == len(texts[media_type])
    assert the(PagePilot, list_pilots.sync(client=lab)).items[0] == pilot
    return pilot


def agree(lab: AuthenticatedClient, pilot: Pilot, mine: Callable[[str, str], Envelope], theirs: Callable[[str, str], None]) -> str:
    """A plan that both sides signed, and no run before that."""
    proposal = PlanProposal(pilot.id, ["to be tested"], valid_from=date(2020, 1, 1), valid_until=date(2099, 12, 31))
    plan = the(Plan, propose_plan.sync(client=lab, body=proposal, idempotency_key="proposal-1"))
    body = get_plan_body.sync_detailed(plan.body.id, client=lab)
    assert (the(PlanBody, body.parsed), "sha256:" + sha256(body.content).hexdigest()) == (plan.body, plan.digest)
    early = request_run.sync_detailed(client=lab, body=RunSubmission(plan.body.id), idempotency_key="too-early")
    assert refused(early, HTTPStatus.CONFLICT, "refused").reasons
    seen = get_plan.sync_detailed(plan.body.id, client=lab).headers["ETag"]
    signed = the(Plan, sign_plan.sync(plan.body.id, client=lab, body=mine(plan.body.id, plan.digest), if_match=seen))
    assert [signature.organisation for signature in all_of(Signature, signed.signatures)] == ["startup"]
    theirs(plan.body.id, plan.digest)
    assert get_plan.sync_detailed(plan.body.id, client=lab, if_none_match=seen).status_code == HTTPStatus.OK, "it has changed"
    return str(plan.body.id)


def run(lab: AuthenticatedClient, plan: str) -> None:
    """Asked for once, looked at, held, and stopped as it was seen."""
    asked = [the(Run, request_run.sync(client=lab, body=RunSubmission(plan), idempotency_key="the-first-run")) for _ in range(2)]
    id_ = asked[0].id
    assert asked[0] == asked[1]
    assert the(PageRun, list_runs.sync(client=lab, plan=plan)).items == [asked[0]]
    assert the(Budget, get_budget.sync(plan, client=lab)).under_way == 1
    assert the(Run, hold_run.sync(id_, client=lab, body=Hold("a look at the data card"))).id == id_
    assert "a look at the data card" in the(Why, why_run.sync(id_, client=lab)).sentence
    the(Run, release_run.sync(id_, client=lab))
    look = get_run.sync_detailed(id_, client=lab)
    assert the(RunView, look.parsed).shown.additional_properties["verdict"]
    again = get_run.sync_detailed(id_, client=lab, if_none_match=look.headers["ETag"])
    assert (again.status_code, again.content) == (HTTPStatus.NOT_MODIFIED, b"")
    why = Cancellation("the wrong image")
    refused(cancel_run.sync_detailed(id_, client=lab, body=why, if_match='"another"'), HTTPStatus.PRECONDITION_FAILED, "changed")
    assert the(Run, cancel_run.sync(id_, client=lab, body=why, if_match=look.headers["ETag"])).state == RunState.CANCELLED
    assert "run-cancelled" in the(str, follow_events.sync(id_, client=lab))
    assert [attempt.number for attempt in all_of(AttemptView, list_attempts.sync(id_, client=lab))] == [1]
    assert all_of(StepView, list_steps.sync(id_, client=lab)) == []
    assert all_of(DocumentView, list_documents.sync(id_, client=lab)) == []
    assert refused(get_verdict.sync_detailed(id_, client=lab), HTTPStatus.NOT_FOUND, "not-found").detail
    assert the(File, get_log.sync(id_, client=lab)).payload.read() == b""
    assert len(all_of(object, get_evidence.sync(plan, client=lab))) > 1
    refused(get_dossier.sync_detailed(plan, client=lab), HTTPStatus.CONFLICT, "conflict")
