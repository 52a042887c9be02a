"""Turn the JSON of pytest-benchmark into Markdown tables and two pictures.

    pytest --benchmark-only --benchmark-json=results.json
    python benchmarks/report.py results.json --readme README.md --picture grid.svg --peers peers.svg

Of several files, the first that has a subject gives all of its rows.

Every number comes from the JSON. Nothing is sorted out: a row that fastbp loses looks like any
other.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAIVE = "naive NumPy"
AS_NOTED = "NumPy, fused as in the notes"
NUMPY = "vectorised NumPy"
FASTBP = "fastbp"
CHECKED = "fastbp, checked"
FLOOR = "floor"
SCIKIT_LEARN = "scikit-learn"
TORCH = "PyTorch"
TORCH_COMPILED = "PyTorch, compiled"
JAX = "JAX"
# A from-scratch script, and gradient descent with batches of one row.
NUMPY_CLASSES = "NumPy classes"
BY_LAYERS = "fastbp.scratch, layer by layer"
BY_MODEL = "fastbp.scratch, Model"
LOOPS = "loops over samples and weights"
PER_SAMPLE = "a loop over samples"
ONE_CALL = "one compiled call"
TIMES = "\N{MULTIPLICATION SIGN}"
FLOAT32 = "float32"
LARGE = 3000  # rows and columns of the product that the largest steps are held against

# What the notes (seed 003) measured for three rows of three classes: separate over fused.
NOTES_RATIO = 6.92
PASSES = 7.0

Results = dict[str, Any]

# ---- Reading


def load(path: Path) -> Results:
    """Read results.

    Raises
    ------
    ValueError
        If the file is not what this project's benchmarks write.
    """
    results = json.loads(path.read_text(encoding="utf-8"))
    if "benchmarks" not in results or "versions" not in results.get("machine_info", {}):
        raise ValueError(f"{path} was not written by this project's pytest --benchmark-json")
    return dict(results)


def together(parts: list[Results]) -> Results:
    """Join results: each subject's from the first that has it, the machine from the first."""
    whole = {**parts[0], "benchmarks": []}
    for part in parts:
        known = {one["extra_info"].get("subject") for one in whole["benchmarks"]}
        more = [b for b in part["benchmarks"] if b["extra_info"].get("subject") not in known]
        whole["benchmarks"] = whole["benchmarks"] + more
    return whole


def select(results: Results, subject: str) -> list[Results]:
    """Find the benchmarks of one subject, in the order in which they ran."""
    return [b for b in results["benchmarks"] if b["extra_info"].get("subject") == subject]


def by_path(
    results: Results, subject: str, *keys: str
) -> dict[tuple[Any, ...], dict[str, Results]]:
    """Group the benchmarks of a subject by ``keys``: {key values: {path: benchmark}}."""
    groups: dict[tuple[Any, ...], dict[str, Results]] = {}
    for one in select(results, subject):
        info = one["extra_info"]
        groups.setdefault(tuple(info[key] for key in keys), {})[info["path"]] = one
    return groups


def microseconds(one: Results | None) -> float | None:
    """Read the median time of one round, or for epochs of one step."""
    if one is None:
        return None
    return float(one["stats"]["median"]) * 1e6 / int(one["extra_info"].get("steps", 1))


def over(a: float | None, b: float | None) -> float | None:
    """Divide, if there is something to divide."""
    return None if a is None or not b else a / b


# ---- Writing


def digits(value: float | None, unit: str = "") -> str:
    """Write a number to about three digits; what was not measured is a dash."""
    if value is None:
        return "-"
    places = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{places}f}{unit}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Write a table, its first column to the left and the others to the right; no rows: nothing."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    lines = ("| " + " | ".join(row) + " |" for row in [head, rule, *rows])
    return "\n".join(lines) if rows else ""


# ---- The tables


def fused(results: Results) -> str:
    """Compare the separate and the fused gradient, and say where NumPy passes the notes."""
    columns = (NAIVE, AS_NOTED, NUMPY, FASTBP, CHECKED)
    rows = []
    for (shape, precision), ways in by_path(results, "fused", "shape", "precision").items():
        times = {path: microseconds(ways.get(path)) for path in columns}
        ratio = digits(over(times[NAIVE], times[AS_NOTED]), TIMES)
        rows.append(
            [
                f"{shape}, {precision}",
                *(digits(time) for time in times.values()),
                ratio + (f" (the notes: {NOTES_RATIO}{TIMES})" if shape == "3x3" else ""),
                digits(over(times[NAIVE], times[FASTBP]), TIMES),
            ]
        )
    head = [
        "softmax + cross-entropy backward, µs",
        "NumPy, separate (Jacobian loop)",
        "NumPy, fused as in the notes",
        "NumPy, fused in place",
        "fastbp, kernel",
        "fastbp, checked",
        "separate over fused, NumPy",
        "separate over fastbp's kernel",
    ]
    return "\n\n".join(
        part for part in (markdown(head, rows) if rows else "", passing(results)) if part
    )


def passing(results: Results) -> str:
    """Show NumPy's ratio over batch sizes, and from which size on it stays above ``PASSES``."""
    sweeps = select(results, "fused ratio")
    if not sweeps:
        return ""
    sizes = list(sweeps[0]["extra_info"]["ratios"])
    rows, sentences = [], []
    for one in sweeps:
        K, ratios = one["extra_info"]["K"], one["extra_info"]["ratios"]
        rows.append([f"{K} classes", *(digits(ratios[size], TIMES) for size in sizes)])
        first = first_above(ratios, PASSES)
        where = f"from a batch of {first} on" if first else "at no batch size measured"
        sentences.append(f"with {K} classes {where}")
    table = markdown(["separate over fused in NumPy, batch of", *sizes], rows)
    return f"{table}\n\nNumPy's ratio is above {PASSES:g} " + ", ".join(sentences) + "."


def first_above(ratios: dict[str, float], limit: float) -> int | None:
    """Find the smallest batch from which on every ratio is above ``limit``."""
    first = None
    for size, ratio in sorted(ratios.items(), key=lambda item: int(item[0]), reverse=True):
        if ratio <= limit:
            break
        first = int(size)
    return first


def steps(results: Results) -> str:
    """Show a step's time on every path, against the floor and against NumPy."""
    rows = []
    for (network, batch), row in by_path(results, "step", "network", "batch").items():
        times = step_times(row)
        ratio = row[FASTBP]["extra_info"].get("ratio") if FASTBP in row else None
        rows.append(
            [
                f"{network}, {batch}",
                *(digits(times[path]) for path in (FLOOR, FASTBP, NUMPY, NAIVE)),
                digits(ratio, TIMES),
                digits(over(times[NUMPY], times[FASTBP]), TIMES),
                digits(over(times[NAIVE], times[FASTBP]), TIMES),
            ]
        )
    head = ["a step, µs: network, batch", "floor", "fastbp", "NumPy", "naive NumPy"]
    head += ["fastbp over floor", "NumPy over fastbp", "naive over fastbp"]
    return markdown(head, rows)


def step_times(row: dict[str, Results]) -> dict[str, float | None]:
    """Read µs per step of every path; floor and fastbp from rounds that were taken in turn."""
    times = {path: microseconds(row.get(path)) for path in (FLOOR, FASTBP, NUMPY, NAIVE)}
    info = row[FASTBP]["extra_info"] if FASTBP in row else {}
    if "floor_us" in info:
        times |= {FLOOR: info["floor_us"], FASTBP: info["step_us"]}
    return times


def epochs(results: Results) -> str:
    """Show the time of an epoch through ``fastbp.train``, in milliseconds."""
    rows = []
    for (network, batch), row in by_path(results, "epoch", "network", "batch").items():
        count = next(iter(row.values()))["extra_info"]["steps"]
        times = {}
        for path in (FASTBP, NUMPY, NAIVE):
            step = microseconds(row.get(path))
            times[path] = None if step is None else step * count / 1e3
        rows.append(
            [
                f"{network}, {batch}",
                f"{count:,}",
                *(digits(time) for time in times.values()),
                digits(over(times[NUMPY], times[FASTBP]), TIMES),
                digits(over(times[NAIVE], times[FASTBP]), TIMES),
            ]
        )
    head = ["an epoch, ms: network, batch", "steps", "`fastbp.train`", "NumPy", "naive NumPy"]
    head += ["NumPy over fastbp", "naive over fastbp"]
    return markdown(head, rows)


def kernels(results: Results) -> str:
    """Compare the pieces of a step."""
    rows = []
    for (formula, shape), ways in by_path(results, "kernel", "formula", "shape").items():
        times = {path: microseconds(ways.get(path)) for path in (NAIVE, NUMPY, FASTBP)}
        rows.append(
            [
                f"{formula}, {shape}",
                *(digits(time) for time in times.values()),
                digits(over(times[NAIVE], times[FASTBP]), TIMES),
                digits(over(times[NUMPY], times[FASTBP]), TIMES),
            ]
        )
    head = ["µs", "naive NumPy", "vectorised NumPy", "fastbp"]
    head += ["naive over fastbp", "vectorised over fastbp"]
    return markdown(head, rows)


def scripts(results: Results) -> str:
    """Show what a from-scratch script takes, in seconds: all paths in turn."""
    rows = []
    for (precision,), ways in by_path(results, "script", "precision").items():
        info = ways[BY_MODEL]["extra_info"] if BY_MODEL in ways else {}
        times, ratios = info.get("seconds", {}), info.get("ratios", {})
        paths = (NUMPY_CLASSES, BY_LAYERS, BY_MODEL)
        rows.append(
            [
                precision,
                *(digits(times.get(path)) for path in paths),
                *(digits(ratios.get(path), TIMES) for path in paths[1:]),
            ]
        )
    head = ["a script of 10,001 steps, s", "NumPy classes"]
    head += ["`fastbp.scratch`, layer by layer", "`fastbp.scratch`, `Model`"]
    return markdown([*head, "NumPy over layer by layer", "NumPy over `Model`"], rows)


def per_sample(results: Results) -> str:
    """Show an epoch with batches of one row, in microseconds a row."""
    ways = by_path(results, "per sample", "subject").get(("per sample",), {})
    rows = []
    for path in (LOOPS, PER_SAMPLE, ONE_CALL):
        if path in ways:
            rows.append([path, digits(microseconds(ways[path]))])
    ratio = ways.get(ONE_CALL, {}).get("extra_info", {}).get("ratio")
    table = markdown(["one sample, one step: float64, 2-3-2", "µs a step"], rows)
    if ratio is None:
        return table
    return f"{table}\n\nIn turn, the loops took {digits(ratio)} times as long as the one call."


PEERS = {
    FASTBP: FASTBP,
    NUMPY: "NumPy",
    SCIKIT_LEARN: "scikit-learn",
    TORCH: "PyTorch",
    TORCH_COMPILED: "PyTorch, compiled",
    JAX: "JAX",
}


def peers(results: Results) -> str:
    """Show a step's time in other libraries, a table for each number of threads."""
    return "\n\n".join(
        peer_table(one["extra_info"]["threads"], one["extra_info"]["rows"])
        for one in select(results, "peers")
    )


def peer_table(threads: int, rows: list[Results]) -> str:
    """Compare all paths with fastbp on each row, and on the geometric mean of all rows."""
    floors = [row["floor_us"] for row in rows]
    times = {name: [row["step_us"].get(path) for row in rows] for path, name in PEERS.items()}
    own = times[FASTBP]
    columns = {"floor": floors, **times, "fastbp over floor": over_all(own, floors)}
    columns |= {
        f"{name} over fastbp": over_all(times[name], own) for name in times if name != FASTBP
    }
    if threads > 1:  # the floor is that of one thread
        columns = {head: column for head, column in columns.items() if "floor" not in head}
    names = [f"{row['network']}, {row['batch']}" for row in rows] + ["geometric mean"]
    written = [
        [digits(value, TIMES if " over " in head else "") for value in (*column, mean(column))]
        for head, column in columns.items()
    ]
    first = f"{count_of_threads(threads)}, a step in µs: network, batch"
    return markdown([first, *columns], [list(row) for row in zip(names, *written, strict=True)])


def count_of_threads(threads: int) -> str:
    """Write how many threads there are."""
    return "one thread" if threads == 1 else f"{threads} threads"


def over_all(a: list[float | None], b: list[float | None]) -> list[float | None]:
    """Divide row by row."""
    return [over(x, y) for x, y in zip(a, b, strict=True)]


def mean(column: list[float | None]) -> float | None:
    """Compute the geometric mean of a column, if nothing is missing in it."""
    there = [value for value in column if value is not None]
    return statistics.geometric_mean(there) if there and len(there) == len(column) else None


def against_one(results: Results, subject: str, *keys: str) -> list[list[str]]:
    """Write a row for each network of a subject: the two times under ``keys``, and their ratio."""
    infos = [one["extra_info"] for one in select(results, subject)]
    return [
        [
            f"{info['network']}, {info['batch']}",
            *(digits(info[key]) for key in keys),
            digits(info["ratio"], TIMES),
        ]
        for info in infos
        if "ratio" in info
    ]


def many(results: Results) -> str:
    """Show what two fits in two Python threads take, against one."""
    rows = against_one(results, "many", "one_s", "two_s")
    head = ["network, batch", "one fit, s", "two fits in two threads, s", "two over one"]
    return markdown(head, rows)


def threads(results: Results) -> str:
    """Show what all threads take for a step, against one."""
    infos = [one["extra_info"] for one in select(results, "threads")]
    infos = [info for info in infos if "ratio" in info]
    rows = against_one(results, "threads", "one_us", "all_us")
    rows = [[*row, str(info["taken"])] for row, info in zip(rows, infos, strict=True)]
    count = infos[0]["all"] if infos else 0
    head = ["a step, µs: network, batch", "one thread", f"{count} threads", "one over all"]
    return markdown([*head, "threads taken by itself"], rows)


def rate(results: Results) -> str:
    """Show how near the products of large steps come to one large product."""
    rows, network = [], ""
    for one in select(results, "rate"):
        info = one["extra_info"]
        if "steps_gflops" in info:
            network = f"{info['network']}, {info['batch']}"
            product, taken = info["product_gflops"], info["steps_gflops"]
            share = f"{100 * taken / product:.0f} %"
            name = count_of_threads(info["threads"])
            rows.append([name, digits(product), digits(taken), share])
    head = ["GFLOP/s", f"a product of {LARGE:,} rows and columns", f"steps of {network}", "share"]
    return markdown(head, rows)


def predict(results: Results) -> str:
    """Show what a call of ``Network.forward`` takes, against NumPy."""
    rows = []
    for (count,), ways in by_path(results, "predict", "rows").items():
        times = [microseconds(ways.get(path)) for path in (NUMPY, FASTBP)]
        rows.append([f"{count:,}", *(digits(time) for time in times), digits(over(*times), TIMES)])
    head = ["rows", "NumPy, µs", "`net.forward`, µs", "NumPy over fastbp"]
    return markdown(head, rows)


def estimators(results: Results) -> str:
    """Show what a fit takes, and what it scores, against scikit-learn, for each data set."""
    ways = (SCIKIT_LEARN, FASTBP, FLOAT32)
    infos = [one["extra_info"] for one in select(results, "estimators")]
    infos = sorted((info for info in infos if "ratio" in info), key=lambda info: info["threads"])
    rows = []
    for threads in dict.fromkeys(info["threads"] for info in infos):
        part = [info for info in infos if info["threads"] == threads]
        for info in part:
            scores = [f"{info['score'][w]:.3f} ± {info['error'][w]:.3f}" for w in ways]
            times = [digits(1e3 * info["fit_s"][way]) for way in ways]
            ratios = [digits(info["ratio"][way], TIMES) for way in ways[1:]]
            rows.append([f"{info['data']}, {count_of_threads(threads)}", *times, *ratios, *scores])
        means = [digits(mean([info["ratio"][way] for info in part]), TIMES) for way in ways[1:]]
        rows.append([f"geometric mean, {count_of_threads(threads)}", *"---", *means, *"---"])
    names = [SCIKIT_LEARN, FASTBP, "fastbp in float32"]
    head = ["a fit, ms: data", *names, *(f"{SCIKIT_LEARN} over {name}" for name in names[1:])]
    return markdown([*head, *(f"score, {name}" for name in names)], rows)


def searches(results: Results) -> str:
    """Show what searches take with one job and with more."""
    rows = []
    for one in select(results, "searches"):
        info = one["extra_info"]
        times = [info.get(f"{way}, {n}") for way in (SCIKIT_LEARN, FASTBP) for n in (1, 2)]
        ratios = over(times[2], times[3]), over(times[1], times[3])
        rows.append(
            [info["search"], *(digits(t) for t in times), *(digits(r, TIMES) for r in ratios)]
        )
    head = ["seconds", "scikit-learn, one job", "scikit-learn, 2 processes", "fastbp, one job"]
    head += ["fastbp, 2 threads", "fastbp: one over two", "scikit-learn over fastbp, two"]
    return markdown(head, rows)


def compile_times(results: Results) -> str:
    """Show what a new process costs: imports, the first compilation, the cache."""
    rows = [
        [
            one["extra_info"]["case"],
            digits(float(one["stats"]["median"])),
            digits(one["extra_info"].get("import_s")),
            digits(one["extra_info"].get("training_s")),
        ]
        for one in select(results, "compile")
    ]
    head = ["a new process, s", "from start to end", "import", "first training"]
    return markdown(head, rows)


def tables_on_disk(results: Results) -> str:
    """Show where the time of the command goes, from a table to a folder of results."""
    parts = ("reading", "preparing", "training", "evaluating", "writing", "drawing")
    rows = []
    for one in select(results, "tables"):
        info = one["extra_info"]
        rest = 1.0 - info["training_s"] / info["whole_s"]
        times = [digits(info[f"{name}_s"]) for name in parts]
        rows.append([info["case"], digits(info["whole_s"]), *times, f"{rest:.0%}"])
    head = ["seconds", "in all", *parts, "not training"]
    return markdown(head, rows)


def machine(results: Results) -> str:
    """Name the processor, the threads and the versions."""
    info = results["machine_info"]
    cpu, versions = info["cpu"], info["versions"]
    model = ", ".join(f"{key} {cpu[key]}" for key in ("family", "model") if key in cpu)
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    threads, blas = info["threads"], list(info["blas"])
    if "openblas_coretype" in info:
        blas.append(f"OPENBLAS_CORETYPE {info['openblas_coretype'] or 'not set'}")
    return (
        f"{cpu.get('brand_raw', info['machine'])}{f' ({model})' if model else ''}, "
        f"{info['processors']} processors, of which {threads} used if no table says otherwise; "
        f"{info['system']}, Python {info['python_version']}, {packages}; {', '.join(blas)}. "
        f"Measured {results['datetime'][:10]}."
    )


TABLES: dict[str, Callable[[Results], str]] = {
    "fused": fused,
    "grid": steps,
    "epochs": epochs,
    "kernels": kernels,
    "scripts": scripts,
    "per sample": per_sample,
    "peers": peers,
    "threads": threads,
    "rate": rate,
    "many": many,
    "predict": predict,
    "estimators": estimators,
    "searches": searches,
    "compile": compile_times,
    "tables": tables_on_disk,
    "machine": machine,
}

# ---- Where they go


def fill(text: str, tables: dict[str, str]) -> str:
    """Replace what stands between each pair of markers by its table.

    Raises
    ------
    ValueError
        If a table's pair of markers is not there exactly once.
    """
    for name, table in tables.items():
        begin, end = (f"<!-- benchmark: {edge} {name} -->" for edge in ("begin", "end"))
        pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
        if text.count(begin) != 1 or text.count(end) != 1 or not pattern.search(text):
            raise ValueError(f"the text must hold {begin} and, after it, {end}, each once")
        text = pattern.sub(lambda match, table=table: f"{match[1]}\n\n{table}\n\n{match[2]}", text)
    return text


LOOKS = {
    NAIVE: {"color": "#d9d9d9", "hatch": "///"},
    NUMPY: {"color": "#9ecae1", "hatch": "\\\\\\\\"},
    FASTBP: {"color": "#08519c", "hatch": ""},
}
BAR = 0.27


def draw(results: Results, path: Path) -> None:
    """Draw µs per step on the grid: a bar for each path, a black mark for the floor."""
    from matplotlib.figure import Figure

    groups = by_path(results, "step", "network", "batch")
    if not groups:
        raise ValueError("there is no step of the grid in the results to draw")
    times = [step_times(row) for row in groups.values()]
    figure = Figure(figsize=(8, 0.7 * len(groups) + 1.2), layout="constrained")
    axes = figure.subplots()
    draw_bars(axes, times)
    axes.set_yticks(range(len(groups)), [f"{network}\nbatch {batch}" for network, batch in groups])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("µs per training step, logarithmic: less is better")
    axes.margins(x=0.1, y=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a picture; the same results give the same file."""
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "fastbp", "hatch.linewidth": 0.6}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_bars(axes: Any, times: list[dict[str, float | None]]) -> None:
    """Draw one group of bars for each row of the grid, and the floor's mark across fastbp's."""
    for place, (name, look) in enumerate(LOOKS.items()):
        drawn = [(i + BAR * (place - 1), t) for i, row in enumerate(times) if (t := row[name])]
        heights, values = [h for h, _ in drawn], [t for _, t in drawn]
        axes.barh(heights, values, BAR, label=name, edgecolor="black", **look)
        for (height, value), row in zip(drawn, [row for row in times if row[name]], strict=True):
            # The number stands beyond the floor's mark, where that is beyond the bar.
            end = max(value, row[FLOOR] or 0.0) if name == FASTBP else value
            axes.annotate(
                *(digits(value), (end, height), (5, 0)),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    floors = [(i + BAR, t) for i, row in enumerate(times) if (t := row[FLOOR])]
    heights, values = [h for h, _ in floors], [t for _, t in floors]
    # White below black, so that the mark is seen on the bar and off it.
    for color, width, label in (("white", 4, None), ("black", 2, "floor: its matrix products")):
        look = {"color": color, "linewidths": width, "label": label}
        axes.scatter(values, heights, 200, marker="|", zorder=3, **look)


# Told apart by form, filled or not, so that black and white will do; from top to bottom in a row.
MARKERS = {
    NUMPY: {"marker": "s", "s": 30, "facecolor": "white", "edgecolor": "black"},
    SCIKIT_LEARN: {"marker": "D", "s": 28, "facecolor": "white", "edgecolor": "black"},
    TORCH: {"marker": "^", "s": 38, "facecolor": "white", "edgecolor": "black"},
    TORCH_COMPILED: {"marker": "v", "s": 38, "color": "black"},
    JAX: {"marker": "x", "s": 36, "color": "black"},
    FASTBP: {"marker": "o", "s": 40, "color": "black"},
}
APART = 0.13  # what is between two marks of a row, whose own height is 1


def draw_peers(results: Results, path: Path) -> None:
    """Draw µs per step in each library: a line for each row of the grid, a mark for each path."""
    from matplotlib.figure import Figure

    parts = [one["extra_info"] for one in select(results, "peers")]
    if not parts:
        raise ValueError("there is no step of the peers in the results to draw")
    rows = parts[0]["rows"]
    figure = Figure(figsize=(1.5 + 4 * len(parts), 0.6 * len(rows) + 1.3), layout="constrained")
    every = figure.subplots(1, len(parts), sharex=True, sharey=True, squeeze=False)[0]
    for part, axes in zip(parts, every, strict=True):
        draw_marks(axes, part["rows"])
        axes.set_title(count_of_threads(part["threads"]), fontsize=10)
        axes.set_xscale("log")
        axes.set_xlabel("µs per training step, logarithmic: less is better", fontsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    labels = [f"{row['network']}\nbatch {row['batch']}" for row in rows]
    every[0].set_yticks(range(len(rows)), labels, fontsize=8)
    every[0].invert_yaxis()
    handles, names = every[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    save(figure, path)


def draw_marks(axes: Any, rows: list[Results]) -> None:
    """Draw the marks of one number of threads; what was not measured has none."""
    for i in range(len(rows)):
        axes.axhline(i, color="#d9d9d9", linewidth=0.8, zorder=1)
    for place, (path, look) in enumerate(MARKERS.items()):
        height = APART * (place - (len(MARKERS) - 1) / 2)
        drawn = [(t, i + height) for i, row in enumerate(rows) if (t := row["step_us"].get(path))]
        if drawn:
            axes.scatter(*zip(*drawn, strict=True), label=PEERS[path], zorder=3, **look)
    floors = [(t, i) for i, row in enumerate(rows) if (t := row["floor_us"])]
    for floor, i in floors:
        axes.vlines(floor, i - 0.4, i + 0.4, color="#606060", linewidth=1.2, zorder=2)
    if floors:
        look = {"marker": "|", "color": "#606060", "label": "floor: its matrix products"}
        axes.scatter([], [], 90, **look)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, and put them into a README and into pictures if asked to."""
    parser = argparse.ArgumentParser(description="Tables and a picture of benchmark results.")
    parser.add_argument(
        "results", type=Path, nargs="+", help="JSON written by pytest --benchmark-json"
    )
    parser.add_argument("--readme", type=Path, help="file whose marked places are filled in")
    parser.add_argument("--picture", type=Path, help="SVG or PNG to draw the grid into")
    parser.add_argument("--peers", type=Path, help="SVG or PNG to draw the other libraries into")
    given = parser.parse_args(arguments)
    try:
        results = together([load(path) for path in given.results])
        tables = {name: table(results) for name, table in TABLES.items()}
        if given.readme:
            filled = fill(given.readme.read_text(encoding="utf-8"), tables)
            given.readme.write_text(filled, encoding="utf-8")
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
