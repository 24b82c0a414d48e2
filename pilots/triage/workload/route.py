"""Routes requests in four languages: character n-grams, a logistic regression, a calibrated confidence, and a threshold below which it abstains."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

IN, OUT = Path(os.environ.get("PILOT_IN", "/in")), Path(os.environ.get("PILOT_OUT", "/out"))

FOLDS = 3
MOST_WRONG = 0.05  # of what it answers, on templates that it was not trained on
NAMED = 3  # words in an explanation


def read(path):
    """Columns as arrays of text."""
    table = pq.read_table(path)
    return {name: table[name].to_numpy().astype(str) for name in table.column_names}


def fit(x, y):
    return LogisticRegression(C=5.0, max_iter=200, tol=1e-3).fit(x, y)


class Router:
    """Which service, how sure, whether to abstain, and in which language the request is."""

    def __init__(self, train, outside):
        self.outside = outside
        # N-grams within words: what a word adds is the sum over its own, and no word's neighbours matter.
        self.vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True, dtype=np.float32)
        x, y = self.vectorizer.fit_transform(train["text"]), train["service"]
        self.services, self.languages = fit(x, y), fit(x, train["language"])
        # How often it is right on templates that it does not know is what its confidence has to say.
        held = np.empty((len(y), len(self.services.classes_)))
        for known, unknown in GroupKFold(FOLDS, shuffle=True, random_state=0).split(x, y, train["template"]):
            held[unknown] = fit(x[known], y[known]).predict_proba(x[unknown])
        guess, evidence = self.best(held)
        self.scale = LogisticRegression(C=1e4).fit(evidence, guess == y)
        sure = self.scale.predict_proba(evidence)[:, 1]
        order = np.argsort(-sure)
        wrong = np.cumsum((guess != y)[order]) / np.arange(1, len(y) + 1)
        within = np.flatnonzero(wrong <= MOST_WRONG)
        self.threshold = float(sure[order][within[-1]]) if len(within) else 1.0

    def best(self, probability):
        """The likeliest service, and the log-odds that it is the one."""
        place = np.where(self.services.classes_ == self.outside, -1.0, probability).argmax(axis=1)
        own = np.clip(probability[np.arange(len(place)), place], 1e-9, 1 - 1e-9)
        return self.services.classes_[place], (np.log(own) - np.log1p(-own))[:, None]

    def route(self, texts):
        """Service, confidence and language of each text, and which class is the likeliest of all."""
        x = self.vectorizer.transform(texts)
        probability = self.services.predict_proba(x)
        guess, evidence = self.best(probability)
        likeliest = self.services.classes_[probability.argmax(axis=1)]
        return guess, self.scale.predict_proba(evidence)[:, 1], self.languages.predict(x), likeliest

    def weighty(self, texts, guess):
        """Places of the up to three words that speak most for the service, in each text."""
        weights = self.services.coef_ - self.services.coef_.mean(axis=0)
        row = {name: place for place, name in enumerate(self.services.classes_)}
        words = [text.split(" ") for text in texts]
        distinct = {word: place for place, word in enumerate(sorted({word for said in words for word in said}))}
        added = self.vectorizer.transform(distinct) @ weights.T
        found = []
        for said, name in zip(words, guess, strict=True):
            points = added[[distinct[word] for word in said], row[name]]
            found.append([int(k) for k in np.argsort(-points)[:NAMED] if points[k] > 0] or [int(points.argmax())])
        return found


def answers(router, texts, outside):
    """The columns of the answer, without ids."""
    guess, confidence, language, likeliest = router.route(texts)
    abstains = confidence < router.threshold
    why = np.where(likeliest == outside, "OUTSIDE:", "SEVERAL:").tolist()
    answered = np.flatnonzero(~abstains)
    for place, named in zip(answered, router.weighty([texts[k] for k in answered], guess[answered]), strict=True):
        why[place] = "WORDS:" + ",".join(map(str, named))
    return {"service": guess, "confidence": confidence, "abstain": abstains.astype(float), "language": language, "explanation": np.array(why)}


def main():
    """Fit, route, explain, write."""
    start = time.perf_counter()
    outside = json.loads((IN / "task.json").read_text())["out_of_scope"]
    cohort = read(IN / "cohort.parquet")
    router = Router(read(IN / "train.parquet"), outside)
    print(f"fitted in {time.perf_counter() - start:.1f} s; abstains below {router.threshold:.3f}")
    table = {"id": cohort["id"], **answers(router, cohort["text"].tolist(), outside)}
    pq.write_table(pa.table({name: pa.array(column) for name, column in table.items()}), OUT / "answers.parquet")
    print(f"{len(cohort['id'])} requests, {table['abstain'].mean():.2f} abstained from; {time.perf_counter() - start:.1f} s in all")


if __name__ == "__main__":
    main()
