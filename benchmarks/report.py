"""Turn the JSON of pytest-benchmark into Markdown tables and two pictures.

    pytest --benchmark-only --benchmark-json=results.json
    python benchmarks/report.py results.json --fill README.md --picture grid.svg --peers peers.svg

If several result files are given, each subject is taken from the first file that contains it.
"""

import argparse
import re
import sys
from pathlib import Path

from measurements import join, load
from result_pictures import draw, draw_peers
from result_tables import TABLES


def fill(text: str, tables: dict[str, str]) -> tuple[str, set[str]]:
    """Replace the text between each pair of markers by the table of that name.

    Returns
    -------
    str, set of str
        The text, and the names of the tables it holds.

    Raises
    ------
    ValueError
        If a marker is alone, occurs twice, is in the wrong order or names no table.
    """
    for name in re.findall("<!-- benchmark: (?:begin|end) (.*?) -->", text):
        if name not in tables:
            raise ValueError(f"no table is named {name!r}; the tables are {', '.join(tables)}")
    filled = set()
    for name, table in tables.items():
        begin, end = (f"<!-- benchmark: {edge} {name} -->" for edge in ("begin", "end"))
        if begin not in text and end not in text:
            continue
        pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
        if text.count(begin) != 1 or text.count(end) != 1 or not pattern.search(text):
            raise ValueError(f"the text must contain {begin} and, after it, {end}, each once")
        text = pattern.sub(lambda match, table=table: f"{match[1]}\n\n{table}\n\n{match[2]}", text)
        filled.add(name)
    return text, filled


def fill_files(paths: list[Path], tables: dict[str, str]) -> None:
    """Fill in the tables of several files, or of none if one of them has an error.

    Raises
    ------
    ValueError
        If a file has an error, or none of the files has markers for a table.
    """
    texts, missing = {}, set(tables)
    for path in paths:
        try:
            texts[path], filled = fill(path.read_text(encoding="utf-8"), tables)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        missing -= filled
    if missing:
        names = ", ".join(name for name in tables if name in missing)
        raise ValueError(f"no markers for the tables {names} in {', '.join(map(str, paths))}")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; write them into files and draw pictures if asked to."""
    parser = argparse.ArgumentParser(description="Tables and pictures of benchmark results.")
    parser.add_argument(
        "results", type=Path, nargs="+", help="JSON written by pytest --benchmark-json"
    )
    parser.add_argument(
        "--fill", type=Path, nargs="+", default=[], help="files whose marked tables are replaced"
    )
    parser.add_argument("--picture", type=Path, help="SVG or PNG of the training steps")
    parser.add_argument("--peers", type=Path, help="SVG or PNG of the other libraries")
    given = parser.parse_args(arguments)
    try:
        results = join([load(path) for path in given.results])
        tables = {name: table(results) for name, table in TABLES.items()}
        if given.fill:
            fill_files(given.fill, tables)
        if given.picture:
            draw(results, given.picture)
        if given.peers:
            draw_peers(results, given.peers)
    except (OSError, ValueError) as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 1
    print("\n\n".join(f"## {name}\n\n{table}" for name, table in tables.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
