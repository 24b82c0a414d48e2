"""One look at a queue for all who ask, and a controller that is left alone when it does not answer."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from livinglab.domain.errors import Unreachable
from livinglab.sites.slurm.control import Line
from livinglab.sites.slurm.sharing import Patience, Snapshot

LINES = (Line(id="1", name="ll-a", state="RUNNING"), Line(id="2", name="ll-b", state="PENDING"), Line(id="3", name="ll-a", state="PENDING"))


class Controller:
    """Counts what it is asked; answers after `seconds`, or not."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.asked, self.away = seconds, 0, False

    def queue(self) -> tuple[Line, ...]:
        self.asked += 1
        time.sleep(self.seconds)
        if self.away:
            msg = "Slurm does not answer."
            raise Unreachable(msg)
        return LINES


def test_however_many_ask_it_is_asked_once() -> None:
    controller = Controller(0.05)
    snapshot = Snapshot(controller.queue, seconds=60)
    with ThreadPoolExecutor(16) as pool:
        looks = [look.result() for look in [pool.submit(snapshot.look) for _ in range(16)]]
    assert controller.asked == 1
    assert [[line.id for line in look["ll-a"]] for look in looks] == [["1", "3"]] * 16


def test_who_must_know_is_told_what_is_now() -> None:
    controller = Controller()
    snapshot = Snapshot(controller.queue, seconds=60)
    for times in (1, 2, 3):
        snapshot.look(fresh=True)
        assert controller.asked == times
    snapshot.look()
    assert controller.asked == 3


def test_a_slow_controller_is_asked_less_often() -> None:
    controller = Controller(0.2)
    snapshot = Snapshot(controller.queue, seconds=0.05)
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5:
        snapshot.look()
        time.sleep(0.01)
    assert controller.asked == 1
    begun, asked = time.monotonic(), controller.asked
    for _ in range(3):
        snapshot.look(fresh=True)
    assert controller.asked == asked + 3
    assert time.monotonic() - begun >= 3 * 0.2 + 2 * 0.2


def test_one_that_does_not_answer_is_left_alone_for_twice_as_long_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("livinglab.sites.slurm.sharing.time.monotonic", lambda: now)
    patience, controller = Patience(), Controller()
    controller.away = True
    tried = []
    for _ in range(1_000):
        before = controller.asked
        with pytest.raises(Unreachable, match="Slurm does not answer"), patience.asking():
            controller.queue()
        if controller.asked > before:
            tried.append(now)
        now += 0.125
    waits = [round(later - earlier, 1) for earlier, later in pairwise(tried)]
    assert waits[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0]
    assert set(waits[6:]) == {15.0}
    controller.away, now = False, now + 15
    with patience.asking():
        controller.queue()
    controller.away = True
    with pytest.raises(Unreachable), patience.asking():
        controller.queue()
    now += 0.5
    with pytest.raises(Unreachable, match=r"answer\.$"), patience.asking():
        controller.queue()
