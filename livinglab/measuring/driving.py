"""From the recording of a drive to measurements: what a harness of closed-loop driving does in `measure`.

The unit is the episode, never the step: episodes are drawn independently of one another, and the steps of one are not. Proportions of
episodes and rates by distance have exact bounds; what is a ratio of sums over episodes is resampled by episodes, together with what
the baseline did in the same ones.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from livinglab.measuring import exact
from livinglab.measuring.cohort import Floats, Ints, ratio
from livinglab.measuring.driving_charts import charts
from livinglab.measuring.evaluation import Key, demanded
from livinglab.measuring.exact import EXACT
from livinglab.measuring.kinematics import Steps, Thresholds, totals
from livinglab.measuring.moments import Moment, replay, worst
from livinglab.measuring.recording import Recording
from livinglab.measuring.resampling import BOOTSTRAP, bounds, generator, multiplicities
from livinglab.measuring.slices import Document, Table, chosen

COHORT = "hidden"
"""All episodes are of it: they were drawn for this run alone."""
BASELINE = "sumo"
_THOUSAND = 1000.0
_ENOUGH = 20
"""Episodes that have any of something: fewer, and resampling them tells too little."""

_PROPORTIONS = {
    "preventable_collision_rate": ("collided", "preventable", "preventable scenarios ended in a collision"),
    "collision_rate": ("collided", "one", "scenarios ended in a collision"),
    "narrow_encounters": ("narrow", "one", "scenarios had a narrow encounter"),
    "hard_braking": ("braked", "one", "scenarios had hard braking for nothing"),
}
"""Metric → what is counted, among what, and how a note says it."""
_RATES = {"collisions_per_1000_km": ("collided", "km")}
_SHARES = {
    "on_time": ("late", "steps"), "ttc_exposure": ("critical", "duration"), "close_following": ("close", "following"),
    "lateral_exposure": ("lateral", "duration"), "jerk_exposure": ("jerky", "judged"),
}  # fmt: skip
"""Metric → what of what, both sums over episodes. `on_time` is the rest."""
_PROGRESS = ("own_distance", "base_distance")
_CO2 = ("own_co2", "own_distance", "base_co2", "base_distance")
_BY_PILOT = frozenset({"close_following", "co2_ratio", "collisions_per_1000_km"})
"""Metrics that a vehicle that does not move leaves without a value."""


@dataclass
class DrivingEvaluation:
    """A drive against what is demanded of it.

    Args:
        recording: checked by `recording.read`.
        context: as the lab gives it (`context.json`).
    """

    recording: Recording
    context: Document
    _sums: dict[str, dict[str, Floats]] = field(default_factory=dict)

    @cached_property
    def totals(self) -> dict[str, Floats]:
        """What each episode adds up to."""
        return totals(self.steps, Thresholds.of(self.context["parameters"]))

    @cached_property
    def reference(self) -> Table:
        """The episodes with what slices may name: family, preventable, and each parameter, NaN where a family has it not."""
        episodes = self.recording.episodes
        names = sorted({name for episode in episodes for name in episode["parameters"]})
        table: Table = {name: np.array([episode["parameters"].get(name, np.nan) for episode in episodes]) for name in names}
        return table | {
            "family": np.array([episode["family"] for episode in episodes]), "cohort": np.full(len(episodes), COHORT),
            "preventable": np.array([episode["preventable"] for episode in episodes]),
        }  # fmt: skip

    @property
    def baselines(self) -> dict[str, Floats]:
        """How far the simulator's own driver came in each episode (m), and what it emitted (g)."""
        driven = [[episode["baseline"]["distance"], episode["baseline"]["co2"]] for episode in self.recording.episodes]
        return {name: np.array(driven) for name in self.context["baselines"] if name == BASELINE}

    @cached_property
    def steps(self) -> Steps:
        """What happened at each step."""
        return Steps.of(self.recording)

    @cached_property
    def worst(self) -> list[Moment]:
        """The worst moments."""
        return worst(self.recording, self.totals, self.steps)

    def charts(self) -> dict[str, Document]:
        """Pictures of the drive."""
        return charts(self.recording, self.steps, self.worst, float(self.context["parameters"]["ttc_threshold"]))

    def replay(self) -> Document:
        """The worst moments, to be looked at: as `domain.replay.Replay`."""
        return replay(self.recording, self.worst, self.context["parameters"])

    def measure(self) -> list[Document]:
        """One measurement (as `domain.verdict.Measurement`) for each metric and slice that a criterion asks for."""
        return [self._measure(key, level, methods - {"none"}) for key, (level, methods) in demanded(self.context).items()]

    # --- what is measured on ---------------------------------------------------------------------------------------------

    def rows(self, slice_: str) -> Ints:
        """The episodes of a slice."""
        return chosen(self.reference, self.context["slices"][slice_])[0]

    @cached_property
    def _multiplicities(self) -> np.ndarray[Any, Any]:
        """Drawn once: all measurements are paired."""
        rng = generator(self.context["seed"], f"bootstrap {COHORT}")
        return multiplicities(len(self.recording.episodes), int(self.context["replicates"]), rng)

    def _summed(self, slice_: str, name: str) -> Floats:
        """A total over the slice in the sample (first) and in each bootstrap sample: (replicates + 1,)."""
        kept = self._sums.setdefault(slice_, {})
        if name not in kept:
            rows = self.rows(slice_)
            kept[name] = self._multiplicities[:, rows] @ self.totals[name][rows]
        return kept[name]

    # --- values and their bounds -----------------------------------------------------------------------------------------

    def _measure(self, key: Key, level: float, methods: frozenset[str]) -> Document:
        metric, slice_, baseline = key
        if unknown := {where["column"] for where in self.context["slices"][slice_]["where"]} - self.reference.keys():
            note = f"the slice is by `{min(unknown)}`, which no scenario says"
            return {"metric": metric, "slice": slice_, "baseline": baseline, "n": 0, "status": "fault", "note": note}
        rows = self.rows(slice_)
        document: Document = {"metric": metric, "slice": slice_, "baseline": baseline, "n": len(rows), "value": None, "interval": None}
        possible = EXACT if metric in _PROPORTIONS or metric in _RATES else BOOTSTRAP
        if baseline is not None:
            return {**document, "status": "fault", "note": f"{metric} is compared with no baseline but the one in its definition"}
        if methods - {possible} and metric != "completeness":
            return {**document, "status": "fault", "note": f"the bounds of {metric} are made by {possible}, and by nothing else"}
        if not len(rows):
            return {**document, "status": "fault", "note": "the slice has no scenarios"}
        if metric == "completeness":
            return document | self._completeness(rows)
        if metric in _PROPORTIONS:
            return document | self._proportion(metric, rows, level)
        if metric in _RATES:
            return document | self._rate(metric, rows, level)
        return document | (self._share if metric in _SHARES else self._ratio)(metric, slice_, level)

    def _completeness(self, rows: Ints) -> Document:
        asked, valid = (int(self.totals[name][rows].sum()) for name in ("steps", "valid"))
        note = f"{asked - valid} of {asked} answers were not finite or out of range" if valid < asked else ""
        return {"status": "ok", "value": valid / asked, "note": note}

    def _proportion(self, metric: str, rows: Ints, level: float) -> Document:
        """Of the episodes among which it can happen at all; these are its reference cases."""
        counted, among, words = _PROPORTIONS[metric]
        of = self.totals[among][rows] > 0
        n, events = int(of.sum()), int(self.totals[counted][rows][of].sum())
        if not n:
            return {"status": "fault", "n": 0, "note": "the slice has none of the scenarios that this is about"}
        lower, upper = exact.proportion(events, n, level)
        note = f"{events} of {n} {words}"
        return {"status": "ok", "n": n, "value": events / n, "note": note, "interval": _interval(lower, upper, level, EXACT)}

    def _rate(self, metric: str, rows: Ints, level: float) -> Document:
        counted, exposure = (float(self.totals[name][rows].sum()) for name in _RATES[metric])
        if exposure <= 0:
            return _without_value(metric)
        lower, upper = exact.rate(int(counted), exposure, level)
        note = f"collisions in {exposure:.1f} km: {int(counted)}"
        return {"status": "ok", "value": counted / exposure * _THOUSAND, "note": note,
                "interval": _interval(lower * _THOUSAND, upper * _THOUSAND, level, EXACT)}  # fmt: skip

    def _share(self, metric: str, slice_: str, level: float) -> Document:
        """A share of time (or of answers), with a greatest upper bound where few episodes have any of it."""
        above, below = _SHARES[metric]
        values = ratio(self._summed(slice_, above), self._summed(slice_, below))
        if not np.isfinite(values[0]):
            return _without_value(metric)
        rows = self.rows(slice_)
        most = rare(self.totals[above][rows], self.totals[below][rows], level)
        lower, upper = bounds(values[1:], level)
        upper = None if upper is None else max(upper, most)
        value = float(values[0])
        if metric == "on_time":
            value, lower, upper = 1 - value, None if upper is None else 1 - upper, None if lower is None else 1 - lower
        note = f"{int((self.totals[above][rows] > 0).sum())} of {len(rows)} scenarios have any"
        return {"status": "ok", "value": value, "note": "" if metric == "on_time" else note, "interval": _interval(lower, upper, level, BOOTSTRAP)}

    def _ratio(self, metric: str, slice_: str, level: float) -> Document:
        """Against the baseline."""
        if metric == "progress":
            own, base = (self._summed(slice_, name) for name in _PROGRESS)
        else:
            own, base = (ratio(*(self._summed(slice_, name) for name in pair)) for pair in (_CO2[:2], _CO2[2:]))
        values = ratio(own, base)
        if not np.isfinite(values[0]):
            return _without_value(metric)
        left_out = sum(self.recording.episodes[row]["baseline"]["collision"] for row in self.rows(slice_))
        note = f"without {left_out} scenarios in which the simulator's own driver collided" if left_out else ""
        return {"status": "ok", "value": float(values[0]), "note": note, "interval": _interval(*bounds(values[1:], level), level, BOOTSTRAP)}


def rare(above: Floats, below: Floats, level: float) -> float:
    """An upper bound of Σ above / Σ below over episodes (n,) that holds where few of them, or none, have any of it.

    Resampling cannot show an episode that was not seen. The share is that of the episodes that have any, bounded by Clopper and Pearson,
    times what it is in those, as if there were one more of mean length in which it lasts throughout. 0 where there are enough to resample.
    """
    has, one_more = above > 0, float(below.mean())
    if has.sum() >= _ENOUGH:
        return 0.0
    _, most = exact.proportion(int(has.sum()), len(above), level)
    return most * (float(above[has].sum()) + one_more) / (float(below[has].sum()) + one_more)


def _interval(lower: float | None, upper: float | None, level: float, method: str) -> Document:
    return {"lower": lower, "upper": upper, "level": level, "method": method}


def _without_value(metric: str) -> Document:
    if metric in _BY_PILOT:
        return {"status": "undefined", "note": "a vehicle that does not move leaves it without a value"}
    return {"status": "fault", "note": "these scenarios leave it without a value"}
