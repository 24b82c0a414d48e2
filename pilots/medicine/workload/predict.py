"""Ten-year mortality risk: fits a Cox model on /in/train.parquet and predicts for /in/cohort.parquet."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

IN, OUT = Path(os.environ.get("PILOT_IN", "/in")), Path(os.environ.get("PILOT_OUT", "/out"))


def features(table):
    """Age, log light chains, log creatinine (the median where it was not taken), sex, and whether creatinine was taken."""
    creatinine = table["creatinine"].to_numpy().astype(float)
    missing = ~np.isfinite(creatinine)
    creatinine = np.where(missing, 1.0, creatinine)
    return np.column_stack(
        [
            table["age"].to_numpy(),
            np.log(table["kappa"].to_numpy()),
            np.log(table["lambda"].to_numpy()),
            np.log(creatinine),
            (np.asarray(table["sex"].to_pylist()) == "M").astype(float),
            missing.astype(float),
        ]
    )


def main():
    """Fit, predict, write."""
    task = json.loads((IN / "task.json").read_text())
    train, cohort = pq.read_table(IN / "train.parquet"), pq.read_table(IN / "cohort.parquet")
    outcome = Surv.from_arrays(train["event"].to_numpy().astype(bool), train["time"].to_numpy())
    splines = ColumnTransformer([("age", SplineTransformer(n_knots=4, degree=3), [0]), ("rest", "passthrough", [1, 2, 3, 4, 5])])
    model = make_pipeline(splines, StandardScaler(), CoxPHSurvivalAnalysis(alpha=1.0))
    model.fit(features(train), outcome)
    curves = model.predict_survival_function(features(cohort))
    risk = [1.0 - float(curve(task["horizon"])) for curve in curves]
    pq.write_table(pa.table({task["id"]: cohort[task["id"]], task["prediction"]: pa.array(risk)}), OUT / "predictions.parquet")
    print(f"fitted on {train.num_rows} persons, predicted for {cohort.num_rows}; mean risk {np.mean(risk):.3f}")


if __name__ == "__main__":
    main()
