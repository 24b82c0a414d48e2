"""Task families: what a pilot gets, what it must write, and what can be measured of it.

A family is data that the specification is checked against when it is loaded: a criterion cannot name a metric that no
harness of the family measures, nor a direction in which the metric means nothing.
"""

from enum import StrEnum

from livinglab.domain.errors import unknown_name
from livinglab.domain.model import Frozen


class Better(StrEnum):
    """Which way of a metric is good, as far as the metric itself says."""

    HIGHER = "higher"
    LOWER = "lower"
    TARGET = "target"
    """Neither: it should be near a value, so it takes `within`."""


class Metric(Frozen):
    """One measurable quantity. `low` and `high` bound its possible values (None: unbounded)."""

    name: str
    title: str
    better: Better
    low: float | None = None
    high: float | None = None
    source: str
    """The formula's source, as one would cite it."""


class Column(Frozen):
    """A column of the table that a pilot writes. `low` and `high` are inclusive."""

    name: str
    kind: str
    """`id` (string, each of the requested ids once) or `number` (finite float)."""
    low: float | None = None
    high: float | None = None
    meaning: str


class TaskFamily(Frozen):
    """A documented interface between a sandbox's harness and the pilots that it measures."""

    name: str
    title: str
    inputs: dict[str, str]
    """File name → what is in it, as the pilot sees them under `/in`."""
    output: str
    """Name of the table without its suffix; `.parquet` or `.csv`, under `/out`."""
    columns: tuple[Column, ...]
    metrics: tuple[Metric, ...]

    def metric(self, name: str, *, where: str | None = None) -> Metric:
        """The metric of that name.

        Raises:
            Invalid: the family has none; the message lists those it has.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise unknown_name("metric", name, (m.name for m in self.metrics), where=where)


SURVIVAL = TaskFamily(
    name="survival",
    title="Individual risk of an event by a horizon, from censored follow-up",
    inputs={
        "train.parquet": "covariates, `time` (years) and `event` (bool) of the development part",
        "cohort.parquet": "covariates of the persons to predict, by `id`, without outcomes",
        "task.json": "the horizon in years and the names of the columns",
    },
    output="predictions",
    columns=(
        Column(name="id", kind="id", meaning="the person, as in cohort.parquet"),
        Column(name="risk", kind="number", low=0.0, high=1.0, meaning="probability of the event by the horizon"),
    ),
    metrics=(
        Metric(
            name="completeness",
            title="Share of requested predictions that are present, unique and finite",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="livinglab: missing, duplicate and non-finite predictions never shrink a denominator",
        ),
        Metric(
            name="uno_c",
            title="Uno's C-index up to the horizon",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="Uno et al. 2011, Statistics in Medicine 30:1105",
        ),
        Metric(
            name="uno_c_plausibility",
            title="Uno's C-index, held against a ceiling above which a result is too good to be honest",
            better=Better.LOWER,
            low=0,
            high=1,
            source="Kapoor & Narayanan 2023, Patterns 4:100804 (leakage shows as implausible performance)",
        ),
        Metric(
            name="delta_uno_c",
            title="Uno's C-index less that of the baseline, paired",
            better=Better.HIGHER,
            low=-1,
            high=1,
            source="Uno et al. 2011; paired resampling",
        ),
        Metric(
            name="calibration_slope",
            title="Cox coefficient of cloglog(predicted risk), follow-up truncated at the horizon",
            better=Better.TARGET,
            source="Cox 1958; Crowson, Atkinson & Therneau 2016, Stat Methods Med Res 25:1692",
        ),
        Metric(
            name="observed_expected",
            title="1 − Kaplan–Meier at the horizon over the mean predicted risk",
            better=Better.TARGET,
            low=0,
            source="Crowson, Atkinson & Therneau 2016; McLernon et al. 2023, Ann Intern Med 176:105",
        ),
        Metric(
            name="ici",
            title="Integrated calibration index at the horizon",
            better=Better.LOWER,
            low=0,
            high=1,
            source="Austin, Harrell & van Klaveren 2020, Statistics in Medicine 39:2714",
        ),
        Metric(
            name="brier",
            title="Brier score at the horizon, IPCW",
            better=Better.LOWER,
            low=0,
            source="Graf et al. 1999, Statistics in Medicine 18:2529",
        ),
        Metric(
            name="ipa",
            title="Index of prediction accuracy: 1 − Brier / Brier of Kaplan–Meier",
            better=Better.HIGHER,
            high=1,
            source="Kattan & Gerds 2018, Diagn Progn Res 2:7",
        ),
        Metric(
            name="net_benefit_gain",
            title="Smallest gain in net benefit over max(treat all, treat none) on the stated range of thresholds",
            better=Better.HIGHER,
            low=-1,
            high=1,
            source="Vickers & Elkin 2006, Med Decis Making 26:565; Vickers et al. 2008 (censored data)",
        ),
        Metric(
            name="sensitivity",
            title="IPCW sensitivity at the stated risk threshold",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="Uno et al. 2007, JASA 102:527",
        ),
        Metric(
            name="sensitivity_difference",
            title="Signed difference of sensitivity between two groups (equal opportunity)",
            better=Better.TARGET,
            low=-1,
            high=1,
            source="Hardt, Price & Srebro 2016 (equal opportunity); Uno et al. 2007",
        ),
    ),
)

FAMILIES = {family.name: family for family in (SURVIVAL,)}


def task_family(name: str, *, where: str | None = None) -> TaskFamily:
    """The family of that name; `Invalid` with the known names otherwise."""
    if name not in FAMILIES:
        raise unknown_name("task family", name, FAMILIES, where=where)
    return FAMILIES[name]
