"""Pictures of benchmark results, drawn with Matplotlib."""

from pathlib import Path
from typing import Any

from measurements import (
    FASTBP,
    FLOOR,
    JAX,
    NAIVE,
    NUMPY,
    PEERS,
    SCIKIT_LEARN,
    TORCH,
    TORCH_COMPILED,
    Results,
    by_path,
    format_number,
    select,
    step_times,
    thread_count,
)

LOOKS = {
    NAIVE: {"color": "#d9d9d9", "hatch": "///"},
    NUMPY: {"color": "#9ecae1", "hatch": "\\\\\\\\"},
    FASTBP: {"color": "#08519c", "hatch": ""},
}
BAR = 0.27


def draw(results: Results, path: Path) -> None:
    """Draw µs per step: a bar for each implementation, a black mark for the floor."""
    from matplotlib.figure import Figure

    groups = by_path(results, "step", "network", "batch")
    if not groups:
        raise ValueError("the results hold no training steps (subject: step) to draw")
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
    """Save a picture. The same results give a byte-identical file."""
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "fastbp", "hatch.linewidth": 0.6}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_bars(axes: Any, times: list[dict[str, float | None]]) -> None:
    """Draw a group of bars for each network, with the floor's mark across fastbp's bar."""
    for place, (name, look) in enumerate(LOOKS.items()):
        drawn = [(i + BAR * (place - 1), t) for i, row in enumerate(times) if (t := row[name])]
        heights, values = [h for h, _ in drawn], [t for _, t in drawn]
        axes.barh(heights, values, BAR, label=name, edgecolor="black", **look)
        for (height, value), row in zip(drawn, [row for row in times if row[name]], strict=True):
            # Write the number to the right of both the bar and the floor's mark.
            end = max(value, row[FLOOR] or 0.0) if name == FASTBP else value
            axes.annotate(
                format_number(value),
                (end, height),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    floors = [(i + BAR, t) for i, row in enumerate(times) if (t := row[FLOOR])]
    heights, values = [h for h, _ in floors], [t for _, t in floors]
    # A white mark below the black one, so that it is visible on the bar and beside it.
    for color, width, label in (("white", 4, None), ("black", 2, "floor: its matrix products")):
        look = {"color": color, "linewidths": width, "label": label}
        axes.scatter(values, heights, 200, marker="|", zorder=3, **look)


# Markers differ in shape, so that they can be told apart in black and white. Within a row, they are
# drawn from top to bottom in this order.
MARKERS = {
    NUMPY: {"marker": "s", "s": 30, "facecolor": "white", "edgecolor": "black"},
    SCIKIT_LEARN: {"marker": "D", "s": 28, "facecolor": "white", "edgecolor": "black"},
    TORCH: {"marker": "^", "s": 38, "facecolor": "white", "edgecolor": "black"},
    TORCH_COMPILED: {"marker": "v", "s": 38, "color": "black"},
    JAX: {"marker": "x", "s": 36, "color": "black"},
    FASTBP: {"marker": "o", "s": 40, "color": "black"},
}
SPACING = 0.13  # distance of two marks in a row, whose height is 1


def draw_peers(results: Results, path: Path) -> None:
    """Draw µs per step in each library: a line for each network, a mark for each library."""
    from matplotlib.figure import Figure

    parts = [one["extra_info"] for one in select(results, "peers")]
    if not parts:
        raise ValueError("the results hold no steps of other libraries (subject: peers) to draw")
    rows = parts[0]["rows"]
    figure = Figure(figsize=(1.5 + 4 * len(parts), 0.6 * len(rows) + 1.3), layout="constrained")
    all_axes = figure.subplots(1, len(parts), sharex=True, sharey=True, squeeze=False)[0]
    for part, axes in zip(parts, all_axes, strict=True):
        draw_marks(axes, part["rows"])
        axes.set_title(thread_count(part["threads"]), fontsize=10)
        axes.set_xscale("log")
        axes.set_xlabel("µs per training step, logarithmic: less is better", fontsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    labels = [f"{row['network']}\nbatch {row['batch']}" for row in rows]
    all_axes[0].set_yticks(range(len(rows)), labels, fontsize=8)
    all_axes[0].invert_yaxis()
    handles, names = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    save(figure, path)


def draw_marks(axes: Any, rows: list[Results]) -> None:
    """Draw the marks for one number of threads; a library that was not measured has none."""
    for i in range(len(rows)):
        axes.axhline(i, color="#d9d9d9", linewidth=0.8, zorder=1)
    for place, (path, look) in enumerate(MARKERS.items()):
        height = SPACING * (place - (len(MARKERS) - 1) / 2)
        drawn = [(t, i + height) for i, row in enumerate(rows) if (t := row["step_us"].get(path))]
        if drawn:
            axes.scatter(*zip(*drawn, strict=True), label=PEERS[path], zorder=3, **look)
    floors = [(t, i) for i, row in enumerate(rows) if (t := row["floor_us"])]
    for floor, i in floors:
        axes.vlines(floor, i - 0.4, i + 0.4, color="#606060", linewidth=1.2, zorder=2)
    if floors:
        look = {"marker": "|", "color": "#606060", "label": "floor: its matrix products"}
        axes.scatter([], [], 90, **look)
