"""The script that turns benchmark results into the README's tables and picture."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "report.py"
specification = importlib.util.spec_from_file_location("fastbp_benchmark_report", SCRIPT)
assert specification is not None
assert specification.loader is not None
report = importlib.util.module_from_spec(specification)
specification.loader.exec_module(report)


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
    turns = {"floor_us": 2.0, "step_us": 3.0, "ratio": 1.5}
    return [
        measured(0.3, path="naive NumPy", **small),
        measured(0.09, path="vectorised NumPy", **small),
        measured(0.004, path="fastbp", **small, **turns),
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
    paths = (report.NUMPY_CLASSES, report.BY_LAYERS, report.BY_MODEL)
    turns = dict(zip(paths, (3.0, 1.0, 0.25), strict=True))
    ratios = {path: 3.0 / time for path, time in turns.items()}
    case = {"subject": "script", "precision": "float64", "steps": 10_001}
    rows = [measured(9.9, path=path, **case) for path in paths]
    rows[-1]["extra_info"] |= {"seconds": turns, "ratios": ratios}
    return rows


def sample() -> list[dict[str, Any]]:
    case = {"subject": "per sample", "precision": "float64", "steps": 1000}
    times = {report.LOOPS: 0.05, report.PER_SAMPLE: 0.02, report.ONE_CALL: 0.0004}
    rows = [measured(time, path=path, **case) for path, time in times.items()]
    rows[-1]["extra_info"]["ratio"] = 125.0
    return rows


def peer() -> list[dict[str, Any]]:
    small = {report.FASTBP: 2.0, report.NUMPY: 40.0, report.SCIKIT_LEARN: 160.0}
    small |= {report.TORCH: 300.0, report.JAX: 8.0}  # no compiled PyTorch
    large = {report.FASTBP: 72.0, report.NUMPY: 40.0, report.SCIKIT_LEARN: 100.0}
    large |= {report.TORCH: 75.0, report.JAX: 2.0}  # a row that fastbp loses
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
    lost = case | {"network": "9-9-9"}
    rated = {"subject": "rate", "network": "9-9-9", "batch": 7, "threads": 4}
    row = {"subject": "predict", "network": "9-9-9", "rows": 1000}
    return [
        measured(1.0, **case, one_us=30.0, all_us=10.0, ratio=3.0),
        measured(1.0, **lost, one_us=30.0, all_us=60.0, ratio=0.5),
        measured(1.0, **rated, product_gflops=200.0, steps_gflops=181.0),
        measured(30e-6, **row, path=report.NUMPY),
        measured(60e-6, **row, path=report.FASTBP),
    ]


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
            *(*fused(), *sweeps, *step(), *epoch(), *kernel(), *script(), *sample()),
            *(*peer(), *together(), *compilation),
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


def row(table: str, start: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def readme(*names: str) -> str:
    marked = (
        f"<!-- benchmark: begin {name} -->\nold {name}\n<!-- benchmark: end {name} -->"
        for name in names
    )
    return "before\n\n" + "\n\nbetween\n\n".join(marked) + "\n\nafter\n"


def test_the_fused_table_stands_beside_what_the_notes_measured(results: dict[str, Any]) -> None:
    cells = row(report.fused(results), "3x3")
    assert cells[1:6] == ["40.0", "8.00", "4.00", "0.50", "12.3"]
    assert cells[6:] == [
        f"5.00{report.TIMES} (the notes: 6.92{report.TIMES})",
        f"80.0{report.TIMES}",
    ]


def test_the_batch_size_is_named_from_which_numpy_passes_seven(results: dict[str, Any]) -> None:
    table = report.fused(results)
    assert "with 3 classes from a batch of 16 on" in table
    assert "with 10 classes from a batch of 1 on" in table
    assert "with 2 classes at no batch size measured" in table
    assert row(table, "3 classes")[1:] == [f"{n}{report.TIMES}" for n in ("1.50", "6.50", "12.0")]


def test_steps_are_an_epoch_over_its_steps(results: dict[str, Any]) -> None:
    cells = row(report.steps(results), "2-64-3")
    # Floor and fastbp as timed in turn, not as timed apart.
    assert cells[1:5] == ["2.00", "3.00", "90.0", "300"]
    assert cells[5:] == [f"{n}{report.TIMES}" for n in ("1.50", "30.0", "100")]


def test_a_row_that_fastbp_loses_stays(results: dict[str, Any]) -> None:
    assert row(report.steps(results), "9-9-9")[5:] == [
        f"{n}{report.TIMES}" for n in ("4.44", "0.25", "1.25")
    ]
    assert row(report.kernels(results), "softmax, 5x7")[1:] == [
        *("20.0", "10.0", "25.0"),
        *(f"{n}{report.TIMES}" for n in ("0.80", "0.40")),
    ]


def test_epochs_are_in_milliseconds(results: dict[str, Any]) -> None:
    cells = row(report.epochs(results), "2-64-3")
    assert cells[1:5] == ["1,000", "4.50", "90.0", "300"]
    assert cells[5:] == [f"20.0{report.TIMES}", f"66.7{report.TIMES}"]


def test_scripts_are_those_run_in_turn(results: dict[str, Any]) -> None:
    cells = row(report.scripts(results), "float64")
    assert cells[1:4] == ["3.00", "1.00", "0.25"]
    assert cells[4:] == [f"{n}{report.TIMES}" for n in ("3.00", "12.0")]


def test_per_sample_descent_is_in_microseconds_a_step(results: dict[str, Any]) -> None:
    table = report.per_sample(results)
    ways = (report.LOOPS, report.PER_SAMPLE, report.ONE_CALL)
    assert [row(table, way)[1] for way in ways] == ["50.0", "20.0", "0.40"]
    assert "the loops took 125 times as long as the one call" in table


def test_peers_have_a_table_for_each_number_of_threads(results: dict[str, Any]) -> None:
    one, four = report.peers(results).split("\n\n")
    assert one.startswith("| one thread, a step in µs: network, batch | floor | fastbp | NumPy |")
    cells = row(one, "2-64-3")
    assert cells[1:8] == ["1.00", "2.00", "40.0", "160", "300", "-", "8.00"]
    assert cells[8] == f"2.00{report.TIMES}"  # fastbp over floor
    assert cells[9:] == [
        *(f"{n}{report.TIMES}" for n in ("20.0", "80.0", "150")),
        *("-", f"4.00{report.TIMES}"),
    ]
    assert four.startswith("| 4 threads, a step in µs: network, batch | fastbp | NumPy |")
    assert "floor" not in four
    assert row(four, "9-9-9")[1:] == [
        *("72.0", "40.0", "100", "75.0", "-", "2.00"),
        *(f"{n}{report.TIMES}" for n in ("0.56", "1.39", "1.04")),
        *("-", f"0.03{report.TIMES}"),
    ]


def test_the_last_row_of_the_peers_is_the_geometric_mean(results: dict[str, Any]) -> None:
    one, _ = report.peers(results).split("\n\n")
    assert one.splitlines()[-1].startswith("| geometric mean |")
    cells = row(one, "geometric mean")
    assert cells[1:8] == ["5.00", "12.0", "40.0", "126", "150", "-", "4.00"]
    assert cells[8:10] == [f"2.40{report.TIMES}", f"3.33{report.TIMES}"]
    assert cells[12:] == ["-", f"0.33{report.TIMES}"]


def test_a_mean_over_fewer_rows_than_the_others_is_not_given(results: dict[str, Any]) -> None:
    results["benchmarks"] = peer()
    rows = results["benchmarks"][1]["extra_info"]["rows"]
    del rows[0]["step_us"][report.TORCH]
    _, four = report.peers(results).split("\n\n")
    assert row(four, "9-9-9")[4] == "75.0"
    assert row(four, "geometric mean")[4] == "-"
    assert row(four, "geometric mean")[9] == "-"


def test_threads_that_lose_stay_in(results: dict[str, Any]) -> None:
    table = report.threads(results)
    assert "| 4 threads |" in table
    assert row(table, "2-64-3")[1:] == ["30.0", "10.0", f"3.00{report.TIMES}", "1"]
    assert row(table, "9-9-9")[1:] == ["30.0", "60.0", f"0.50{report.TIMES}", "1"]


def test_the_rate_is_a_share_of_a_product_s(results: dict[str, Any]) -> None:
    table = report.rate(results)
    assert "steps of 9-9-9, 7" in table
    assert row(table, "4 threads")[1:] == ["200", "181", "90 %"]


def test_predictions_are_compared_with_numpy(results: dict[str, Any]) -> None:
    assert row(report.predict(results), "1,000")[1:] == ["30.0", "60.0", f"0.50{report.TIMES}"]


def test_tables_say_what_is_not_training(results: dict[str, Any]) -> None:
    table = report.tables_on_disk(results)
    assert (
        table.splitlines()[-1] == "| CSV | 8.00 | 1.50 | 1.00 | 5.00 | 0.25 | 0.01 | 0.24 | 38% |"
    )


def test_compile_times_stand_apart(results: dict[str, Any]) -> None:
    table = report.compile_times(results)
    assert row(table, "first ever")[1:] == ["9.00", "0.40", "8.25"]
    assert row(table, "`import fastbp`")[1:] == ["0.50", "0.44", "-"]


def test_the_machine_is_named(results: dict[str, Any]) -> None:
    sentence = report.machine(results)
    for part in ("Difference Engine", "4 processors", "1 used", "Plan 9", "Python 3.99.0"):
        assert part in sentence
    for part in ("fastbp 0.0.7", "numba 9.9", "openblas 1.2.3 for Abacus of scipy", "2031-02-03"):
        assert part in sentence


def test_the_kernels_that_openblas_was_told_to_take_are_named(results: dict[str, Any]) -> None:
    assert "OPENBLAS_CORETYPE not set" in report.machine(results)
    results["machine_info"]["openblas_coretype"] = "Abacus"
    assert "OPENBLAS_CORETYPE Abacus" in report.machine(results)
    del results["machine_info"]["openblas_coretype"]  # results from before it was noted
    assert "OPENBLAS_CORETYPE" not in report.machine(results)


def test_what_was_not_measured_is_a_dash_or_no_table(results: dict[str, Any]) -> None:
    results["benchmarks"] = [one for one in step() if one["extra_info"]["path"] == "floor"]
    assert row(report.steps(results), "2-64-3")[1:] == ["2.50", *"------"]
    assert report.fused(results) == report.kernels(results) == report.compile_times(results) == ""
    assert report.threads(results) == report.rate(results) == report.predict(results) == ""
    assert report.scripts(results) == report.per_sample(results) == report.peers(results) == ""


def test_digits() -> None:
    assert [report.digits(x) for x in (0.123, 9.876, 98.76, 987.6, 9876.5, None)] == [
        *("0.12", "9.88", "98.8", "988", "9,876", "-")
    ]


def test_each_subject_comes_from_the_first_file_that_has_it() -> None:
    def results(machine: str, *rows: tuple[str | None, int]) -> report.Results:
        marks = [{"extra_info": {"subject": s, "k": k} if s else {"k": k}} for s, k in rows]
        return {"machine_info": machine, "benchmarks": marks}

    parts = [results("a", ("x", 1), ("x", 2)), results("b", ("x", 3), ("y", 4), (None, 5))]
    whole = report.together(parts)
    assert whole["machine_info"] == "a"
    assert [one["extra_info"]["k"] for one in whole["benchmarks"]] == [1, 2, 4, 5]
    assert len(parts[0]["benchmarks"]) == 2


def test_tables_go_between_their_markers(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "README.md"
    file.write_text(readme(*report.TABLES), encoding="utf-8")
    assert report.main([str(path), "--readme", str(file)]) == 0
    once = file.read_text(encoding="utf-8")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert once.count("between") == len(report.TABLES) - 1
    printed = capsys.readouterr().out
    results = json.loads(path.read_text(encoding="utf-8"))
    for name, table in report.TABLES.items():
        assert f"begin {name} -->\n\n{table(results)}\n\n<!-- benchmark: end {name}" in once
        assert table(results) in printed
    assert report.main([str(path), "--readme", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_a_missing_marker_is_named_and_nothing_written(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], edge: str
) -> None:
    file = tmp_path / "README.md"
    text = readme(*report.TABLES).replace(f"<!-- benchmark: {edge} kernels -->", "")
    file.write_text(text, encoding="utf-8")
    assert report.main([str(path), "--readme", str(file)]) == 1
    assert f"<!-- benchmark: {edge} kernels -->" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == text


def test_markers_in_the_wrong_order_are_an_error() -> None:
    text = "<!-- benchmark: end grid -->\n<!-- benchmark: begin grid -->"
    with pytest.raises(ValueError, match="begin grid"):
        report.fill(text, {"grid": "table"})


def test_a_file_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_results_of_something_else_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text('{"benchmarks": [], "machine_info": {}}', encoding="utf-8")
    assert report.main([str(file)]) == 1
    assert "other.json was not written by" in capsys.readouterr().err


def test_the_picture_is_drawn_the_same_twice(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures = [tmp_path / "new" / name for name in ("one.svg", "two.svg")]
    for picture in pictures:
        assert report.main([str(path), "--picture", str(picture)]) == 0
    first, second = (picture.read_text(encoding="utf-8") for picture in pictures)
    assert first == second
    assert "<svg" in first
    assert first.count("url(#") >= 4  # the hatched bars of two paths in two rows


def test_the_picture_of_the_peers_is_drawn_the_same_twice(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures = [tmp_path / "new" / name for name in ("one.svg", "two.svg")]
    for picture in pictures:
        assert report.main([str(path), "--peers", str(picture)]) == 0
    first, second = (picture.read_text(encoding="utf-8") for picture in pictures)
    assert first == second
    assert "<svg" in first
    for text in ("one thread", "4 threads", "scikit-learn", "JAX", "floor: its matrix products"):
        assert first.count(f"<!-- {text} -->") == 1
    assert "<!-- PyTorch, compiled -->" not in first  # was not measured


def test_every_path_of_the_peers_has_a_mark_of_its_own() -> None:
    assert set(report.MARKERS) == set(report.PEERS)
    assert len({look["marker"] for look in report.MARKERS.values()}) == len(report.MARKERS)


def test_a_picture_of_nothing_is_an_error(results: dict[str, Any], tmp_path: Path) -> None:
    results["benchmarks"] = []
    with pytest.raises(ValueError, match="no step"):
        report.draw(results, tmp_path / "grid.svg")
    with pytest.raises(ValueError, match="no step"):
        report.draw_peers(results, tmp_path / "grid.svg")
    assert not (tmp_path / "grid.svg").exists()
