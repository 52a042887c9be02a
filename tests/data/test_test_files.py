"""Test files of a run."""

from pathlib import Path

from fastbp.runs.data import prepare
from fastbp.runs.settings import Settings


def test_test_rows_without_a_target_are_left_out(tmp_path: Path) -> None:
    rows = "".join(f"{k},{'yn'[k % 2]}\n" for k in range(40))
    train, test = str(tmp_path / "train.csv"), str(tmp_path / "test.csv")
    Path(train).write_text("a,y\n" + rows)
    Path(test).write_text("a,y\n1,n\n2,\n3,n\n4,y\n")
    got = prepare(Settings(data=train, target=("y",), test=test))
    assert got.test is not None
    assert got.test[1].tolist() == [0, 0, 1]
    assert got.notes[-1] == f"{test}: 1 row with a missing target is omitted"
