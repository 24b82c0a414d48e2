"""A recording is read as untrusted bytes: whatever is wrong with it is said in a sentence, and nothing in it is executed."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livinglab.measuring import recording
from livinglab.measuring.recording import BrokenRecording
from tests.drives import driven, hit, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gap = np.full(20, 30.0)
    gap[:5] = np.nan
    return write(
        [driven(columns={"gap": gap, "closing": 2.0}, around=[(0, 1, 0, 9.0, 0.0, 0.0), (2, 1, 0, 9.5, 0.0, 0.0)]), driven(10, 0.1)], tmp_path
    )


def test_a_whole_recording_is_read(folder: Path) -> None:
    found = recording.read(folder)
    assert (found.first.tolist(), found.seconds.tolist(), found.steps_of(1)) == ([0, 20], pytest.approx([0.05, 0.1]), slice(20, 30))
    assert (found.trace["gap"].dtype, found.trace["episode"].dtype, len(found.around["other"])) == (np.float64, np.int64, 2)


def said(folder: Path) -> str:
    with pytest.raises(BrokenRecording) as caught:
        recording.read(folder)
    return str(caught.value)


EPISODES: list[tuple[Any, str]] = [
    ([], "at least one episode"), ({}, "at least one episode"), ([7, 8], "[0]: an object was expected"),
    ({"steps": 0}, "there is no step"), ({"steps": 2.5}, "not whole numbers"), ({"steps": True}, "not whole numbers"), ({"valid": 21}, "more valid"),
    ({"late": -1}, "not whole numbers"), ({"family": 7}, "not words"), ({"preventable": 1}, "neither true nor false"),
    ({"parameters": {"ttc": "x"}}, "`parameters`"), ({"parameters": {"ttc": True}}, "`parameters`"), ({"distance": None}, "`distance`"),
    ({"co2": -1}, "`co2`"), ({"duration": 0}, "`duration`"), ({"pet": -0.1}, "`pet`"), ({"ended": "asleep"}, "`ended`"), ({"ended": None}, "`ended`"),
    ({"collision": hit()}, "`ended`"), ({"ended": "collision", "collision": {"time": 1}}, "`collision`"), ({"baseline": {}}, "`baseline`"),
    ({"baseline": {"collision": False, "duration": 1, "distance": "far", "co2": 1}}, "`baseline.distance`"), ({"edges": [[[0, 0]]]}, "`edges`"),
    ({"edges": [[[0, 0], [1, "a"]]]}, "two finite numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), EPISODES)
def test_an_episode_that_is_not_one_is_named(folder: Path, change: Any, sentence: str) -> None:
    path = folder / recording.EPISODES
    episodes = json.loads(path.read_text())
    document = change if not (isinstance(change, dict) and change) else [{**episodes[0], **change}, episodes[1]]
    path.write_text(json.dumps(document))
    assert sentence in said(folder)


@pytest.mark.parametrize("text", ["{", '[{"distance": NaN}]', '[{"distance": Infinity}]', "[" * 100_000, "\xff"])
def test_what_is_not_json_with_finite_numbers_is_refused(folder: Path, text: str) -> None:
    (folder / recording.EPISODES).write_bytes(text.encode("latin-1"))
    assert "is not JSON with finite numbers" in said(folder)


Change = Callable[[dict[str, Any]], Any]
ARRAYS: list[tuple[Change, str]] = [
    (lambda a: a.pop("gap"), "has no `gap`"), (lambda a: a.update(x=a["x"][:-1]), "several lengths"),
    (lambda a: a.update(other_x=a["other_x"][:-1]), "several lengths"), (lambda a: a.update(x=a["x"].reshape(-1, 1)), "`x` is not a list"),
    (lambda a: a.update(valid=a["valid"].astype(int)), "`valid` is not a list"), (lambda a: a.update(x=a["x"].astype("U8")), "`x` is not a list"),
    (lambda a: a["speed"].__setitem__(3, np.nan), "`speed` is not finite"), (lambda a: a["gap"].__setitem__(9, np.inf), "`gap` is infinite"),
    (lambda a: a["closing"].__setitem__(9, np.nan), "without `gap`"), (lambda a: a["episode"].__setitem__(3, 1), "`episode` is not"),
    (lambda a: a["other_x"].__setitem__(0, np.nan), "nowhere"), (lambda a: a["other_step"].__setitem__(1, 30), "`other_step`"),
    (lambda a: a["other_step"].__setitem__(0, 7), "`other_step`"), (lambda a: a["other_kind"].__setitem__(0, 3), "`other_kind`"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), ARRAYS)
def test_an_array_that_is_not_what_it_should_be_is_named(folder: Path, change: Change, sentence: str) -> None:
    arrays = dict(np.load(folder / recording.TRACE))
    change(arrays)
    np.savez(folder / recording.TRACE, **arrays)
    assert sentence in said(folder)


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_nothing_is_unpickled(folder: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    arrays = dict(np.load(folder / recording.TRACE))
    np.savez(folder / recording.TRACE, **{**arrays, "x": np.array([Trap(str(sprung))] * 30, dtype=object)})
    assert "no archive of plain arrays" in said(folder)
    (folder / recording.TRACE).write_bytes(pickle.dumps(Trap(str(sprung))))
    assert "no archive of plain arrays" in said(folder)
    assert not sprung.exists()


def test_a_file_that_is_missing_a_link_or_too_large_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = folder / recording.TRACE
    monkeypatch.setattr(recording, "MAX_TRACE_BYTES", 100)
    assert "larger than 100 bytes, unpacked" in said(folder)
    trace.rename(folder / "elsewhere")
    trace.symlink_to(folder / "elsewhere")
    assert "trace.npz is not there" in said(folder)
    trace.unlink()
    assert "trace.npz is not there" in said(folder)
    monkeypatch.setattr(recording, "MAX_EPISODES_BYTES", 100)
    assert "larger than 100 bytes" in said(folder)
    (folder / recording.EPISODES).unlink()
    assert "episodes.json is not there" in said(folder)
