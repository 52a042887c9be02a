"""A network: layer sizes, one flat buffer of parameters, and what can be computed from it."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from typing import Any

import numpy as np

from fastbp import checks, persistence
from fastbp.arrays import Array, aligned
from fastbp.choices import ACTIVATIONS, FREE_OUTPUTS, LOSSES, Activation, Loss, choose
from fastbp.kernels import losses
from fastbp.optimizers import as_optimizer
from fastbp.own import OwnActivation, OwnLoss, fill_in
from fastbp.plan.choice import FEW_ROWS
from fastbp.plan.describe import StepPlan
from fastbp.plan.gradient import NO_UPDATE, Gradients
from fastbp.plan.inference import Inference, LossOfOutputs
from fastbp.plan.problem import Data, Layout, Objective, Sparse
from fastbp.plan.processors import MOST_THREADS, own_processors
from fastbp.plan.steps import Steps, random_key

DTYPES = ("float32", "float64")
# Rows are evaluated in blocks whose outputs fit into the second-level cache.
BLOCK_BYTES = 1 << 19
# Of so many multiplications, inference is worth the start of threads.
THREADED_ROWS = 1e8
# Rows are evaluated in stretches of about so many bytes of X.
EVALUATED_BYTES = 1 << 24
# Batches of the random data that a plan is shown for.
PLANNED_BATCHES = 4
# Examples of so many bytes are copied into a plan that is kept; larger ones have a plan made.
COPIED_BYTES = 1 << 20


class Network:
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

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | OwnActivation | Sequence[str | OwnActivation] = "relu",
        loss: str | OwnLoss = "softmax_cross_entropy",
        dtype: Any = "float32",
        seed: int | np.random.Generator | None = 0,
        *,
        huber_delta: float = 1.0,
        out_activation: str | OwnActivation | None = None,
    ) -> None:
        if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray):
            raise TypeError(f"sizes must be a sequence of whole numbers, not {sizes!r}")
        self.sizes = tuple(checks.whole(f"sizes[{i}]", n, 1) for i, n in enumerate(sizes))
        if len(self.sizes) < 2:
            raise ValueError(f"sizes must name the input and one layer at least, not {sizes!r}")
        hidden = len(self.sizes) - 2
        if isinstance(activation, str | OwnActivation):
            rows = [_activation("activation", activation)] * hidden
        else:
            rows = [_activation("activation", each) for each in _each(activation)]
        if len(rows) != hidden:
            raise ValueError(
                f"activation must be one name or one for each of the {hidden} hidden layers, not "
                f"{activation!r}"
            )
        self.activations = tuple(row.name for row in rows)
        self._loss: Loss = loss.row if isinstance(loss, OwnLoss) else _known("loss", loss, LOSSES)
        self.loss = self._loss.name
        if self.loss == "softmax_cross_entropy" and self.sizes[-1] < 2:
            raise ValueError(
                "softmax_cross_entropy needs two outputs at least, one per class; for yes or no "
                f"with one output take sigmoid_cross_entropy. sizes is {sizes!r}"
            )
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}") from None
        if self.dtype.name not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        self.huber_delta = checks.real("huber_delta", huber_delta, 0.0, open_ends="low")
        last = None
        if out_activation not in (None, "identity"):
            last = _activation("out_activation", out_activation)
            if not self._loss.free_output:
                raise ValueError(
                    f"out_activation={out_activation!r} goes with {', '.join(FREE_OUTPUTS)}, not "
                    f"with {self.loss}, which has its own"
                )
        self.out_activation = out_activation if last is None else last.name

        self.layout = Layout.of(self.sizes, tuple(rows), last, self.dtype)
        self._demand_own()
        self._prepare()
        self.params = aligned(self.layout.params, self.dtype, 0.0)
        self._set_views()

        random = np.random.default_rng(seed)
        rectifies = [row.rectifies for row in rows] + [last is not None and last.rectifies]
        for W, he in zip(self.weights, rectifies, strict=True):
            if he:
                W[:] = random.normal(0.0, np.sqrt(2.0 / W.shape[0]), W.shape)
            else:
                bound = np.sqrt(6.0 / sum(W.shape))
                W[:] = random.uniform(-bound, bound, W.shape)

    def _demand_own(self) -> None:
        """Compile what is the user's own, so that what cannot be used is refused at once."""
        named: dict[str, Any] = {}
        for piece in self.own:
            if isinstance(piece, OwnActivation) and named.setdefault(piece.name, piece) != piece:
                raise ValueError(f"two different activations have the name {piece.name!r}")
            piece.compile(self.dtype)

    def _prepare(self) -> None:
        """Make the places where plans are kept from call to call."""
        self._inference, self._gradients = Inference(self.layout), Gradients(self.layout)
        self._pulled: dict[bool, Objective] = {}
        self._loss_of_outputs = LossOfOutputs(self.objective())

    def _set_views(self) -> None:
        self.weights: list[Array] = []
        self.biases: list[Array] = []
        for i, (M, N) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            W, b = self.layout.weight_starts[i], self.layout.bias_starts[i]
            self.weights.append(self.params[W:b].reshape(M, N))
            self.biases.append(self.params[b : b + N])

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for name in (
            "weights",
            "biases",
            "_inference",
            "_gradients",
            "_pulled",
            "_loss_of_outputs",
        ):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.params = aligned(len(state["params"]), self.dtype)
        self.params[:] = state["params"]
        self._prepare()
        self._set_views()

    def __repr__(self) -> str:
        kinds = set(self.activations)
        activation = kinds.pop() if len(kinds) == 1 else list(self.activations)
        out = f", out_activation={self.out_activation!r}" if self.out_activation else ""
        return (
            f"Network({list(self.sizes)}, activation={activation!r}, loss={self.loss!r}, "
            f"dtype={self.dtype.name!r}{out})"
        )

    @property
    def link(self) -> Any:
        """The kernel that turns z into predictions, for ``infer_checked``."""
        return self._loss.link

    @property
    def metric(self) -> str:
        """Name of what ``evaluate`` returns beside the loss: ``accuracy``, ``r2`` or ``loss``."""
        return self._loss.metric

    @property
    def loss_row(self) -> Loss:
        """The row of the loss in the table of losses."""
        return self._loss

    @property
    def layer_activations(self) -> tuple[Activation, ...]:
        """The row of every layer's activation; of the last layer's too, whatever its link."""
        return *self.layout.activations, self.layout.out_activation or ACTIVATIONS["identity"]

    @property
    def own(self) -> tuple[OwnActivation | OwnLoss, ...]:
        """The activations of the user's own, layer by layer, and the loss if it is one."""
        rows: tuple[Any, ...] = (*self.layout.all_activations, self._loss)
        return tuple(row.own for row in rows if row.own is not None)

    def copy(self, dtype: Any = None) -> "Network":
        """Make an independent network with the same parameters, in another precision if given."""
        last = self.layout.out_activation
        twin = Network(
            self.sizes,
            [row.own or row.name for row in self.layout.activations],
            self._loss.own or self.loss,
            self.dtype if dtype is None else dtype,
            huber_delta=self.huber_delta,
            out_activation=self.out_activation if last is None else last.own or last.name,
        )
        twin.params[:] = self.params
        return twin

    # ------------------------------------------------------------------ what kernels take

    def inputs(self, X: Any) -> Array:
        """Check ``X`` and return it as (n, M) of the network's dtype, without needless copies.

        uint8 and memory maps stay what they are: kernels take their rows as numbers of the
        network's dtype, brightnesses of 0 to 255 as 0 to 1.

        Raises
        ------
        ValueError, TypeError
            If its shape is not (n, M) or it holds anything but finite numbers.
        """
        return checks.examples("X", X, self.sizes[0], self.dtype)

    def targets(self, y: Any, rows: int) -> Array:
        """Check ``y`` for ``rows`` rows; class indices (n,) as int64, or (n, K) like the network.

        Raises
        ------
        ValueError, TypeError
            If its length is not ``rows`` or its values are not what the loss can take.
        """
        K = self.sizes[-1]
        if self.loss == "softmax_cross_entropy":
            return checks.class_targets(y, rows, K, self.dtype)
        return checks.values(y, rows, K, self.dtype, self._loss.low, self._loss.high)

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
            loss=self._loss,
            smoothing=smoothing,
            transition=self.huber_delta,
            penalties=penalties if penalties.any() else None,
            dropout=tuple(checked) if any(checked) else None,
        )

    # ------------------------------------------------------------------ what users ask for

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
        return self.infer_checked(self._table(X), self._loss.link)

    def predict(self, X: Any) -> Array:
        """Decide for ``X`` (n, M): class indices (n,), or values (n, K).

        ``sigmoid_cross_entropy`` gives 0 or 1 per output, (n, K).
        """
        if self._loss.output == "values":
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
        return self.evaluate_checked(X, y, weights)

    def evaluate_checked(
        self, X: Array, y: Array, weights: Array | None, rows: Array | None = None
    ) -> tuple[float, float]:
        """Compute what ``evaluate`` does, of arrays that have been through the checks.

        Of all their rows or, without a copy of them all, of those whose indices ``rows`` holds.
        """
        loss, score = self.loss_and_score(X, y, weights, rows)
        if rows is not None:
            y, weights = y[rows], None if weights is None else weights[rows]
        if math.isnan(loss):  # no row that counts was held out
            return loss, loss
        return loss, self.metric_of(score, spread(y, weights))

    def loss_and_score(
        self,
        X: Array | Sparse,
        y: Array,
        weights: Array | None,
        rows: Array | None = None,
    ) -> tuple[float, float]:
        """Compute the means of what the loss kernels return, of checked arrays as above.

        NaN, both, if all weights are 0.
        """
        n = row_count(X) if rows is None else len(rows)
        width = self.layout.outputs if isinstance(X, Sparse) else self.sizes[0]
        most = max(16, EVALUATED_BYTES // (self.dtype.itemsize * width))
        loss = score = total = 0.0
        for start in range(0, n, most):
            part = slice(start, start + most)
            these = part if rows is None else rows[part]
            z = self.infer_checked(rows_of(X, these), None)
            own = None if weights is None else weights[these]
            weight = float(len(z) if own is None else own.sum(dtype=np.float64))
            if weight > 0.0:
                found = self.loss_of(z, y[these], own)
                loss += weight * found[0]
                score += weight * found[1]
                total += weight
        return (loss / total, score / total) if total > 0.0 else (float("nan"), float("nan"))

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

    def metric_of(self, score: float, variance: float) -> float:
        """Turn a mean score of the kernels into the metric; ``variance`` is ``spread(y)``."""
        if self.metric == "accuracy":
            return min(float(score), 1.0)
        if self.metric == "loss":
            return float(score)
        return 1.0 - float(score) / variance if variance > 0.0 else float("nan")

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
            step = Steps(self.params, self.layout, objective, NO_UPDATE, (), data, n, seed=seed)
            _, means = step.take(np.zeros(1, np.float64))
            return float(means[0, 0]) if len(means) else float("nan"), step.gradients
        penalties = None if objective.penalties is None else objective.penalties.tobytes()
        key = (len(X), y.ndim, weights is None, objective._replace(penalties=None), penalties)
        plan = self._gradients.take(
            *(key, self.params, objective, len(X), y), weighted=weights is not None
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
            *(key, self.params, self._pulled_back(logits), len(X), d), inputs=inputs
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
            kernel = losses.given_gradient if logits else self._loss.pull_back
            loss = self._loss._replace(of_labels=None, of_targets=kernel, numbers=(), scratch=False)
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
        batch_size = checks.whole("batch_size", batch_size, 1)
        n_threads = checks.whole("n_threads", n_threads, 1, MOST_THREADS)
        clip = 0.0
        if clip_norm is not None:
            clip = checks.real("clip_norm", clip_norm, 0.0, open_ends="low")
        if not isinstance(sample_weight, bool):
            raise TypeError(f"sample_weight must be True or False, not {sample_weight!r:.60}")
        chosen = as_optimizer(optimizer)
        net, random = self.copy(), np.random.default_rng(0)
        rows, K = PLANNED_BATCHES * batch_size, self.sizes[-1]
        X = random.uniform(0.0, 1.0, (rows, self.sizes[0])).astype(self.dtype)
        if self._loss.of_labels is not None:
            y: Array = random.integers(0, K, rows)
        else:
            y = random.uniform(0.0, 1.0, (rows, K)).astype(self.dtype)
        weights = np.ones(rows, self.dtype) if sample_weight else None
        steps = Steps(
            *(net.params, net.layout, self.objective(l1, l2, dropout, label_smoothing)),
            *(chosen.rule(clip), chosen.state(net.params.size, net.dtype)),
            *(Data(X, y, weights), batch_size),
            shuffled=True,
            n_threads=n_threads,
        )
        kinds = ", ".join(sorted(set(self.activations))) or "no hidden layer"
        title = (
            f"One step of {'-'.join(map(str, self.sizes))}, {kinds}, {self.loss}, "
            f"{type(chosen).__name__}, {batch_size} rows, {self.dtype.name}"
        )
        if n_threads > 1:
            title += f", the first of {n_threads} threads"
        return StepPlan(title, steps)

    def save(self, path: str | PathLike[str], *, preparation: dict[str, Any] | None = None) -> None:
        """Write the network to a safetensors file.

        Tensors are named and laid out as ``torch.nn.Sequential`` has them, ``0.weight`` (fan-out,
        fan-in), ``0.bias``, ``2.weight`` and so on, an activation counting as a layer; the
        description stands in the file's metadata. The file appears whole or not at all.

        Parameters
        ----------
        path : path
        preparation : dict, optional
            What JSON can hold, to be kept beside the description: see ``fastbp.Model``.
        """
        description = self.description()
        if preparation is None:
            persistence.write(path, self.state_dict(), description)
        else:
            description["preparation"] = preparation
            persistence.write(path, self.state_dict(), description, version=2)

    def state_dict(self) -> dict[str, Array]:
        """Give copies of the parameters by the names that ``torch.nn.Sequential`` gives them.

        ``0.weight`` is (fan-out, fan-in), ``0.bias`` (fan-out,); the next layer is 2, an
        activation counting as one. PyTorch takes them as ``{name: torch.from_numpy(array)}``.
        """
        tensors = {}
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors[f"{2 * i}.weight"] = np.array(W.T, order="C")
            tensors[f"{2 * i}.bias"] = b.copy()
        return tensors

    def load_state_dict(self, tensors: Mapping[str, Any]) -> None:
        """Take parameters by PyTorch's names: ``net.load_state_dict(model.state_dict())``.

        Parameters
        ----------
        tensors : mapping of str to array or tensor
            As ``state_dict`` gives them, in any precision.

        Raises
        ------
        ValueError, TypeError
            If a name or a shape is not that of this network; nothing has changed then.
        """
        left = dict(tensors)
        fresh = np.empty_like(self.params)
        for i, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            for name, view, turned in ((f"{2 * i}.weight", W, True), (f"{2 * i}.bias", b, False)):
                if name not in left:
                    names = ", ".join(tensors) or "nothing"
                    raise ValueError(f"there is no {name!r} among {names}")
                array = np.asarray(left.pop(name))
                shape = view.shape[::-1] if turned else view.shape
                if array.shape != shape or array.dtype.kind not in "fiu":
                    raise ValueError(
                        f"{name!r} must hold numbers in the shape {shape}; it has the shape "
                        f"{array.shape} and the dtype {array.dtype}"
                    )
                array = array.T if turned else array
                start = (self.layout.weight_starts if turned else self.layout.bias_starts)[i]
                fresh[start : start + view.size] = array.reshape(-1)
        if left:
            raise ValueError(f"{min(left)!r} belongs to no layer of {self!r}")
        self.params[:] = fresh

    def description(self) -> dict[str, Any]:
        """Say, in what JSON can hold, all that ``Network`` was told; own functions by name."""
        return {
            "sizes": list(self.sizes),
            "activation": list(self.activations),
            "loss": self.loss,
            "dtype": self.dtype.name,
            "huber_delta": self.huber_delta,
            "out_activation": self.out_activation,
        }

    @classmethod
    def load(
        cls, path: str | PathLike[str], own: Iterable[OwnActivation | OwnLoss] = ()
    ) -> "Network":
        """Read a network that ``save`` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : path
        own : iterable of OwnActivation and OwnLoss
            The functions that the file has the names of.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is not one of ours, is damaged, or was written by a newer version, or has
            the name of a function that ``own`` lacks.
        """
        return cls.load_with_preparation(path, own)[0]

    @classmethod
    def load_with_preparation(
        cls, path: str | PathLike[str], own: Iterable[OwnActivation | OwnLoss] = ()
    ) -> tuple["Network", dict[str, Any] | None]:
        """Read a network as ``load`` does, and the preparation that was saved with it, if any."""
        tensors, description = persistence.read(path)
        preparation = description.pop("preparation", None)
        fill_in(description, own, path)
        try:
            net = cls(**description)
            net.load_state_dict(tensors)
        except (KeyError, MemoryError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold a network as described: {error}") from None
        return net, preparation


def _activation(kind: str, given: Any) -> Activation:
    """Find the row of an activation: a name, or the user's own."""
    if isinstance(given, OwnActivation):
        return given.row
    row: Activation = _known(kind, given, ACTIVATIONS)
    return row


def _known(kind: str, given: Any, table: dict[str, Any]) -> Any:
    """Find the row of a name; a bare function is refused with the way to give it."""
    if callable(given):
        own = "OwnLoss" if kind == "loss" else "OwnActivation"
        raise TypeError(f"{kind} must be a name or a fastbp.{own}, not the function {given!r}")
    return choose(kind, given, table)


def _each(activation: Any) -> list[Any]:
    """Take a sequence of activations as a list; a bare function is left for ``_known``."""
    return [activation] if callable(activation) else list(activation)


def row_count(X: Array | Sparse) -> int:
    """Count the rows of dense or sparse examples."""
    return len(X.starts) - 1 if isinstance(X, Sparse) else len(X)


def rows_of(X: Array | Sparse, part: slice | Array) -> Array | Sparse:
    """Take some rows; of sparse ones a slice, whose numbers are not copied."""
    if isinstance(X, Sparse):
        first, stop, _ = part.indices(row_count(X))  # type: ignore[union-attr]
        return X._replace(starts=X.starts[first : stop + 1])
    return X[part]


def spread(y: Array, weights: Array | None) -> float:
    """Compute the weighted mean of a row's squared distance from the mean of ``y`` (n, K)."""
    if y.ndim == 1:
        return 0.0
    exact = y.astype(np.float64)
    mean = np.average(exact, axis=0, weights=weights)
    return float(np.average(((exact - mean) ** 2).sum(axis=1), weights=weights))


def gradient_check(
    net: Network,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    epsilon: float = 1e-5,
    **penalties: Any,
) -> float:
    """Compare the gradient with central finite differences, in float64.

    Parameters
    ----------
    net : Network
        Is not changed; a float64 copy of it is checked.
    X, y, sample_weight
        As in ``Network.loss_and_gradients``; a few rows suffice.
    epsilon : float
        How far each parameter is moved, to both sides.
    **penalties
        ``l1``, ``l2``, ``dropout``, ``label_smoothing``, ``seed``.

    Returns
    -------
    float
        The largest over the parameters of |difference| / max(|analytic| + |numeric|, scale), where
        scale is a thousandth of the largest gradient: below it finite differences are rounding.
        For a smooth network about 1e-6 or less: the difference is then wrong by epsilon^2, and by
        the rounding of the loss over epsilon. At a kink of ReLU or of an absolute value, as where
        an input is 0 and so are the biases, it can be large.
    """
    twin = net.copy("float64")
    _, analytic = twin.loss_and_gradients(X, y, sample_weight, **penalties)
    numeric = np.empty_like(analytic)
    for k, start in enumerate(twin.params.copy()):
        twin.params[k] = start + epsilon
        above, _ = twin.loss_and_gradients(X, y, sample_weight, **penalties)
        twin.params[k] = start - epsilon
        below, _ = twin.loss_and_gradients(X, y, sample_weight, **penalties)
        twin.params[k] = start
        numeric[k] = (above - below) / (2 * epsilon)
    size = np.abs(analytic) + np.abs(numeric)
    scale = max(1e-3 * float(size.max()), 1e-12)
    return float((np.abs(analytic - numeric) / np.maximum(size, scale)).max())
