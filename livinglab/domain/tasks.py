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
    """`id` (string, each of the requested ids once), `number` (finite float) or `text` (printable ASCII, at most `length` characters)."""
    low: float | None = None
    high: float | None = None
    length: int | None = None
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

CREDIT_SCORING = TaskFamily(
    name="credit-scoring",
    title="Probability of default of each applicant for credit, with the reasons for a rejection",
    inputs={
        "train.parquet": "what is known of earlier applicants at the time of their application, and `bad` (bool): did they default",
        "cohort.parquet": "the same of the applicants to score, by `id`, without outcomes",
        "task.json": "names of the columns, the pd at which an application is rejected, the reason codes, and the features in which pd must not fall",
    },
    output="predictions",
    columns=(
        Column(name="id", kind="id", meaning="the applicant, as in cohort.parquet"),
        Column(name="pd", kind="number", low=0.0, high=1.0, meaning="probability of default"),
        Column(name="reasons", kind="text", length=160, meaning="up to four different codes of task.json, the weightiest first, separated by `;`"),
    ),
    metrics=(
        Metric(
            name="completeness",
            title="Share of requested predictions, of perturbed copies too, that are present, unique and finite",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="livinglab: missing, duplicate and non-finite predictions never shrink a denominator",
        ),
        Metric(
            name="auc",
            title="Area under the ROC curve; tied scores count ½",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="Hanley & McNeil 1982, Radiology 143:29; ECB 2019, validation reporting (discriminatory power)",
        ),
        Metric(
            name="auc_plausibility",
            title="AUC, held against a ceiling above which a result is too good to be honest",
            better=Better.LOWER,
            low=0,
            high=1,
            source="Kapoor & Narayanan 2023, Patterns 4:100804 (leakage shows as implausible performance)",
        ),
        Metric(
            name="delta_auc",
            title="AUC less that of the baseline, paired",
            better=Better.HIGHER,
            low=-1,
            high=1,
            source="DeLong, DeLong & Clarke-Pearson 1988 (paired areas); paired resampling",
        ),
        Metric(
            name="gini",
            title="Gini coefficient (accuracy ratio): 2 AUC − 1",
            better=Better.HIGHER,
            low=-1,
            high=1,
            source="Engelmann, Hayden & Tasche 2003, Risk 16:82",
        ),
        Metric(
            name="ks",
            title="Kolmogorov–Smirnov distance between the scores of bad and good",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="Thomas, Crook & Edelman 2017, Credit Scoring and Its Applications, section 7.4",
        ),
        Metric(
            name="observed_expected",
            title="Observed default rate over the mean pd",
            better=Better.TARGET,
            low=0,
            source="Van Calster et al. 2019, BMC Medicine 17:230 (calibration in the large)",
        ),
        Metric(
            name="calibration_slope",
            title="Logistic coefficient of logit(pd)",
            better=Better.TARGET,
            source="Cox 1958, Biometrika 45:562; Van Calster et al. 2019",
        ),
        Metric(
            name="jeffreys",
            title="Least p-value over the grades, after Holm, that the default rate is no higher than the grade's pd",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="ECB 2019, Instructions for reporting the validation results of internal models (Jeffreys test); Holm 1979",
        ),
        Metric(
            name="psi",
            title="Population stability index of the scores, later against earlier vintages, by tenths of the earlier",
            better=Better.LOWER,
            low=0,
            source="Yurdakul & Naranjo 2020, J Risk Model Validation 14(4):89",
        ),
        Metric(
            name="adverse_impact_ratio",
            title="Approval rate of the protected group over that of the others",
            better=Better.TARGET,
            low=0,
            source="29 CFR 1607.4(D), the four-fifths rule (United States; no law of the Union)",
        ),
        Metric(
            name="equal_opportunity_difference",
            title="Approval rate of those who repaid: protected group less the others, signed",
            better=Better.TARGET,
            low=-1,
            high=1,
            source="Hardt, Price & Srebro 2016 (equal opportunity)",
        ),
        Metric(
            name="reason_completeness",
            title="Share of rejections with one to four different codes, all from the list",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="Directive (EU) 2023/2225, Article 18(8) (right to an explanation); 12 CFR 1002.9(b)(2) (up to four specific reasons)",
        ),
        Metric(
            name="reason_concentration",
            title="Share of rejections that are given the commonest set of reasons",
            better=Better.LOWER,
            low=0,
            high=1,
            source="12 CFR 1002.9(b)(2) (specific reasons); CJEU 27 February 2025, C-203/22 (an explanation is of the individual decision)",
        ),
        Metric(
            name="reason_stability",
            title="Mean overlap (Jaccard) of an applicant's reasons with those of a copy that hardly differs, where either is rejected",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="Alvarez-Melis & Jaakkola 2018, arXiv:1806.08049 (robustness of explanations)",
        ),
        Metric(
            name="monotonicity",
            title="Share of copies, moved in a feature declared monotone, whose pd does not move the wrong way",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="Thomas, Crook & Edelman 2017, section 3 (monotone characteristics); livinglab",
        ),
    ),
)

FAMILIES = {family.name: family for family in (SURVIVAL, CREDIT_SCORING)}


def task_family(name: str, *, where: str | None = None) -> TaskFamily:
    """The family of that name; `Invalid` with the known names otherwise."""
    if name not in FAMILIES:
        raise unknown_name("task family", name, FAMILIES, where=where)
    return FAMILIES[name]
