"""Markdown tables that compare fastbp with other libraries."""

import statistics

from measurements import (
    FASTBP,
    FLOAT32,
    JAX,
    PEERS,
    SCIKIT_LEARN,
    TIMES,
    TORCH,
    TORCH_COMPILED,
    Results,
    factor,
    format_number,
    markdown,
    quotient,
    select,
    thread_count,
)

# The networks of the README's table: small to large, and the row where another library is nearest.
SHORT_ROWS = (
    (1, "2-64-3", 300),
    (1, "64-100-10", 200),
    (1, "784-128-10", 128),
    (1, "784-1024-1024-10", 256),
    (2, "784-1024-1024-10", 256),
)


def short(results: Results) -> str:
    """Compare five networks with the libraries that most users know."""
    measured = {
        (one["extra_info"]["threads"], row["network"], row["batch"]): row
        for one in select(results, "peers")
        for row in one["extra_info"]["rows"]
    }
    rows = [short_row(key[0], measured[key]) for key in SHORT_ROWS if key in measured]
    head = ["µs per training step", "fastbp", "scikit-learn", "PyTorch", "JAX"]
    return markdown(head, rows)


def short_row(threads: int, row: Results) -> list[str]:
    """Return each library's time; for the other libraries also the ratio to fastbp's time."""
    times = row["step_us"]
    torch = min(filter(None, (times.get(TORCH), times.get(TORCH_COMPILED))), default=None)
    cells = [format_number(times[FASTBP])]
    for time in (times.get(SCIKIT_LEARN), torch, times.get(JAX)):
        cells.append(f"{format_number(time)} ({factor(time, times[FASTBP])})" if time else "-")
    return [f"{row['network']}, batch {row['batch']}, {thread_count(threads)}", *cells]


def peers(results: Results) -> str:
    """Compare the time of a step with other libraries, in one table per number of threads."""
    return "\n\n".join(
        peer_table(one["extra_info"]["threads"], one["extra_info"]["rows"])
        for one in select(results, "peers")
    )


def peer_table(threads: int, rows: list[Results]) -> str:
    """Compare all libraries with fastbp on each network and by the geometric mean."""
    floors = [row["floor_us"] for row in rows]
    times = {name: [row["step_us"].get(path) for row in rows] for path, name in PEERS.items()}
    own = times[FASTBP]
    columns = {"floor": floors, **times, "fastbp / floor": ratios_of(own, floors)}
    columns |= {f"{name} / fastbp": ratios_of(times[name], own) for name in times if name != FASTBP}
    if threads > 1:  # the floor was measured on one thread
        columns = {head: column for head, column in columns.items() if "floor" not in head}
    names = [f"{row['network']}, {row['batch']}" for row in rows] + ["geometric mean"]
    written = [
        [
            format_number(value, TIMES if " / " in head else "")
            for value in (*column, geometric_mean(column))
        ]
        for head, column in columns.items()
    ]
    first = f"{thread_count(threads)}, µs per step: network, batch"
    return markdown([first, *columns], [list(row) for row in zip(names, *written, strict=True)])


def ratios_of(a: list[float | None], b: list[float | None]) -> list[float | None]:
    """Return a / b for each row."""
    return [quotient(x, y) for x, y in zip(a, b, strict=True)]


def geometric_mean(column: list[float | None]) -> float | None:
    """Return the geometric mean of a column, or None if a value is missing."""
    values = [value for value in column if value is not None]
    complete = values and len(values) == len(column)
    return statistics.geometric_mean(values) if complete else None


def estimators(results: Results) -> str:
    """Compare the time and the score of a fit with scikit-learn's for each data set."""
    ways = (SCIKIT_LEARN, FASTBP, FLOAT32)
    infos = [one["extra_info"] for one in select(results, "estimators")]
    infos = sorted((info for info in infos if "ratio" in info), key=lambda info: info["threads"])
    rows = []
    for threads in dict.fromkeys(info["threads"] for info in infos):
        part = [info for info in infos if info["threads"] == threads]
        for info in part:
            scores = [f"{info['score'][w]:.3f} ± {info['error'][w]:.3f}" for w in ways]
            times = [format_number(1e3 * info["fit_s"][way]) for way in ways]
            ratios = [format_number(info["ratio"][way], TIMES) for way in ways[1:]]
            rows.append([f"{info['data']}, {thread_count(threads)}", *times, *ratios, *scores])
        means = [
            format_number(geometric_mean([info["ratio"][way] for info in part]), TIMES)
            for way in ways[1:]
        ]
        rows.append([f"geometric mean, {thread_count(threads)}", *"---", *means, *"---"])
    names = [SCIKIT_LEARN, FASTBP, "fastbp in float32"]
    head = ["ms per fit: data", *names, *(f"{SCIKIT_LEARN} / {name}" for name in names[1:])]
    return markdown([*head, *(f"score, {name}" for name in names)], rows)


def searches(results: Results) -> str:
    """Compare parameter searches with one job and with two."""
    rows = []
    for one in select(results, "searches"):
        info = one["extra_info"]
        times = [info.get(f"{way}, {n}") for way in (SCIKIT_LEARN, FASTBP) for n in (1, 2)]
        ratios = factor(times[2], times[3]), factor(times[1], times[3])
        rows.append([info["search"], *(format_number(t) for t in times), *ratios])
    head = ["seconds", "scikit-learn, one job", "scikit-learn, 2 processes", "fastbp, one job"]
    head += ["fastbp, 2 threads", "fastbp: one job / 2 threads", "scikit-learn / fastbp, two"]
    return markdown(head, rows)
