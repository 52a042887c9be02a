"""The table of losses: a row for each, with everything that depends on it.

A new loss needs its kernel, its twin in ``reference`` and one row here. ``own`` makes the rows of a
user's own losses.
"""

from typing import Any, NamedTuple

from fastbp.choices import onnx_nodes
from fastbp.kernels import losses, rows


class Loss(NamedTuple):
    """One row of ``LOSSES``."""

    name: str
    of_labels: Any  # kernel for class indices; None: there is none
    of_targets: Any  # kernel for probabilities or values
    output: str  # what the network's predictions are: "probabilities" or "values"
    metric: str  # "accuracy", "r2", or "loss": the loss itself
    numbers: tuple[str, ...] = ()  # of an ``Objective``, which the kernels take
    scratch: bool = False  # whether the kernels take scratch memory
    link: Any = None  # kernel that turns z into predictions, in place; None: z are predictions
    low: float = -float("inf")  # the smallest and largest target
    high: float = float("inf")
    pull_back: Any = losses.given_gradient  # kernel: gradient of the predictions to that of z
    free_output: bool = False  # whether the last layer may have an activation of its own
    # The link in C, by name and as f(z) (of the softmax, not of z alone, the name only), and as
    # the function that adds its nodes to a graph of ONNX; None: there is none.
    c: tuple[str, str] | None = ("identity", "z")
    onnx: Any = onnx_nodes.same
    own: Any = None  # the ``OwnLoss`` that it is; None: it is built in

    def scratch_per_row(self, K: int) -> int:
        """Count the numbers of scratch memory for each row of a batch, with ``K`` outputs."""
        if not self.scratch:
            return 0
        return losses.SCRATCH if self.own is None else losses.OWN_SCRATCH * K


_CROSS_ENTROPY = ("smoothing", "max_label_loss")

_TABLE = (
    Loss(
        "softmax_cross_entropy",
        of_labels=losses.softmax_cross_entropy,
        of_targets=losses.softmax_cross_entropy_of_probabilities,
        output="probabilities",
        metric="accuracy",
        numbers=_CROSS_ENTROPY,
        scratch=True,
        link=rows.softmax,
        pull_back=losses.through_softmax,
        c=("softmax", ""),
        onnx=onnx_nodes.softmax,
    ),
    Loss(
        "sigmoid_cross_entropy",
        of_labels=None,
        of_targets=losses.sigmoid_cross_entropy,
        output="probabilities",
        metric="accuracy",
        numbers=_CROSS_ENTROPY,
        scratch=True,
        link=losses.sigmoid_of,
        low=0.0,
        high=1.0,
        c=("sigmoid", "1 / (1 + exp$f(-z))"),
        onnx=onnx_nodes.sigmoid,
        pull_back=losses.through_sigmoid,
    ),
    Loss("squared_error", None, losses.squared_error, "values", "r2", free_output=True),
    Loss("absolute_error", None, losses.absolute_error, "values", "r2", free_output=True),
    Loss(
        "huber",
        None,
        losses.huber,
        "values",
        "r2",
        numbers=("transition",),
        free_output=True,
    ),
    Loss(
        "poisson",
        None,
        losses.poisson,
        "values",
        "r2",
        link=losses.exp_of,
        low=0.0,
        c=("exp", "exp$f(z)"),
        onnx=onnx_nodes.exp,
        pull_back=losses.through_exp,
    ),
)
LOSSES: dict[str, Loss] = {row.name: row for row in _TABLE}

# Losses of values, and those under which the last layer may have an activation of its own.
VALUE_LOSSES = tuple(name for name, loss in LOSSES.items() if loss.output == "values")
FREE_OUTPUTS = tuple(name for name, loss in LOSSES.items() if loss.free_output)
