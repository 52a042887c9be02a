"""Write the comparison of tabular models as Markdown, and draw critical differences.

python benchmarks/tables/table_report.py benchmarks/results/tabular.jsonl \
        --fill benchmarks/tables/README.md --picture benchmarks/results/tabular.svg
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from measurements import TIMES, format_number, markdown  # noqa: E402
from report import fill_files  # noqa: E402
from result_pictures import save  # noqa: E402
from run import read_rows  # noqa: E402
from table_scores import (  # noqa: E402
    Comparison,
    cliques,
    compare,
    critical_difference,
    failures,
    friedman,
    geometric_mean,
    join,
    missing,
    normalised,
    ranks,
    wins_and_losses,
)
from table_sources import read_halves  # noqa: E402

Row = dict[str, Any]
NOT_MEASURED = "Not measured yet."
METRICS = {"error": "error rate", "log_loss": "log loss", "rmse": "root mean squared error"}
ALL = "all"  # error rates and root mean squared errors
ORDER = ("fastbp-best", "fastbp-good", "fastbp-fast", "fastbp-mlp", "sklearn-mlp", "hist-gb")
ORDER += ("xgboost", "lightgbm", "catboost", "realmlp-td-s", "realmlp-td")
REFERENCES = ("fastbp-good", "hist-gb")  # the first that was measured is compared with all others
TIME_REFERENCES = ("hist-gb", "realmlp-td")
SLOW = "realmlp"  # models that were measured on fewer splits begin with this


def reference(comparison: Comparison) -> str:
    """Return the model that the others are compared with."""
    return next((name for name in REFERENCES if name in comparison.models), comparison.models[0])


def relative(seconds: np.ndarray, models: list[str], to: str) -> list[float | None]:
    """Return the geometric means of each model's time over that of another, if it was measured."""
    if to not in models:
        return [None] * len(models)
    return [geometric_mean(column / seconds[:, models.index(to)]) for column in seconds.T]


def summary(comparison: Comparison) -> str:
    """Return a row for each model, the one of the lowest mean rank first."""
    models, name = comparison.models, reference(comparison)
    means = comparison.by_table(comparison.scores)
    place = ranks(means)
    scaled = comparison.by_table(normalised(comparison.scores)).mean(axis=0)
    against = wins_and_losses(means, models.index(name))
    fits = [relative(comparison.fit_seconds, models, to) for to in TIME_REFERENCES]
    predictions = relative(comparison.predict_seconds, models, TIME_REFERENCES[0])
    best, worst = means.min(axis=1, keepdims=True), means.max(axis=1, keepdims=True)
    head = ["model", "normalised score", "mean rank", "best on", "worst on"]
    head += [f"wins-ties-losses against {name}", "median fit, s"]
    head += [f"fit / {to}" for to in TIME_REFERENCES] + [f"predict / {TIME_REFERENCES[0]}"]
    rows = [
        [
            models[k],
            f"{scaled[k]:.3f}",
            f"{place[:, k].mean():.2f}",
            str(int((means[:, [k]] == best).sum())),
            str(int((means[:, [k]] == worst).sum())),
            "-" if models[k] == name else "-".join(map(str, against[k])),
            format_number(float(np.median(comparison.fit_seconds[:, k]))),
            *(format_number(fit[k], TIMES) for fit in fits),
            format_number(predictions[k], TIMES),
        ]
        for k in np.argsort(place.mean(axis=0), kind="stable")
    ]
    return markdown(head, rows)


def scores_by_table(comparison: Comparison) -> str:
    """Return a row for each table with the mean score of each model, the best in bold."""
    rows = []
    for table, scores in zip(
        comparison.tables, comparison.by_table(comparison.scores), strict=True
    ):
        cells = [f"{score:.4g}" for score in scores]
        best = f"{scores.min():.4g}"
        rows.append([table, *(f"**{cell}**" if cell == best else cell for cell in cells)])
    return markdown(["table", *comparison.models], rows)


def notes(comparison: Comparison, left_out: list[str], failed: list[str]) -> str:
    """Return how many splits are compared, the tests, and what limits the numbers."""
    tables, models = len(comparison.tables), len(comparison.models)
    p = friedman(comparison.by_table(comparison.scores))
    text = f"{tables} tables and {len(comparison.splits)} splits that all {models} models have."
    if p is not None:
        text += f" Friedman's test: p = {p:.2g}."
    text += f" Critical difference of mean ranks: {critical_difference(tables, models):.2f}."
    if left_out:
        text += f" Not measured with all models: {', '.join(left_out)}."
    if failed:
        text += f" Failed: {', '.join(failed)}."
    if comparison.loaded:
        count = comparison.scores.size
        text += f" {comparison.loaded} of {count} fits were timed while other programs ran."
    return text


def comparisons(
    rows: list[Row], models: list[str], threads: int
) -> dict[tuple[str, str], Comparison | None]:
    """Return the comparison of each half of the tables and each metric, and of error with RMSE.

    The half ``test``, which defaults were not chosen on, comes first.
    """
    found: dict[tuple[str, str], Comparison | None] = {}
    for half, tables in sorted(read_halves().items()):
        by_metric = {metric: compare(rows, metric, tables, models, threads) for metric in METRICS}
        found[half, ALL] = join(by_metric["error"], by_metric["rmse"])
        found |= {(half, metric): each for metric, each in by_metric.items()}
    return found


def render(rows: list[Row], models: list[str], threads: int) -> dict[str, str]:
    """Return the text of each marker in the README: for each half of the tables and each metric."""
    texts, halves = {}, read_halves()
    for (half, metric), comparison in comparisons(rows, models, threads).items():
        parts = [NOT_MEASURED]
        if comparison:
            left_out = missing(rows, metric, halves[half], comparison) if metric != ALL else []
            failed = failures(rows, left_out, models, threads)
            parts = [summary(comparison), notes(comparison, left_out, failed)]
        if comparison and metric != ALL:
            parts.append(scores_by_table(comparison))
        texts[f"{half} {metric}"] = "\n\n".join(parts)
    texts |= variants(rows, models, threads)
    texts["tabular machine"] = machines(rows)
    return texts


def variants(rows: list[Row], models: list[str], threads: int) -> dict[str, str]:
    """Return the comparison of errors on more splits, without RealMLP, and on two threads."""
    quick = [name for name in models if not name.startswith(SLOW)]
    texts = {}
    for suffix, chosen, count in (
        ("more splits", quick, threads),
        ("two threads", quick, 2),
        ("RealMLP on two threads", models, 2),
    ):
        for (half, metric), comparison in comparisons(rows, chosen, count).items():
            if metric == ALL:
                found = [summary(comparison), notes(comparison, [], [])] if comparison else []
                texts[f"{half} {suffix}"] = "\n\n".join(found) or NOT_MEASURED
    return texts


def machines(rows: list[Row]) -> str:
    """Return the processors and versions with which the results were measured."""
    parts = []
    used = {row["machine"] for row in rows if "table" in row}
    for row in rows:
        if "table" not in row and row["machine"] in used:
            versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
            parts.append(
                f"{row['cpu']}, {row['processors']} processors, threads: {row['threads']}; "
                f"{row['system']}, Python {row['python']}, {versions}; {', '.join(row['pools'])}."
            )
    return "\n\n".join(dict.fromkeys(parts)) or NOT_MEASURED


def defaults(path: Path) -> str:
    """Return a row for each table that ``benchmarks/defaults.py`` has compared."""
    rows = []
    for scores in read_rows(path):
        cells = [
            f"{np.mean(each):.3f} ± {np.std(each) / len(each) ** 0.5:.3f}"
            for each in (scores["fastbp"], scores["scikit-learn"])
        ]
        rows.append([scores["table"], *cells])
    return markdown(["table", "fastbp", "scikit-learn's network"], rows)


def times_in_turn(path: Path) -> str:
    """Return the ratios of the times that ``alternate.py`` has measured, for each half."""
    rows = read_rows(path)
    first, second = rows[0]["fastest"]
    table = []
    for half in ("test", "tune", "both"):
        chosen = [row for row in rows if half in (row["half"], "both")]
        cells = [
            format_number(
                geometric_mean(np.array([row[key][first] / row[key][second] for row in chosen])),
                TIMES,
            )
            for key in ("fastest", "median")
        ]
        faster = sum(row["fastest"][first] < row["fastest"][second] for row in chosen)
        table.append([half, f"{faster} of {len(chosen)}", *cells])
    head = ["half", f"{first} is faster on", f"{first} / {second}, fastest", "median"]
    return markdown(head, table)


# ---- The picture


def draw(rows: list[Row], models: list[str], threads: int, path: Path) -> None:
    """Draw mean ranks for each half and metric; bars join models that do not differ.

    Raises
    ------
    ValueError
        If no two models have a split in common.
    """
    from matplotlib.figure import Figure

    panels = [
        (f"{half}: {METRICS.get(metric, 'error rate or root mean squared error')}", comparison)
        for (half, metric), comparison in comparisons(rows, models, threads).items()
        if comparison
    ]
    if not panels:
        raise ValueError("no two models have results on the same split")
    figure = Figure(figsize=(9, 2.6 * len(panels)), layout="constrained")
    for axes, (title, comparison) in zip(
        np.ravel(figure.subplots(len(panels), 1)), panels, strict=True
    ):
        draw_ranks(axes, comparison)
        axes.set_title(f"{title}, {len(comparison.tables)} tables", fontsize=9)
    save(figure, path)


def draw_ranks(axes: Any, comparison: Comparison) -> None:
    """Draw models on an axis of mean ranks, with their names at the sides."""
    place = ranks(comparison.by_table(comparison.scores)).mean(axis=0)
    count = len(place)
    difference = critical_difference(len(comparison.tables), count)
    order = np.argsort(place, kind="stable")
    half = (count + 1) // 2
    for k, model in enumerate(order):
        left = k < half
        height = -0.9 - 0.5 * (k if left else count - 1 - k)
        end = 0.6 if left else count + 0.4
        x = place[model]
        axes.plot([x, x, end], [0, height, height], color="black", linewidth=0.8)
        axes.text(
            end + (-0.05 if left else 0.05),
            height,
            f"{comparison.models[model]} {x:.2f}",
            ha="right" if left else "left",
            va="center",
            fontsize=8,
        )
    for k, (low, high) in enumerate(cliques(place, difference)):
        axes.plot([low, high], [-0.2 - 0.15 * k] * 2, color="#08519c", linewidth=3)
    axes.plot([1, 1 + difference], [0.5, 0.5], color="black", marker="|")
    axes.text(1 + difference / 2, 0.6, "critical difference", ha="center", fontsize=7)
    axes.plot([1, count], [0, 0], color="black")
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.1], color="black")
        axes.text(rank, 0.15, str(rank), ha="center", fontsize=7)
    axes.set(xlim=(-0.15 * count, 1.15 * count + 1), ylim=(-1.2 - 0.5 * half, 1.1))
    axes.axis("off")


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; fill in README files and draw the picture if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("results", type=Path, nargs="*", help="files that run.py wrote")
    parser.add_argument("--models", nargs="+", default=list(ORDER), help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fill", type=Path, nargs="+", default=[], help="files with markers")
    parser.add_argument("--picture", type=Path, help="SVG or PNG of the critical differences")
    parser.add_argument(
        "--defaults",
        type=Path,
        default=FOLDER.parent / "results" / "defaults.jsonl",
        help="the file that benchmarks/defaults.py wrote",
    )
    parser.add_argument(
        "--times",
        type=Path,
        default=FOLDER.parent / "results" / "tabular_times.jsonl",
        help="the file that alternate.py wrote",
    )
    options = parser.parse_args(arguments)
    try:
        for path in options.results:
            path.stat()  # an error if it is missing
        rows = [row for path in options.results for row in read_rows(path)]
        texts = render(rows, options.models, options.threads)
        texts["defaults"] = defaults(options.defaults)
        texts["times in turn"] = times_in_turn(options.times)
        if options.fill:
            fill_files(options.fill, texts)
        if options.picture:
            draw(rows, options.models, options.threads, options.picture)
    except (OSError, ValueError) as error:
        print(f"table_report.py: {error}", file=sys.stderr)
        return 1
    print("\n\n".join(f"## {name}\n\n{text}" for name, text in texts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
