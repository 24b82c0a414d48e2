"""The recording of a drive: which episodes there were, and what happened at each step. Read as untrusted bytes, and checked whole.

`episodes.json` is a list of episodes. `trace.npz` has one entry per step of all episodes, in their order, and for the replay who was
around at some of the steps. Positions are metres in a frame of the episode's own (x along the road, y to the left), angles radians
from x, speeds m/s, accelerations m/s², times seconds.
"""

import json
import math
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from livinglab.measuring.cohort import Floats, Ints
from livinglab.measuring.slices import Document, Table

EPISODES, TRACE = "episodes.json", "trace.npz"
MAX_EPISODES_BYTES, MAX_TRACE_BYTES = 32 << 20, 1 << 30
"""The second of all arrays, unpacked."""

MAX_EDGES, MAX_POINTS = 40, 500
KINDS = ("car", "lorry", "pedestrian")
"""Of road users, by their numbers."""

STEPS = ("time", "x", "y", "angle", "speed", "acceleration", "lateral_acceleration", "latency")
AHEAD = ("gap", "closing")
"""NaN where nobody is ahead."""
AROUND = {"other_step": "i", "other": "i", "other_kind": "i", "other_x": "f", "other_y": "f", "other_angle": "f"}
_KINDS = {**dict.fromkeys((*STEPS, *AHEAD), "f"), "episode": "i", "valid": "b", **AROUND}
_NUMBERS = {"duration": 0.0, "distance": -math.inf, "co2": 0.0}
"""Field of an episode → its least value."""


class BrokenRecording(Exception):
    """What was recorded cannot be measured; the message says what, where, and what was expected."""


@dataclass(frozen=True)
class Recording:
    """Episodes in order; trace: (steps,) each; around: (sightings,) each."""

    episodes: list[Document]
    trace: Table
    around: Table

    @cached_property
    def first(self) -> Ints:
        """The first step of each episode: (episodes,)."""
        steps = np.array([episode["steps"] for episode in self.episodes], dtype=np.int64)
        return np.cumsum(steps) - steps

    @cached_property
    def seconds(self) -> Floats:
        """How long one step is, by episode: (episodes,)."""
        return np.array([episode["duration"] / episode["steps"] for episode in self.episodes], dtype=np.float64)

    def steps_of(self, number: int) -> slice:
        """Where the steps of an episode are in the trace."""
        return slice(int(self.first[number]), int(self.first[number]) + int(self.episodes[number]["steps"]))


def read(folder: Path) -> Recording:
    """Both files of a recording.

    Raises:
        BrokenRecording: one is missing, too large, or not what it should be.
    """
    episodes = _read_episodes(folder / EPISODES)
    arrays = _read_arrays(folder / TRACE)
    trace, around = ({name: array for name, array in arrays.items() if (name in AROUND) == of} for of in (False, True))
    for table, what in ((trace, "steps"), (around, "sightings")):
        if len({len(array) for array in table.values()}) != 1:
            raise BrokenRecording(f"{TRACE}: the arrays of {what} are of several lengths; one was expected.")
    _check_numbers(trace, around)
    counts = np.array([episode["steps"] for episode in episodes], dtype=np.int64)
    if not np.array_equal(trace["episode"], np.repeat(np.arange(len(episodes)), counts)):
        raise BrokenRecording(f"{TRACE}: `episode` is not each episode's number, in order, as often as {EPISODES} says that it has steps.")
    return Recording(episodes, trace, around)


def _read_episodes(path: Path) -> list[Document]:
    if not path.is_file() or path.is_symlink():
        raise BrokenRecording(f"{EPISODES} is not there.")
    if path.stat().st_size > MAX_EPISODES_BYTES:
        raise BrokenRecording(f"{EPISODES} is larger than {MAX_EPISODES_BYTES} bytes.")
    try:
        episodes = json.loads(path.read_bytes(), parse_constant=_not_finite)
    except (ValueError, RecursionError) as error:
        raise BrokenRecording(f"{EPISODES} is not JSON with finite numbers.") from error
    if not isinstance(episodes, list) or not episodes:
        raise BrokenRecording(f"{EPISODES} is not a list with at least one episode.")
    for number, episode in enumerate(episodes):
        if fault := _fault(episode):
            raise BrokenRecording(f"{EPISODES}[{number}]: {fault}.")
    return episodes


def _not_finite(word: str) -> float:
    raise ValueError(word)


def _number(value: Any, least: float = -math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least


def _fault(episode: Any) -> str:
    """What is wrong with an episode, as a sentence without its stop; empty if nothing is."""
    if not isinstance(episode, dict):
        return "an object was expected"
    counts = [episode.get(name) for name in ("steps", "valid", "late")]
    if any(not isinstance(count, int) or isinstance(count, bool) or count < 0 for count in counts):
        return "`steps`, `valid` and `late` are not whole numbers"
    if episode["steps"] == 0 or episode["valid"] > episode["steps"] or episode["late"] > episode["steps"]:
        return "there is no step, or there are more valid or late ones than steps"
    if not all(isinstance(episode.get(name), str) for name in ("id", "family")) or not isinstance(episode.get("preventable"), bool):
        return "`id` and `family` are not words, or `preventable` is neither true nor false"
    parameters = episode.get("parameters")
    if not isinstance(parameters, dict) or not all(map(_number, parameters.values())):
        return "`parameters` are not names with finite numbers"
    if wrong := [name for name, least in _NUMBERS.items() if not _number(episode.get(name), least)]:
        return f"`{wrong[0]}` is not a number that it can be"
    if episode["duration"] <= 0 or not (episode.get("pet") is None or _number(episode["pet"], 0.0)):
        return "`duration` is not positive, or `pet` is negative"
    return _fault_of_ends(episode) or _fault_of_edges(episode.get("edges", []))


def _fault_of_ends(episode: Document) -> str:
    """The same of how it ended, and of the baseline."""
    collision, baseline = episode.get("collision"), episode.get("baseline")
    if (collision is not None) != (episode.get("ended") == "collision") or episode.get("ended") not in ("finished", "collision"):
        return "`ended` is neither `finished` without a collision, nor `collision` with one"
    if collision is not None and not (
        isinstance(collision, dict) and _number(collision.get("time"), 0.0) and isinstance(collision.get("with"), str)
        and _number(collision.get("relative_speed"), 0.0)
    ):  # fmt: skip
        return "`collision` does not say when, with whom, and how fast"
    if not isinstance(baseline, dict) or not isinstance(baseline.get("collision"), bool):
        return "`baseline` does not say whether it collided"
    if wrong := [name for name, least in _NUMBERS.items() if not _number(baseline.get(name), least)]:
        return f"`baseline.{wrong[0]}` is not a number that it can be"
    return ""


def _fault_of_edges(edges: Any) -> str:
    """The same of the road's edges, where they were recorded."""
    if not isinstance(edges, list) or len(edges) > MAX_EDGES or not all(isinstance(line, list) and 1 < len(line) <= MAX_POINTS for line in edges):
        return f"`edges` are not at most {MAX_EDGES} lines of two to {MAX_POINTS} points"
    if not all(isinstance(point, list) and len(point) == 2 and all(map(_number, point)) for line in edges for point in line):  # noqa: PLR2004 - x, y
        return "`edges` have a point that is not two finite numbers"
    return ""


def _read_arrays(path: Path) -> Table:
    """The arrays, each of one dimension and of its kind; floating point numbers as float64, whole ones as int64."""
    if not path.is_file() or path.is_symlink():
        raise BrokenRecording(f"{TRACE} is not there.")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_TRACE_BYTES:
            raise BrokenRecording(f"{TRACE} is larger than {MAX_TRACE_BYTES} bytes, unpacked.")
        with np.load(path, allow_pickle=False) as loaded:
            if missing := sorted(_KINDS.keys() - set(loaded.files)):
                raise BrokenRecording(f"{TRACE} has no `{missing[0]}`.")
            found = {name: loaded[name] for name in _KINDS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BrokenRecording(f"{TRACE} is no archive of plain arrays.") from error
    for name, array in found.items():
        if array.ndim != 1 or array.dtype.kind != _KINDS[name]:
            raise BrokenRecording(f"{TRACE}: `{name}` is not a list of numbers of its kind ({_KINDS[name]}).")
    wide = {"f": np.float64, "i": np.int64, "b": np.bool_}
    return {name: array.astype(wide[array.dtype.kind]) for name, array in found.items()}


def _check_numbers(trace: Table, around: Table) -> None:
    for name in STEPS:
        if not np.isfinite(trace[name]).all():
            raise BrokenRecording(f"{TRACE}: `{name}` is not finite everywhere.")
    for name in AHEAD:
        if np.isinf(trace[name]).any() or not np.array_equal(np.isnan(trace[name]), np.isnan(trace["gap"])):
            raise BrokenRecording(f"{TRACE}: `{name}` is infinite somewhere, or known without `gap`.")
    steps = around["other_step"]
    if not all(np.isfinite(around[name]).all() for name in ("other_x", "other_y", "other_angle")):
        raise BrokenRecording(f"{TRACE}: a road user is nowhere.")
    if len(steps) and not 0 <= around["other_kind"].min() <= around["other_kind"].max() < len(KINDS):
        raise BrokenRecording(f"{TRACE}: `other_kind` is none of {', '.join(KINDS)}, by their numbers from 0.")
    if len(steps) and (steps.min() < 0 or steps.max() >= len(trace["time"]) or (np.diff(steps) < 0).any()):
        raise BrokenRecording(f"{TRACE}: `other_step` is not in order, or names a step that there is not.")
