"""The names of parameters, which are those of ``torch.nn.Sequential`` where it has them."""

from fastbp.arrays import Array
from fastbp.plan.problem import AVERAGES, KINDS, Layout

# The end of the names of variances.
VARIANCE = ".running_var"


def named_views(layout: Layout, params: Array) -> dict[str, Array]:
    """Return views of ``params`` (P,) under the names of ``Network.state_dict``."""
    views, seen = {}, dict.fromkeys(KINDS + AVERAGES, 0)
    modules = 3 if layout.has_norms else 2  # of a layer
    names = {
        "weights": (modules, 0, "{}.weight"),
        "biases": (modules, 0, "{}.bias"),
        "tables": (1, 0, "encoding.tables.{}"),
        "gains": (modules, 1, "{}.weight"),
        "shifts": (modules, 1, "{}.bias"),
        "alphas": (1, 0, "alphas.{}"),
        "means": (modules, 1, "{}.running_mean"),
        "variances": (modules, 1, "{}" + VARIANCE),
        "input_factors": (1, 0, "input_factors.{}"),
        "output_factors": (1, 0, "output_factors.{}"),
    }
    for part in layout.parts:
        view = params[part.start : part.start + part.size].reshape(part.shape)
        step, first, name = names.get(part.kind, (1, 0, f"encoding.{part.kind}"))
        name = name.format(first + step * seen[part.kind])
        seen[part.kind] += 1
        views[name] = view.swapaxes(-1, -2) if part.kind == "weights" else view
    return views


def views_of(layout: Layout, params: Array, kind: str) -> list[Array]:
    """Return views of the parameters of one kind."""
    parts = layout.parts_of(kind)
    return [params[part.start : part.start + part.size].reshape(part.shape) for part in parts]
