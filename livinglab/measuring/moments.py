"""The worst moments of a drive: which episodes they are, with the reason for each, and all that is known of them for a replay."""

from dataclasses import dataclass

import numpy as np

from livinglab.measuring.cohort import Floats
from livinglab.measuring.kinematics import Steps, time_to_collision
from livinglab.measuring.recording import KINDS, Recording
from livinglab.measuring.slices import Document

WORST = 12
_COLLISIONS, _ENCOUNTERS, _BRAKING, _SLOW = 5, 2, 1, 1
"""How many of each kind at most; the shortest times to collision fill up."""
_LITTLE = 0.8
"""Of the baseline's way: who got on less was standing about."""
_MOST_FRAMES, _MOST_OTHERS, _MOST_SIGHTINGS, _DIGITS = 1_500, 60, 6_000, 3
_SIZES = {"car": (4.6, 1.8), "lorry": (12.0, 2.5), "pedestrian": (0.5, 0.5)}
"""Length and width, for drawing (m)."""


@dataclass(frozen=True)
class Moment:
    """An episode, by its number, and why it is among the worst."""

    number: int
    why: str


def least_ttc(steps: Steps) -> Floats:
    """The shortest time to collision of each episode: (episodes,); infinite where nothing ever closed."""
    return np.asarray(np.minimum.reduceat(steps.ttc, steps.recording.first))


def worst(recording: Recording, totals: dict[str, Floats], steps: Steps) -> list[Moment]:
    """At most `WORST` episodes: collisions, narrow encounters, hard braking for nothing, standing about, and short times to collision."""
    episodes, found = recording.episodes, dict[int, str]()

    def take(order: list[int], most: int, why: list[str]) -> None:
        for number in [number for number in order if number not in found][:most]:
            if len(found) < WORST:
                found[number] = why[number]

    hit = [number for number, episode in enumerate(episodes) if episode["collision"]]
    hit.sort(key=lambda number: (not episodes[number]["preventable"], -episodes[number]["collision"]["relative_speed"]))
    take(hit, _COLLISIONS, [_collision(episode) for episode in episodes])
    pet = np.array([np.inf if episode.get("pet") is None else episode["pet"] for episode in episodes])
    narrow = [int(number) for number in np.argsort(pet, kind="stable") if totals["narrow"][number]]
    take(narrow, _ENCOUNTERS, [f"only {p:.2f} s between the two in the area that both crossed" for p in pet])
    braked = [int(number) for number in np.flatnonzero(totals["braked"]) if episodes[number]["family"] == "dense-traffic"]
    take(braked, _BRAKING, ["braked hard though nothing ahead threatened"] * len(episodes))
    share = totals["own_distance"] / np.maximum(totals["base_distance"], 1e-9)
    slow = [int(number) for number in np.argsort(share, kind="stable") if totals["base_distance"][number] > 0 and share[number] < _LITTLE]
    take(slow, _SLOW, [f"got {s:.0%} as far as the simulator's own driver" for s in share])
    shortest = least_ttc(steps)
    near = [int(number) for number in np.argsort(shortest, kind="stable") if np.isfinite(shortest[number])]
    take(near, WORST, [f"{t:.2f} s from a collision at the nearest" for t in shortest])
    return [Moment(number, why) for number, why in found.items()]


def _collision(episode: Document) -> str:
    if not episode["collision"]:
        return ""
    speed = episode["collision"]["relative_speed"] * 3.6
    whether = "which a careful driver prevents" if episode["preventable"] else "which the careful driver does not prevent either"
    return f"collision with {episode['collision']['with'][:40]} at {speed:.0f} km/h, {whether}"


def replay(recording: Recording, moments: list[Moment], parameters: Document) -> Document:
    """The document `domain.replay.Replay` of these episodes."""
    sizes = {kind: {"length": length, "width": width} for kind, (length, width) in _SIZES.items()}
    return {
        "schema_version": 1, "ttc_threshold": float(parameters["ttc_threshold"]), "lane_width": float(parameters["lane_width"]),
        "sizes": sizes, "ego": sizes["car"], "episodes": [_episode(recording, moment) for moment in moments],
    }  # fmt: skip


def _episode(recording: Recording, moment: Moment) -> Document:
    episode, where = recording.episodes[moment.number], recording.steps_of(moment.number)
    where = slice(max(where.start, where.stop - _MOST_FRAMES), where.stop)  # the end, where it is too long: that is where things happen
    trace = {name: array[where] for name, array in recording.trace.items()}
    ttc = time_to_collision(trace["gap"], trace["closing"])
    contact = episode["collision"]
    return {
        "id": episode["id"][:80], "family": episode["family"][:80], "why": moment.why, "preventable": episode["preventable"],
        "collision": contact and {"time": contact["time"], "other": contact["with"][:80], "relative_speed": contact["relative_speed"]},
        "parameters": {name: round(value, _DIGITS) for name, value in list(episode["parameters"].items())[:30]},
        **{name: _rounded(trace[name]) for name in ("time", "x", "y", "angle", "speed", "acceleration")},
        "gap": [None if np.isnan(gap) else round(float(gap), _DIGITS) for gap in trace["gap"]],
        "ttc": [round(float(t), _DIGITS) if np.isfinite(t) else None for t in ttc],
        "others": _others(recording, where), "edges": episode.get("edges", []),
    }  # fmt: skip


def _others(recording: Recording, where: slice) -> list[Document]:
    around = recording.around
    inside = slice(*np.searchsorted(around["other_step"], [where.start, where.stop]).tolist())
    seen = {name: array[inside] for name, array in around.items()}
    names, counts = np.unique(seen["other"], return_counts=True)
    longest = np.sort(names[np.argsort(-counts, kind="stable")][:_MOST_OTHERS])
    kept = np.isin(seen["other"], longest)
    moments = np.unique(seen["other_step"])[:: -(-int(kept.sum()) // _MOST_SIGHTINGS) or 1]
    kept &= np.isin(seen["other_step"], moments)
    seen, found = {name: array[kept] for name, array in seen.items()}, []
    for name in np.unique(seen["other"]):
        own = np.flatnonzero(seen["other"] == name)
        own = own[np.unique(seen["other_step"][own], return_index=True)[1]]
        found.append({
            "id": int(name), "kind": KINDS[int(seen["other_kind"][own[0]])], "frames": (seen["other_step"][own] - where.start).tolist(),
            "x": _rounded(seen["other_x"][own]), "y": _rounded(seen["other_y"][own]), "angle": _rounded(seen["other_angle"][own]),
        })  # fmt: skip
    return found


def _rounded(values: Floats) -> list[float]:
    return [float(value) for value in np.round(values, _DIGITS)]
