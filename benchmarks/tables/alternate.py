"""Time the fits of two models in turn, so that a machine whose speed changes favours neither.

    unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
    python benchmarks/tables/alternate.py fastbp-fast hist-gb --threads 2 --out times.jsonl

Writes a line of JSON for each table: the fastest and the median fit of each model.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from pathlib import Path

from run import THREAD_VARIABLES


def main() -> None:
    """Time both models on every table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("models", nargs=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4, help="fits of each model on a table")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name in THREAD_VARIABLES:
        os.environ[name] = str(options.threads)
    import numpy as np
    from table_models import MODELS
    from table_sources import load, read_halves, split

    warnings.simplefilter("ignore")
    with options.out.open("w", encoding="utf-8") as file:
        for half, names in read_halves().items():
            for name in names:
                table = load(name)
                rows, _ = split(table, 0)
                X, y = table.X.iloc[rows], np.asarray(table.y)[rows]
                seconds: dict[str, list[float]] = {model: [] for model in options.models}
                for _ in range(options.rounds):
                    for model, times in seconds.items():
                        estimator = MODELS[model](table.task, 0, options.threads)
                        start = time.perf_counter()
                        estimator.fit(X, y)
                        times.append(time.perf_counter() - start)
                row = {"table": name, "half": half, "threads": options.threads}
                row["fastest"] = {model: min(times) for model, times in seconds.items()}
                row["median"] = {m: statistics.median(times) for m, times in seconds.items()}
                file.write(json.dumps(row) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
