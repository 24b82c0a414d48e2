"""A scorecard per portfolio: attributes cut into the best bins, weight of evidence, logistic regression, whole points, reasons.

What it cannot know of an applicant (a category that was not in the training part, a missing number) is no evidence either way.
"""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

IN, OUT = Path(os.environ.get("PILOT_IN", "/in")), Path(os.environ.get("PILOT_OUT", "/out"))

CATEGORIES = ["checking_account", "credit_history", "purpose", "savings", "employment", "guarantors", "property", "other_plans", "housing", "job"]
NUMBERS = ["duration_months", "amount", "installment_rate"]
MOST_REASONS = 4
STEPS = 20  # a number is cut between twentieths of the training part, or not at all
MOST_BINS, SMALLEST = 8, 0.03  # bins of an attribute, and the least share of the applicants in each
PRIOR = 10.0  # applicants with the portfolio's default rate that are added to each bin, so that a small one says little
INVERSE_PENALTY = 0.3
EVEN, DOUBLE = 500, 20  # points at which default is as likely as not, and points that double the odds of repaying
PER_LOGIT = DOUBLE / np.log(2)
MARGIN = 0.08  # margin of conservatism, added to the logit: estimates are never to be too low (CRR, Article 179(1)(f))


def read(path):
    """Columns as numpy arrays; text as text."""
    table = pq.read_table(path)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return {name: column.astype(str) if column.dtype == object else column for name, column in columns.items()}


def evidence(bad, n, rate):
    """Weight of evidence for default: log odds of it in a bin, beyond those of the portfolio."""
    bad, good = bad + PRIOR * rate, n - bad + PRIOR * (1 - rate)
    return np.log(bad / good) - np.log(rate / (1 - rate))


def best_cuts(bad, n, rising):
    """Where to cut a row of units into bins so that their information value is the largest possible: the units that begin a new bin.

    Exact, bin by bin: of all ways to end with units i to j as the last bin, only the best can be the beginning of a better one.

    Args:
        bad, n: defaults and applicants in each unit.
        rising: no bin may have less evidence for default than the one before it.
    """
    bad_to, n_to = (np.concatenate([[0], np.cumsum(x)]) for x in (bad, n))
    begin, end = np.triu_indices(len(n_to), 1)
    b, m = bad_to[end] - bad_to[begin], n_to[end] - n_to[begin]
    weight = evidence(b, m, bad_to[-1] / n_to[-1])
    value = weight * (b / bad_to[-1] - (m - b) / (n_to[-1] - bad_to[-1]))
    bins = [(i, j, w, v) for i, j, w, v, size in zip(begin, end, weight, value, m, strict=True) if size >= SMALLEST * n_to[-1]]
    rows = [(j, w, v, []) for i, j, w, v in bins if i == 0]  # ways to begin: where the last bin ends, its evidence, value in all, cuts
    whole = []
    for _ in range(MOST_BINS):
        whole += [row for row in rows if row[0] == len(n)]
        ending, longer = {unit: [row for row in rows if row[0] == unit] for unit in range(len(n))}, []
        for i, j, w, v in bins:
            before = [row for row in ending[i] if row[1] <= w or not rising]
            if before:
                _, _, so_far, cuts = max(before, key=lambda row: row[2])
                longer.append((j, w, so_far + v, [*cuts, int(i)]))
        rows = longer
    return max(whole, key=lambda row: row[2])[3]


class Attribute:
    """An attribute in bins, and the evidence of each. Its units are twentieths, or categories in the order of their risk."""

    def __init__(self, values, bad, rising):
        if values.dtype.kind == "U":
            names, which = np.unique(values, return_inverse=True)
            risk = evidence(np.bincount(which, bad), np.bincount(which), bad.mean())
            self.units = {name: unit for unit, name in enumerate(names[np.argsort(risk, kind="stable")].tolist())}
        else:
            self.units = np.unique(np.quantile(values[values > 0], np.arange(1, STEPS) / STEPS))
        units = self.unit(values)
        known = units >= 0
        bads, n = np.bincount(units[known], bad[known]), np.bincount(units[known])
        self.cuts = best_cuts(bads, n, rising)
        begin = [0, *self.cuts]
        self.evidence = evidence(np.add.reduceat(bads, begin), np.add.reduceat(n, begin), bads.sum() / n.sum())

    def unit(self, values):
        """The unit of each value; -1 where it is not known."""
        if isinstance(self.units, dict):
            return np.array([self.units.get(value, -1) for value in values.tolist()], dtype=int)
        return np.where(values > 0, np.searchsorted(self.units, values), -1)

    def each(self, values, of_bins):
        """What `of_bins` has for the bin of each value; 0 where it is not known."""
        units = self.unit(values)
        return np.where(units < 0, 0.0, of_bins[np.searchsorted(self.cuts, units, side="right")])

    def labels(self):
        """What is in each bin, in words."""
        if isinstance(self.units, dict):
            return [" or ".join(names) for names in np.split(np.array(list(self.units)), self.cuts)]
        edges = [self.units[cut - 1] for cut in self.cuts]
        return [f"up to {edge:g}" for edge in edges] + [f"over {edges[-1]:g}" if edges else "any"]


class Scorecard:
    """Points for each bin of each attribute; the more, the safer. They add up."""

    def __init__(self, train, monotone):
        found = {name: Attribute(train[name], train["bad"], name in monotone) for name in (*CATEGORIES, *NUMBERS)}
        self.attributes = {name: attribute for name, attribute in found.items() if attribute.cuts}
        while True:
            x = np.stack([attribute.each(train[name], attribute.evidence) for name, attribute in self.attributes.items()], axis=1)
            model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(x, train["bad"])
            weights = dict(zip(self.attributes, model.coef_[0], strict=True))
            # An attribute that would count the wrong way round beside the others is left out, and the rest fitted again.
            if min(weights.values()) > 0:
                break
            self.attributes = {name: attribute for name, attribute in self.attributes.items() if weights[name] > 0}
        self.base = round(EVEN - (model.intercept_[0] + MARGIN) * PER_LOGIT)
        self.points = {name: np.round(-weights[name] * attribute.evidence * PER_LOGIT) + 0.0 for name, attribute in self.attributes.items()}
        self.average = {name: points.mean() for name, points in self.scored(train).items()}

    def scored(self, table):
        """The points of each applicant for each attribute."""
        return {name: attribute.each(table[name], self.points[name]) for name, attribute in self.attributes.items()}

    def score(self, table):
        """Probability of default, and for each attribute how many points the applicant has less than the average one."""
        points = self.scored(table)
        pd = 1 / (1 + 2 ** ((self.base + sum(points.values()) - EVEN) / DOUBLE))
        return pd, {name: self.average[name] - scored for name, scored in points.items()}

    def sheet(self):
        """The scorecard as it would hang on a wall."""
        rows = [f"{self.base:6.0f}  everybody"]
        for name, attribute in self.attributes.items():
            rows += [f"{points:+6.0f}  {name}: {label}" for points, label in zip(self.points[name], attribute.labels(), strict=True)]
        return "\n".join(rows)


def reasons(lost, codes):
    """The attributes that cost most points, the weightiest first, as codes; only those that cost anything."""
    names = [name for name in lost if name.upper() in codes]
    table = np.stack([lost[name] for name in names], axis=1)
    order = np.argsort(-table, axis=1, kind="stable")[:, :MOST_REASONS]
    return [";".join(names[k].upper() for k in row if table[i, k] > 0) or names[row[0]].upper() for i, row in enumerate(order)]


def main():
    """Fit, score, explain, write."""
    task = json.loads((IN / "task.json").read_text())
    train, cohort = read(IN / "train.parquet"), read(IN / "cohort.parquet")
    pd, why = np.empty(len(cohort["id"])), np.full(len(cohort["id"]), "", dtype=object)
    for portfolio in sorted(set(cohort["portfolio"])):
        same = train["portfolio"] == portfolio
        known = {name: column[same | ~same.any()] for name, column in train.items()}  # of a portfolio never seen, all there is
        own = np.flatnonzero(cohort["portfolio"] == portfolio)
        card = Scorecard(known, task["monotone"])
        pd[own], lost = card.score({name: column[own] for name, column in cohort.items()})
        why[own] = reasons(lost, task["reason_codes"])
        print(f"{portfolio}: fitted on {len(known['bad'])} applicants, scored {len(own)}; mean pd {pd[own].mean():.3f}\n{card.sheet()}")
    table = {task["id"]: pa.array(cohort["id"]), task["prediction"]: pa.array(pd), task["reasons"]: pa.array(why.tolist())}
    pq.write_table(pa.table(table), OUT / "predictions.parquet")


if __name__ == "__main__":
    main()
