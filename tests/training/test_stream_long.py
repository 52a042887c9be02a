"""Ten gigabytes of Parquet, trained on within one gigabyte of memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

FILES, ROWS, COLUMNS = 110, 250_000, 100
SCRIPT = """
import json, resource, sys, time
import fastbp

net = fastbp.Network([{columns}, 512, 3], seed=0)
start = time.perf_counter()
stream = fastbp.Stream(sys.argv[1], "y")
history = fastbp.train(net, stream, epochs=1, batch_size=128, n_threads=1)
spent = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # GB
found = {{"seconds": spent, "waited": history.waited / spent, "peak": peak}}
print(json.dumps(found | {{"rows": history.samples_per_second[0] * history.seconds[0]}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux does")
def test_ten_gigabytes_train_within_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((ROWS, COLUMNS), dtype=np.float32)
    columns = {f"x{k}": column for k, column in enumerate(X.T)}
    first = tmp_path / "000.parquet"
    pl.DataFrame(columns | {"y": np.digitize(X[:, 0], [-0.5, 0.5])}).write_parquet(
        first, row_group_size=1 << 16
    )
    for k in range(1, FILES):
        shutil.copyfile(first, tmp_path / f"{k:03}.parquet")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 10e9
    code = SCRIPT.format(columns=COLUMNS)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    shutil.rmtree(tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["rows"] == pytest.approx(FILES * ROWS)
    assert found["peak"] < 1.0
    assert found["waited"] < 0.1
