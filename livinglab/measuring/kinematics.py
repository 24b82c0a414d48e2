"""What the steps of a drive say: time to collision, following distance, jerk, braking; and what each episode adds up to."""

from dataclasses import dataclass, fields

import numpy as np

from livinglab.measuring.cohort import Bools, Floats, Ints
from livinglab.measuring.recording import Recording
from livinglab.measuring.slices import Document

_KMH = 1 / 3.6
_FOLLOWING = ((7.2, 1.0), (10, 1.1), (20, 1.2), (30, 1.3), (40, 1.4), (50, 1.5), (60, 1.6))
"""Speed (km/h) and the least time gap there (s): UN Regulation No 157, 5.2.3.3."""
_LEAST_DISTANCE = 2.0
_STANDS = 0.1
"""m/s: below it the vehicle counts as standing, where no distance is demanded."""
_SECOND = 1.0
"""Over which jerk is averaged, and for which a threat explains what follows it (s)."""


def time_to_collision(gap: Floats, closing: Floats) -> Floats:
    """Seconds until contact if nobody changes speed; infinite where nobody is ahead or the gap does not close."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(closing > 0, np.maximum(gap, 0.0) / closing, np.inf))


def minimum_following_distance(speed: Floats) -> Floats:
    """Metres that UN Regulation No 157 demands at that speed (m/s): speed × time gap, the gap interpolated in its table, and never below 2 m.

    The table ends at 60 km/h; beyond it, its last time gap is kept.
    """
    speeds, gaps = (np.array(column) for column in zip(*_FOLLOWING, strict=True))
    return np.asarray(np.maximum(speed * np.interp(speed, speeds * _KMH, gaps), _LEAST_DISTANCE))


def preventable_ttc(closing: Floats) -> Floats:
    """The time to collision at which a cut-in closing at that speed (m/s) becomes preventable (s).

    Regulation (EU) 2022/1426, Annex III: v_rel / (2 · 6 m/s²) + 0.25 s, with seated and belted passengers.
    """
    return np.asarray(closing / 12 + 0.25)


@dataclass(frozen=True)
class Thresholds:
    """Where counting begins, as the specification's parameters say."""

    ttc_threshold: float
    """s"""
    control_ttc: float
    """s: hard braking is explained by a time to collision as short as this."""
    pet_threshold: float
    """s"""
    lateral_threshold: float
    """m/s²"""
    jerk_threshold: float
    """m/s³"""
    braking_threshold: float
    """m/s², a positive number."""

    @classmethod
    def of(cls, parameters: Document) -> "Thresholds":
        """From the parameters of those names."""
        return cls(**{field.name: float(parameters[field.name]) for field in fields(cls)})


@dataclass(frozen=True)
class Steps:
    """The steps of a recording, one after the other: (steps,) each."""

    recording: Recording
    episode: Ints
    place: Ints
    """Its number within the episode."""
    window: Ints
    """How many steps a second has there."""
    ttc: Floats

    @classmethod
    def of(cls, recording: Recording) -> "Steps":
        """With what follows from gap and closing speed."""
        trace = recording.trace
        episode = trace["episode"]
        window = np.maximum(np.rint(_SECOND / recording.seconds).astype(np.int64), 1)[episode]
        place = np.arange(len(episode)) - recording.first[episode]
        return cls(recording, episode, place, window, time_to_collision(trace["gap"], trace["closing"]))

    @property
    def following(self) -> Bools:
        """Behind somebody, and moving."""
        return np.asarray(~np.isnan(self.recording.trace["gap"]) & (self.recording.trace["speed"] > _STANDS))

    @property
    def close(self) -> Bools:
        """The same with less than the minimum distance."""
        trace = self.recording.trace
        return self.following & (np.nan_to_num(trace["gap"], nan=np.inf) < minimum_following_distance(trace["speed"]))

    @property
    def jerk(self) -> Floats:
        """Mean change of acceleration over the last second (m/s³); NaN in an episode's first."""
        acceleration = self.recording.trace["acceleration"]
        back = np.maximum(np.arange(len(self.place)) - self.window, 0)
        return np.asarray(np.where(self.place >= self.window, (acceleration - acceleration[back]) / _SECOND, np.nan))

    def unprovoked(self, braking: float, control: float) -> Bools:
        """Braking at least that hard (m/s²), with no time to collision of at most `control` (s) in the second before."""
        at = np.arange(len(self.place))
        last = np.maximum.accumulate(np.where(self.ttc <= control, at, -1))
        threatened = (last >= at - self.place) & (at - last <= self.window)
        return np.asarray((self.recording.trace["acceleration"] <= -braking) & ~threatened)

    def summed(self, values: Bools | Floats) -> Floats:
        """The sum of each episode: (episodes,)."""
        return np.asarray(np.add.reduceat(values.astype(np.float64), self.recording.first))


def totals(steps: Steps, thresholds: Thresholds) -> dict[str, Floats]:
    """What each episode adds up to: (episodes,) each; times in seconds, yes and no as 1 and 0.

    Of the baseline nothing is comparable where it collided: those episodes have 0 in all of `own_*` and `base_*`.
    """
    recording = steps.recording
    trace, seconds = recording.trace, recording.seconds
    jerk = steps.jerk
    told = {
        name: np.array([float(episode[name]) for episode in recording.episodes])
        for name in ("steps", "valid", "late", "duration", "distance", "co2", "preventable")
    }
    base = {name: np.array([float(episode["baseline"][name]) for episode in recording.episodes]) for name in ("distance", "co2", "collision")}
    collided = np.array([float(episode["collision"] is not None) for episode in recording.episodes])
    pet = np.array([np.inf if episode.get("pet") is None else episode["pet"] for episode in recording.episodes])
    compared = 1 - base["collision"]
    return {
        **told, "one": np.ones(len(collided)), "collided": collided,
        "km": np.maximum(told["distance"], 0.0) / 1000,
        "critical": steps.summed(steps.ttc <= thresholds.ttc_threshold) * seconds,
        "following": steps.summed(steps.following) * seconds, "close": steps.summed(steps.close) * seconds,
        "lateral": steps.summed(np.abs(trace["lateral_acceleration"]) > thresholds.lateral_threshold) * seconds,
        "jerky": steps.summed(np.abs(np.nan_to_num(jerk)) > thresholds.jerk_threshold) * seconds, "judged": steps.summed(~np.isnan(jerk)) * seconds,
        "narrow": np.maximum(pet < thresholds.pet_threshold, collided).astype(np.float64),
        "braked": (steps.summed(steps.unprovoked(thresholds.braking_threshold, thresholds.control_ttc)) > 0).astype(np.float64),
        "own_distance": told["distance"] * compared, "base_distance": base["distance"] * compared,
        "own_co2": told["co2"] * compared, "base_co2": base["co2"] * compared,
    }  # fmt: skip
