"""Compare models by their scores on tables: normalised scores, ranks and times.

All functions take scores ``S`` of shape (T, M), less is better: T tables or splits, M models.

Ranks, Friedman's test and Nemenyi's critical difference are those of J. Demsar, "Statistical
Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
SIGNIFICANCE = 0.05
DECIMALS = 10
TASKS = {"error": "classification", "log_loss": "classification", "rmse": "regression"}


def normalised(S: Array) -> Array:
    """Return (worst - score) / (worst - best) of each row: 1 is best, and 1 if all are equal."""
    best, worst = S.min(axis=1, keepdims=True), S.max(axis=1, keepdims=True)
    spread = worst - best
    return np.where(spread > 0, (worst - S) / np.where(spread > 0, spread, 1.0), 1.0)


def ranks(S: Array) -> Array:
    """Return the ranks in each row, 1 is best; models with equal scores share their mean rank."""
    return np.asarray(rankdata(S, axis=1))


def wins_and_losses(S: Array, reference: int) -> Array:
    """Return (M, 3): the rows on which each model beats, equals and loses to the reference."""
    other = S[:, [reference]]
    return np.stack([(other > S).sum(0), (other == S).sum(0), (other < S).sum(0)], axis=1)


def friedman(S: Array) -> float | None:
    """Return the p-value of the hypothesis that all models rank alike, or None below 3 models."""
    if S.shape[1] < 3 or S.shape[0] < 2 or (S[:, :1] == S).all():
        return None
    return float(friedmanchisquare(*S.T).pvalue)


def critical_difference(T: int, M: int) -> float:
    """Return Nemenyi's critical difference of mean ranks, q sqrt(M (M + 1) / (6 T))."""
    q = studentized_range.ppf(1 - SIGNIFICANCE, M, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(M * (M + 1) / (6 * T)))


def cliques(mean_ranks: Array, difference: float) -> list[tuple[float, float]]:
    """Return the largest intervals of mean ranks, of two and more models, within a difference."""
    places = np.sort(mean_ranks)
    found: list[tuple[float, float]] = []
    for k, low in enumerate(places):
        high = places[places <= low + difference][-1]
        if np.count_nonzero(places <= high) > k + 1 and (not found or high > found[-1][1]):
            found.append((float(low), float(high)))
    return found


def geometric_mean(ratios: Array) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.mean(np.log(ratios))))


@dataclass(frozen=True)
class Comparison:
    """Scores and times of models, each of shape (S, M), on the splits that all have."""

    models: list[str]
    splits: list[tuple[str, int]]  # name of the table, number of the split
    scores: Array
    fit_seconds: Array
    predict_seconds: Array
    loaded: int  # the number of times that were measured while other programs ran

    @property
    def tables(self) -> list[str]:
        """The names of the tables, sorted."""
        return sorted({table for table, _ in self.splits})

    def by_table(self, values: Array) -> Array:
        """Return (T, M): the means over the splits of each table, rounded to keep ties."""
        names = np.array([table for table, _ in self.splits])
        means = np.array([values[names == table].mean(axis=0) for table in self.tables])
        return means.round(DECIMALS)


def compare(
    rows: list[Row], metric: str, tables: list[str], models: list[str], threads: int = 1
) -> Comparison | None:
    """Select the results of some models on some tables, and the splits that all models have.

    Models without any result for the metric's task are left out. If a fit occurs twice, the last
    one counts.

    Returns
    -------
    Comparison or None
        None if there is no split that two models have.
    """
    found: dict[str, dict[tuple[str, int], Row]] = {model: {} for model in models}
    for row in rows:
        chosen = metric in row and _is_fit(row, threads) and row["table"] in tables
        if chosen and row["model"] in found and np.isfinite(row[metric]):
            found[row["model"]][row["table"], row["split"]] = row
    found = {model: by_split for model, by_split in found.items() if by_split}
    if len(found) < 2:
        return None
    splits = sorted(set.intersection(*(set(by_split) for by_split in found.values())))
    if not splits:
        return None
    values = {
        key: np.array([[float(found[model][split][key]) for model in found] for split in splits])
        for key in (metric, "fit_seconds", "predict_seconds")
    }
    loaded = sum(bool(found[m][s].get("loaded")) for m in found for s in splits)
    times = values["fit_seconds"], values["predict_seconds"]
    return Comparison(list(found), splits, values[metric], *times, loaded)


def join(one: Comparison | None, other: Comparison | None) -> Comparison | None:
    """Join comparisons of different tables for the models in both; ranks need no common unit."""
    if one is None or other is None:
        return None
    models = [model for model in one.models if model in other.models]
    if len(models) < 2:
        return None
    arrays = [
        np.concatenate(
            [
                getattr(part, name)[:, [part.models.index(m) for m in models]]
                for part in (one, other)
            ]
        )
        for name in ("scores", "fit_seconds", "predict_seconds")
    ]
    return Comparison(models, one.splits + other.splits, *arrays, one.loaded + other.loaded)


def missing(rows: list[Row], metric: str, tables: list[str], comparison: Comparison) -> list[str]:
    """Return the tables of the metric's task that some rows name and no comparison includes."""
    named = {row["table"] for row in rows if row.get("task") == TASKS[metric]}
    return sorted(named & set(tables) - set(comparison.tables))


def failures(rows: list[Row], tables: list[str], models: list[str], threads: int) -> list[str]:
    """Return "model on table" of the fits that failed and did not succeed later."""
    last = {
        (row["table"], row["split"], row["model"]): row for row in rows if _is_fit(row, threads)
    }
    failed = {
        f"{model} on {table}"
        for (table, _, model), row in last.items()
        if "failed" in row and table in tables and model in models
    }
    return sorted(failed)


def _is_fit(row: Row, threads: int) -> bool:
    return "table" in row and row["threads"] == threads
