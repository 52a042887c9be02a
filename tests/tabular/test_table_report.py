"""The tables in the README and the picture are made from results."""

from pathlib import Path

import pytest
import table_report
from measurements import TIMES
from table_rows import fit

FOLDER = Path(__file__).parents[2] / "benchmarks"
RESULTS = FOLDER / "results" / "tabular.jsonl"
MODELS = ["hist-gb", "realmlp-td", "sklearn-mlp"]


def test_the_readme_is_made_from_the_committed_results(tmp_path: Path) -> None:
    readme = FOLDER / "tables" / "README.md"
    copy = tmp_path / "README.md"
    copy.write_text(readme.read_text(encoding="utf-8"), encoding="utf-8")
    results = [str(RESULTS)] if RESULTS.exists() else []
    assert table_report.main([*results, "--fill", str(copy)]) == 0
    assert copy.read_text(encoding="utf-8") == readme.read_text(encoding="utf-8")


def test_summary_of_all_models(rows) -> None:
    text = table_report.render(rows, MODELS, 1)["tune error"]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    summary = {cells[0]: cells[1:] for cells in lines[2:5]}
    # Ranks: hist-gb 1 and 3, RealMLP 2.5 and 1, scikit-learn 2.5 and 2.
    assert [summary[name][1] for name in MODELS] == ["2.00", "1.75", "2.25"]
    assert [summary[name][0] for name in MODELS] == ["0.500", "0.500", "0.250"]
    times = [f"{ratio}{TIMES}" for ratio in ("4.00", "0.04", "1.00")]
    assert summary["sklearn-mlp"][4:] == ["1-0-1", "4.00", *times]
    assert [cells[0] for cells in lines[2:5]] == ["realmlp-td", "hist-gb", "sklearn-mlp"]
    assert ["letter", "0.3", "**0.1**", "0.2"] in lines
    assert "2 tables and 3 splits that all 3 models have." in text


def test_tables_without_all_models_are_named(rows) -> None:
    rows.append(fit("chile", 0, "xgboost", task="classification", failed="ValueError: gaps"))
    text = table_report.render(rows, [*MODELS, "xgboost"], 1)["tune error"]
    assert "Not measured with all models: chile. Failed: xgboost on chile." in text


def test_times_under_load_are_counted(rows) -> None:
    rows[1]["loaded"] = True
    text = table_report.render(rows, MODELS, 1)["tune error"]
    assert "1 of 9 fits were timed while other programs ran." in text


def test_what_was_not_measured_is_said() -> None:
    texts = table_report.render([], MODELS, 1)
    assert len(texts) == 15
    assert set(texts.values()) == {table_report.NOT_MEASURED}


def test_the_picture_is_reproducible(rows, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for path in paths:
        table_report.draw(rows, MODELS, 1, path)
    one, two = (path.read_text() for path in paths)
    assert one == two
    assert "hist-gb 2.00" in one
    with pytest.raises(ValueError, match="no two models"):
        table_report.draw([], MODELS, 1, paths[0])


def test_names_of_models_are_those_of_the_runner() -> None:
    models = pytest.importorskip("table_models")
    assert set(table_report.ORDER) == set(models.MODELS)


def test_a_missing_results_file_is_an_error(tmp_path: Path, capsys) -> None:
    assert table_report.main([str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err
