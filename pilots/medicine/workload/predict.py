"""Ten-year mortality risk: fits a Cox model on /in/train.parquet and predicts for /in/cohort.parquet.

What is not known of a person (a missing value, a sex that was not in the training part) counts as the mean of the training part.
"""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

IN, OUT = Path(os.environ.get("PILOT_IN", "/in")), Path(os.environ.get("PILOT_OUT", "/out"))


def known(values):
    """Positive finite numbers; NaN in place of others."""
    values = np.asarray(values, dtype=float)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def features(table):
    """Age, log light chains, log creatinine (0 where it was not taken), sex, and whether creatinine was not taken; NaN where not known."""
    creatinine = known(table["creatinine"].to_numpy())
    sex = np.asarray(table["sex"].to_pylist(), dtype=object)
    return np.column_stack(
        [
            known(table["age"].to_numpy()),
            np.log(known(table["kappa"].to_numpy())),
            np.log(known(table["lambda"].to_numpy())),
            np.where(np.isnan(creatinine), 0.0, np.log(creatinine)),
            np.select([sex == "M", sex == "F"], [1.0, 0.0], np.nan),
            np.isnan(creatinine).astype(float),
        ]
    )


def main():
    """Fit, predict, write."""
    task = json.loads((IN / "task.json").read_text())
    train, cohort = pq.read_table(IN / "train.parquet"), pq.read_table(IN / "cohort.parquet")
    outcome = Surv.from_arrays(train["event"].to_numpy().astype(bool), train["time"].to_numpy())
    splines = ColumnTransformer([("age", SplineTransformer(n_knots=4, degree=3), [0]), ("rest", "passthrough", [1, 2, 3, 4, 5])])
    model = make_pipeline(SimpleImputer(), splines, StandardScaler(), CoxPHSurvivalAnalysis(alpha=1.0))
    model.fit(features(train), outcome)
    curves = model.predict_survival_function(features(cohort))
    risk = [1.0 - float(curve(task["horizon"])) for curve in curves]
    pq.write_table(pa.table({task["id"]: cohort[task["id"]], task["prediction"]: pa.array(risk)}), OUT / "predictions.parquet")
    print(f"fitted on {train.num_rows} persons, predicted for {cohort.num_rows}; mean risk {np.mean(risk):.3f}")


if __name__ == "__main__":
    main()
