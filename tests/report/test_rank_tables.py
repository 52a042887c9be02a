"""The model of steps on several machines."""

import pytest
from measurements import TIMES
from rank_tables import fitted, rank_scaling, ranks, sum_seconds

ROW = {"network": "4-3-2", "batch": 8, "params": 1000, "one": 100.0, "part": 60.0}
INFO = {
    "subject": "ranks",
    "ranks": 2,
    "rows": [ROW | {"ranks": 70.0, "message": 80.0}] * 2,
    "messages": [[4, 2.0], [1_000_000, 2002.0]],
}
RESULTS = {"benchmarks": [{"extra_info": INFO}]}


def test_a_sum_takes_rounds_and_bytes() -> None:
    assert sum_seconds(1000, 2, 1e-6, 0.0) == pytest.approx(2e-6)
    assert sum_seconds(1000, 256, 1e-6, 0.0) == pytest.approx(16e-6)
    assert sum_seconds(1000, 2, 0.0, 1e-9) == pytest.approx(4e-6)  # each byte once
    assert sum_seconds(1000, 1 << 20, 0.0, 1e-9) == pytest.approx(8e-6)  # almost twice


def test_the_fit_gives_the_measured_times_again() -> None:
    alpha, beta = fitted(INFO["messages"], 2)
    assert alpha == pytest.approx(1e-6)
    assert 1e6 * sum_seconds(1_000_000, 2, alpha, beta) == pytest.approx(2002.0)


def test_the_tables_show_what_was_measured_and_what_follows() -> None:
    line = ranks(RESULTS).splitlines()[2]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "4-3-2, 8",
        "100",
        "60.0",
        "70.0",
        "80.0",
        "64.0",
        f"1.43{TIMES}",
        f"1.25{TIMES}",
    ]
    scaling = rank_scaling(RESULTS).splitlines()[2:]
    cells = [cell.strip() for cell in scaling[0].strip("|").split("|")]
    expected = 100 / (100 + 1e6 * sum_seconds(1000, 2, 50e-6, 8e-9))
    assert cells[2] == f"{100 * expected:.0f} %"
    assert cells[-1] == "from 2"


def test_nothing_is_shown_of_results_without_ranks() -> None:
    assert ranks({"benchmarks": []}) == rank_scaling({"benchmarks": []}) == ""
