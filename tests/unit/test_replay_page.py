"""The page of a replay: one file that needs no network, in which nothing of the data becomes markup or code; seen in a real browser."""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from livinglab.cli import group, replays
from livinglab.domain.errors import Invalid
from livinglab.domain.replay import REPLAY_LIMIT, Replay
from sandbox_api import examples
from tests.fixtures.browser import Page

HOSTILE = "</script><script>document.title = 'taken'</script><img src=http://127.0.0.1:9/x onerror=\"document.title = 'taken'\">"


def document(**changes: Any) -> dict[str, Any]:
    """Three episodes: a cut-in that comes nearer and nearer, one with a collision, one in which nothing is known of anybody."""
    first, found = deepcopy(examples.REPLAY["episodes"][0]), deepcopy(examples.REPLAY)
    n = 61
    gap = [None] * 5 + [30 - 0.45 * k for k in range(n - 5)]
    first |= {"time": [round(0.05 * k, 3) for k in range(n)], "x": [1.4 * k for k in range(n)], "y": [0.0] * n, "angle": [0.0] * n,
              "speed": [28.0 - 0.1 * k for k in range(n)], "acceleration": [-2.0] * n, "gap": gap, "ttc": [g and g / 9 for g in gap],
              "parameters": {"closing": 9.0}, "edges": [[[-50, 5.25], [300, 5.25]], [[-50, -5.25], [300, -5.25]]], **changes}  # fmt: skip
    steps = list(range(0, n, 2))
    car = {"id": 0, "kind": "car", "frames": steps, "x": [35 + 0.95 * k for k in steps], "y": [max(0.0, 3.5 - 0.1 * k) for k in steps]}
    walker = {"id": 1, "kind": "pedestrian", "frames": steps, "x": [60.0] * len(steps), "y": [-4 + 0.05 * k for k in steps]}
    first["others"] = [{**other, "angle": [0.0] * len(steps)} for other in (car, walker)]
    crash = {
        **deepcopy(first),
        "id": "e0007",
        "why": "collision with car-0 at 12 km/h",
        "collision": {"time": 3.0, "other": "car-0", "relative_speed": 3.3},
    }
    alone = {**deepcopy(first), "id": "e0009", "gap": [None] * n, "ttc": [None] * n, "others": [], "edges": []}
    found["sizes"] |= {"pedestrian": {"length": 0.5, "width": 0.5}, "lorry": {"length": 12.0, "width": 2.5}}
    return {**found, "episodes": [first, crash, alone]}


def page(path: Path, **changes: Any) -> Path:
    path.write_text(replays.page(Replay.model_validate(document(**changes)), "Replay of run-01"), encoding="utf-8")
    return path


def test_the_data_come_back_and_no_sign_of_them_is_markup(tmp_path: Path) -> None:
    text = page(tmp_path / "page.html", why=HOSTILE).read_text()
    (data,) = re.findall(r'<script type="application/json" id="replay">(.*?)</script>', text, flags=re.DOTALL)
    assert not set("<>&") & set(data)
    assert Replay.model_validate_json(data) == Replay.model_validate(document(why=HOSTILE))
    assert text.count("<script") == 2
    assert not re.search(r"(?:src|href)\s*=", text.replace(data, ""))


def test_a_title_is_text(tmp_path: Path) -> None:
    text = replays.page(Replay.model_validate(document()), "<b>&$policy")
    assert "<title>&lt;b&gt;&amp;$policy</title>" in text
    assert "<b>&" not in text


@pytest.mark.parametrize(("data", "says"), [
    (b"[]", "replay."), (b" " * (REPLAY_LIMIT + 1), "larger than"),
    (json.dumps({**examples.REPLAY, "more": 1}).encode(), "replay.more: Extra inputs"),
])  # fmt: skip
def test_what_a_server_sends_and_is_no_replay_becomes_no_page(data: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        replays.checked(data)


def test_the_command_fetches_checks_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path} {request.headers['Authorization']}")
        return httpx.Response(200, json=document())

    http = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: http(transport=httpx.MockTransport(answer), **options))
    out = tmp_path / "replay.html"
    said = CliRunner().invoke(group, ["replay", "run-01", "--out", str(out), "--token", "ll_x"])
    assert said.exit_code == 0, said.output
    assert asked == ["GET /v1/runs/run-01/replay Bearer ll_x"]
    assert said.output == f"{out}: 3 episodes. Open it in a browser.\n"
    assert "Replay of run-01" in out.read_text()


@pytest.mark.browser
def test_the_page_plays_steps_and_shows_why(browser_page: Page, tmp_path: Path) -> None:
    browser_page.open(page(tmp_path / "page.html"))
    reading = "document.documentElement.dataset.frame"
    assert browser_page.js("[...document.querySelectorAll('#episodes small')].map(e => e.textContent)")[1] == "collision with car-0 at 12 km/h"
    browser_page.until(f"Number({reading}) > 3")  # it plays by itself
    browser_page.press("ArrowRight")
    at = int(browser_page.js(reading))
    assert browser_page.js("document.getElementById('play').getAttribute('aria-label')") == "play"
    browser_page.press("ArrowRight")
    assert int(browser_page.js(reading)) == at + 1
    browser_page.press("ArrowLeft")
    browser_page.press("ArrowLeft")
    assert int(browser_page.js(reading)) == at - 1
    browser_page.press("End")
    assert browser_page.js("document.getElementById('slider').value") == "60"
    assert browser_page.js("document.getElementById('ttc').textContent") == f"{(30 - 0.45 * 55) / 9:.2f} s"
    assert browser_page.js("document.getElementById('danger').className") == "now"
    browser_page.press("ArrowDown")
    assert browser_page.js("document.documentElement.dataset.episode") == "e0007"
    assert browser_page.js("document.getElementById('speed').textContent") == "101 km/h"
    browser_page.js("document.getElementById('slider').value = 30; document.getElementById('slider').dispatchEvent(new Event('input'))")
    assert browser_page.js("document.getElementById('time').textContent") == "1.50 s"
    assert browser_page.faults == []


@pytest.mark.browser
def test_the_scene_is_drawn_where_the_vehicles_are(browser_page: Page, tmp_path: Path) -> None:
    browser_page.open(page(tmp_path / "page.html"))
    browser_page.press("Home")

    def painted(dx: float, dy: float) -> list[int]:
        """The pixel so many metres before the vehicle under test, and to its left."""
        return list(
            browser_page.js(f"""(() => {{ const c = document.getElementById('scene'), z = Number(document.getElementById('zoom').value);
            const w = c.clientWidth, h = c.clientHeight, r = c.width / w;
            return [...c.getContext('2d').getImageData((w * 0.3 + {dx} * z) * r, (h / 2 - {dy} * z) * r, 1, 1).data].slice(0, 3); }})()""")
        )

    ego, car, walker, road, void = painted(0, 0), painted(35, 3.5), painted(60, -4), painted(15, 0), painted(15, 9)
    assert len({tuple(colour) for colour in (ego, car, walker, road, void)}) == 5
    browser_page.press("End")
    assert painted(0, 0) != ego  # red: less than the threshold
    assert painted(35 + 0.95 * 60 - 1.4 * 60, 0) == car


@pytest.mark.browser
def test_nothing_of_the_data_runs_and_nothing_is_fetched(browser_page: Page, tmp_path: Path) -> None:
    browser_page.open(page(tmp_path / "page.html", why=HOSTILE, family=HOSTILE[:80], id=HOSTILE[:80]))
    assert browser_page.js("document.querySelector('#episodes small').textContent") == HOSTILE
    assert browser_page.js("document.title") == "Replay of run-01"
    assert browser_page.js("document.images.length") == 0
    asked = [event["request"]["url"] for event in browser_page.heard("Network.requestWillBeSent")]
    assert all(url.startswith("file://") for url in asked)
    assert browser_page.faults == []
    # And what got in by another way would not run: only the two texts that the page came with may.
    browser_page.js("{ const s = document.createElement('script'); s.textContent = \"document.title = 'taken'\"; document.body.append(s) }")
    assert browser_page.js("document.title") == "Replay of run-01"
    assert any("Content Security Policy" in json.dumps(fault) for fault in browser_page.faults)


@pytest.mark.browser
def test_a_replay_of_nothing_says_so(browser_page: Page, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(replays.page(Replay.model_validate({**document(), "episodes": []}), "Replay"), encoding="utf-8")
    browser_page.open(path)
    assert "nothing to look at" in browser_page.js("document.getElementById('what').textContent")
    assert browser_page.faults == []
