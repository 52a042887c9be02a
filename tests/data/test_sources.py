"""Data sources that users name, and how a run prepares the data."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fastbp import datasets
from fastbp.data import sources
from fastbp.data.errors import UnusableDataError
from fastbp.data.sources import read_examples
from fastbp.data.splitting import split
from fastbp.runs.data import Prepared, WrongUseError, prepare
from fastbp.runs.settings import Settings


def csv(folder: Path, text: str, name: str = "t.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


TABLE = "a,t,w,y\n1,x,1,yes\n2,z,0,no\n3,x,2,yes\n"


# ---------------------------------------------------------------------- what is named


def test_table_is_split_into_inputs_target_and_weights(tmp_path: Path) -> None:
    got = read_examples(csv(tmp_path, TABLE), ["y"], ignore=["t"], weight="w")
    assert (got.name, got.target_names, len(got)) == ("t", ("y",), 3)
    assert isinstance(got.X, pl.DataFrame)
    assert got.X.columns == ["a"]
    assert got.y.to_dict(as_series=False) == {"y": ["yes", "no", "yes"]}
    assert got.weights is not None
    assert got.weights.tolist() == [1, 0, 2]
    some = got.rows(np.array([True, False, True]))
    assert (some.X["a"].to_list(), some.y["y"].to_list()) == ([1, 3], ["yes", "yes"])
    assert some.weights is not None
    assert some.weights.tolist() == [1, 2]


def test_table_without_target_is_accepted_for_prediction(tmp_path: Path) -> None:
    got = read_examples(csv(tmp_path, "a,b\n1,2\n"), ["y"], requires_targets=False)
    assert got.y is None
    assert got.X.columns == ["a", "b"]
    assert read_examples(csv(tmp_path, TABLE), ["y"], requires_targets=False).y is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name the target column of .*t.csv .--target NAME.; it has a, t, w, y"),
        ({"target": ["z"]}, "no column 'z'; they have a, t, w, y"),
        ({"target": ["y"], "ignore": ["T"]}, "no column 'T'; did you mean 't'"),
        ({"target": ["y"], "categories": ["q"]}, "no column 'q'"),
        ({"target": ["y"], "weight": "q"}, "no column 'q'"),
        ({"target": ["y", "y"]}, "the target column 'y' is named twice"),
        ({"target": ["y"], "weight": "y"}, "column 'y' cannot be both"),
        ({"target": ["y"], "ignore": ["a", "t", "w"]}, "no columns other than the target"),
        ({"target": ["y"], "weight": "t"}, "row 1, column 't': 'x' is not a number"),
    ],
)
def test_unknown_or_conflicting_columns_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnusableDataError, match=message):
        read_examples(csv(tmp_path, TABLE), **options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("1,-1,2", "row 2, column 'w': the weight is -1.0"),
        ("1,,2", "row 2, column 'w': the weight is nan"),
        ("1,inf,2", "row 2, column 'w': inf is not a finite number"),
        ("0,0,0", "column 'w' is 0 in every row"),
    ],
)
def test_bad_weights_are_refused(weights: str, message: str, tmp_path: Path) -> None:
    rows = "".join(f"{k},{weight},5\n" for k, weight in enumerate(weights.split(",")))
    with pytest.raises(UnusableDataError, match=message):
        read_examples(csv(tmp_path, "y,w,a\n" + rows), ["y"], weight="w")


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_bundled_sets_are_found_by_name(name: str) -> None:
    got, want = read_examples(name), datasets.load(name)
    np.testing.assert_array_equal(got.X, want.X)
    assert got.target_names == (want.target_name,)
    names = want.class_names
    y = want.y if name in ("digits", "spiral") or not names else [names[k] for k in want.y]
    np.testing.assert_array_equal(got.y, y)


def test_a_file_takes_precedence_over_a_bundled_set_but_a_folder_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").mkdir()
    assert len(read_examples("iris")) == 150
    (tmp_path / "iris").rmdir()
    (tmp_path / "iris").write_bytes(bytes([0, 0, 8, 2]) + struct.pack(">2I", 2, 1) + b"ab")
    assert len(read_examples("iris", requires_targets=False)) == 2


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("iriss", FileNotFoundError, "unknown data set 'iriss'; did you mean 'iris'"),
        ("none.csv", FileNotFoundError, "there is no file none.csv"),
        ("", UnusableDataError, "the name of the data is empty"),
        ("x" * 5000, FileNotFoundError, "x"),
        ("a\0b", FileNotFoundError, "a"),
    ],
)
def test_unknown_data_names_are_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_examples(name, ["y"])


@pytest.mark.parametrize("option", ["ignore", "categories", "weight", "target"])
def test_column_options_need_a_table(option: str, tmp_path: Path) -> None:
    value: Any = "a" if option == "weight" else ["a"]
    reason = f"{option} 'a' is only for tables; iris is not a table"
    if option == "target":
        reason = "iris is a bundled data set, which has its own target; target 'a' cannot be chosen"
    with pytest.raises(UnusableDataError, match=reason):
        read_examples("iris", **{option: value})
    if option != "target":
        np.save(tmp_path / "a.npy", np.zeros((2, 2)))
        with pytest.raises(UnusableDataError, match=f"{option} 'a' is only for tables"):
            read_examples(tmp_path / "a.npy", requires_targets=False, **{option: value})


def test_pictures_are_read_as_rows(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4)
    (tmp_path / "images.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    np.save(tmp_path / "labels.npy", np.array([[3], [5]]))
    got = read_examples(tmp_path / "images.gz", [str(tmp_path / "labels.npy")])
    assert (got.image_shape, got.scaled, got.target_names) == ((3, 4), True, ("labels",))
    np.testing.assert_array_equal(got.X, pixels.reshape(2, 12))
    assert got.y.tolist() == [3, 5]


@pytest.mark.parametrize("inputs", sources.INPUT_NAMES)
@pytest.mark.parametrize("target", sources.TARGET_NAMES)
def test_usual_names_are_found_in_an_archive(inputs: str, target: str, tmp_path: Path) -> None:
    X, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    np.savez(tmp_path / "a.npz", **{target: y, "more": X[:1], inputs: X})
    got = read_examples(tmp_path / "a.npz")
    assert got.target_names == (target,)
    assert isinstance(got.X, np.memmap)
    np.testing.assert_array_equal(got.X, X)
    np.testing.assert_array_equal(got.y, y)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"A": np.zeros((2, 2))}, {}, "has no array X or x .*; it has A"),
        ({}, {}, "it has none"),
        ({"X": np.zeros((2, 2))}, {}, "name the target .--target NAME., one of X"),
        ({"X": np.zeros((2, 2)), "Y": np.zeros(2)}, {"target": ["Z"]}, "unknown array 'Z'"),
        ({"X": np.zeros((2, 2)), "y": np.zeros(2)}, {"target": ["y", "X"]}, "one array, not"),
        ({"X": np.zeros((2, 2)), "y": np.zeros(3)}, {}, r"each of 2 examples; its shape is \(3,\)"),
        ({"X": np.zeros((2, 2)), "y": np.zeros((2, 1, 1))}, {}, "must have a row for each"),
        (
            {"X": np.zeros(2), "y": np.zeros(2)},
            {},
            r"a row of numbers per example; its shape is \(2,\)",
        ),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0)}, {}, "a row of numbers per example"),
        ({"X": np.array([["a"]]), "y": np.zeros(1)}, {}, "holds <U1, not numbers"),
        ({"X": np.zeros((2, 2)), "y": np.array(1)}, {}, "must have a row for each"),
    ],
)
def test_bad_archives_are_refused(
    arrays: dict[str, np.ndarray], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UnusableDataError, match=message):
        read_examples(tmp_path / "a.npz", **options)


def test_the_target_of_an_array_is_another_file(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.zeros((2, 2)))
    path = tmp_path / "X.npy"
    with pytest.raises(UnusableDataError, match="give the file that contains the targets"):
        read_examples(path)
    with pytest.raises(UnusableDataError, match="must be one file, not a and b"):
        read_examples(path, ["a", "b"])
    with pytest.raises(UnusableDataError, match=r"must be an NPY or IDX file, not .*t\.csv"):
        read_examples(path, [csv(tmp_path, TABLE)])
    with pytest.raises(FileNotFoundError, match="there is no file y"):
        read_examples(path, ["y"])


def test_arrays_without_target_are_accepted_for_prediction(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.zeros((2, 2)))
    np.savez(tmp_path / "X.npz", X=np.zeros((2, 2)))
    for name in ("X.npy", "X.npz"):
        got = read_examples(tmp_path / name, ["labels"], requires_targets=False)
        assert (len(got), got.y) == (2, None)


# ---------------------------------------------------------------------- how a run prepares it


def write_table(folder: Path, changes: dict[str, Any] | None = None) -> tuple[pl.DataFrame, str]:
    random = np.random.default_rng(5)
    data: dict[str, Any] = {
        "a": random.normal(size=60),
        "t": random.choice(["x", "z"], 60),
        "y": random.choice(["no", "yes"], 60),
        "v": random.normal(size=60) * 100,
        "w": random.integers(1, 5, 60),
    }
    frame = pl.DataFrame(data).with_columns(**(changes or {}))
    frame.write_csv(folder / "t.csv")
    return frame, str(folder / "t.csv")


def prepared(path: str, **changes: Any) -> Prepared:
    return prepare(Settings(data=path, **changes))


@pytest.mark.parametrize("target", ["y", "v"])
@pytest.mark.parametrize("seed", [0, 3])
def test_validation_rows_are_those_of_train(target: str, seed: int, tmp_path: Path) -> None:
    frame, path = write_table(tmp_path)
    got = prepared(path, target=target, seed=seed, dtype="float64")
    kept, held = split(got.X, got.y, 0.2, seed)
    np.testing.assert_array_equal(got.training_rows, kept)
    np.testing.assert_array_equal(got.validation_rows, held)
    columns = got.preparation.columns
    assert columns is not None
    np.testing.assert_array_equal(columns.means[0], frame["a"].to_numpy()[kept].mean())
    if target == "v":
        assert got.preparation.target.means == pytest.approx(frame["v"].to_numpy()[kept].mean())
        np.testing.assert_allclose(got.y[kept].mean(), 0, atol=1e-12)


@pytest.mark.parametrize("target", ["y", "v"])
def test_validation_rows_do_not_affect_the_preparation(target: str, tmp_path: Path) -> None:
    frame, path = write_table(tmp_path)
    first = prepared(path, target=target)
    others = pl.Series(np.isin(np.arange(60), first.validation_rows))
    _, path = write_table(
        tmp_path,
        {
            "a": pl.when(others).then(1e6).otherwise(frame["a"]),
            "t": pl.when(others).then(pl.lit("new")).otherwise(frame["t"]),
            "v": pl.when(others).then(-1e6).otherwise(frame["v"]),
        },
    )
    again = prepared(path, target=target, ignore=["v"] if target == "y" else ["y"])
    first = prepared(
        write_table(tmp_path)[1], target=target, ignore=["v"] if target == "y" else ["y"]
    )
    assert again.preparation.description() == first.preparation.description()
    np.testing.assert_array_equal(again.X[again.training_rows], first.X[first.training_rows])
    np.testing.assert_array_equal(again.training_rows, first.training_rows)


@pytest.mark.parametrize("target", ["y", "v"])
def test_rows_without_a_target_are_left_out(target: str, tmp_path: Path) -> None:
    frame, _ = write_table(tmp_path)
    gaps = np.isin(np.arange(60), [0, 7, 59])
    frame, path = write_table(tmp_path, {target: pl.when(pl.Series(~gaps)).then(frame[target])})
    got = prepared(path, target=target, weight="w")
    frame.filter(~gaps).write_csv(tmp_path / "rest.csv")
    want = prepared(str(tmp_path / "rest.csv"), target=target, weight="w")
    assert "3 rows with a missing target are omitted" in got.notes
    for name in ("X", "y", "weights", "training_rows", "validation_rows"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    assert len(got.examples) == 57
    assert got.preparation.description() == want.preparation.description()


def test_errors_give_the_row_number_in_the_file(tmp_path: Path) -> None:
    rows = "".join(f"{k},{k % 2}\n" for k in range(1, 20))
    path = csv(tmp_path, "a,y\n0,\n" + rows + "oops,1\n")
    with pytest.raises(WrongUseError, match="row 21, column 'a': 'oops' is not a number"):
        prepared(path, target="y")


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"target": "v"}, "regression"),
        ({"target": "w"}, "classification"),
        ({"target": "w", "task": "regression"}, "regression"),
        ({"target": ("v", "w")}, "regression"),
        ({"target": "a", "categories": ("a", "t"), "hold_out": 0.0}, "classification"),
    ],
)
def test_the_task_is_inferred_or_set(changes: dict[str, Any], task: str, tmp_path: Path) -> None:
    _, path = write_table(tmp_path)
    got = prepared(path, **changes)
    target = got.preparation.target
    assert (target.classes is None) == (task == "regression")
    has_note = any("--task overrides" in note for note in got.notes)
    assert has_note == ("task" not in changes and "categories" not in changes)


def test_ignored_categories_are_no_error(tmp_path: Path) -> None:
    _, path = write_table(tmp_path)
    got = prepared(path, target="y", categories=["t", "w"], ignore=["w"])
    assert got.preparation.columns is not None
    assert list(got.preparation.columns.categories) == ["t"]


def test_the_test_file_is_prepared_as_the_data(tmp_path: Path) -> None:
    frame, path = write_table(tmp_path)
    frame.select(reversed(frame.columns)).write_csv(tmp_path / "test.csv")
    got = prepared(path, target="y", test=str(tmp_path / "test.csv"))
    assert got.test is not None
    np.testing.assert_array_equal(got.test[0], got.X)
    np.testing.assert_array_equal(got.test[1], got.y)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,t,v,w,y\n1,x,1,1,maybe\n", r"test\.csv: row 1, column 'y': 'maybe' is not one of"),
        ("a,t,v,w,y\n1,x,1,1,\n", r"test\.csv: all values of the target are missing"),
        ("a,t,v,w,y\nq,x,1,1,no\n", r"test\.csv: row 1, column 'a': 'q' is not a number"),
        ("t,v,w,y\nx,1,1,no\n", r"test\.csv: the data have no column 'a'"),
        ("a,t,v,w\n1,x,1,1\n", "no column 'y'"),
    ],
)
def test_bad_test_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    _, path = write_table(tmp_path)
    with pytest.raises(WrongUseError, match=message):
        prepared(path, target="y", test=csv(tmp_path, text, "test.csv"))


@pytest.mark.parametrize("as_is", [True, False])
def test_arrays_are_used_unchanged_or_standardised(as_is: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    np.savez(tmp_path / "a.npz", X=random.normal(5, 3, (40, 3)), y=random.integers(0, 2, 40))
    got = prepared(str(tmp_path / "a.npz"), as_is=as_is, test=str(tmp_path / "a.npz"))
    assert (got.preparation.columns is None) == as_is
    assert isinstance(got.X, np.memmap) == as_is
    assert got.test is not None
    np.testing.assert_array_equal(got.test[0], got.X)
    np.savez(tmp_path / "b.npz", X=np.zeros((4, 2)), y=np.zeros(4, int))
    with pytest.raises(WrongUseError, match=r"b\.npz: .*3 columns"):
        prepared(str(tmp_path / "a.npz"), as_is=as_is, test=str(tmp_path / "b.npz"))


def test_training_and_validation_rows_need_weight(tmp_path: Path) -> None:
    _, path = write_table(tmp_path)
    held = prepared(path, target="y").validation_rows
    for rows, kind in ((held, "validation"), (np.setdiff1d(np.arange(60), held), "training")):
        weights = np.ones(60, int)
        weights[rows] = 0
        _, path = write_table(tmp_path, {"w": pl.Series(weights)})
        with pytest.raises(WrongUseError, match=f"every {kind} row has weight 0"):
            prepared(path, target="y", weight="w")


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("a,y\n1,\n2,\n", {"target": "y"}, "all values of target 'y' are missing"),
        ("a,y\n1,x\n2,x\n", {"target": "y"}, "two classes are needed"),
        (
            "a,y\n1,x\n2,z\n",
            {"target": "y"},
            "2 classes in 2 rows: each class keeps one row for training, so hold_out 0.2 leaves",
        ),
        (
            "a,y\n1,Oslo\n2,Rome\n",
            {"target": "y", "task": "regression"},
            "row 1, column 'y': 'Oslo' is not a number, as --task regression requires",
        ),
        ("a,y\n,x\n,z\n", {"target": "y", "hold_out": 0}, "no column with values"),
        ("a,b,y\n1,2,3\n2,3,4\n", {"target": ("y", "b"), "task": "classification"}, "one column"),
    ],
)
def test_unusable_data_are_refused(
    text: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WrongUseError, match=message):
        prepared(csv(tmp_path, text), **changes)


def test_unreadable_files_are_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", "t.csv")

    monkeypatch.setattr(pl, "read_csv", refuse)
    with pytest.raises(WrongUseError, match=r"cannot read t\.csv: Permission denied"):
        prepared(csv(tmp_path, TABLE), target="y")
