"""A network: what can be computed from its layers and its parameters."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.kernels import losses
from fastbp.network import evaluation
from fastbp.network.evaluation import row_count
from fastbp.network.planning import step_plan
from fastbp.network.structure import Structure
from fastbp.plan.buffers import Problem
from fastbp.plan.choice import FEW_ROWS
from fastbp.plan.describe import StepPlan
from fastbp.plan.gradient import NO_UPDATE, Gradients
from fastbp.plan.inference import Inference, LossOfOutputs
from fastbp.plan.problem import Batches, Data, Objective, Sparse
from fastbp.plan.processors import own_processors
from fastbp.plan.steps import Steps, random_key

# Rows are evaluated in blocks whose outputs fit into the second-level cache.
BLOCK_BYTES = 1 << 19
# Of so many multiplications, inference is worth the start of threads.
THREADED_ROWS = 1e8
# Examples of so many bytes are copied into a plan that is kept; larger ones have a plan made.
COPIED_BYTES = 1 << 20


class Network(Structure):
    """Dense layers, an activation between them, and a loss.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every layer: ``[784, 128, 10]`` has one hidden layer.
    activation : str, OwnActivation or sequence of them
        Of the hidden layers, one or one for each: ``relu``, ``leaky_relu``, ``elu``,
        ``sigmoid``, ``tanh``, ``softplus``, ``gelu``, ``silu``, ``identity``.
    loss : str or OwnLoss
        ``softmax_cross_entropy``: class indices or probabilities, one output per class;
        ``sigmoid_cross_entropy``: independent yes-or-no outputs; ``squared_error``,
        ``absolute_error``, ``huber``, ``poisson``: values. It decides the last layer's
        activation: softmax, sigmoid, identity, or e^z for ``poisson``.
    dtype : {"float32", "float64"}
        Of parameters and arithmetic; data of another type are converted.
    seed : int, numpy.random.Generator or None
        Of the initial weights; None draws a new seed.
    huber_delta : float
        Residual at which ``huber`` turns from square to linear.
    out_activation : str or OwnActivation, optional
        Of the last layer, under ``squared_error``, ``absolute_error``, ``huber`` and losses of the
        user's own: ``sigmoid`` keeps predictions between 0 and 1, ``softplus`` above 0. None: the
        values themselves.

    Attributes
    ----------
    params : (P,) array
        Every parameter: for each layer W, C-ordered (fan-in, fan-out), then b.
    weights, biases : lists of arrays
        Views of ``params``, (fan-in, fan-out) and (fan-out,).

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive whole number, a name is unknown, or a function of the user's
        own cannot be compiled for the dtype.

    Notes
    -----
    Weights of ReLU-like layers start normal with variance 2 / fan-in (He et al. 2015; seed 004),
    the others uniform within sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio 2010); biases at 0.
    """

    def _prepare(self) -> None:
        """Make the places where plans are kept from call to call."""
        self._inference, self._gradients = Inference(self.layout), Gradients(self.layout)
        self._pulled: dict[bool, Objective] = {}
        self._loss_of_outputs = LossOfOutputs(self.objective())

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("_inference", "_gradients", "_pulled", "_loss_of_outputs"):
            del state[name]
        return state

    def objective(
        self,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        label_smoothing: float = 0.0,
    ) -> Objective:
        """Check penalties and put them together with the loss for a plan."""
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
            raise ValueError(f"label_smoothing={label_smoothing!r} has no meaning for {self.loss}")
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
    def _rows_together(self) -> int:
        """How many rows go through the layers at a time: their outputs stay in the cache."""
        row_bytes: int = self.layout.outputs * self.dtype.itemsize
        return max(16, BLOCK_BYTES // row_bytes)

    def infer_checked(self, X: Array | Sparse, link: Any) -> Array:
        """Compute the network's outputs for ``X`` (n, M) through a kernel ``link``; None: z.

        Of dense rows those that are not finite are found here; all else was checked before.
        """
        n = row_count(X)
        if n <= FEW_ROWS and n and not isinstance(X, Sparse):
            few = self._inference.few(self.params, X, link)
            if few is None:
                self.inputs(X)  # says which number is not finite
            else:
                return few
        out = np.empty((n, self.sizes[-1]), self.dtype)
        if n == 0:
            return out
        rows = self._rows_together
        work = float(n) * self.layout.params
        threads = min(own_processors(), n // rows) if work >= THREADED_ROWS else 1
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
            self.inputs(X)  # says which number is not finite
        return out

    def expect_inference(self, n: int, link: Any) -> None:
        """Have what ``infer_checked`` needs for ``n`` dense rows compiled with the next plan."""
        if n > FEW_ROWS:
            self._inference.expect(self.params, min(n, self._rows_together), self.dtype, link)

    def _table(self, X: Any) -> Array:
        """Take ``X`` as kernels do, but for numbers that are not finite, which ``infer`` finds."""
        ready = type(X) is np.ndarray and X.dtype is self.dtype and X.ndim == 2 and X.flags.carray
        return X if ready and X.shape[1] == self.sizes[0] else self.inputs(X)

    def forward(self, X: Any) -> Array:
        """Compute the outputs for ``X`` (n, M): (n, K) probabilities or values.

        One row takes microseconds; many go through the caches in blocks, on all processors.

        Raises
        ------
        ValueError, TypeError
            If ``X`` has the wrong shape or holds anything but finite numbers.
        """
        return self.infer_checked(self._table(X), self.loss_row.link)

    def predict(self, X: Any) -> Array:
        """Decide for ``X`` (n, M): class indices (n,), or values (n, K).

        ``sigmoid_cross_entropy`` gives 0 or 1 per output, (n, K).
        """
        if self.loss_row.output == "values":
            return self.forward(X)
        z = self.infer_checked(self._table(X), None)
        decided = z.argmax(axis=1) if self.loss == "softmax_cross_entropy" else z > 0
        return decided.astype(np.int64)

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
        """Compute the mean loss and the metric on ``X`` (n, M) and ``y``.

        Returns
        -------
        loss : float
            Mean of the loss, weighted by ``sample_weight``, without penalties.
        metric : float
            Accuracy (of ``sigmoid_cross_entropy``: the share of rows with every output right),
            or R^2, of all outputs together, or the loss again if it is the user's own.
        """
        X = self.inputs(X)
        y = self.targets(y, len(X))
        weights = checks.weights(sample_weight, len(X), self.dtype)
        if len(X) == 0:
            raise ValueError(f"X has no rows; its shape is {X.shape}")
        return evaluation.evaluate(self, X, y, weights)

    def loss_of(self, z: Array, y: Array, weights: Array | None) -> tuple[float, float]:
        """Compute mean loss and score of the last layer's ``z`` (n, K) for checked targets.

        NaN, both, if all weights are 0.
        """
        if weights is None:
            shares = np.full(len(z), 1.0 / len(z), self.dtype)
        else:
            weight = float(weights.sum(dtype=np.float64))
            if weight == 0.0:
                return float("nan"), float("nan")
            shares = (weights.astype(np.float64) / weight).astype(self.dtype)
        if self._loss_of_outputs.objective.transition != self.huber_delta:
            self._loss_of_outputs = LossOfOutputs(self.objective())
        return self._loss_of_outputs(z, y, shares)

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
        """Compute the loss with its penalties, and its gradient, by one step that moves nothing.

        Parameters
        ----------
        X : (n, M) array
        y : (n,) or (n, K) array
        sample_weight : (n,) array, optional
        l2, l1 : float
            ``l2 / 2 * sum W**2 + l1 * sum |W|`` is added; biases are left out.
        dropout : float or sequence of float
            Share of each hidden layer's outputs dropped; the mask follows from ``seed``.
        label_smoothing : float
            Share of each label spread evenly over the classes.
        seed : int
            Of the dropout mask.

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
        if X.dtype != self.dtype or X.nbytes > COPIED_BYTES:
            data, n = Data(X, y, weights), len(X)
            problem = Problem.for_training(self.layout, objective, NO_UPDATE, data, Batches(n))
            step = Steps(problem, self.params, seed=seed)
            _, means = step.take(np.zeros(1, np.float64))
            return float(means[0, 0]) if len(means) else float("nan"), step.gradients
        penalties = None if objective.penalties is None else objective.penalties.tobytes()
        key = (len(X), y.ndim, weights is None, objective._replace(penalties=None), penalties)
        plan = self._gradients.take(
            key, self.params, objective, len(X), y, weighted=weights is not None
        )
        plan.X[...], plan.y[...] = X, y
        if plan.weights is not None:
            plan.weights[...] = weights
        if objective.dropout is not None:
            plan.random[0] = random_key(seed)
        finite = plan.run()
        loss, gradient = float(plan.totals[0]), plan.gradient.copy()
        self._gradients.give(key, plan)
        return loss if finite else float("nan"), gradient

    def backward(
        self, X: Any, d_outputs: Any, *, inputs: bool = False, logits: bool = False
    ) -> Any:
        """Compute the gradient of any function of the outputs, with respect to the parameters.

        For a loss of your own, in a loop of your own: ``outputs = net.forward(X)``, then the
        derivative of the loss with respect to ``outputs``, then this, then ``Stepper.step``.

        Parameters
        ----------
        X : (n, M) array
        d_outputs : (n, K) array
            dLoss/doutputs, of what ``forward`` gives for ``X``. A mean over the rows has its
            1/n in here.
        inputs : bool
            Whether dLoss/dX is wanted, too.
        logits : bool
            ``d_outputs`` is the derivative with respect to z, the last layer before softmax,
            sigmoid or e^z.

        Returns
        -------
        gradient : (P,) array
            In the order of ``params``.
        dX : (n, M) array
            Only with ``inputs=True``: a pair is returned then.

        Raises
        ------
        ValueError, TypeError
            If ``X`` has another shape or holds anything but finite numbers, or if ``d_outputs``
            is not shaped like the outputs.

        Notes
        -----
        Seed 000, eq. 13 and 15 to 20. The forward pass is made again: nothing is remembered.
        """
        X = self._table(X)
        if X.dtype != self.dtype:
            unit = 1.0 / 255.0 if X.itemsize == 1 else 1.0
            X = (X * unit).astype(self.dtype)
        if len(X) == 0:
            raise ValueError(f"X has no rows; its shape is {X.shape}")
        d = checks.alike("d_outputs", d_outputs, X, (len(X), self.sizes[-1]))
        key = len(X), inputs, logits
        plan = self._gradients.take(
            key, self.params, self._pulled_back(logits), len(X), d, inputs=inputs
        )
        plan.X[...], plan.y[...] = X, d
        if not plan.run():
            self.inputs(X)  # says which number is not finite
        gradient = plan.gradient.copy()
        dX = None if plan.dX is None else plan.dX.copy()
        if X.nbytes <= COPIED_BYTES:  # else its memory is not worth keeping
            self._gradients.give(key, plan)
        return (gradient, dX) if inputs else gradient

    def _pulled_back(self, logits: bool) -> Objective:
        """Make the objective whose delta comes from a gradient that is given."""
        found = self._pulled.get(logits)
        if found is None:
            kernel = losses.given_gradient if logits else self.loss_row.pull_back
            loss = self.loss_row._replace(
                of_labels=None, of_targets=kernel, numbers=(), scratch=False
            )
            found = self._pulled[logits] = Objective(loss)
        return found

    def plan(
        self,
        batch_size: int = 128,
        *,
        optimizer: Any = "adam",
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        sample_weight: bool = False,
        n_threads: int = 1,
    ) -> StepPlan:
        """Show the operations of one training step, in their order, as a table.

        ``print(net.plan(32))`` shows what is computed, by which kernel and on which shapes;
        ``print(net.plan(32).measure())`` also how long each operation takes.

        Parameters
        ----------
        batch_size : int
            Rows of the step.
        optimizer, l2, l1, dropout, label_smoothing, clip_norm
            As ``fastbp.train`` takes them.
        sample_weight : bool
            Whether rows have weights.
        n_threads : int
            Threads that take the step together; the plan of the first of them is shown.

        Returns
        -------
        StepPlan
            Of a copy of the network, with random data of its own.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described.
        """
        penalties = {
            "l1": l1,
            "l2": l2,
            "dropout": dropout,
            "label_smoothing": label_smoothing,
        }
        return step_plan(
            self, batch_size, optimizer, penalties, clip_norm, sample_weight, n_threads
        )
