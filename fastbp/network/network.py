"""A network: predictions, losses and gradients of dense layers."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.network import arguments, evaluation
from fastbp.network.decisions import check_decidable, check_probabilities
from fastbp.network.evaluation import row_count
from fastbp.network.gradients import BatchGradients
from fastbp.network.planning import step_plan
from fastbp.network.structure import Structure
from fastbp.network.summary import table_of_layers
from fastbp.plan.choice import FEW_ROWS
from fastbp.plan.inference import Inference
from fastbp.plan.loss_of_outputs import LossOfOutputs
from fastbp.plan.problem import Objective, Sparse
from fastbp.plan.processors import own_processors

# Rows are evaluated in blocks whose outputs fit into the second-level cache.
BLOCK_BYTES = 1 << 19
# Inference of fewer multiplications is faster on one thread.
MIN_THREADED_WORK = 1e8


class Network(Structure):
    """Dense layers, an activation between them, and a loss.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input and of every layer; ``[784, 128, 10]`` has one hidden layer.
    activation : str, OwnActivation or sequence of them
        Activation of the hidden layers, one for all or one for each: ``relu``, ``leaky_relu``,
        ``elu``, ``selu``, ``sigmoid``, ``tanh``, ``softplus``, ``gelu``, ``silu``, ``mish``,
        ``identity``.
    loss : str or OwnLoss
        ``softmax_cross_entropy``: class indices or probabilities, one output per class;
        ``sigmoid_cross_entropy``: independent yes-or-no outputs; ``squared_error``,
        ``absolute_error``, ``huber``, ``poisson``: values. The loss determines the activation of
        the last layer: softmax, sigmoid, identity, or e^z for ``poisson``.
    dtype : {"float32", "float64"}
        Type of the parameters and the arithmetic; other data are converted.
    seed : int, numpy.random.Generator or None
        Seed of the initial weights; None draws a new one.
    huber_delta : float
        Residual at which ``huber`` changes from quadratic to linear.
    out_activation : str or OwnActivation, optional
        Activation of the last layer for ``squared_error``, ``absolute_error``, ``huber`` and own
        losses: ``sigmoid`` keeps predictions between 0 and 1, ``softplus`` above 0. None is the
        identity.
    encoding : Encoding, optional
        Trainable embeddings of numbers and of categories, and scales, between X and the first
        layer.
    init : str, optional
        ``he_normal``, ``lecun_normal`` or ``glorot_uniform`` for all layers.
    layer_norm : bool
        Normalise the sums of each hidden layer to mean 0 and variance 1 in each row; then multiply
        them by gains and add shifts, which are trained, before the activation (Ba, Kiros and
        Hinton 2016).
    residual : bool
        Add the input of a hidden layer to its output if both have the same width (He et al. 2016).
        The first layer is left as it is.
    members : int
        Number of members of an ensemble that share W of the hidden layers (Gorishniy, Kotelnikov
        and Babenko 2025, "TabM"). Each member has its own factors r and s and biases b of a hidden
        layer, ((a * r) W) * s + b, and its own last layer. A step minimises the mean of the
        members' losses; predictions, probabilities and ``evaluate`` are those of the mean of the
        members' predictions. 1 is a plain network.
    parametric : bool
        Replace the activation f(z) of hidden layers by z + alpha (f(z) - z), with an alpha for each
        unit, initially 1, which is trained (Holzmueller, Grinsztajn and Steinwart 2024).
    batch_norm : bool
        Normalise each unit's sums of each hidden layer to mean 0 and variance 1 over the rows of a
        batch; then multiply them by gains and add shifts, as with ``layer_norm`` (Ioffe and Szegedy
        2015). Predictions use moving averages of the means and variances, in which each batch has
        the weight 0.1. ``loss_and_gradients`` uses the statistics of its rows.

    Attributes
    ----------
    params : (P,) array
        All parameters: for each layer W, C-ordered (fan-in, fan-out), then b; then those of the
        encoding; then, for each normalised layer, its gains (N,) and its shifts (N,); then, for
        each parametric activation, its alphas (N,); then, for each layer with ``batch_norm``, the
        moving means (N,) and variances (N,), whose gradient is 0. With ``members=k``, b is (k, N)
        and the last W is (k, fan-in, fan-out); r (k, fan-in) and s (k, fan-out) of each hidden
        layer come last.
    encoding_params : dict of str to array
        The parameters of the encoding, as views of ``params``: ``numbers``, ``tables.0`` and so
        on, ``scales``.
    weights, biases : lists of arrays
        Views of ``params``, (fan-in, fan-out) and (fan-out,), new ones at each access. Assigning to
        ``params``, ``weights``, ``biases`` or an element of the lists copies the values into the
        network. ``sizes``, ``dtype`` and the rest of the structure cannot be assigned.
    learned_bytes : bool
        Whether ``train`` was given bytes (uint8), which are scaled from [0, 255] to [0, 1]. Such a
        network refuses other types with numbers above 1.
    learned_numbers : bool
        Whether ``train`` was given other numbers, which are not scaled. Such a network refuses
        bytes above 1. Lists of integers are numbers; pandas' UInt8 are bytes.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive whole number, a name is unknown, or a user-defined function
        cannot be compiled for the dtype.

    Notes
    -----
    Initial weights of ReLU-like layers are normal with variance 2 / fan-in (He et al. 2015; seed
    004), others uniform within sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio 2010); biases are 0.
    """

    def _prepare(self) -> None:
        """Create the pools of plans, which are kept between calls."""
        self._inference = Inference(self.layout, self.loss_row.mean)
        self._gradients = BatchGradients(self.layout)
        self._loss_of_outputs = LossOfOutputs(self.objective())

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("_inference", "_gradients", "_loss_of_outputs"):
            del state[name]
        return state

    def objective(
        self,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        label_smoothing: float = 0.0,
    ) -> Objective:
        """Check the penalties; return the loss with its penalties for a plan."""
        hidden = len(self.sizes) - 2
        rates = [dropout] * hidden if np.ndim(dropout) == 0 else list(dropout)  # type: ignore[arg-type]
        if len(rates) != hidden:
            raise ValueError(
                f"dropout must be one rate or one for each of the {hidden} hidden layers, not "
                f"{dropout!r}"
            )
        checked = [checks.real("dropout", rate, 0.0, 1.0, open_ends="high") for rate in rates]
        smoothing = checks.real("label_smoothing", label_smoothing, 0.0, 1.0, open_ends="high")
        if smoothing > 0.0 and self.metric != "accuracy":
            raise ValueError(f"label_smoothing={label_smoothing!r} is not supported by {self.loss}")
        penalties = np.zeros((len(self.sizes) - 1, 4), np.float64)
        penalties[:, 0], penalties[:, 1] = checks.real("l1", l1, 0.0), checks.real("l2", l2, 0.0)
        return Objective(
            loss=self.loss_row,
            smoothing=smoothing,
            transition=self.huber_delta,
            penalties=penalties if penalties.any() else None,
            dropout=tuple(checked) if any(checked) else None,
        )

    @property
    def _block_rows(self) -> int:
        """Rows of a block, whose outputs fit into the cache."""
        row_bytes: int = self.layout.draws * self.dtype.itemsize
        return max(16, BLOCK_BYTES // row_bytes)

    def infer_checked(self, X: Array | Sparse, link: Any) -> Array:
        """Compute the outputs for ``X`` (n, M), which was checked for all but finite numbers.

        ``link`` is the kernel that maps z to predictions; if it is None, return z.
        """
        n = row_count(X)
        if n <= FEW_ROWS and n and not isinstance(X, Sparse):
            few_rows = self._inference.few_rows(self.params, X, link)
            if few_rows is None:
                self.inputs(X)  # raises for a number that is not finite
            else:
                return few_rows
        out = np.empty((n, self.sizes[-1]), self.dtype)
        if n == 0:
            return out
        rows = self._block_rows
        work = float(n) * self.layout.params * self.layout.members
        threads = min(own_processors(), n // rows) if work >= MIN_THREADED_WORK else 1
        if threads <= 1:
            finite = self._inference.rows(self.params, X, out, link, 0, n, rows)
        else:
            ends = [n * rank // threads for rank in range(threads + 1)]
            with ThreadPoolExecutor(threads) as pool:
                parts = [
                    pool.submit(self._inference.rows, self.params, X, out, link, *part, rows)
                    for part in itertools.pairwise(ends)
                ]
            finite = [part.result() for part in parts].count(False) == 0
        if not finite:
            self.inputs(X)  # raises for a number that is not finite
        return out

    def expect_inference(self, n: int, link: Any) -> None:
        """Note that ``n`` dense rows will be inferred; the next plan compiles the kernels."""
        if n > FEW_ROWS:
            self._inference.expect(self.params, min(n, self._block_rows), self.dtype, link)

    def _kernel_inputs(self, X: Any) -> Array:
        """Convert ``X`` for kernels; check for finite numbers only in a conversion."""
        ready = type(X) is np.ndarray and X.dtype is self.dtype and X.ndim == 2 and X.flags.carray
        ready = ready and X.shape[1] == self.sizes[0] and not self.learned_bytes
        return X if ready else self.inputs(X)

    def forward(self, X: Any) -> Array:
        """Compute the outputs for ``X`` (n, M): (n, K) probabilities or values.

        Many rows are computed in blocks that fit into the cache, on all processors.

        Raises
        ------
        ValueError, TypeError
            If ``X`` has the wrong shape or contains anything but finite numbers.
        """
        return self.infer_checked(self._kernel_inputs(X), self.loss_row.link)

    def predict(self, X: Any) -> Array:
        """Predict for ``X`` (n, M): class indices (n,), or values (n, K).

        With ``sigmoid_cross_entropy``: 0 or 1 for each output, (n, K).

        Raises
        ------
        ValueError, TypeError
            As ``forward`` does, or if the outputs of a row are too large to decide on a class.
        """
        if self.loss_row.output == "values":
            return self.forward(X)
        z = self.infer_checked(self._kernel_inputs(X), None)
        largest = self.loss == "softmax_cross_entropy"
        check_decidable(z, largest=largest)
        predicted = z.argmax(axis=1) if largest else z > 0
        return predicted.astype(np.int64)

    def predict_proba(self, X: Any) -> Array:
        """Compute the probabilities of the classes for ``X`` (n, M).

        Returns
        -------
        (n, K) array
            Of each class, or of each sigmoid being 1; one sigmoid gives (n, 2), for 0 and for 1.

        Raises
        ------
        ValueError, TypeError
            As ``forward`` does, or if the loss has no probabilities.
        """
        check_probabilities(self.loss_row)
        found = self.forward(X)
        return np.hstack([1 - found, found]) if found.shape[1] == 1 else found

    summary = table_of_layers

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
        """Compute the mean loss and the metric on ``X`` (n, M) and ``y``.

        Returns
        -------
        loss : float
            Mean of the loss, weighted by ``sample_weight``, without penalties.
        metric : float
            Accuracy (with ``sigmoid_cross_entropy`` the fraction of rows with all outputs
            correct), or R^2 over all outputs; for a user-defined loss, the loss itself.
        """
        X = self.inputs(X)
        y = self.targets(y, len(X))
        weights = checks.weights(sample_weight, len(X), self.dtype)
        if len(X) == 0:
            raise ValueError(f"X has no rows; its shape is {X.shape}")
        return evaluation.evaluate(self, X, y, weights)

    def loss_of(self, z: Array, y: Array, weights: Array | None) -> tuple[float, float]:
        """Compute the mean loss and score of the last layer's ``z`` (n, K), for checked targets.

        Both are NaN if all weights are 0.
        """
        if weights is not None and not weights.any():
            return float("nan"), float("nan")
        row_weights = checks.row_weights(weights, len(z), self.dtype)
        if self._loss_of_outputs.objective.transition != self.huber_delta:
            self._loss_of_outputs = LossOfOutputs(self.objective())
        return self._loss_of_outputs(z, y, row_weights)

    def loss_and_gradients(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        l2: float = 0.0,
        *,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        label_smoothing: float = 0.0,
        seed: int = 0,
    ) -> tuple[float, Array]:
        """Compute the loss with its penalties, and its gradient.

        Parameters
        ----------
        X : (n, M) array
        y : (n,) or (n, K) array
        sample_weight : (n,) array, optional
        l2, l1 : float
            ``l2 / 2 * sum W**2 + l1 * sum |W|`` is added; biases have no penalty.
        dropout : float or sequence of float
            Fraction of each hidden layer's outputs dropped; the mask depends on ``seed``.
        label_smoothing : float
            Fraction of each label spread evenly over the classes.
        seed : int
            Seed of the dropout mask.

        Returns
        -------
        loss : float
        gradients : (P,) array
            In the order of ``params``.
        """
        X = self.inputs(X)
        y = self.targets(y, len(X))
        if len(X) == 0:
            raise ValueError(f"X has no rows; its shape is {X.shape}")
        weights = checks.weights(sample_weight, len(X), self.dtype)
        objective = self.objective(l1, l2, dropout, label_smoothing)
        return self._gradients.loss_and_gradient(self.params, X, y, weights, objective, seed)

    def backward(
        self, X: Any, d_outputs: Any, *, inputs: bool = False, logits: bool = False
    ) -> Any:
        """Compute the gradient of any function of the outputs with respect to the parameters.

        In a custom loop with a custom loss: call ``outputs = net.forward(X)``, compute the
        derivative of the loss with respect to ``outputs``, then call ``backward`` and
        ``Stepper.step``.

        Parameters
        ----------
        X : (n, M) array
        d_outputs : (n, K) array
            dLoss/doutputs, where the outputs are ``forward(X)``. For a mean over the rows it
            contains the factor 1/n.
        inputs : bool
            Whether to also return dLoss/dX.
        logits : bool
            Whether ``d_outputs`` is the derivative with respect to z, the last layer before
            softmax, sigmoid or e^z.

        Returns
        -------
        gradient : (P,) array
            In the order of ``params``.
        dX : (n, M) array
            Only with ``inputs=True``, as the second of a pair.

        Raises
        ------
        ValueError, TypeError
            If ``X`` has the wrong shape or contains anything but finite numbers, the shape of
            ``d_outputs`` is not that of the outputs, or the network has ``batch_norm``, whose
            outputs in training are not those of ``forward``.

        Notes
        -----
        Seed 000, eq. 13 and 15 to 20. The forward pass is computed again.
        """
        arguments.check_custom_loop(self)
        X = self._kernel_inputs(X)
        if inputs and self.encoding is not None:
            raise ValueError("inputs=True is not supported by networks with an encoding")
        if X.dtype != self.dtype:
            unit = 1.0 / 255.0 if X.itemsize == 1 else 1.0
            X = (X * unit).astype(self.dtype)
        if len(X) == 0:
            raise ValueError(f"X has no rows; its shape is {X.shape}")
        d = checks.alike("d_outputs", d_outputs, X, (len(X), self.sizes[-1]))
        if self.layout.members > 1:
            if logits:
                raise ValueError(
                    f"logits=True is not supported by networks of members={self.layout.members}, "
                    "each of which has its own z"
                )
            d = d / d.dtype.type(self.layout.members)  # the outputs are a mean over the members
        gradient, dX, finite = self._gradients.output_gradient(
            self.params, X, d, self.loss_row, inputs=inputs, logits=logits
        )
        if not finite:
            self.inputs(X)  # raises for a number that is not finite
        return (gradient, dX) if inputs else gradient

    plan = step_plan
