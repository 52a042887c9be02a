"""The table of losses: one row each, with everything that depends on the choice.

A new loss needs a kernel, a twin in ``reference`` and a row here. ``fastbp.own`` creates the rows
of users' own losses.
"""

from typing import Any, NamedTuple

from fastbp.choices import onnx_nodes
from fastbp.kernels import losses, members, rows


class Loss(NamedTuple):
    """One row of ``LOSSES``."""

    name: str
    label_kernel: Any  # kernel for class indices; None: the loss has none
    target_kernel: Any  # kernel for probabilities or values
    output: str  # kind of the network's predictions: "probabilities" or "values"
    metric: str  # "accuracy", "r2", or "loss": the loss itself
    formula: str = "loss, delta"  # shown in the table of a plan
    numbers: tuple[str, ...] = ()  # fields of ``Objective`` that the kernels take
    scratch: bool = False  # whether the kernels take scratch memory
    link: Any = None  # kernel that computes predictions from z, in place; None: z are predictions
    low: float = -float("inf")  # the smallest target
    high: float = float("inf")  # the largest target
    mean: Any = members.mean_outputs  # kernel: z of the mean of the members' predictions
    link_backward: Any = losses.identity_link_backward  # kernel: dLoss/dz from dLoss/dpredictions
    allows_output_activation: bool = False  # whether the last layer may have an activation
    # The link in C: its name and f(z); for the softmax only the name. None: it has no form in C.
    c: tuple[str, str] | None = ("identity", "z")
    onnx: Any = onnx_nodes.same  # function that adds the link's nodes to an ONNX graph, or None
    own: Any = None  # the ``OwnLoss`` of this row; None: built in

    def scratch_per_row(self, K: int) -> int:
        """Return the length of scratch memory per row of a batch, for ``K`` outputs."""
        if not self.scratch:
            return 0
        return losses.SCRATCH if self.own is None else losses.OWN_SCRATCH * K


_CROSS_ENTROPY = ("smoothing", "max_label_loss")

_TABLE = (
    Loss(
        "softmax_cross_entropy",
        label_kernel=losses.softmax_cross_entropy,
        target_kernel=losses.softmax_cross_entropy_of_probabilities,
        output="probabilities",
        metric="accuracy",
        formula="loss, delta = softmax(z) - y",
        numbers=_CROSS_ENTROPY,
        scratch=True,
        link=rows.softmax,
        mean=members.mean_softmax,
        link_backward=losses.softmax_link_backward,
        c=("softmax", ""),
        onnx=onnx_nodes.softmax,
    ),
    Loss(
        "sigmoid_cross_entropy",
        label_kernel=None,
        target_kernel=losses.sigmoid_cross_entropy,
        output="probabilities",
        metric="accuracy",
        formula="loss, delta = sigmoid(z) - y",
        numbers=_CROSS_ENTROPY,
        scratch=True,
        link=losses.sigmoid_of,
        mean=members.mean_sigmoid,
        low=0.0,
        high=1.0,
        c=("sigmoid", "1 / (1 + exp$f(-z))"),
        onnx=onnx_nodes.sigmoid,
        link_backward=losses.sigmoid_link_backward,
    ),
    Loss(
        "squared_error",
        label_kernel=None,
        target_kernel=losses.squared_error,
        output="values",
        metric="r2",
        formula="loss, delta = z - y",
        allows_output_activation=True,
    ),
    Loss(
        "absolute_error",
        label_kernel=None,
        target_kernel=losses.absolute_error,
        output="values",
        metric="r2",
        formula="loss, delta = sign(z - y)",
        allows_output_activation=True,
    ),
    Loss(
        "huber",
        label_kernel=None,
        target_kernel=losses.huber,
        output="values",
        metric="r2",
        formula="loss, delta = clip(z - y)",
        numbers=("transition",),
        allows_output_activation=True,
    ),
    Loss(
        "poisson",
        label_kernel=None,
        target_kernel=losses.poisson,
        output="values",
        metric="r2",
        formula="loss, delta = e^z - y",
        link=losses.exp_of,
        mean=members.mean_exp,
        low=0.0,
        c=("exp", "exp$f(z)"),
        onnx=onnx_nodes.exp,
        link_backward=losses.exp_link_backward,
    ),
)
LOSSES: dict[str, Loss] = {row.name: row for row in _TABLE}

# Losses of values, and losses with which the last layer may have an activation.
VALUE_LOSSES = tuple(name for name, loss in LOSSES.items() if loss.output == "values")
OUTPUT_ACTIVATION_LOSSES = tuple(
    name for name, loss in LOSSES.items() if loss.allows_output_activation
)
