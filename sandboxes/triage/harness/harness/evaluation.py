"""From answers to measurements: the metrics of the task family `selective-classification`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness import abstention
from harness.abstention import Band, Routed, bands
from harness.answers import Answers, explained
from harness.catalogue import LANGUAGES, SERVICES, render
from livinglab.measuring.cohort import Bools, Floats, Ints
from livinglab.measuring.evaluation import BaseEvaluation, Key
from livinglab.measuring.exact import EXACT, proportion
from livinglab.measuring.slices import Document, Part, Table, chosen

_WEIGHTED: dict[str, Callable[[Routed, Floats], Floats]] = {
    "balanced_accuracy": abstention.balanced_accuracy, "overconfidence": abstention.overconfidence, "aurc": abstention.aurc,
}  # fmt: skip
_LESS = "served_less_"
_TENTHS, _SHOWN = 10, 0.95


@dataclass
class TriageEvaluation(BaseEvaluation[Routed]):
    """A pilot's answers against the services that requests were drawn for.

    The reference has text, language, service and kind, and the columns that slices name. `copies` are requests of the reference
    without one word: id, `of` (the request's id) and `word` (its place); they are no cases.
    """

    copies: Table = field(default_factory=lambda: {"id": np.array([], str), "of": np.array([], str), "word": np.array([], np.int64)})

    column = "confidence"
    by_pilot = frozenset({"overconfidence", "confidence_bands"})
    points = frozenset({"explanation_validity", "confidence_bands"})
    event_words = ("requests in scope", "requests out of scope")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.answers, self.copied = (Answers.of(ids.astype(str), self.predictions) for ids in (self.reference["id"], self.copies["id"]))
        self.complete &= self.answers.usable
        order = np.argsort(self.reference["id"])
        self.origin = order[np.searchsorted(self.reference["id"], self.copies["of"], sorter=order)] if len(self.copies["of"]) else order[:0]
        texts = zip(self.answers.explanation, self.reference["text"], self.answers.answered, strict=True)
        self.explanations = [explained(said, len(str(text).split(" ")), answered=bool(answered)) for said, text, answered in texts]

    # --- what is measured on ---------------------------------------------------------------------------------------------

    def _cut(self, slice_: Document) -> Part[Routed]:
        rows, columns = chosen(self.reference, slice_)
        names, kind = self.reference["service"][rows], self.reference["kind"][rows]
        codes = {name: number for number, name in enumerate(SERVICES)}
        cases = Routed(
            scope=kind != "none", open=kind == "open", service=np.array([codes.get(name, -1) for name in names.tolist()], dtype=np.int64),
            right=self.answers.service[rows] == names, answered=self.answers.answered[rows], confidence=self.predicted[rows],
            spoken=self.answers.language[rows] == self.reference["language"][rows],
        )  # fmt: skip
        return Part(cases, rows, columns)

    def _own_copies(self, part: Part[Routed]) -> Ints:
        return np.flatnonzero(np.isin(self.origin, part.rows))

    def _usable(self, part: Part[Routed]) -> Bools:
        return np.concatenate([self.complete[part.rows], self.copied.usable[self._own_copies(part)]])

    def _compared(self, metric: str, slice_: str) -> tuple[Part[Routed], ...]:
        return (self.part(slice_), self._other(metric, slice_)) if metric.startswith(_LESS) else ()

    def _other(self, metric: str, slice_: str) -> Part[Routed]:
        """The requests of the same cohort in the language that the metric names."""
        language, cohort = metric.removeprefix(_LESS), self.context["slices"][slice_]["cohort"]
        condition = {"column": "language", "equals": language, "at_least": None, "below": None}
        return self._cut({"cohort": cohort, "where": [condition]})

    # --- values and their spread -----------------------------------------------------------------------------------------

    def _replicates(self, metric: str, slice_: str, baseline: str | None) -> Floats:  # noqa: ARG002 - there are no baselines
        part = self.part(slice_)
        if metric in self.points:
            return np.array([getattr(self, f"_{metric}")(part)])
        if metric.startswith(_LESS):
            first, second = (self._resample(group, slice_, abstention.served) for group in self._compared(metric, slice_))
            return first - second
        return self._resample(part, slice_, _WEIGHTED[metric])

    def _bootstrap(self, key: Key, level: float) -> Document:
        """Shares of independent requests need no resampling: their bounds are exact."""
        counts = self._counts(key[0], self.part(key[1]))
        if counts is None:
            return super()._bootstrap(key, level)
        hits, n = counts
        if not n:
            return {"status": "undefined", "note": "nothing was answered, so there is nothing to be a share of"}
        lower, upper = proportion(hits, n, level)
        interval = {"lower": lower, "upper": upper, "level": level, "method": EXACT}
        return {"status": "ok", "value": hits / n, "note": f"{hits} of {n}", "interval": interval}

    def _counts(self, metric: str, part: Part[Routed]) -> tuple[int, int] | None:
        """Hits, and of how many; None of a metric that is no share."""
        cases = part.cohort
        if metric == "explanation_faithfulness":
            return self._faithful(part)
        among = {
            "coverage": (cases.answered, cases.scope), "selective_risk": (~cases.right, cases.answered),
            "out_of_scope_abstention": (~cases.answered, ~cases.scope), "explanation_language": (cases.spoken, np.ones(len(cases), dtype=bool)),
            "open_accuracy": (cases.right, cases.open),
        }  # fmt: skip
        return (int((among[metric][0] & among[metric][1]).sum()), int(among[metric][1].sum())) if metric in among else None

    def _faithful(self, part: Part[Routed]) -> tuple[int, int]:
        """Answered requests whose confidence falls more without a named word than without another, and all that have copies.

        Comprehensiveness (DeYoung et al. 2020), word by word. Where a copy is given another service, nothing of the confidence is left.
        """
        hits = n = 0
        own = self._own_copies(part)
        order = own[np.argsort(self.origin[own], kind="stable")]
        for copies in np.split(order, np.flatnonzero(np.diff(self.origin[order])) + 1) if len(order) else ():
            row = self.origin[copies[0]]
            if not self.answers.answered[row]:
                continue
            n += 1
            said = self.explanations[row]
            named = np.isin(self.copies["word"][copies], said[1] if said else ())
            kept = np.where(self.copied.service[copies] == self.answers.service[row], self.copied.confidence[copies], 0.0)
            fall = self.predicted[row] - kept
            hits += bool(named.any() and not named.all() and fall[named].mean() > fall[~named].mean())
        return hits, n

    def _explanation_validity(self, part: Part[Routed]) -> float:
        return float(np.mean([self.explanations[row] is not None for row in part.rows]))

    def _bands(self, part: Part[Routed]) -> list[Band]:
        return bands(part.cohort, np.asarray(self.context["parameters"]["error_bands"], dtype=np.float64))

    def _confidence_bands(self, part: Part[Routed]) -> float:
        found = self._bands(part)
        return min(1.0, len(found) * min(band.p for band in found)) if found else float("nan")

    def _note(self, key: Key) -> str:
        part = self.part(key[1])
        if key[0] == "confidence_bands":
            said = (f"{band.wrong} of {band.n} ({band.expected:.3f})" for band in self._bands(part))
            return "wrong of answered by band (mean of 1 - confidence): " + ", ".join(said)[:420]
        if key[0] == "explanation_validity":
            shown = next((row for row in part.rows if self.answers.answered[row] and self.explanations[row]), None)
            return "" if shown is None else f"for example: {self.rendered(int(shown))}"[:480]
        return ""

    def rendered(self, row: int) -> str:
        """The explanation of a request of the reference, as its author would read it; its code and places are those of the interface."""
        said = self.explanations[row]
        if said is None:
            raise ValueError(f"the request {self.reference['id'][row]} has no explanation that may be given; ask `explanations` first.")
        words = [str(self.reference["text"][row]).split(" ")[place].strip(".,;:?!") for place in said[1]]
        return render(said[0], str(self.answers.language[row]), str(self.answers.service[row]), words)

    # --- pictures --------------------------------------------------------------------------------------------------------

    def charts(self) -> dict[str, Document]:
        """Risk against coverage by language, and right ones by tenths of confidence, of the hidden part."""
        part = self.part("all")
        if not len(part.rows) or not self.complete[part.rows].all():
            return {}
        languages = self.reference["language"][part.rows]
        curves = [_risk_coverage(language, part.cohort.only(languages == language)) for language in LANGUAGES if (languages == language).any()]
        return {
            "risk-coverage": {"title": "Risk and coverage", "x": "share answered", "y": "share wrong of what is answered", "series": curves},
            "calibration": {
                "title": "Calibration", "x": "confidence", "y": "share named rightly", "square": True,
                "series": [_by_tenths(part.cohort)], "marks": [{"of": "diagonal", "label": "perfect"}],
            },
        }  # fmt: skip


def _risk_coverage(language: str, cases: Routed) -> dict[str, Any]:
    """Both as the least confidence that is answered falls, out of scope included, at a hundred places."""
    wrong = ~cases.right[np.argsort(-cases.confidence, kind="stable")]
    shown = np.unique(np.linspace(1, len(wrong), 100).astype(int))
    risk = np.cumsum(wrong)[shown - 1] / shown
    return {"label": language, "style": "line", "x": (shown / len(wrong)).tolist(), "y": risk.tolist()}


def _by_tenths(cases: Routed) -> dict[str, Any]:
    order = np.argsort(cases.confidence, kind="stable")
    tenths = [tenth for tenth in np.array_split(order, _TENTHS) if len(tenth)]
    bounds = [proportion(int(cases.right[tenth].sum()), len(tenth), (1 + _SHOWN) / 2) for tenth in tenths]
    return {
        "label": "pilot, by tenths of confidence (bars: 95 %)", "style": "points", "x": [float(cases.confidence[tenth].mean()) for tenth in tenths],
        "y": [float(cases.right[tenth].mean()) for tenth in tenths], "lower": [low for low, _ in bounds], "upper": [high for _, high in bounds],
    }  # fmt: skip
