"""The tables made from benchmark results."""

from typing import Any

import comparison_tables
import measurements
import pytest
import result_tables
from measurements import TIMES


def row(table: str, start: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_fused_table_shows_the_ratio_of_the_notes(results: dict[str, Any]) -> None:
    cells = row(result_tables.fused(results), "3x3")
    assert cells[1:6] == ["40.0", "8.00", "4.00", "0.50", "12.3"]
    assert cells[6:] == [
        f"5.00{TIMES} (source notes: 6.92{TIMES})",
        f"80.0{TIMES}",
    ]


def test_first_batch_size_above_seven_is_named(results: dict[str, Any]) -> None:
    table = result_tables.fused(results)
    assert "with 3 classes for batches of 16 or more" in table
    assert "with 10 classes for batches of 1 or more" in table
    assert "with 2 classes for no measured batch" in table
    assert row(table, "3 classes")[1:] == [f"{n}{TIMES}" for n in ("1.50", "6.50", "12.0")]


def test_steps_use_interleaved_times(results: dict[str, Any]) -> None:
    cells = row(result_tables.training_steps(results), "2-64-3")
    # Floor and fastbp come from the interleaved rounds.
    assert cells[1:5] == ["2.00", "3.00", "90.0", "300"]
    assert cells[5:] == [f"{n}{TIMES}" for n in ("1.50", "30.0", "100")]


def test_rows_that_fastbp_loses_are_kept(results: dict[str, Any]) -> None:
    assert row(result_tables.training_steps(results), "9-9-9")[5:] == [
        f"{n}{TIMES}" for n in ("4.44", "0.25", "1.25")
    ]
    assert row(result_tables.kernels(results), "softmax, 5x7")[1:] == [
        "20.0",
        "10.0",
        "25.0",
        *(f"{n}{TIMES}" for n in ("0.80", "0.40")),
    ]


def test_epochs_are_in_milliseconds(results: dict[str, Any]) -> None:
    cells = row(result_tables.epochs(results), "2-64-3")
    assert cells[1:5] == ["1,000", "4.50", "90.0", "300"]
    assert cells[5:] == [f"20.0{TIMES}", f"66.7{TIMES}"]


def test_scripts_use_interleaved_times(results: dict[str, Any]) -> None:
    cells = row(result_tables.scripts(results), "float64")
    assert cells[1:4] == ["3.00", "1.00", "0.25"]
    assert cells[4:] == [f"{n}{TIMES}" for n in ("3.00", "12.0")]


def test_per_sample_times_are_per_step(results: dict[str, Any]) -> None:
    table = result_tables.per_sample(results)
    ways = (measurements.LOOPS, measurements.PER_SAMPLE, measurements.ONE_CALL)
    assert [row(table, way)[1] for way in ways] == ["50.0", "20.0", "0.40"]
    assert "the loops took 125 times as long as the compiled call" in table


def test_peers_have_one_table_per_thread_count(results: dict[str, Any]) -> None:
    one, four = comparison_tables.peers(results).split("\n\n")
    assert one.startswith("| one thread, µs per step: network, batch | floor | fastbp | NumPy |")
    cells = row(one, "2-64-3")
    assert cells[1:8] == ["1.00", "2.00", "40.0", "160", "300", "-", "8.00"]
    assert cells[8] == f"2.00{TIMES}"  # fastbp over floor
    assert cells[9:] == [
        *(f"{n}{TIMES}" for n in ("20.0", "80.0", "150")),
        "-",
        f"4.00{TIMES}",
    ]
    assert four.startswith("| 4 threads, µs per step: network, batch | fastbp | NumPy |")
    assert "floor" not in four
    assert row(four, "9-9-9")[1:] == [
        "72.0",
        "40.0",
        "100",
        "75.0",
        "-",
        "2.00",
        *(f"{n}{TIMES}" for n in ("0.56", "1.39", "1.04")),
        "-",
        f"0.03{TIMES}",
    ]


def test_peers_end_with_the_geometric_mean(results: dict[str, Any]) -> None:
    one, _ = comparison_tables.peers(results).split("\n\n")
    assert one.splitlines()[-1].startswith("| geometric mean |")
    cells = row(one, "geometric mean")
    assert cells[1:8] == ["5.00", "12.0", "40.0", "126", "150", "-", "4.00"]
    assert cells[8:10] == [f"2.40{TIMES}", f"3.33{TIMES}"]
    assert cells[12:] == ["-", f"0.33{TIMES}"]


def test_short_table_takes_the_faster_of_eager_and_compiled_pytorch(
    results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ((1, "2-64-3", 32), (4, "9-9-9", 7), (9, "not measured", 1))
    monkeypatch.setattr(comparison_tables, "SHORT_ROWS", rows)
    for one in results["benchmarks"]:
        if one["extra_info"]["subject"] == "peers":
            one["extra_info"]["rows"][0]["step_us"][measurements.TORCH_COMPILED] = 50.0
    table = comparison_tables.short(results)
    assert row(table, "2-64-3")[1:] == [
        "2.00",
        f"160 (80.0{TIMES})",
        f"50.0 (25.0{TIMES})",
        f"8.00 (4.00{TIMES})",
    ]
    # A row that fastbp loses.
    assert row(table, "9-9-9, batch 7, 4 threads")[1:] == [
        "72.0",
        f"100 (1.39{TIMES})",
        f"75.0 (1.04{TIMES})",
        f"2.00 (0.03{TIMES})",
    ]
    assert "not measured" not in table


def test_an_incomplete_column_has_no_mean(results: dict[str, Any]) -> None:
    results["benchmarks"] = [
        b for b in results["benchmarks"] if b["extra_info"]["subject"] == "peers"
    ]
    rows = results["benchmarks"][1]["extra_info"]["rows"]
    del rows[0]["step_us"][measurements.TORCH]
    _, four = comparison_tables.peers(results).split("\n\n")
    assert row(four, "9-9-9")[4] == "75.0"
    assert row(four, "geometric mean")[4] == "-"
    assert row(four, "geometric mean")[9] == "-"


def test_rows_where_threads_lose_are_kept(results: dict[str, Any]) -> None:
    table = result_tables.threads(results)
    assert "| 4 threads |" in table
    assert row(table, "2-64-3")[1:] == ["30.0", "10.0", f"3.00{TIMES}", f"2.50{TIMES}", "1"]
    assert row(table, "9-9-9")[1:] == ["30.0", "60.0", f"0.50{TIMES}", f"2.50{TIMES}", "1"]


def test_the_model_of_threads_names_the_threads_that_it_takes(results: dict[str, Any]) -> None:
    table = result_tables.thread_model(results)
    assert "| 2 cores | 64 cores |" in table
    assert row(table, "9-9-9, 7")[1:] == [f"1.90{TIMES} (2)", f"4.00{TIMES} (8)"]


def test_the_choice_of_products_is_compared_with_the_faster_kernel(results: dict[str, Any]) -> None:
    cells = row(result_tables.products(512)(results), "X W, float32")[1:]
    assert cells[:2] == ["2", "2"]
    assert cells[2:5] == ["0.35", "0.35", "0.35"]  # sqrt(1/2 2/8), sqrt(1/4 2/4), as tiles
    assert cells[5:] == [f"1.41{TIMES}", f"2.00{TIMES} (32 x 100, depth 20)"]


def test_rate_is_a_share_of_the_rate_of_a_product(results: dict[str, Any]) -> None:
    table = result_tables.rate(results)
    assert "steps of 9-9-9, 7" in table
    assert row(table, "4 threads")[1:] == ["200", "181", "90 %"]


def test_predictions_are_compared_with_numpy(results: dict[str, Any]) -> None:
    assert row(result_tables.predict(results), "1,000")[1:] == ["30.0", "60.0", f"0.50{TIMES}"]


def test_tables_show_the_share_of_other_work(results: dict[str, Any]) -> None:
    table = result_tables.tables_on_disk(results)
    assert (
        table.splitlines()[-1] == "| CSV | 8.00 | 1.50 | 1.00 | 5.00 | 0.25 | 0.01 | 0.24 | 38% |"
    )


def test_compile_times_are_separate(results: dict[str, Any]) -> None:
    table = result_tables.compile_times(results)
    assert row(table, "first ever")[1:] == ["9.00", "0.40", "8.25"]
    assert row(table, "`import fastbp`")[1:] == ["0.50", "0.44", "-"]


def test_machine_names_processor_and_versions(results: dict[str, Any]) -> None:
    sentence = result_tables.machine(results)
    for part in ("Difference Engine", "4 processors", "1 used", "Plan 9", "Python 3.99.0"):
        assert part in sentence
    for part in ("fastbp 0.0.7", "numba 9.9", "openblas 1.2.3 for Abacus of scipy", "2031-02-03"):
        assert part in sentence


def test_machine_names_openblas_coretype(results: dict[str, Any]) -> None:
    assert "OPENBLAS_CORETYPE not set" in result_tables.machine(results)
    results["machine_info"]["openblas_coretype"] = "Abacus"
    assert "OPENBLAS_CORETYPE Abacus" in result_tables.machine(results)
    del results["machine_info"]["openblas_coretype"]  # older results do not record it
    assert "OPENBLAS_CORETYPE" not in result_tables.machine(results)


def test_missing_measurements_are_a_dash_or_no_table(results: dict[str, Any]) -> None:
    results["benchmarks"] = [
        one for one in results["benchmarks"] if one["extra_info"].get("path") == "floor"
    ]
    assert row(result_tables.training_steps(results), "2-64-3")[1:] == ["2.50", *"------"]
    assert (
        result_tables.fused(results)
        == result_tables.kernels(results)
        == result_tables.compile_times(results)
        == ""
    )
    assert (
        result_tables.threads(results)
        == result_tables.rate(results)
        == result_tables.predict(results)
        == ""
    )
    assert (
        result_tables.scripts(results)
        == result_tables.per_sample(results)
        == comparison_tables.peers(results)
        == ""
    )
