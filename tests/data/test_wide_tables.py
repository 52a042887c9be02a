"""Tables with thousands of columns take time in proportion to their number."""

import time
from pathlib import Path

import numpy as np

from fastbp import Network
from fastbp.data.fitting import fit_columns
from fastbp.data.preparation import Preparation
from fastbp.data.sources import read_examples
from fastbp.data.targets import fit_target
from fastbp.models import Model

TARGET = fit_target(np.arange(4.0), ("t",), "regression", scaled=True)


def test_the_time_of_wide_tables_is_linear(tmp_path: Path) -> None:
    """16 times as many columns took 43 times as long when each was searched for in a list."""

    def seconds(width: int) -> float:
        names = [f"c{k}" for k in range(width)]
        rows = "".join(",".join(f"{(k * j) % 7}" for k in range(width)) + "\n" for j in range(9))
        path = tmp_path / "t.csv"
        path.write_text(",".join(names) + "\n" + rows)
        times = []
        for _ in range(2):
            start = time.perf_counter()
            examples = read_examples(path, ["c0"])
            columns, _notes = fit_columns(examples.X)
            columns.apply(examples.X)
            model = Model(
                Network([columns.width, 1], loss="squared_error"), Preparation(columns, TARGET)
            )
            model.predict(examples.X)
            times.append(time.perf_counter() - start)
        return min(times)

    assert seconds(8000) < 28 * seconds(500)
