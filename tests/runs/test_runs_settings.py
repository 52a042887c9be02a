"""The table of settings: its checks, and the TOML file that stores them."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from fastbp.choices.activations import ACTIVATIONS
from fastbp.cli.options import Parser, add_setting
from fastbp.runs.combinations import swept_types
from fastbp.runs.data import WrongUseError
from fastbp.runs.description import read_description, write_description
from fastbp.runs.fields import fields_of, markdown_table, parameter_list, setting, whole
from fastbp.runs.settings import Settings

WHOLE = [
    "epochs",
    "batch_size",
    "early_stopping",
    "seed",
    "split_seed",
    "threads",
    "checkpoint_epochs",
    "keep",
]
WHOLE += ["samples", "jobs"]
REAL = ["hold_out", "lr", "momentum", "weight_decay", "l1", "l2", "dropout", "label_smoothing"]
REAL += ["clip_norm", "checkpoint_seconds", "time_limit"]
TEXT = ["data", "weight", "test", "test_target", "out", "encoding", "separator"]
TEXTS = ["target", "ignore", "categories", "missing"]
CHOSEN = ["task", "decimal", "activation", "loss", "dtype", "optimizer", "schedule", "picture"]
CHOSEN += ["preset"]
SWITCHES = ["as_is", "tensorboard", "layer_norm", "batch_norm", "residual"]
SWITCHES += ["parametric"]

# For each kind of setting: values in a TOML file that are refused.
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


def test_bad_values_are_listed_for_every_setting() -> None:
    assert set(BAD) == set(fields_of(Settings))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_bad_values_are_refused(name: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"{name} = {value}\n")
    with pytest.raises(ValueError, match=f"run.toml: .*{name}"):
        read_description(path)


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(Settings) if field.default is not None]
)
def test_none_is_refused_for_settings_with_a_default(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be given; None is not allowed"):
        Settings(**{name: None})


def test_numpy_numbers_are_accepted() -> None:
    values = Settings(
        data=Path("some", "file.csv"),  # type: ignore[arg-type]
        epochs=np.int64(3),
        hidden=np.array([5, 6]),  # type: ignore[arg-type]
        lr=np.float32(0.5),
        dropout=np.float64(0.25),
        as_is=np.bool_(True),
    )
    assert values == Settings(
        data="some/file.csv", epochs=3, hidden=(5, 6), lr=0.5, dropout=0.25, as_is=True
    )
    assert (type(values.epochs), type(values.lr), type(values.hidden[0])) == (int, float, int)


@pytest.mark.parametrize(
    ("value", "hidden"),
    [(0, ()), ([0], ()), ((), ()), ([], ()), (7, (7,)), ((7,), (7,)), ([3, 4], (3, 4))],
)
def test_hidden_accepts_a_number_or_a_list(value: Any, hidden: tuple[int, ...]) -> None:
    assert Settings(hidden=value).hidden == hidden


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hold_out": 1.0}, "hold_out must be at least 0 and below 1, not 1.0"),
        ({"early_stopping": 3, "hold_out": 0}, "early_stopping needs validation rows"),
        ({"momentum": 0.9}, "momentum requires optimizer sgd, not adam"),
        ({"weight_decay": 0.9}, "weight_decay requires optimizer adamw, not adam"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": 1e200}, "lr must be above 0 and at most"),
        ({"seed": 2**64}, "seed must be from 0"),
        ({"activation": "rely"}, "unknown activation 'rely'; did you mean 'relu'"),
        ({"loss": "sigmoid_cross_entropy"}, "unknown loss 'sigmoid_cross_entropy'"),
    ],
)
def test_contradicting_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch = 3", "unknown setting 'epoch'; did you mean 'epochs'"),
        ("[network]\nhidden = 3", "unknown setting 'network'"),
        ("epochs = 3\nepochs = 4", "is not a TOML file"),
        ("batch-size = 3\nbatch_size = 4", "'batch_size' is given twice"),
        ("epochs: 3", "is not a TOML file"),
        (b"\xff\xfe", "is not a TOML file"),
        ("data = " + "[" * 5000 + "]" * 5000, "is not a TOML file"),
    ],
    ids=["unknown", "table", "twice", "twice with a hyphen", "no TOML", "no text", "brackets"],
)
def test_bad_files_are_refused(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_description(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            read_description(path)


def test_versions_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[versions]\nfastbp = '1'\n")
    assert read_description(path) == {}


def test_paths_are_relative_to_the_description(
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
    assert read_description("there/run.toml") == {
        "data": "there/data.npy",
        "target": ("there/y.npy",),
        "test": "there/../other.npy",
        "test_target": "there/labels",
        "out": "there/here",
    }


@pytest.mark.parametrize("data", ["t.csv", "t.csv.gz", "t.TSV", "t.parquet"])
def test_a_column_with_the_name_of_a_file_stays_a_column(data: str, tmp_path: Path) -> None:
    for name in (data, "price"):
        (tmp_path / name).touch()
    path = tmp_path / "run.toml"
    path.write_text(f"data = '{data}'\ntarget = 'price'\n")
    values = Settings(**read_description(path))
    assert values.target == ("price",)
    (tmp_path / "saved").mkdir()
    write_description(values, tmp_path / "saved" / "run.toml", {})
    assert read_description(tmp_path / "saved" / "run.toml")["target"] == ("price",)


def test_a_folder_with_the_name_of_a_bundled_set_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    write_description(Settings(data="digits"), "run.toml", {})
    assert read_description("run.toml")["data"] == "digits"
    (tmp_path / "digits").rmdir()
    (tmp_path / "digits").touch()
    assert read_description("run.toml")["data"] == "digits"
    assert read_description(tmp_path / "run.toml")["data"] == str(tmp_path / "digits")


@pytest.mark.parametrize("data", ["/else/where.csv", "digits"])
def test_absolute_paths_and_names_of_sets_are_unchanged(data: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f"data = '{data}'\nout = '/else/out'\n")
    assert read_description(tmp_path / "run.toml") == {"data": data, "out": "/else/out"}


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
    values=strategies.fixed_dictionaries(
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
def test_descriptions_are_read_as_written(values: dict[str, Any], tmp_path: Path) -> None:
    first = Settings(data="/no such folder/data.npz", out="/no such folder/out", **values)
    write_description(first, tmp_path / "run.toml", {"fastbp": "1.2", "numpy": '"3"'})
    assert Settings(**read_description(tmp_path / "run.toml")) == first


@dataclasses.dataclass(frozen=True)
class WithOneMore(Settings):
    """Settings with one more field."""

    warm_epochs: int = setting(
        5, whole(0, 90), "epochs of warm-up", section="training", parse=int, swept=True
    )


def test_one_field_makes_option_check_sweep_and_documentation(tmp_path: Path) -> None:
    parser = Parser()
    add_setting(parser, WithOneMore, "warm_epochs", fields_of(WithOneMore)["warm_epochs"])
    assert parser.parse_args(["--warm-epochs", "7"]).warm_epochs == 7
    assert re.search(r"--warm-epochs N +epochs of warm-up\s+\(default: 5\)", parser.format_help())
    with pytest.raises(WrongUseError, match="warm_epochs must be from 0 to 90, not 91"):
        parser.parse_args(["--warm-epochs", "91"])
    path = tmp_path / "run.toml"
    path.write_text("warm-epochs = 8")
    assert read_description(path, WithOneMore) == {"warm_epochs": 8}
    path.write_text("warm_epochs = 8.5")
    with pytest.raises(ValueError, match=r"run.toml: warm_epochs .*8\.5"):
        read_description(path, WithOneMore)
    with pytest.raises(ValueError, match="warm_epochs must be from 0 to 90, not -1"):
        WithOneMore(warm_epochs=-1)
    assert swept_types(WithOneMore)["warm_epochs"] is int
    assert "warm_epochs : int, 0 to 90\n        epochs of warm-up" in parameter_list(WithOneMore)
    row = "| `warm_epochs` | int, 0 to 90 | 5 | yes | epochs of warm-up |"
    assert row in markdown_table(WithOneMore).splitlines()


def test_every_setting_is_documented() -> None:
    for name in fields_of(Settings):
        assert f"\n    {name} : " in str(Settings.__doc__)
        assert f"| `{name}` |" in markdown_table(Settings)
