"""Examples for the OpenAPI document: one pilot's way through a lab, as it goes over the wire. A test holds each against its model."""

from typing import Any

from livinglab.domain.sandbox import Channel

Json = dict[str, Any]

AT = "2026-03-02T09:00:00Z"
PILOT_ID, PLAN_ID, RUN_ID = "plt-01kjpg5q80t6d0w3m1x2y4z8ab", "pln-01kjpg6c40v8e2r5n7p9q1s3cd", "run-01kjpg71r0w9f4t6k8m2n5v7ef"


def digest(digit: str) -> str:
    """A digest that shows at a glance that it is nobody's."""
    return "sha256:" + digit * 64


MANIFEST: Json = {
    "kind": "Pilot", "name": "flchain-cox", "version": "1.0.0", "title": "Ten-year mortality risk", "summary": "A Cox model.",
    "sandbox": "medicine-flchain", "task": "survival", "entrypoint": ["python3", "/app/predict.py"],
}  # fmt: skip
PEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAWK84BUjMr17VOYMh/EAo03ALvG8jlfkkhR/M/hpLiAs=\n-----END PUBLIC KEY-----\n"
KEY: Json = {"key_id": "62b72b4eee4ed02826a9e3d3ac4687acbd19673d4e8dc62fbde2bbaf7f5d9cde", "organisation": "startup", "pem": PEM, "created_at": AT,
       "revoked_at": None}  # fmt: skip
REVOKED_KEY: Json = {**KEY, "revoked_at": AT}
IMAGE: Json = {"digest": digest("a"), "size": 184_549_376}
ENVELOPE: Json = {
    "payloadType": "application/vnd.in-toto+json",
    "payload": "eyJfdHlwZSI6…",
    "signatures": [{"keyid": KEY["key_id"], "sig": "kqF1…"}],
}

SPEC: Json = {
    "kind": "Sandbox", "id": "medicine-flchain", "version": 1, "title": "Ten-year mortality risk", "domain": "personalised-medicine",
    "summary": "A demonstration on public data.", "task": "survival", "data": {"card": "data_card.md", "visibility": "demonstration"},
    "slices": {"all": {"title": "All hidden cases"}},
    "harness": {"parameters": {"horizon": 10}, "resources": {"memory": 1 << 30, "cpus": 1, "pids": 64, "wall_seconds": 300}},
    "quota": {"measured_runs": 3},
    "criteria": [{
        "id": "discrimination", "title": "Ranks persons by risk", "metric": "uno_c", "direction": "at_least", "threshold": 0.75,
        "basis": "sandbox", "source": "Uno et al. 2011", "rationale": "A model below 0.75 adds nothing that a birthday does not tell.",
    }],
}  # fmt: skip
RELEASE: Json = {"spec": SPEC, "harness_image": digest("b"), "participant_data": {"digest": digest("c")}, "hidden_data": {"digest": digest("d")},
           "commitment": digest("e")}  # fmt: skip
SANDBOX: Json = {"id": "medicine-flchain", "version": 1, "title": "Ten-year mortality risk", "authority": "ministry", "release": digest("f"),
           "criteria": digest("1"), "document": RELEASE}  # fmt: skip

PILOT: Json = {"id": PILOT_ID, "organisation": "startup", "sandbox": "medicine-flchain", "manifest": MANIFEST, "image": IMAGE["digest"],
         "state": "submitted", "created_at": AT}  # fmt: skip
PILOT_DOCUMENT: Json = {"name": "intended-use", "media_type": "text/markdown", "digest": digest("8"), "size": 5120}
REQUIRED_DOCUMENT: Json = {
    "name": "intended-use", "title": "Intended use", "must_hold": "For whom the risk is predicted, by whom it is read, and what follows from it.",
    "media_types": ["text/markdown", "application/pdf"], "max_bytes": 4 << 20, "attached": PILOT_DOCUMENT}  # fmt: skip
CONTENTS: Json = {"text/markdown": "# Intended use\n", "text/plain": "Intended use\n", "application/pdf": "the bytes of a PDF",
                  "application/json": {"intended use": "to be read by a physician"}}  # fmt: skip
"""Media type → a document that has it."""
PROPOSAL: Json = {"pilot": PILOT_ID, "objectives": ["Show that the risk model is calibrated in both sexes"], "valid_from": "2026-01-01",
            "valid_until": "2026-12-31"}  # fmt: skip
PLAN_BODY: Json = {
    "id": PLAN_ID, "pilot": PILOT_ID, "participant": "startup", "authority": "ministry", "sandbox": "medicine-flchain", "release": digest("f"),
    "specification": digest("2"), "criteria": digest("1"), "isolation": digest("3"), "harness_image": digest("b"), "participant_data": digest("c"),
    "hidden_data": digest("d"), "commitment": digest("e"), "pilot_image": digest("a"), "manifest": digest("4"), "measured_runs": 3,
    "replicates": 2000, "sites": ["docker"], **{name: PROPOSAL[name] for name in ("objectives", "valid_from", "valid_until")},
}  # fmt: skip
PLAN: Json = {"body": PLAN_BODY, "digest": digest("5"), "state": "proposed", "signatures": [], "created_at": AT}
CHANGE: Json = {"state": "suspended", "reason": "A serious incident is being looked into."}

SITE: Json = {
    "name": "meluxina", "kind": "slurm", "state": "draining", "reason": "new disks",
    "offer": {"memory": 1 << 38, "cpus": 64, "gpus": 4, "wall_seconds": 172_800, "output_bytes": None, "witnesses": {"pids": ["rlimit"]},
              "public_data_only": "pilot and hidden data would share one account at the cluster"},
    "windows": [{"id": "win-01kjpg5q80t6d0w3m1x2y4z8ab", "begin": "2026-03-09T17:00:00Z", "end": "2026-03-10T05:00:00Z", "reason": "new disks"}],
}  # fmt: skip
RUN: Json = {"id": RUN_ID, "plan": PLAN_ID, "plan_digest": digest("5"), "pilot": PILOT_ID, "organisation": "startup", "sandbox": "medicine-flchain",
       "site": "docker", "ordinal": 1, "state": "completed", "verdict": "INCONCLUSIVE", "counts": True, "created_at": AT, "ended_at": AT}  # fmt: skip
ATTEMPT: Json = {"id": f"{RUN_ID}.1", "number": 1, "state": "completed", "step": "seal", "failure": None, "verdict": "INCONCLUSIVE",
           "cancel_seen_dead_at": None, "created_at": AT, "ended_at": AT}  # fmt: skip
USAGE: Json = {"attempt": f"{RUN_ID}.1", "role": "pilot", "usage": {"wall_seconds": 41.2, "cpu_seconds": 38.9, "memory_peak_bytes": 212_336_640,
               "queue_seconds": 310.0, "elapsed_seconds": 44.0, "gpu_seconds": 44.0, "energy_joules": 9_120.0}}  # fmt: skip
RECEIPT: Json = {"run": RUN_ID, "plan": PLAN_ID, "ordinal": 1, "state": "completed", "verdict": "INCONCLUSIVE", "counts": True, "sequence": 14,
                 "digest": digest("8"), "entry": '{"kind":"outcome",…}', "body": '{"payload":"eyJ…",…}'}  # fmt: skip
STEP: Json = {"step": "execute", "status": "done", "at": AT}
MEASUREMENT: Json = {"metric": "uno_c", "slice": "all", "value": 0.775, "n": 1418, "events": 305, "non_events": 880,
               "interval": {"lower": 0.745, "upper": 0.805, "level": 0.9833, "method": "bootstrap-percentile"}}  # fmt: skip
VERDICT: Json = {"values_withheld": False, "verdict": {
    "semantics": 1, "criteria_digest": digest("1"), "verdict": "INCONCLUSIVE",
    "results": [{"criterion": "discrimination", "verdict": "INCONCLUSIVE", "severity": "gate", "reason": "the interval straddles the threshold",
                 "measurement": MEASUREMENT}]}}  # fmt: skip
WHY: Json = {
    "sentence": f"Run {RUN_ID} waits for a place at site docker: it is next.",
    "whose": None,
    "next": "A worker of that site takes it up.",
}
REPLAY: Json = {"ttc_threshold": 1.5, "lane_width": 3.5, "sizes": {"car": {"length": 4.6, "width": 1.8}}, "ego": {"length": 4.6, "width": 1.8},
          "episodes": [{"id": "e0042", "family": "cut-in", "why": "0.89 s from a collision at the nearest", "preventable": True, "collision": None,
                        "time": [0.0, 0.05], "x": [0.0, 1.4], "y": [0.0, 0.0], "angle": [0.0, 0.0], "speed": [28.0, 27.6],
                        "acceleration": [-8.0, -8.0], "gap": [13.2, 12.6], "ttc": [0.92, 0.89],
                        "others": [{"id": 0, "kind": "car", "frames": [0], "x": [18.1], "y": [1.2], "angle": [0.0]}]}]}  # fmt: skip
SHOWN: Json = {channel.value: channel is Channel.VERDICT for channel in Channel}
BUDGET: Json = {"measured_runs": 3, "counted": 1, "under_way": 1, "left": 1, "core_hours": 12.0, "core_hours_used": 1.25, "core_hours_reserved": 0.5,
                "core_hours_of_a_run": 0.5}  # fmt: skip
DOCUMENT: Json = {"name": "verdict.json", "digest": digest("6"), "size": 2048, "readable": True}
ENTRY: Json = {
    "sequence": 0,
    "digest": digest("7"),
    "entry": '{"kind":"plan-proposed",…}',
    "body": '{"_type":"https://in-toto.io/Statement/v1",…}',
}
EVENT = f'id: 7\nevent: run-queued\ndata: {{"kind":"run-queued","run":"{RUN_ID}","attempt":null,"data":{{"ordinal":1}},"at":"{AT}"}}\n\n'
LOG = "fitted on 4724 persons\n"

PROBLEM: Json = {"type": "urn:livinglab:problem:not-found", "title": "not-found", "status": 404, "detail": f"there is no run '{RUN_ID}'."}


def page(item: dict[str, Any]) -> dict[str, Any]:
    """A last page with one entry."""
    return {"items": [item], "next": None}


BYTES: Json = {"type": "string", "format": "binary"}


def schema_of(model: str) -> Json:
    """A schema of the document, by its name."""
    return {"$ref": f"#/components/schemas/{model}"}


def answers(example: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` with that example of what the route returns."""
    return {status: {"content": {"application/json": {"example": example}}}}


def answers_with(schema: Json, contents: Json) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` of a route that answers itself, with an example per media type."""
    return {200: {"content": {media_type: {"schema": schema, "example": example} for media_type, example in contents.items()}}}


def takes_any_of(contents: Json) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a body that is read byte for byte, with an example per media type."""
    return {"requestBody": {"required": True, "content": {
        media_type: {"schema": {} if media_type == "application/json" else BYTES, "example": example}
        for media_type, example in contents.items()}}}  # fmt: skip


def takes(media_type: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a body that is read byte for byte."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema, "example": example}}}}


ME = {"organisation": "acme", "roles": {"medicine": "participant"}, "identity": "https://id.example#248289761001"}
PROTECTED_RESOURCE = {"resource": "https://lab.example/api", "authorization_servers": ["https://id.example"],
                      "scopes_supported": ["openid", "offline_access"], "bearer_methods_supported": ["header"],
                      "livinglab_client": "livinglab-cli"}  # fmt: skip
UPLOAD = {"id": "upl-01kjpg3t50n7b1s4v6w8x0y2ab", "size": 104857600, "digest": IMAGE["digest"], "offset": 67108864}
