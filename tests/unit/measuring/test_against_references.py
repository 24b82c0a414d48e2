"""Every metric against another's implementation of it, at equal weights and under resampling.

A bootstrap sample with multiplicities is the data set in which cases are written down as often as they were drawn: what
the references make of that data set is what weights must give.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from dcurves import dca
from lifelines import CoxPHFitter, KaplanMeierFitter
from numpy.testing import assert_allclose
from scipy.interpolate import CubicSpline
from sklearn.metrics import brier_score_loss, recall_score
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import brier_score, concordance_index_ipcw
from sksurv.util import Surv

from livinglab.measuring import accuracy, calibration, cox, discrimination
from livinglab.measuring.cohort import Cohort, Floats
from livinglab.measuring.resampling import generator, multiplicities
from tests.unit.measuring.conftest import Draw

EXACT = 1e-12


def resampled(cohort: Cohort, count: int = 5) -> Floats:
    return multiplicities(len(cohort), count, generator("a seed", "tests")).astype(np.float64)


def written_out(cohort: Cohort, weights: Floats) -> Cohort:
    """The data set that the weights stand for."""
    often = weights.astype(int)
    return Cohort(np.repeat(cohort.time, often), np.repeat(cohort.event, often), np.repeat(cohort.risk, often), cohort.horizon)


def outcome(cohort: Cohort) -> Any:
    return Surv.from_arrays(cohort.event, cohort.time)


def slow_uncensored(cohort: Cohort, at: float, *, before: bool) -> float:
    """G by its definition: at each time, events leave before censorings do."""
    product = 1.0
    for time in np.unique(cohort.time[~cohort.event]):
        if time < at or (time == at and not before):
            at_risk = np.sum(cohort.time > time) + np.sum((cohort.time == time) & ~cohort.event)
            product *= 1 - np.sum((cohort.time == time) & ~cohort.event) / at_risk
    return product


def slow_uno_c(cohort: Cohort) -> float:
    concordant = comparable = 0.0
    for i in np.flatnonzero(cohort.event & (cohort.time < cohort.horizon)):
        weight = slow_uncensored(cohort, cohort.time[i], before=True) ** -2
        later = (cohort.time > cohort.time[i]) | ((cohort.time == cohort.time[i]) & ~cohort.event)
        comparable += weight * later.sum()
        concordant += weight * (np.sum(cohort.risk[later] < cohort.risk[i]) + 0.5 * np.sum(cohort.risk[later] == cohort.risk[i]))
    return concordant / comparable


def test_uno_c_agrees_with_scikit_survival(draw: Draw) -> None:
    cohort = draw()
    weights = resampled(cohort)
    expected = []
    for row in weights:
        sample = written_out(cohort, row)
        expected.append(concordance_index_ipcw(outcome(sample), outcome(sample), sample.risk, tau=sample.horizon)[0])
    assert_allclose(discrimination.uno_c(cohort, weights), expected, rtol=EXACT)


@pytest.mark.parametrize("ties", [False, True])
def test_uno_c_agrees_with_its_definition_also_where_events_and_censorings_meet(draw: Draw, ties: bool) -> None:
    cohort = draw(n=120, ties=ties)
    weights = resampled(cohort)
    assert_allclose(discrimination.uno_c(cohort, weights), [slow_uno_c(written_out(cohort, row)) for row in weights], rtol=EXACT)


def test_uno_c_of_one_score_for_all_is_a_half_and_a_perfect_order_is_one(draw: Draw) -> None:
    cohort = draw()
    weights = resampled(cohort)
    assert_allclose(discrimination.uno_c(cohort, weights, np.full(len(cohort), 0.3)), 0.5, rtol=EXACT)
    assert_allclose(discrimination.uno_c(cohort, weights, -cohort.time), 1.0, rtol=EXACT)


@pytest.mark.parametrize("ties", [False, True])
def test_kaplan_meier_agrees_with_lifelines(draw: Draw, ties: bool) -> None:
    cohort = draw(ties=ties)
    weights = resampled(cohort)
    expected = [KaplanMeierFitter().fit(s.time, s.event).predict(s.horizon) for s in (written_out(cohort, row) for row in weights)]
    assert_allclose(cohort.survival(weights), expected, rtol=1e-10)


def test_brier_score_and_ipa_agree_with_scikit_survival(draw: Draw) -> None:
    cohort = draw()
    weights = resampled(cohort)
    expected, gained = [], []
    for row in weights:
        s = written_out(cohort, row)
        score = brier_score(outcome(s), outcome(s), 1 - s.risk[:, None], [s.horizon])[1][0]
        null = brier_score(outcome(s), outcome(s), np.full((len(s), 1), s.survival(np.ones((1, len(s))))[0]), [s.horizon])[1][0]
        expected.append(score)
        gained.append(1 - score / null)
    assert_allclose(accuracy.brier(cohort, weights), expected, rtol=1e-10)
    assert_allclose(accuracy.ipa(cohort, weights), gained, rtol=1e-10)


@pytest.mark.parametrize("ties", [False, True])
def test_ipcw_uses_the_left_limit_for_cases_and_the_horizon_for_the_rest(draw: Draw, ties: bool) -> None:
    cohort = draw(n=100, ties=ties)
    case, control = cohort.outcome_weights(np.ones((1, len(cohort))))
    for i in range(len(cohort)):
        if cohort.event[i] and cohort.time[i] <= cohort.horizon:
            assert_allclose(case[0, i], 1 / slow_uncensored(cohort, cohort.time[i], before=True), rtol=EXACT)
        elif cohort.time[i] > cohort.horizon:
            assert_allclose(control[0, i], 1 / slow_uncensored(cohort, cohort.horizon, before=False), rtol=EXACT)
        else:
            assert case[0, i] == control[0, i] == 0


def test_without_censoring_brier_and_sensitivity_are_scikit_learns(draw: Draw) -> None:
    cohort = draw()
    complete = Cohort(cohort.time, np.ones(len(cohort), dtype=bool), cohort.risk, cohort.horizon)
    weights = resampled(complete)
    dead = complete.time <= complete.horizon
    for row, brier, found in zip(weights, accuracy.brier(complete, weights), discrimination.sensitivity(complete, weights, 0.4), strict=True):
        assert_allclose(brier, brier_score_loss(dead, complete.risk, sample_weight=row), rtol=EXACT)
        assert_allclose(found, recall_score(dead, complete.risk >= 0.4, sample_weight=row), rtol=EXACT)


def test_without_censoring_net_benefit_is_that_of_dcurves(draw: Draw) -> None:
    cohort = draw()
    complete = Cohort(cohort.time, np.ones(len(cohort), dtype=bool), cohort.risk, cohort.horizon)
    thresholds = np.array([0.1, 0.2, 0.3, 0.4])
    for row in resampled(complete, 3):
        s = written_out(complete, row)
        table = pd.DataFrame({"dead": (s.time <= s.horizon).astype(int), "model": s.risk})
        curves = dca(data=table, outcome="dead", modelnames=["model"], thresholds=thresholds).set_index(["model", "threshold"])["net_benefit"]
        model, everyone = accuracy.net_benefit(s, np.ones((1, len(s))), thresholds)
        assert_allclose(model[0], curves["model"].loc[thresholds], rtol=1e-10)
        assert_allclose(everyone[0], curves["all"].loc[thresholds], rtol=1e-10)


def test_with_censoring_treating_all_has_the_net_benefit_of_dcurves(draw: Draw) -> None:
    """There, IPCW and Kaplan–Meier are the same (Satten & Datta 2001); for the model dcurves conditions instead of weighting, so it is only near."""
    cohort = draw(n=2000)
    thresholds = np.array([0.1, 0.2, 0.3, 0.4])
    table = pd.DataFrame({"time": cohort.time, "dead": cohort.event.astype(int), "model": cohort.risk})
    curves = dca(data=table, outcome="dead", modelnames=["model"], thresholds=thresholds, time=cohort.horizon, time_to_outcome_col="time")
    curves = curves.set_index(["model", "threshold"])["net_benefit"]
    model, everyone = accuracy.net_benefit(cohort, np.ones((1, len(cohort))), thresholds)
    assert_allclose(everyone[0], curves["all"].loc[thresholds], atol=1e-10)
    assert_allclose(model[0], curves["model"].loc[thresholds], atol=0.005)


def test_net_benefit_gain_is_over_the_better_of_all_and_none(draw: Draw) -> None:
    cohort = draw()
    thresholds = np.array([0.05, 0.9])
    ones = np.ones((1, len(cohort)))
    model, everyone = accuracy.net_benefit(cohort, ones, thresholds)
    assert everyone[0, 0] > 0 > everyone[0, 1]
    assert_allclose(accuracy.net_benefit_gain(cohort, ones, thresholds)[0], [model[0, 0] - everyone[0, 0], model[0, 1]], rtol=EXACT)


def truncated_frame(s: Cohort) -> pd.DataFrame:
    x = np.log(-np.log(1 - s.risk))
    return pd.DataFrame({"time": np.minimum(s.time, s.horizon), "event": s.event & (s.time <= s.horizon), "x": x})


def test_slope_agrees_with_lifelines(draw: Draw) -> None:
    cohort = draw()
    frame = truncated_frame(cohort)
    fitted = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    assert_allclose(calibration.slope(cohort, np.ones((1, len(cohort)))), fitted.params_["x"], rtol=1e-8)


def test_slope_agrees_with_scikit_survival_under_resampling_and_ties(draw: Draw) -> None:
    for ties in (False, True):
        cohort = draw(ties=ties)
        weights = resampled(cohort)
        expected = []
        for row in weights:
            frame = truncated_frame(written_out(cohort, row))
            model = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-12).fit(frame[["x"]].to_numpy(), Surv.from_arrays(frame["event"], frame["time"]))
            expected.append(model.coef_[0])
        assert_allclose(calibration.slope(cohort, weights), expected, rtol=1e-7)


def test_slope_of_true_risks_is_about_one_and_has_no_value_for_a_constant(draw: Draw) -> None:
    cohort = draw(n=20_000, slope=1.0, bias=0.0)
    ones = np.ones((1, len(cohort)))
    assert_allclose(calibration.slope(cohort, ones), 1.0, atol=0.05)
    assert_allclose(calibration.observed_expected(cohort, ones), 1.0, atol=0.03)
    constant = Cohort(cohort.time, cohort.event, np.full(len(cohort), 0.3), cohort.horizon)
    assert np.isnan(calibration.slope(constant, ones)).all()
    assert np.isnan(calibration.ici(constant, ones)).all()


def test_spline_spans_the_natural_cubic_splines() -> None:
    knots = np.array([-1.0, 0.0, 0.7, 2.0])
    x = np.linspace(-1, 2, 301)
    natural = CubicSpline(knots, [0.3, -1.0, 2.0, 0.5], bc_type="natural")(x)
    basis = np.column_stack([np.ones_like(x), calibration.spline(x, knots)])
    assert np.linalg.lstsq(basis, natural, rcond=None)[1][0] < 1e-20
    beyond = calibration.spline(np.array([2.5, 3.0, 3.5]), knots)
    assert_allclose(beyond[2] - beyond[1], beyond[1] - beyond[0], rtol=EXACT)


@pytest.mark.parametrize("ties", [False, True])
def test_ici_agrees_with_a_cox_model_of_scikit_survival(draw: Draw, ties: bool) -> None:
    cohort = draw(ties=ties)
    weights = resampled(cohort, 3)
    knots = np.unique(np.quantile(calibration.cloglog(cohort.risk), (0.05, 0.35, 0.65, 0.95)))
    expected = []
    for row in weights:
        s = written_out(cohort, row)
        frame = truncated_frame(s)
        basis = calibration.spline(frame["x"].to_numpy(), knots)
        model = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-12).fit(basis, Surv.from_arrays(frame["event"], frame["time"]))
        observed = 1 - np.array([curve(curve.x[-1]) for curve in model.predict_survival_function(basis)])
        expected.append(np.abs(observed - s.risk).mean())
    assert_allclose(calibration.ici(cohort, weights), expected, rtol=1e-6)


def test_ici_of_few_different_risks_has_a_value(draw: Draw) -> None:
    cohort = draw()
    groups = np.where(cohort.risk < np.median(cohort.risk), 0.2, 0.6)
    two = Cohort(cohort.time, cohort.event, groups, cohort.horizon)
    assert 0 < calibration.ici(two, np.ones((1, len(two))))[0] < 0.3


def test_cox_model_with_several_covariates_agrees_with_lifelines() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 3))
    died, left = rng.exponential(np.exp(-x @ [0.5, -0.3, 0.0])), rng.uniform(0.2, 3, 300)
    cohort, order = Cohort.sort(np.minimum(died, left), died <= left, np.zeros(300), 1.0)
    fitted = cox.fit(x[order], cohort.event.astype(float), cohort.starts, np.ones((1, 300)))
    frame = pd.DataFrame(x[order], columns=["a", "b", "c"]).assign(time=cohort.time, event=cohort.event)
    reference = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    strict = CoxPHSurvivalAnalysis(ties="breslow", tol=1e-12).fit(x[order], outcome(cohort))
    assert_allclose(fitted.beta[0], strict.coef_, rtol=1e-7)
    assert_allclose(fitted.beta[0], reference.params_, atol=1e-6)  # where its iterations end
    centred = np.exp(-(x.mean(axis=0) @ fitted.beta[0]))  # lifelines' baseline is that of the mean
    assert_allclose(fitted.hazard[0], reference.baseline_cumulative_hazard_["baseline cumulative hazard"] * centred, rtol=1e-5)


def test_cox_model_says_that_separated_data_have_no_estimate() -> None:
    time = np.arange(1.0, 11.0)
    fitted = cox.fit(-time[:, None], np.ones(10), np.arange(10), np.ones((1, 10)))
    assert np.isnan(fitted.beta).all()
