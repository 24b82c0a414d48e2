"""The lab's side of livinglab.step/1, over real socket pairs, against pilots that break each of its rules."""

import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.measuring import peer
from livinglab.measuring.peer import MAX_FRAME, PROTOCOL, Action, Left, Peer, accept, listen
from livinglab.measuring.rejection import Rejected

ACTIONS = (Action("acceleration", -9, 4), Action("lateral_acceleration", -3, 3))
READY = {"type": "ready", "protocol": PROTOCOL}
GOOD = {"acceleration": 1.5, "lateral_acceleration": 0}

Pilot = Callable[[socket.socket], None]


def frame(message: Any) -> bytes:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


def hear(connection: socket.socket) -> dict[str, Any]:
    def exactly(size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = connection.recv(size - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    document: dict[str, Any] = json.loads(exactly(int.from_bytes(exactly(4), "big")))
    return document


@contextmanager
def conversation(pilot: Pilot, **limits: float) -> Iterator[Peer]:
    """A peer whose pilot runs in a thread; what breaks the pilot when the lab is gone is nobody's business."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs, suppress(OSError, EOFError):
            pilot(theirs)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with ours:
            yield Peer(ours, ACTIONS, **{"step_timeout": 5, **limits})
    finally:
        ours.close()
        thread.join(timeout=20)
        assert not thread.is_alive()


def act(question: dict[str, Any], action: Any = GOOD, **changed: Any) -> dict[str, Any]:
    return {"type": "act", "episode": question["episode"], "step": question["step"], "action": action, **changed}


def answering(respond: Callable[[socket.socket, dict[str, Any]], None]) -> Pilot:
    """A pilot that is well until it is asked for a step."""

    def pilot(connection: socket.socket) -> None:
        while (message := hear(connection))["type"] != "bye":
            if message["type"] == "hello":
                connection.sendall(frame(READY))
            elif message["type"] == "step":
                respond(connection, message)

    return pilot


def replying(reply: Callable[[dict[str, Any]], bytes]) -> Pilot:
    return answering(lambda connection, message: connection.sendall(reply(message)))


def started(lab: Peer) -> Peer:
    lab.greet({})
    lab.begin("4711", 0.05)
    return lab


def test_a_whole_conversation() -> None:
    heard: list[dict[str, Any]] = []

    def pilot(connection: socket.socket) -> None:
        while True:
            heard.append(message := hear(connection))
            if message["type"] == "hello":
                connection.sendall(frame(READY))
            elif message["type"] == "step":
                connection.sendall(frame(act(message)))
            elif message["type"] == "bye":
                return

    with conversation(pilot) as lab:
        lab.greet({"actions": ["acceleration"]})
        lab.begin("4711", 0.05)
        answers = [lab.ask(step, {"speed": 3.0}) for step in range(2)]
        lab.end()
        lab.part()
    assert [(a.values, a.valid, a.late) for a in answers] == [({"acceleration": 1.5, "lateral_acceleration": 0.0}, True, False)] * 2
    assert all(0 < answer.latency < 5 for answer in answers)
    assert heard == [
        {"type": "hello", "protocol": PROTOCOL, "task": {"actions": ["acceleration"]}},
        {"type": "begin", "episode": "4711", "step_seconds": 0.05},
        {"type": "step", "episode": "4711", "step": 0, "observation": {"speed": 3.0}},
        {"type": "step", "episode": "4711", "step": 1, "observation": {"speed": 3.0}},
        {"type": "end", "episode": "4711"},
        {"type": "bye"},
    ]


FORM: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "another episode": (lambda q: frame(act(q, episode="4712")), 'the answer\'s episode is "4712"; "4711" is expected'),
    "an earlier step": (lambda q: frame(act(q, step=q["step"] - 1)), "the answer's step is -1; 0 is expected"),
    "true for a step": (lambda q: frame(act(q, step=False)), "the answer's step is false; 0 is expected"),
    "another type": (lambda q: frame(act(q, type="ready")), 'the answer\'s type is "ready"; "act" is expected'),
    "too large": (lambda _: (MAX_FRAME + 1).to_bytes(4, "big"), f"a frame of {MAX_FRAME + 1} bytes was announced; at most {MAX_FRAME}"),
    "larger than memory": (lambda _: b"\xff\xff\xff\xff", "a frame of 4294967295 bytes was announced"),
    "empty": (lambda _: frame(b""), "not JSON that can be read"),
    "not JSON": (lambda _: frame(b"{'a': 1}"), "not JSON that can be read (Expecting property name"),
    "not UTF-8": (lambda _: frame(b'{"a": "\xff"}'), "(it is not UTF-8)"),
    "two values": (lambda q: frame(frame(act(q))[4:] * 2), "(Extra data at character"),
    "a list": (lambda _: frame([1, 2]), "the answer is a list; a JSON object is expected"),
    "a number": (lambda _: frame(b"7"), "the answer is a number; a JSON object is expected"),
    "a name twice": (lambda q: frame(frame(act(q))[4:-1] + b', "step": 0}'), "an object has a name twice"),
    "a name twice in the action": (
        lambda q: frame(frame(act(q))[4:].replace(b'"acceleration"', b'"lateral_acceleration"')),
        "an object has a name twice",
    ),
    "too deep": (lambda q: frame(act(q, action=json.loads("[" * 9 + "]" * 9))), "nested more than 8 deep"),
    "abysmally deep": (lambda _: frame(b"[" * MAX_FRAME), "nested more than 8 deep"),
    "a huge integer": (lambda q: frame(frame(act(q))[4:].replace(b"1.5", b"9" * 21)), "an integer of more than 20 digits"),
    "a gigantic integer": (lambda q: frame(frame(act(q))[4:].replace(b"1.5", b"9" * 60_000)), "an integer of more than 20 digits"),
    "no action": (lambda q: frame({k: v for k, v in act(q).items() if k != "action"}), "the answer has no action"),
    "an unknown field": (lambda q: frame(act(q, mood="good")), 'the answer has the unknown field "mood"; action, episode, step, type are'),
    "half an action": (lambda q: frame(act(q, {"acceleration": 1})), "the action has no lateral_acceleration"),
    "another action": (lambda q: frame(act(q, {**GOOD, "horn": 1})), 'the action has the unknown field "horn"'),
    "no object for an action": (lambda q: frame(act(q, [1, 0])), "the action is a list; an object is expected"),
    "a text for a number": (lambda q: frame(act(q, {**GOOD, "acceleration": "1"})), "the action's acceleration is a text; a number is expected"),
    "true for a number": (lambda q: frame(act(q, {**GOOD, "acceleration": True})), "acceleration is true or false; a number is expected"),
    "null for a number": (lambda q: frame(act(q, {**GOOD, "acceleration": None})), "acceleration is null; a number is expected"),
}


@pytest.mark.parametrize("name", FORM)
def test_a_fault_of_form_is_rejected_with_its_sentence(name: str) -> None:
    reply, sentence = FORM[name]
    with conversation(replying(reply)) as lab, pytest.raises(Rejected) as caught:
        started(lab).ask(0, {})
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("in episode 1, step 0: ")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "4.01", "-9.01", "99999999999999999999"])
def test_a_fault_of_content_is_kept_and_the_drive_goes_on(number: str) -> None:
    with conversation(replying(lambda q: frame(frame(act(q))[4:].replace(b"1.5", number.encode())))) as lab:
        answers = [started(lab).ask(0, {}), lab.ask(1, {})]
    assert [answer.valid for answer in answers] == [False, False]


@pytest.mark.parametrize(("number", "valid"), [(-9, True), (4, True), (4.000001, False), (-9.000001, False)])
def test_the_range_includes_its_ends(number: float, valid: bool) -> None:
    with conversation(replying(lambda q: frame(act(q, {**GOOD, "acceleration": number})))) as lab:
        assert started(lab).ask(0, {}).valid is valid


def test_a_late_answer_is_counted_and_used() -> None:
    def slow(connection: socket.socket, message: dict[str, Any]) -> None:
        time.sleep(0.06 if message["step"] == 1 else 0)
        connection.sendall(frame(act(message)))

    with conversation(answering(slow), deadline=0.05) as lab:
        started(lab)
        answers = [lab.ask(step, {}) for step in range(2)]
    assert answers[1].late
    assert answers[1].valid
    assert answers[1].latency >= 0.06


def test_no_answer_in_time() -> None:
    with conversation(answering(lambda *_: None), step_timeout=0.2) as lab:
        started(lab)
        start = time.monotonic()
        with pytest.raises(Rejected, match=r"in episode 1, step 0: no complete answer came within 0\.2 s"):
            lab.ask(0, {})
        assert 0.2 <= time.monotonic() - start < 5


def test_a_byte_at_a_time_gains_no_time() -> None:
    def dribble(connection: socket.socket, message: dict[str, Any]) -> None:
        for byte in frame(act(message)):
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    with conversation(answering(dribble), step_timeout=0.3) as lab, pytest.raises(Rejected, match=r"no complete answer came within 0\.3 s"):
        started(lab).ask(0, {})


def test_a_byte_at_a_time_is_no_fault_in_itself() -> None:
    def dribble(connection: socket.socket, message: dict[str, Any]) -> None:
        for byte in frame(act(message)):
            connection.sendall(bytes([byte]))

    with conversation(answering(dribble)) as lab:
        assert started(lab).ask(0, {}).valid


def test_who_does_not_read_is_not_waited_for() -> None:
    def deaf(connection: socket.socket) -> None:
        hear(connection)
        connection.sendall(frame(READY))
        time.sleep(1)

    def tell(lab: Peer) -> None:
        for number in range(1000):
            lab.begin(f"{number:0>60000}", 0.05)

    with conversation(deaf, step_timeout=0.1) as lab:
        lab.greet({})
        with pytest.raises(Rejected, match=r"did not read the lab's message within 0\.1 s"):
            tell(lab)


def test_the_whole_has_a_limit_of_its_own() -> None:
    def ask_on(lab: Peer) -> None:
        for step in range(1_000_000):
            lab.ask(step, {})

    with conversation(replying(lambda q: frame(act(q))), total=0.2) as lab, pytest.raises(Rejected, match=r"the run took more than 0\.2 s"):
        ask_on(started(lab))


@pytest.mark.parametrize("extra", [b"x", frame(READY), bytes(100_000)])
def test_bytes_that_nobody_asked_for(extra: bytes) -> None:
    with conversation(replying(lambda q: frame(act(q)) + extra)) as lab:
        started(lab).ask(0, {})
        with pytest.raises(Rejected, match="in episode 1, step 1: bytes came unasked"):
            lab.ask(1, {})


def test_an_answer_that_is_replayed() -> None:
    kept: list[bytes] = []

    def replay(question: dict[str, Any]) -> bytes:
        kept.append(frame(act(question)))
        return kept[0]

    with conversation(replying(replay)) as lab:
        started(lab).ask(0, {})
        with pytest.raises(Rejected, match="in episode 1, step 1: the answer's step is 0; 1 is expected"):
            lab.ask(1, {})


def test_speaking_before_the_greeting() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(READY))
        with pytest.raises(Rejected, match="at the greeting: bytes came unasked"):
            Peer(ours, ACTIONS).greet({})


def test_another_protocol() -> None:
    def newer(connection: socket.socket) -> None:
        hear(connection)
        connection.sendall(frame({**READY, "protocol": "livinglab.step/2"}))

    with conversation(newer) as lab, pytest.raises(Rejected) as caught:
        lab.greet({})
    assert str(caught.value) == f'at the greeting: the answer\'s protocol is "livinglab.step/2"; "{PROTOCOL}" is expected.'


def test_closing_instead_of_an_answer() -> None:
    with conversation(answering(lambda c, _: c.shutdown(socket.SHUT_RDWR))) as lab, pytest.raises(Left, match="closed the connection; an answer"):
        started(lab).ask(0, {})


def test_closing_after_an_answer() -> None:
    def once(connection: socket.socket, message: dict[str, Any]) -> None:
        connection.sendall(frame(act(message)))
        connection.shutdown(socket.SHUT_RDWR)

    with conversation(answering(once)) as lab:
        started(lab).ask(0, {})
        with pytest.raises(Left, match="in episode 1, step 1: the pilot closed the connection"):
            lab.ask(1, {})


def test_who_has_left_before_bye_has_missed_nothing_but_is_told_of_unasked_bytes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x")
        with pytest.raises(Rejected, match="at the end: bytes came unasked"):
            Peer(ours, ACTIONS).part()


def test_a_strangers_text_comes_back_short_and_printable() -> None:
    with conversation(replying(lambda q: frame(act(q, **{"\x1b[2J\u202e" + "x" * 50_000: 1})))) as lab, pytest.raises(Rejected) as caught:
        started(lab).ask(0, {})
    assert len(str(caught.value)) <= 400
    assert str(caught.value).isprintable()


def test_nobody_connects(tmp_path: Path) -> None:
    listening = listen(tmp_path)
    with pytest.raises(Rejected, match=r"no connection to /socket/lab\.sock within 0\.05 s"):
        accept(listening, 0.05)


def test_one_pilot_connects_and_nobody_after_it(tmp_path: Path) -> None:
    listening = listen(tmp_path)
    address = str(tmp_path / peer.SOCKET)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
        first.connect(address)
        with accept(listening, 5) as connection:
            first.sendall(b"hello")
            assert connection.recv(5) == b"hello"
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as second, pytest.raises(FileNotFoundError):
                second.connect(address)


def test_a_message_of_our_own_that_is_too_large_is_our_fault() -> None:
    with conversation(answering(lambda *_: None)) as lab, pytest.raises(ValueError, match="more than the protocol's 65536"):
        started(lab).ask(0, {"x": "x" * MAX_FRAME})


@given(st.one_of(st.binary(max_size=300), st.builds(frame, st.binary(max_size=200)), st.builds(frame, st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "episode", "step", "action", "acceleration", "x"]), inner),
    max_leaves=8,
))))  # fmt: skip
def test_whatever_comes_is_an_answer_or_rejected(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lab = Peer(ours, ACTIONS, step_timeout=0.5)
        lab.begin("4711", 0.05)
        lab._quiet = lambda: None  # type: ignore[method-assign] # the answer is there before the question
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(Rejected) as caught:
            lab.ask(0, {})
        assert len(str(caught.value)) <= 400
        assert str(caught.value).isprintable()


def test_a_round_trip_takes_a_fraction_of_a_step() -> None:
    with conversation(replying(lambda q: frame(act(q)))) as lab:
        started(lab)
        latencies = [lab.ask(step, {"speed": 1.0}).latency for step in range(500)]
    assert statistics.median(latencies) < 0.005
