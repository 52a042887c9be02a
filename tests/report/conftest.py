"""Made-up benchmark results for the tests of the measurements."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import measurements


def measured(median: float, **info: Any) -> dict[str, Any]:
    return {"stats": {"median": median}, "extra_info": info}


def fused() -> list[dict[str, Any]]:
    case = {"subject": "fused", "shape": "3x3", "precision": "float64"}
    times = {"naive NumPy": 40e-6, "NumPy, fused as in the notes": 8e-6}
    times |= {"vectorised NumPy": 4e-6, "fastbp": 0.5e-6, "fastbp, checked": 12.3e-6}
    return [measured(time, path=path, **case) for path, time in times.items()]


def step() -> list[dict[str, Any]]:
    small = {"subject": "step", "network": "2-64-3", "batch": 32, "steps": 1000}
    large = {"subject": "step", "network": "9-9-9", "batch": 7, "steps": 10}
    interleaved = {"floor_us": 2.0, "step_us": 3.0, "ratio": 1.5}
    return [
        measured(0.3, path="naive NumPy", **small),
        measured(0.09, path="vectorised NumPy", **small),
        measured(0.004, path="fastbp", **small, **interleaved),
        measured(0.0025, path="floor", **small),
        # A row that fastbp loses.
        measured(0.05, path="naive NumPy", **large),
        measured(0.01, path="vectorised NumPy", **large),
        measured(0.04, path="fastbp", **large, floor_us=900.0, step_us=4000.0, ratio=4.444),
    ]


def epoch() -> list[dict[str, Any]]:
    case = {"subject": "epoch", "network": "2-64-3", "batch": 32, "steps": 1000}
    times = {"naive NumPy": 0.3, "vectorised NumPy": 0.09, "fastbp": 0.0045}
    return [measured(time, path=path, **case) for path, time in times.items()]


def kernel() -> list[dict[str, Any]]:
    case = {"subject": "kernel", "formula": "softmax", "shape": "5x7"}
    times = {"naive NumPy": 20e-6, "vectorised NumPy": 10e-6, "fastbp": 25e-6}
    return [measured(time, path=path, **case) for path, time in times.items()]


def script() -> list[dict[str, Any]]:
    paths = (measurements.NUMPY_CLASSES, measurements.BY_LAYERS, measurements.BY_MODEL)
    interleaved = dict(zip(paths, (3.0, 1.0, 0.25), strict=True))
    ratios = {path: 3.0 / time for path, time in interleaved.items()}
    case = {"subject": "script", "precision": "float64", "steps": 10_001}
    rows = [measured(9.9, path=path, **case) for path in paths]
    rows[-1]["extra_info"] |= {"seconds": interleaved, "ratios": ratios}
    return rows


def sample() -> list[dict[str, Any]]:
    case = {"subject": "per sample", "precision": "float64", "steps": 1000}
    times = {measurements.LOOPS: 0.05, measurements.PER_SAMPLE: 0.02, measurements.ONE_CALL: 0.0004}
    rows = [measured(time, path=path, **case) for path, time in times.items()]
    rows[-1]["extra_info"]["ratio"] = 125.0
    return rows


def peer() -> list[dict[str, Any]]:
    small = {measurements.FASTBP: 2.0, measurements.NUMPY: 40.0, measurements.SCIKIT_LEARN: 160.0}
    small |= {measurements.TORCH: 300.0, measurements.JAX: 8.0}  # no compiled PyTorch
    large = {measurements.FASTBP: 72.0, measurements.NUMPY: 40.0, measurements.SCIKIT_LEARN: 100.0}
    large |= {measurements.TORCH: 75.0, measurements.JAX: 2.0}  # a row that fastbp loses
    rows = [
        {"network": "2-64-3", "batch": 32, "floor_us": 1.0, "step_us": small},
        {"network": "9-9-9", "batch": 7, "floor_us": 25.0, "step_us": large},
    ]
    more = [row | {"floor_us": None} for row in rows]
    return [
        measured(60.0, subject="peers", threads=1, rows=rows),
        measured(50.0, subject="peers", threads=4, rows=more),
    ]


def together() -> list[dict[str, Any]]:
    case = {"subject": "threads", "network": "2-64-3", "batch": 32, "all": 4, "taken": 1}
    case["model"] = 2.5
    lost = case | {"network": "9-9-9"}
    rated = {"subject": "rate", "network": "9-9-9", "batch": 7, "threads": 4}
    row = {"subject": "predict", "network": "9-9-9", "rows": 1000}
    return [
        measured(1.0, **case, one_us=30.0, all_us=10.0, ratio=3.0),
        measured(1.0, **lost, one_us=30.0, all_us=60.0, ratio=0.5),
        measured(1.0, **rated, product_gflops=200.0, steps_gflops=181.0),
        measured(1.0, subject="thread model", model={"9-9-9, 7": {"2": [1.9, 2], "64": [4, 8]}}),
        measured(30e-6, **row, path=measurements.NUMPY),
        measured(60e-6, **row, path=measurements.FASTBP),
    ]


def products() -> list[dict[str, Any]]:
    """The choice is the faster kernel for the first product, and the slower for the second."""
    rows = ["8 6 10 1.0 2.0 4.0 tiles", "32 100 20 2.0 8.0 4.0 tiles"]
    case = {"subject": "products 512", "form": "X W", "precision": "float32"}
    return [measured(1.0, **case, products=rows)]


def sweep(K: int, *ratios: float) -> dict[str, Any]:
    sizes = ("1", "2", "16")
    by_size = dict(zip(sizes, ratios, strict=True))
    return measured(1.0, subject="fused ratio", K=K, ratios=by_size)


@pytest.fixture
def results() -> dict[str, Any]:
    compilation = [
        measured(9.0, subject="compile", case="first ever", import_s=0.4, training_s=8.25),
        measured(0.5, subject="compile", case="`import fastbp`", import_s=0.44),
        measured(
            8.0,
            subject="tables",
            case="CSV",
            whole_s=8.0,
            reading_s=1.5,
            preparing_s=1.0,
            training_s=5.0,
            evaluating_s=0.25,
            writing_s=0.01,
            drawing_s=0.24,
        ),
    ]
    sweeps = [sweep(3, 1.5, 6.5, 12.0), sweep(10, 7.5, 8.0, 9.0), sweep(2, 9.0, 9.0, 6.9)]
    return {
        "benchmarks": [
            *fused(),
            *sweeps,
            *step(),
            *epoch(),
            *kernel(),
            *script(),
            *sample(),
            *peer(),
            *together(),
            *products(),
            *compilation,
        ],
        "datetime": "2031-02-03T04:05:06+00:00",
        "machine_info": {
            "system": "Plan 9",
            "machine": "abacus",
            "python_version": "3.99.0",
            "cpu": {"brand_raw": "Difference Engine", "family": 1, "model": 2},
            "processors": 4,
            "threads": 1,
            "versions": {"fastbp": "0.0.7", "numba": "9.9"},
            "blas": ["openblas 1.2.3 for Abacus of scipy"],
            "openblas_coretype": None,
        },
    }


@pytest.fixture
def path(tmp_path: Path, results: dict[str, Any]) -> Path:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results), encoding="utf-8")
    return file
