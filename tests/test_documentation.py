"""The pages of the documentation: their code and commands run, and their links resolve."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from fastbp.cli.options import make_parser
from fastbp.runs.fields import fields_of, markdown_table
from fastbp.runs.settings import Settings
from fastbp.tabular.recipes import PRESETS

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in (".", ".github", "benchmarks", "docs", "docs/examples", "fastbp/*", "tests")
    for path in sorted(ROOT.glob(f"{folder}/*.md"))
}
PYTHON = {
    f"{page}-{i}": code
    for page, text in PAGES.items()
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
}
# Commands for installing are run in a new environment by .ci/run; benchmarks take many minutes.
NOT_RUN = (".github/CONTRIBUTING.md", "benchmarks/README.md")
SHELL = {
    page: [
        block
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
        if not block.startswith("pip install")
    ]
    for page, text in PAGES.items()
    if page not in NOT_RUN
}
SHELL = {page: blocks for page, blocks in SHELL.items() if blocks}


def test_pages_are_found() -> None:
    assert len(PYTHON) >= 15
    for page in ("README.md", "fastbp/runs/README.md", "docs/examples/sweep.md"):
        assert SHELL[page]
    for page in ("CHANGELOG.md", ".github/CONTRIBUTING.md", "tests/README.md"):
        assert page in PAGES


def test_readme_is_at_most_200_lines() -> None:
    assert PAGES["README.md"].count("\n") <= 200


@pytest.mark.parametrize("page", SHELL)
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_commands_run_as_printed(page: str, tmp_path: Path) -> None:
    pytest.importorskip("polars")
    # ``python`` is this interpreter and ``fastbp`` its command, installed or not.
    programs, folder = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    folder.mkdir()
    for name, words in (("python", ""), ("fastbp", " -m fastbp")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (programs / name).chmod(0o755)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(SHELL[page])],
        cwd=folder,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    if page == "README.md":
        (printed,) = re.findall(r"```text\n(.*?)```", PAGES[page], flags=re.DOTALL)
        # The epochs and the score depend on the processor's arithmetic; the lines above do not.
        # A first run also says that it compiles.
        shown = re.sub(r"^compiling .*\n", "", result.stdout, flags=re.MULTILINE)
        assert printed.split("network 1")[0] in shown
        assert "validation accuracy" in result.stdout
        assert (folder / "predictions.csv").read_text().count("\n") == 179
        assert len((folder / "sweep" / "sweep.csv").read_text().splitlines()) == 5
    if page == "fastbp/runs/README.md":
        assert (folder / "predictions.csv").read_text().count("\n") == 4
        assert (folder / "runs" / "wine" / "report.html").stat().st_size > 10_000
        assert "int fastbp_predict(" in (folder / "wine.c").read_text()
        assert len((folder / "sweep" / "sweep.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("code", PYTHON.values(), ids=PYTHON)
def test_code_runs_as_printed(code: str, tmp_path: Path) -> None:
    if numba.config.DISABLE_JIT and (".measure(" in code or ".tune(" in code):
        pytest.skip("measures compiled kernels")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1_200 if numba.config.DISABLE_JIT else 240,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    code_removed = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)]+)\)", code_removed):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_table_of_settings_is_up_to_date() -> None:
    """If it fails, replace the table by the output of ``markdown_table(Settings)``."""
    assert markdown_table(Settings) in PAGES["fastbp/runs/README.md"]


def test_table_of_other_options_is_up_to_date() -> None:
    table = PAGES["fastbp/runs/README.md"].split("## Options that are not settings")[1]
    command = make_parser().parse_args(["train"]).parser
    others = [each for each in command._actions if each.dest not in fields_of(Settings)]
    rows = [
        f"| `{' '.join([each.option_strings[-1], *([each.metavar] if each.metavar else [])])}` | "
        f"{each.help} |"
        for each in others
        if each.dest != "help"
    ]
    assert sorted(rows) == sorted(re.findall(r"^\| `--.*\|$", table, flags=re.MULTILINE))


def test_table_of_presets_is_up_to_date() -> None:
    page = PAGES["fastbp/tabular/README.md"]
    for name, recipe in PRESETS.items():
        hidden = ", ".join(map(str, recipe.hidden))
        numbers = f"{recipe.epochs} | {recipe.min_steps} | {recipe.dropout:g}"
        assert f"\n| `{name}` | {recipe.members} | {hidden} | {numbers} |\n" in page
        assert f"A step takes {recipe.batch_size} rows" in page
    assert len(re.findall(r"^\| `\w+` \|", page, flags=re.MULTILINE)) == len(PRESETS)
    # What the section on the method says about all presets.
    assert all(recipe.parametric and recipe.label_smoothing for recipe in PRESETS.values())
    assert {name for name, recipe in PRESETS.items() if recipe.dropout == 0.0} == {"fast", "good"}


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", "-d"]
    result = subprocess.run(
        [*command, str(tmp_path / "cache"), ".", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "docs/index.html" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
