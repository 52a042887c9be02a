"""Compare ``fastbp train FILE --target NAME`` without options with scikit-learn's network.

    python benchmarks/defaults.py [FILE:TARGET ...] [--seeds 5] [--json FILE]

A quarter of the rows of each table is scored; neither library sees it in training. fastbp holds out
a fifth of the rest for evaluation and does not train on it; scikit-learn trains on all of the rest,
in the usual pipeline: imputation, standardised numbers, one column per category, dates as days,
standardised values. The tables are the sets that scikit-learn bundles, and the CSV files that are
named.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from sklearn import datasets
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastbp import runs
from fastbp.data.sources import read_examples
from fastbp.data.targets import infer_task

BUNDLED = ("iris", "wine", "breast_cancer", "digits", "diabetes")


def tables(given: list[str], folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield name, CSV file and target of each table."""
    for name in BUNDLED:
        bunch = getattr(datasets, f"load_{name}")()
        columns = {f"x{k}": values for k, values in enumerate(bunch.data.T)}
        path = folder / f"{name}.csv"
        pl.DataFrame({**columns, "target": bunch.target}).write_csv(path)
        yield name, path, "target"
    for text in given:
        file, _, target = text.rpartition(":")
        yield Path(file).stem, Path(file), target


def as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """Return inputs as the usual pipeline takes them: dates as days, columns of row numbers out."""
    columns: dict[str, Any] = {}
    for column in frame.iter_columns():
        if column.name.strip().lower() in ("", "rownames", "id"):
            continue
        if column.dtype.is_temporal():
            columns[column.name] = column.cast(pl.Date).to_physical().cast(pl.Float64).to_list()
        elif column.dtype == pl.String:
            columns[column.name] = column.fill_null("missing").to_list()
        else:
            columns[column.name] = column.to_list()
    return pd.DataFrame(columns)


def scikit_learn(examples: Any, rows: Any, test: Any, task: str, seed: int) -> float:
    """Train scikit-learn's network on ``rows``; return its score on ``test``."""
    X, y = as_pandas(examples.X), examples.y.to_series().to_numpy()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", max_categories=100)
    prepare = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (texts, make_column_selector(dtype_exclude="number")),
    )
    if task == "classification":
        network: Any = MLPClassifier(random_state=seed)
    else:
        network = TransformedTargetRegressor(
            MLPRegressor(random_state=seed), transformer=StandardScaler()
        )
    model = make_pipeline(prepare, network).fit(X.iloc[rows], y[rows])
    return float(model.score(X.iloc[test], y[test]))


def fastbp(lines: list[str], target: str, rows: Any, test: Any, seed: int) -> float:
    """Train as the command does without options; return the score on ``test``."""
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name, "train.csv"), Path(name, "test.csv")]
        for path, part in zip(paths, (rows, test), strict=True):
            path.write_text("".join([lines[0], *(lines[1 + k] for k in part)]))
        settings = runs.Settings(
            data=str(paths[0]), test=str(paths[1]), target=(target,), seed=seed, out=name
        )
        metrics = runs.run(settings.replace(picture="none")).metrics
    return metrics.get("test accuracy", metrics.get("test R²", float("nan")))


def compare(path: Path, target: str, seeds: int) -> dict[str, list[float]]:
    """Return the scores of both for each seed."""
    examples = read_examples(path, [target])
    task, _ = infer_task(examples.y)
    known = np.flatnonzero(examples.y.to_series().is_not_null().to_numpy())
    lines = path.read_text().splitlines(keepends=True)
    y = examples.y.to_series().to_numpy()[known] if task == "classification" else None
    scores: dict[str, list[float]] = {"fastbp": [], "scikit-learn": []}
    for seed in range(seeds):
        rows, test = train_test_split(known, test_size=0.25, random_state=seed, stratify=y)
        scores["fastbp"].append(fastbp(lines, target, rows, test, seed))
        scores["scikit-learn"].append(scikit_learn(examples, rows, test, task, seed))
    return scores


def main() -> None:
    """Compare, print a table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("tables", nargs="*", metavar="FILE:TARGET")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="written with a line for each table")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(f"{'table':24} {'fastbp':>15} {'scikit-learn':>15}")
        for name, path, target in tables(options.tables, Path(folder)):
            results[name] = compare(path, target, options.seeds)
            means = [
                f"{np.mean(scores):7.4f} ±{np.std(scores) / len(scores) ** 0.5:6.4f}"
                for scores in results[name].values()
            ]
            print(f"{name:24} {means[0]:>15} {means[1]:>15}", flush=True)
    if options.json:
        lines = [json.dumps({"table": table} | scores) for table, scores in results.items()]
        options.json.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
