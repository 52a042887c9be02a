"""Markdown tables of benchmark results, one function for each table.

Every number comes from the results. Rows that fastbp loses stay in.
"""

import operator
from collections.abc import Callable
from statistics import geometric_mean

from comparison_tables import estimators, peers, searches, short
from measurements import (
    AS_IN_NOTES,
    BY_LAYERS,
    BY_MODEL,
    CHECKED,
    FASTBP,
    FLOOR,
    LOOPS,
    NAIVE,
    NUMPY,
    NUMPY_CLASSES,
    ONE_CALL,
    PER_SAMPLE,
    TIMES,
    Results,
    by_path,
    factor,
    format_number,
    markdown,
    microseconds,
    select,
    step_times,
)
from rank_tables import rank_scaling, ranks
from thread_tables import many, rate, thread_model, threads

# What the notes (seed 003) measured for three rows of three classes: separate / fused.
NOTES_RATIO = 6.92
LEAST_RATIO = 7.0  # about the ratio of the notes


def fused(results: Results) -> str:
    """Compare the separate with the fused gradient of softmax and cross-entropy."""
    columns = (NAIVE, AS_IN_NOTES, NUMPY, FASTBP, CHECKED)
    rows = []
    for (shape, precision), ways in by_path(results, "fused", "shape", "precision").items():
        times = {path: microseconds(ways.get(path)) for path in columns}
        ratio = factor(times[NAIVE], times[AS_IN_NOTES])
        rows.append(
            [
                f"{shape}, {precision}",
                *(format_number(time) for time in times.values()),
                ratio + (f" (source notes: {NOTES_RATIO}{TIMES})" if shape == "3x3" else ""),
                factor(times[NAIVE], times[FASTBP]),
            ]
        )
    head = [
        "softmax + cross-entropy backward, µs",
        "NumPy, separate (Jacobian loop)",
        "NumPy, fused as in the notes",
        "NumPy, fused in place",
        "fastbp, kernel",
        "`fastbp.functional` (checked)",
        "separate / fused, NumPy",
        "separate / fastbp's kernel",
    ]
    return "\n\n".join(part for part in (markdown(head, rows), by_batch_size(results)) if part)


def by_batch_size(results: Results) -> str:
    """Show NumPy's ratio for each batch size, and where it stays above ``LEAST_RATIO``."""
    sweeps = select(results, "fused ratio")
    if not sweeps:
        return ""
    sizes = list(sweeps[0]["extra_info"]["ratios"])
    rows, sentences = [], []
    for one in sweeps:
        K, ratios = one["extra_info"]["K"], one["extra_info"]["ratios"]
        rows.append([f"{K} classes", *(format_number(ratios[size], TIMES) for size in sizes)])
        first = first_above(ratios, LEAST_RATIO)
        where = f"for batches of {first} or more" if first else "for no measured batch"
        sentences.append(f"with {K} classes {where}")
    table = markdown(["separate / fused in NumPy, batch of", *sizes], rows)
    return f"{table}\n\nThe ratio exceeds {LEAST_RATIO:g} " + ", ".join(sentences) + "."


def first_above(ratios: dict[str, float], limit: float) -> int | None:
    """Return the smallest batch size from which every ratio is above ``limit``."""
    first = None
    for size, ratio in sorted(ratios.items(), key=lambda item: int(item[0]), reverse=True):
        if ratio <= limit:
            break
        first = int(size)
    return first


def training_steps(results: Results) -> str:
    """Compare the time of a training step with the floor and with NumPy."""
    rows = []
    for (network, batch), row in by_path(results, "step", "network", "batch").items():
        times = step_times(row)
        ratio = row[FASTBP]["extra_info"].get("ratio") if FASTBP in row else None
        rows.append(
            [
                f"{network}, {batch}",
                *(format_number(times[path]) for path in (FLOOR, FASTBP, NUMPY, NAIVE)),
                format_number(ratio, TIMES),
                factor(times[NUMPY], times[FASTBP]),
                factor(times[NAIVE], times[FASTBP]),
            ]
        )
    head = ["µs per step: network, batch", "floor", "fastbp", "NumPy", "naive NumPy"]
    head += ["fastbp / floor", "NumPy / fastbp", "naive / fastbp"]
    return markdown(head, rows)


def peak(bits: int) -> Callable[[Results], str]:
    """Return the table of steps against the peak on vectors of ``bits`` bits."""

    def table(results: Results) -> str:
        rows = []
        for one in select(results, f"peak {bits}"):
            info = one["extra_info"]
            if "step_us" not in info:
                continue
            times = [info[f"{name}_us"] for name in ("peak", "floor", "step")]
            drawn = "" if info["drawn"] is None else " (drawn)"
            rows.append(
                [
                    f"{info['network']}, {info['batch']}{drawn}",
                    format_number(info["mflop"]),
                    *(format_number(time) for time in times),
                    format_number(times[1] / times[0], TIMES),
                    format_number(times[2] / times[0], TIMES),
                    format_number(times[1] / times[2], TIMES),
                ]
            )
        blas = sorted({one["extra_info"]["kernels"] for one in select(results, f"peak {bits}")})
        head = ["µs per step: network, batch", "MFLOP", "at the peak"]
        head += [f"OpenBLAS ({', '.join(blas)})", "fastbp", "OpenBLAS / peak", "fastbp / peak"]
        text = markdown([*head, "OpenBLAS / fastbp"], rows)
        found = [one["measured"] for one in select(results, f"peak {bits}") if "measured" in one]
        if text and found:
            cpu = found[0]["on"]
            name = cpu.get("brand_raw", "unknown processor")
            numbers = ", ".join(f"{key} {cpu[key]}" for key in ("family", "model") if key in cpu)
            text += f"\n\n{name} ({numbers}), one thread. Measured {found[0]['at']}."
        return text

    return table


def products(bits: int) -> Callable[[Results], str]:
    """Return the table of products in tiles and by OpenBLAS on vectors of ``bits`` bits."""

    def table(results: Results) -> str:
        rows = []
        for one in select(results, f"products {bits}"):
            info = one["extra_info"]
            measured = [line.split() for line in info.get("products", [])]
            if not measured:
                continue
            least, tiles, blas = ([float(row[k]) for row in measured] for k in (3, 4, 5))
            in_tiles = [row[6] == "tiles" for row in measured]
            chosen = [
                times[0 if own else 1] for own, *times in zip(in_tiles, tiles, blas, strict=True)
            ]
            faster = list(map(min, tiles, blas))
            ratios = list(map(operator.truediv, chosen, faster))
            worst = max(range(len(ratios)), key=ratios.__getitem__)
            shape = "{} x {}, depth {}".format(*measured[worst])
            rows.append(
                [
                    f"{info['form']}, {info['precision']}",
                    str(len(measured)),
                    str(sum(in_tiles)),
                    *(
                        f"{geometric_mean(map(operator.truediv, least, times)):.2f}"
                        for times in (tiles, blas, chosen)
                    ),
                    format_number(geometric_mean(ratios), TIMES),
                    f"{format_number(ratios[worst], TIMES)} ({shape})",
                ]
            )
        head = ["product", "shapes", "in tiles", "tiles, of the peak", "OpenBLAS, of the peak"]
        head += ["chosen, of the peak", "chosen / faster", "worst choice / faster"]
        return markdown(head, rows)

    return table


def epochs(results: Results) -> str:
    """Compare the time of an epoch of ``fastbp.train`` with NumPy's, in milliseconds."""
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
                *(format_number(time) for time in times.values()),
                factor(times[NUMPY], times[FASTBP]),
                factor(times[NAIVE], times[FASTBP]),
            ]
        )
    head = ["ms per epoch: network, batch", "steps", "`fastbp.train`", "NumPy", "naive NumPy"]
    head += ["NumPy / fastbp", "naive / fastbp"]
    return markdown(head, rows)


def kernels(results: Results) -> str:
    """Compare single kernels with NumPy."""
    rows = []
    for (formula, shape), ways in by_path(results, "kernel", "formula", "shape").items():
        times = {path: microseconds(ways.get(path)) for path in (NAIVE, NUMPY, FASTBP)}
        rows.append(
            [
                f"{formula}, {shape}",
                *(format_number(time) for time in times.values()),
                factor(times[NAIVE], times[FASTBP]),
                factor(times[NUMPY], times[FASTBP]),
            ]
        )
    head = ["µs", "naive NumPy", "vectorised NumPy", "fastbp"]
    head += ["naive / fastbp", "vectorised / fastbp"]
    return markdown(head, rows)


def scripts(results: Results) -> str:
    """Compare from-scratch scripts, in seconds; the implementations were timed in turn."""
    rows = []
    for (precision,), ways in by_path(results, "script", "precision").items():
        info = ways[BY_MODEL]["extra_info"] if BY_MODEL in ways else {}
        times, ratios = info.get("seconds", {}), info.get("ratios", {})
        paths = (NUMPY_CLASSES, BY_LAYERS, BY_MODEL)
        rows.append(
            [
                precision,
                *(format_number(times.get(path)) for path in paths),
                *(format_number(ratios.get(path), TIMES) for path in paths[1:]),
            ]
        )
    head = ["a script of 10,001 steps, s", "NumPy classes"]
    head += ["`fastbp.scratch`, layer by layer", "`fastbp.scratch`, `Model`"]
    return markdown([*head, "NumPy / layer by layer", "NumPy / `Model`"], rows)


def per_sample(results: Results) -> str:
    """Compare an epoch with batches of one row, in microseconds per step."""
    ways = by_path(results, "per sample", "subject").get(("per sample",), {})
    rows = []
    for path in (LOOPS, PER_SAMPLE, ONE_CALL):
        if path in ways:
            rows.append([path, format_number(microseconds(ways[path]))])
    ratio = ways.get(ONE_CALL, {}).get("extra_info", {}).get("ratio")
    table = markdown(["one sample per step: float64, 2-3-2", "µs per step"], rows)
    if ratio is None:
        return table
    sentence = (
        f"Timed in turn, the loops took {format_number(ratio)} times as long as the compiled call."
    )
    return f"{table}\n\n{sentence}"


def predict(results: Results) -> str:
    """Compare a call of ``Network.forward`` with NumPy."""
    rows = []
    for (count,), ways in by_path(results, "predict", "rows").items():
        times = [microseconds(ways.get(path)) for path in (NUMPY, FASTBP)]
        rows.append([f"{count:,}", *(format_number(time) for time in times), factor(*times)])
    head = ["rows", "NumPy, µs", "`net.forward`, µs", "NumPy / fastbp"]
    return markdown(head, rows)


def compile_times(results: Results) -> str:
    """Show the times of a new process: imports, compiling, loading from the cache."""
    rows = [
        [
            one["extra_info"]["case"],
            format_number(float(one["stats"]["median"])),
            format_number(one["extra_info"].get("import_s")),
            format_number(one["extra_info"].get("training_s")),
        ]
        for one in select(results, "compile")
    ]
    head = ["a new process, s", "from start to end", "import", "first training"]
    return markdown(head, rows)


def tables_on_disk(results: Results) -> str:
    """Show how the time of ``fastbp train`` on a large table is spent."""
    parts = ("reading", "preparing", "training", "evaluating", "writing", "drawing")
    rows = []
    for one in select(results, "tables"):
        info = one["extra_info"]
        rest = 1.0 - info["training_s"] / info["whole_s"]
        times = [format_number(info[f"{name}_s"]) for name in parts]
        rows.append([info["case"], format_number(info["whole_s"]), *times, f"{rest:.0%}"])
    head = ["seconds", "total", *parts, "outside training"]
    return markdown(head, rows)


def machine(results: Results) -> str:
    """Describe the processor, the threads and the versions."""
    info = results["machine_info"]
    cpu, versions = info["cpu"], info["versions"]
    model = ", ".join(f"{key} {cpu[key]}" for key in ("family", "model") if key in cpu)
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    threads, blas = info["threads"], list(info["blas"])
    if "openblas_coretype" in info:
        blas.append(f"OPENBLAS_CORETYPE {info['openblas_coretype'] or 'not set'}")
    return (
        f"{cpu.get('brand_raw', info['machine'])}{f' ({model})' if model else ''}, "
        f"{info['processors']} processors, {threads} used unless a table says otherwise; "
        f"{info['system']}, Python {info['python_version']}, {packages}; {', '.join(blas)}. "
        f"Measured {results['datetime'][:10]}."
    )


# The tables, by the name in their markers.
TABLES: dict[str, Callable[[Results], str]] = {
    "short": short,
    "fused": fused,
    "grid": training_steps,
    "peak": peak(512),
    "peak 256": peak(256),
    "products": products(512),
    "products 256": products(256),
    "epochs": epochs,
    "kernels": kernels,
    "scripts": scripts,
    "per sample": per_sample,
    "peers": peers,
    "threads": threads,
    "thread model": thread_model,
    "rate": rate,
    "ranks": ranks,
    "rank scaling": rank_scaling,
    "many": many,
    "predict": predict,
    "estimators": estimators,
    "searches": searches,
    "compile": compile_times,
    "tables": tables_on_disk,
    "machine": machine,
}
