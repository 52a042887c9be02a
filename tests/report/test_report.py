"""The script that writes the tables into files and draws the pictures."""

import json
from pathlib import Path
from typing import Any

import measurements
import pytest
import report
import result_pictures
from result_tables import TABLES

ROOT = Path(__file__).parents[2]


def readme(*names: str) -> str:
    marked = (
        f"<!-- benchmark: begin {name} -->\nold {name}\n<!-- benchmark: end {name} -->"
        for name in names
    )
    return "before\n\n" + "\n\nbetween\n\n".join(marked) + "\n\nafter\n"


def test_format_number() -> None:
    assert [measurements.format_number(x) for x in (0.123, 9.876, 98.76, 987.6, 9876.5, None)] == [
        "0.12",
        "9.88",
        "98.8",
        "988",
        "9,876",
        "-",
    ]


def test_each_subject_comes_from_the_first_file_that_holds_it() -> None:
    def results(machine: str, *rows: tuple[str | None, int]) -> measurements.Results:
        marks = [{"extra_info": {"subject": s, "k": k} if s else {"k": k}} for s, k in rows]
        info = {"cpu": {"brand_raw": machine}}
        return {"machine_info": info, "datetime": "2026-01-02T03", "benchmarks": marks}

    parts = [results("a", ("x", 1), ("x", 2)), results("b", ("x", 3), ("y", 4), (None, 5))]
    joined = measurements.join(parts)
    assert joined["machine_info"] == {"cpu": {"brand_raw": "a"}}
    found = [(b["measured"]["on"]["brand_raw"], b["measured"]["at"]) for b in joined["benchmarks"]]
    assert found == [("a", "2026-01-02")] * 2 + [("b", "2026-01-02")] * 2
    assert [one["extra_info"]["k"] for one in joined["benchmarks"]] == [1, 2, 4, 5]
    assert len(parts[0]["benchmarks"]) == 2


def write_readmes(tmp_path: Path, *names_of_each: list[str]) -> list[Path]:
    files = [tmp_path / f"{i}.md" for i in range(len(names_of_each))]
    for file, names in zip(files, names_of_each, strict=True):
        file.write_text(readme(*names), encoding="utf-8")
    return files


def test_tables_go_between_their_markers_in_several_files(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = list(TABLES)
    files = write_readmes(tmp_path, names[:2], names[1:])  # one table stands in both
    command = [str(path), "--fill", *map(str, files)]
    assert report.main(command) == 0
    first, second = (file.read_text(encoding="utf-8") for file in files)
    assert "old" not in first + second
    assert first.startswith("before\n")
    assert first.endswith("after\n")
    assert first.count("between") == 1
    printed = capsys.readouterr().out
    results = json.loads(path.read_text(encoding="utf-8"))
    for name, table in TABLES.items():
        block = f"begin {name} -->\n\n{table(results)}\n\n<!-- benchmark: end {name}"
        assert (block in first) == (name in names[:2])
        assert (block in second) == (name in names[1:])
        assert table(results) in printed
    assert report.main(command) == 0
    assert [file.read_text(encoding="utf-8") for file in files] == [first, second]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("<!-- benchmark: begin grid -->", ""), "begin grid"),
        (lambda text: text.replace("<!-- benchmark: end grid -->", ""), "end grid"),
        (lambda text: text + "<!-- benchmark: end grid -->", "end grid"),
        (lambda text: text.replace("end grid", "end gird"), "no table is named 'gird'"),
        (lambda text: text.replace(" grid -->", "-->"), "no markers for the tables grid in"),
    ],
)
def test_wrong_markers_are_named_and_nothing_is_written(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, message: str
) -> None:
    files = write_readmes(tmp_path, ["short"], list(TABLES))
    files[1].write_text(damage(files[1].read_text(encoding="utf-8")), encoding="utf-8")
    before = [file.read_text(encoding="utf-8") for file in files]
    assert report.main([str(path), "--fill", *map(str, files)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(files[1]) in error
    assert [file.read_text(encoding="utf-8") for file in files] == before


def test_markers_in_the_wrong_order_are_an_error() -> None:
    text = "<!-- benchmark: end grid -->\n<!-- benchmark: begin grid -->"
    with pytest.raises(ValueError, match="begin grid"):
        report.fill(text, {"grid": "table"})


def test_committed_tables_are_made_from_the_committed_results() -> None:
    parts = [
        measurements.load(file) for file in sorted((ROOT / "benchmarks/results").glob("*.json"))
    ]
    results = measurements.join(parts)
    tables = {name: table(results) for name, table in TABLES.items()}
    filled = set()
    for file in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        text = file.read_text(encoding="utf-8")
        expected, names = report.fill(text, tables)
        assert text == expected
        filled |= names
    assert filled == set(TABLES)


def test_a_missing_results_file_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_results_of_another_project_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text('{"benchmarks": [], "machine_info": {}}', encoding="utf-8")
    assert report.main([str(file)]) == 1
    assert "other.json was not written by" in capsys.readouterr().err


def test_the_picture_is_reproducible(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures = [tmp_path / "new" / name for name in ("one.svg", "two.svg")]
    for picture in pictures:
        assert report.main([str(path), "--picture", str(picture)]) == 0
    first, second = (picture.read_text(encoding="utf-8") for picture in pictures)
    assert first == second
    assert "<svg" in first
    assert first.count("url(#") >= 4  # the hatched bars of two paths in two rows


def test_the_picture_of_the_peers_is_reproducible(path: Path, tmp_path: Path) -> None:
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


def test_every_library_has_its_own_mark() -> None:
    assert set(result_pictures.MARKERS) == set(measurements.PEERS)
    assert len({look["marker"] for look in result_pictures.MARKERS.values()}) == len(
        result_pictures.MARKERS
    )


def test_a_picture_without_results_is_an_error(results: dict[str, Any], tmp_path: Path) -> None:
    results["benchmarks"] = []
    with pytest.raises(ValueError, match="the results hold no"):
        result_pictures.draw(results, tmp_path / "grid.svg")
    with pytest.raises(ValueError, match="the results hold no"):
        result_pictures.draw_peers(results, tmp_path / "grid.svg")
    assert not (tmp_path / "grid.svg").exists()
