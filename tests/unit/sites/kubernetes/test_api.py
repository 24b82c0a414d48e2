"""Asking an API server: what its answers come to, and what is kept of a watch. The server here says what it is told to say."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from livinglab.domain.errors import Conflict, LivingLabError, NotFound, PlatformFault, Unreachable
from livinglab.sites.kubernetes import watching
from livinglab.sites.kubernetes.api import Api, GoneError
from livinglab.sites.kubernetes.events import Events
from livinglab.sites.kubernetes.watching import Watched
from tests.unit.sites.kubernetes.server import Answer, Json, Server
from tests.waiting import until


def refusal(status: int, message: str) -> Answer:
    return status, json.dumps({"kind": "Status", "message": message, "code": status}).encode()


@pytest.mark.parametrize(("status", "message", "kind", "words"), [
    (401, "Unauthorized", Unreachable, "does not know who asks"),
    (403, 'pods is forbidden: User "x" cannot list', PlatformFault, "the API server refuses"),
    (403, 'jobs.batch "a" is forbidden: exceeded quota: few, requested: count/jobs.batch=1', Unreachable, "quota is exhausted"),
    (403, 'admission webhook "p" denied the request: no', PlatformFault, "an admission webhook of the cluster's refuses"),
    (400, 'admission webhook "p" denied the request: no', PlatformFault, "an admission webhook of the cluster's refuses"),
    (404, "not found", NotFound, "is not at the cluster"),
    (409, "already exists", Conflict, "already exists"),
    (410, "too old resource version", GoneError, "too old"),
    (422, "spec is invalid", PlatformFault, "answered 422: spec is invalid"),
    (429, "slow down", Unreachable, "busy or broken"),
    (500, "etcdserver: request timed out", Unreachable, "busy or broken"),
    (503, "shutting down", Unreachable, "busy or broken"),
])  # fmt: skip
def test_a_refusal_is_named(server: Server, status: int, message: str, kind: type[LivingLabError], words: str) -> None:
    server.answer = lambda *_: refusal(status, message)
    with pytest.raises(kind, match=words):
        Api(server.kubeconfig).get("/x")


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"<html>", b"{"])
def test_an_answer_that_is_none(server: Server, body: bytes) -> None:
    server.answer = lambda *_: (200, body)
    with pytest.raises(PlatformFault, match="no JSON"):
        Api(server.kubeconfig).get("/x")
    server.answer = lambda *_: (500, body)
    with pytest.raises(Unreachable, match="busy or broken"):
        Api(server.kubeconfig).get("/x")


def test_nobody_answers(tmp_path: Path, server: Server) -> None:
    api = Api(server.kubeconfig)
    server.close()
    with pytest.raises(Unreachable, match="does not answer"):
        api.get("/x")
    with pytest.raises(PlatformFault, match="cannot be used"):
        Api(tmp_path / "none").get("/x")


def test_a_renewed_token_is_taken_without_being_told(server: Server) -> None:
    server.answer = lambda _method, _path, token: (200, b'{"a": 1}') if token == "second" else refusal(401, "Unauthorized")
    api = Api(server.kubeconfig)
    with pytest.raises(Unreachable):
        api.get("/x")
    server.let_in("second")
    assert api.get("/x") == {"a": 1}
    assert [token for _, _, token in server.asked] == ["first", "first", "first", "second"]


def test_a_deletion_of_what_is_gone_is_done(server: Server) -> None:
    server.answer = lambda *_: refusal(404, "not found")
    Api(server.kubeconfig).delete("/x")


# --- watching ---------------------------------------------------------------------------------------------------------


def thing(name: str, version: int, **labels: str) -> Json:
    return {"metadata": {"name": name, "resourceVersion": str(version), "labels": labels, "managedFields": ["long"]}}


def listing(version: int, *items: Json, more: str | None = None) -> Answer:
    return 200, json.dumps({"metadata": {"resourceVersion": str(version), "continue": more}, "items": items}).encode()


def test_a_watch_keeps_what_it_is_told(server: Server) -> None:
    told = threading.Event()

    def stream() -> Iterator[Json]:
        if told.is_set():
            time.sleep(0.05)
            return
        yield {"type": "ADDED", "object": thing("b", 6)}
        yield {"type": "MODIFIED", "object": thing("a", 7, now="new")}
        yield {"type": "DELETED", "object": thing("b", 8)}
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}}
        told.set()

    server.answer = lambda _method, path, _token: listing(5, thing("c", 3)) if "continue=x" in path else listing(5, thing("a", 2), more="x")
    server.stream = stream
    watched = Watched(Api(server.kubeconfig), "/things", "mine")
    watched.look()
    until(lambda: told.is_set() and watched._version == "20")
    assert {name: item["metadata"]["resourceVersion"] for name, (item,) in watched.look().items()} == {"a": "7", "c": "3"}
    assert set(watched.look(["a", "b"])) == {"a"}
    assert "managedFields" not in watched.look()["a"][0]["metadata"]
    assert watched.wait_for(["b"], 2, 0.1)  # its coming and going were noted
    assert not watched.wait_for(["c"], 2, 0.05)
    lists = [path for _, path, _ in server.asked if "watch=1" not in path]
    assert len(lists) == 2  # its two pages, and no other
    until(lambda: any("resourceVersion=20" in path for _, path, _ in server.asked))  # it goes on from the bookmark


def test_a_watch_from_too_long_ago_lists_anew(server: Server) -> None:
    lists = iter([listing(5, thing("a", 2)), listing(9, thing("b", 8))])
    last = listing(9, thing("b", 8))
    server.answer = lambda *_: next(lists, last)
    streams = iter([[{"type": "ERROR", "object": {"code": 410, "message": "too old"}}]])

    def stream() -> Iterator[Json]:
        yield from next(streams, [])
        time.sleep(0.05)

    server.stream = stream
    watched = Watched(Api(server.kubeconfig), "/things", "mine")
    watched.look()
    until(lambda: set(watched.look()) == {"b"})


def test_what_is_older_than_what_is_known_is_not_taken(server: Server) -> None:
    server.answer = lambda *_: listing(5, thing("a", 4, now="new"))
    server.stream = lambda: iter([{"type": "MODIFIED", "object": thing("a", 3, now="old")}])
    watched = Watched(Api(server.kubeconfig), "/things", "mine")
    watched.look()
    watched.put(thing("a", 2, now="older"))
    assert watched.look()["a"][0]["metadata"]["labels"] == {"now": "new"}


def test_silence_is_asked_about(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away looks like one where nothing happens."""
    monkeypatch.setattr(watching, "_HEARD", 0.0)
    hang = threading.Event()

    def stream() -> Iterator[Json]:
        hang.wait(20)
        yield from ()

    server.answer, server.stream = (lambda *_: listing(5, thing("a", 2))), stream
    watched = Watched(Api(server.kubeconfig), "/things", "mine")
    watched.look()
    server.answer = lambda *_: refusal(503, "away")
    with pytest.raises(Unreachable, match="busy or broken"):
        watched.look()
    server.answer = lambda *_: listing(5)
    assert set(watched.look()) == {"a"}  # it was only asked whether it is there
    hang.set()


def test_events_that_cannot_be_had_explain_nothing(server: Server) -> None:
    server.answer = lambda *_: refusal(403, "forbidden")
    events = Events(Api(server.kubeconfig), "lab")
    assert (events.refusals(), events.of_lost_pods("job")) == ({}, "")


def test_the_newest_refusal_counts(server: Server) -> None:
    items = [
        {"involvedObject": {"name": "a"}, "message": "old", "lastTimestamp": "2030-01-01T00:00:00Z"},
        {"involvedObject": {"name": "a"}, "message": "new", "lastTimestamp": "2030-01-01T00:00:09Z"},
    ]
    server.answer = lambda *_: (200, json.dumps({"items": items[::-1]}).encode())
    assert Events(Api(server.kubeconfig), "lab").refusals() == {"a": "new"}
