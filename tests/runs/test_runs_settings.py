"""Settings: what they may be, and the file that keeps them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from fastbp.choices.activations import ACTIVATIONS
from fastbp.runs.settings import CHECKS, NAMES, REQUIRED, Settings, read

WHOLE = ["epochs", "batch_size", "early_stopping", "seed", "threads", "checkpoint_epochs", "keep"]
WHOLE += ["samples", "jobs"]
REAL = ["hold_out", "lr", "momentum", "weight_decay", "l1", "l2", "dropout", "label_smoothing"]
REAL += ["clip_norm", "checkpoint_seconds"]
TEXT = ["data", "weight", "test", "test_target", "out"]
TEXTS = ["target", "ignore", "categories", "missing"]
CHOSEN = ["task", "activation", "loss", "dtype", "optimizer", "schedule", "picture"]
SWITCHES = ["as_is", "tensorboard"]

# For each kind of settings what in a TOML file is none of it.
BAD = {
    **{name: ["true", "1.0", "'1'", "[1]", "{a = 1}", "2020-01-01", "-1", "nan"] for name in WHOLE},
    **{name: ["true", "'1'", "[1]", "{a = 1}", "2020-01-01", "-1", "nan", "inf"] for name in REAL},
    **{name: ["true", "1", "['x']", "{a = 1}", "2020-01-01", "''"] for name in TEXT},
    **{
        name: ["true", "1", "[1]", "['a', 1]", "[['a']]", "{a = 'a'}", "2020-01-01"]
        for name in TEXTS
    },
    **{name: ["true", "1", "['relu']", "'none such'", "{a = 1}", "''"] for name in CHOSEN},
    **{name: ["1", "0", "'true'", "[]", "[true]", "{}"] for name in SWITCHES},
    "hidden": ["true", "1.0", "'1'", "[true]", "[1, 0]", "[[1]]", "-1", "{a = 1}"],
    "sweep": ["true", "1", "'lr=1'", "[]", "[1]"],
}


def test_every_setting_is_looked_at() -> None:
    assert set(BAD) == set(NAMES)
    assert {*CHECKS, "sweep"} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_what_is_no_setting_is_refused(name: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"{name} = {value}\n")
    with pytest.raises(ValueError, match=f"run.toml: .*{name}"):
        read(path)


@pytest.mark.parametrize("name", REQUIRED)
def test_none_is_no_setting(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} (cannot be left out|must be a table)"):
        Settings(**{name: None})


def test_numbers_of_numpy_are_taken() -> None:
    told = Settings(
        data=Path("some", "file.csv"),  # type: ignore[arg-type]
        epochs=np.int64(3),
        hidden=np.array([5, 6]),  # type: ignore[arg-type]
        lr=np.float32(0.5),
        dropout=np.float64(0.25),
        as_is=np.bool_(True),
    )
    assert told == Settings(
        data="some/file.csv", epochs=3, hidden=(5, 6), lr=0.5, dropout=0.25, as_is=True
    )
    assert (type(told.epochs), type(told.lr), type(told.hidden[0])) == (int, float, int)


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [(0, ()), ([0], ()), ((), ()), ([], ()), (7, (7,)), ((7,), (7,)), ([3, 4], (3, 4))],
)
def test_hidden_layers_are_written_in_several_ways(given_: Any, hidden: tuple[int, ...]) -> None:
    assert Settings(hidden=given_).hidden == hidden


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hold_out": 1.0}, "hold_out must be at least 0 and below 1, not 1.0"),
        ({"early_stopping": 3, "hold_out": 0}, "early_stopping needs rows held out"),
        ({"momentum": 0.9}, "momentum goes with the optimizer sgd, not with adam"),
        ({"weight_decay": 0.9}, "weight_decay goes with the optimizer adamw, not with adam"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": 1e200}, "lr must be above 0 and at most"),
        ({"seed": 2**64}, "seed must be from 0"),
        ({"activation": "rely"}, "unknown activation 'rely'; did you mean 'relu'"),
        ({"loss": "sigmoid_cross_entropy"}, "unknown loss 'sigmoid_cross_entropy'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'; did you mean 'epochs'"),
        ("[network]\nhidden = 3", "unknown setting 'network'"),
        ("epochs = 3\nepochs = 4", "is no TOML file"),
        ("batch-size = 3\nbatch_size = 4", "'batch_size' is there twice"),
        ("epochs: 3", "is no TOML file"),
        (b"\xff\xfe", "is no TOML file"),
        ("data = " + "[" * 5000 + "]" * 5000, "is no TOML file"),
    ],
    ids=["unknown", "table", "twice", "twice with a hyphen", "no TOML", "no text", "brackets"],
)
def test_bad_files_are_refused(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read(path)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            read(path)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[versions]\nfastbp = '1'\n")
    assert read(path) == {}


def test_files_are_found_from_the_folder_of_the_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("data.npy", "y.npy", "labels"):
        (there / name).touch()
    (there / "run.toml").write_text(
        "data = 'data.npy'\ntarget = 'y.npy'\ntest = '../other.npy'\ntest_target = 'labels'\n"
        "out = 'here'\n"
    )
    assert read("there/run.toml") == {
        "data": "there/data.npy",
        "target": ("there/y.npy",),
        "test": "there/../other.npy",
        "test_target": "there/labels",
        "out": "there/here",
    }


@pytest.mark.parametrize("data", ["t.csv", "t.csv.gz", "t.TSV", "t.parquet"])
def test_a_column_named_as_a_file_stays_a_column(data: str, tmp_path: Path) -> None:
    for name in (data, "price"):
        (tmp_path / name).touch()
    path = tmp_path / "run.toml"
    path.write_text(f"data = '{data}'\ntarget = 'price'\n")
    told = Settings(**read(path))
    assert told.target == ("price",)
    (tmp_path / "saved").mkdir()
    told.save(tmp_path / "saved" / "run.toml", {})
    assert read(tmp_path / "saved" / "run.toml")["target"] == ("price",)


def test_a_folder_named_as_a_bundled_set_is_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    Settings(data="digits").save("run.toml", {})
    assert read("run.toml")["data"] == "digits"
    (tmp_path / "digits").rmdir()
    (tmp_path / "digits").touch()
    assert read("run.toml")["data"] == "digits"
    assert read(tmp_path / "run.toml")["data"] == str(tmp_path / "digits")


@pytest.mark.parametrize("data", ["/else/where.csv", "digits"])
def test_whole_paths_and_names_stay(data: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f"data = '{data}'\nout = '/else/out'\n")
    assert read(tmp_path / "run.toml") == {"data": data, "out": "/else/out"}


texts = strategies.text(
    strategies.characters(exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda text: text.strip(".") == text and "\0" not in text and "/" not in text)
reals = strategies.floats(0, 0.9, allow_subnormal=False)
several = strategies.lists(texts, max_size=3).map(tuple)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    told=strategies.fixed_dictionaries(
        {},
        optional={
            "target": several,
            "ignore": several,
            "categories": several,
            "missing": strategies.lists(strategies.just("") | texts, max_size=3).map(tuple),
            "weight": texts,
            "task": strategies.sampled_from(["classification", "regression"]),
            "hidden": strategies.lists(strategies.integers(1, 10**9), max_size=4).map(tuple),
            "activation": strategies.sampled_from(list(ACTIVATIONS)),
            "hold_out": reals,
            "lr": strategies.floats(1e-300, 1.0),
            "l1": reals,
            "dropout": reals,
            "clip_norm": strategies.floats(1e-300, 1e300),
            "seed": strategies.integers(0, 2**63 - 1),
            "as_is": strategies.booleans(),
            "keep": strategies.integers(1, 99),
            "sweep": strategies.dictionaries(
                strategies.sampled_from(["lr", "hidden", "seed"]),
                strategies.lists(strategies.integers(1, 5), min_size=1)
                | strategies.lists(strategies.lists(strategies.integers(1, 5)), min_size=1)
                | strategies.just("1e-4..1e-1"),
            ),
        },
    )
)
def test_what_is_saved_is_read_again(told: dict[str, Any], tmp_path: Path) -> None:
    first = Settings(data="/no such folder/data.npz", out="/no such folder/out", **told)
    first.save(tmp_path / "run.toml", {"fastbp": "1.2", "numpy": '"3"'})
    assert Settings(**read(tmp_path / "run.toml")) == first
