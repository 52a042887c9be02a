"""The same training by other libraries: an adapter for each, and the timing of all in turn.

Every adapter is given the same float32 data, start weights, order of the rows and Adam, and gathers
its batches itself. Each library is used as its own users would for speed, and what it does only
once, such as compiling, is not timed. ``test_peers.py`` starts this file in a process of its own
for each number of threads, which must be set before the libraries are loaded, and reads what it
prints: JSON.
"""

import argparse
import functools
import gc
import importlib.util
import json
import math
import os
import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cases import CHECKED, GRID, LEARNING_RATE, Array, Case, Compiled, Plain, Row, apart, timed
from floor import Floor
from measurements import FASTBP, FLOOR, JAX, NUMPY, SCIKIT_LEARN, TORCH, TORCH_COMPILED

import fastbp

ADAM = fastbp.Adam(LEARNING_RATE)
CHECK = Row((5, 9, 7, 4), 6, CHECKED * 6)  # on which the adapters are held to the naive path
EPOCH_WORK = 6.2e9  # multiplications of an epoch, or the largest networks would take minutes
LEAST_STEPS = 8
REST_SECONDS = 0.03  # for which threads go on spinning after their work is done


def columns(case: Case, rows: Array) -> list[tuple[Array, Array]]:
    """Give W (M, N) and b (N,) of each layer as views of ``rows``, a flat (P,) array."""
    layers, start = [], 0
    for M, N in zip(case.row.sizes[:-1], case.row.sizes[1:], strict=True):
        end = start + M * N
        layers.append((rows[start:end].reshape(M, N), rows[end : end + N]))
        start = end + N
    return layers


def flat(weights: Sequence[Any], biases: Sequence[Any]) -> Array:
    """Put weights (M, N) and biases (N,) of all layers into one array, in fastbp's order."""
    pairs = zip(weights, biases, strict=True)
    return np.concatenate([np.asarray(part).ravel() for pair in pairs for part in pair])


class InNumpy:
    """NumPy at its best: the fused gradient, one flat buffer, everything written in place."""

    def __init__(self, case: Case) -> None:
        self.case, self.order = case, case.order.reshape(case.steps, case.batch)
        self.params, self.grads, self.m, self.v, self.spare = np.zeros(
            (5, case.net.params.size), np.float32
        )
        self.layers, self.gradients = columns(case, self.params), columns(case, self.grads)
        # What goes into each layer, the logits, and from behind the gradient of each but the first.
        self.values = [np.empty((case.batch, size), np.float32) for size in case.row.sizes]
        self.deltas = [np.empty_like(value) for value in self.values]
        self.places = np.arange(case.batch)
        self.reset()

    def reset(self) -> None:
        """Go back to the start: weights and optimizer."""
        self.params[:] = self.case.net.params
        self.m[:] = 0
        self.v[:] = 0
        self.taken = 0

    def run(self) -> float:
        """Take the steps of an epoch; returns its mean loss."""
        total = 0.0
        for rows in self.order:
            np.take(self.case.X, rows, axis=0, out=self.values[0], mode="clip")
            total += self._gradients(self.case.y[rows])
            self._adam()
        return total / len(self.order)

    def _gradients(self, y: Array) -> float:
        last = len(self.layers) - 1
        for i, (W, b) in enumerate(self.layers):
            z = np.matmul(self.values[i], W, out=self.values[i + 1])
            z += b
            if i < last:
                np.maximum(z, 0, out=z)
        p = self.values[-1]
        p -= p.max(axis=1, keepdims=True)
        correct = p[self.places, y]
        np.exp(p, out=p)
        sums = p.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(sums[:, 0]) - correct))
        p /= sums
        p[self.places, y] -= 1
        p /= len(y)
        delta = p
        for i in range(last, -1, -1):
            dW, db = self.gradients[i]
            np.matmul(self.values[i].T, delta, out=dW)
            np.sum(delta, axis=0, out=db)
            if i > 0:
                delta = np.matmul(delta, self.layers[i][0].T, out=self.deltas[i])
                delta *= self.values[i] > 0
        return loss

    def _adam(self) -> None:
        self.taken += 1
        m, v, spare = self.m, self.v, self.spare
        m *= ADAM.beta1
        m += np.multiply(self.grads, 1 - ADAM.beta1, out=spare)
        v *= ADAM.beta2
        np.multiply(self.grads, self.grads, out=spare)
        spare *= 1 - ADAM.beta2
        v += spare
        # Both corrections go into two numbers, which spares a pass over the parameters each.
        root = math.sqrt(1 - ADAM.beta2**self.taken)
        np.sqrt(v, out=spare)
        spare += ADAM.epsilon * root
        np.divide(m, spare, out=spare)
        spare *= LEARNING_RATE * root / (1 - ADAM.beta1**self.taken)
        self.params -= spare


class Given(np.random.RandomState):
    """Random numbers whose shuffle is not random: it puts ``order`` (n,) into its argument."""

    def __init__(self, order: Array) -> None:
        super().__init__(0)
        self.order, self.asked = order, 0.0

    def shuffle(self, x: Array) -> None:
        """Put the order into ``x`` (n,), and note the time: an epoch begins so."""
        self.asked = time.perf_counter()
        x[:] = self.order


class InScikitLearn:
    """scikit-learn's ``MLPClassifier``, by its public names: an epoch is a ``fit``.

    ``warm_start`` lets ``fit`` go on from the weights, into which the start is written. Each
    ``fit`` shuffles with a random state that knows one order only, so that the loop that gathers
    batches is its own. What ``fit`` does before, once for however many epochs, is set aside.
    """

    def __init__(self, case: Case) -> None:
        from sklearn.neural_network import MLPClassifier

        self.case = case
        self.model = MLPClassifier(
            case.row.sizes[1:-1],
            alpha=0.0,
            batch_size=case.batch,
            learning_rate_init=LEARNING_RATE,
            beta_1=ADAM.beta1,
            beta_2=ADAM.beta2,
            epsilon=ADAM.epsilon,
            max_iter=1,
            shuffle=False,
        )
        # A step makes the arrays and tells the classes; its result is overwritten.
        X, y, classes = case.X[: case.batch], case.y[: case.batch], np.arange(case.row.sizes[-1])
        self.model.partial_fit(X, y, classes=classes)
        self.random = Given(case.order)
        self.model.set_params(shuffle=True, random_state=self.random, warm_start=True)
        self.aside = 0.0  # seconds of the last run before its first step
        self.reset()

    def reset(self) -> None:
        """Go back to the start weights; ``fit`` makes its optimizer anew."""
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        for ours, (W, b) in zip(columns(self.case, self.case.net.params), pairs, strict=True):
            W[:], b[:] = ours

    def run(self) -> float:
        """Take the steps of an epoch; returns its mean loss."""
        from sklearn.exceptions import ConvergenceWarning

        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an epoch is all that is asked for
            self.model.fit(self.case.X, self.case.y)
        self.aside = self.random.asked - start
        return float(self.model.loss_)

    @property
    def params(self) -> Array:
        """All parameters, flat."""
        return flat(self.model.coefs_, self.model.intercepts_)


class InTorch:
    """PyTorch, one operation after the other, with its fused Adam."""

    def __init__(self, case: Case) -> None:
        import torch

        self.case = case
        self.X, self.y = torch.from_numpy(case.X), torch.from_numpy(case.y)
        self.order = torch.from_numpy(case.order).view(case.steps, case.batch)
        parts: list[Any] = []
        for M, N in zip(case.row.sizes[:-1], case.row.sizes[1:], strict=True):
            parts += [torch.nn.Linear(M, N), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*parts[:-1])
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=LEARNING_RATE,
            betas=(ADAM.beta1, ADAM.beta2),
            eps=ADAM.epsilon,
            fused=True,
        )
        self.reset()

    def reset(self) -> None:
        """Go back to the start: weights and optimizer."""
        import torch

        linear = [part for part in self.model if isinstance(part, torch.nn.Linear)]
        with torch.no_grad():
            for part, (W, b) in zip(linear, columns(self.case, self.case.net.params), strict=True):
                part.weight.copy_(torch.from_numpy(W.T))
                part.bias.copy_(torch.from_numpy(b))
        self._forget()

    def _forget(self) -> None:
        for kept in self.optimizer.state.values():
            for value in kept.values():
                value.zero_()

    def run(self) -> float:
        """Take the steps of an epoch; returns its mean loss."""
        import torch

        total = torch.zeros(())
        for rows in self.order:
            total += self._step(rows)
        return float(total) / len(self.order)

    def _step(self, rows: Any) -> Any:
        loss = self._loss(rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _loss(self, rows: Any) -> Any:
        import torch

        outputs = self.model(self.X.index_select(0, rows))
        return torch.nn.functional.cross_entropy(outputs, self.y.index_select(0, rows))

    @property
    def params(self) -> Array:
        """All parameters, flat."""
        arrays = [part.detach().numpy().T for part in self.model.parameters()]
        return flat(arrays[::2], arrays[1::2])


class InCompiledTorch(InTorch):
    """PyTorch, a whole step compiled as one graph by ``torch.compile``, which calls it from C++.

    Gradients come from ``torch.func`` and Adam is written out: around ``backward`` and the
    optimizer's own ``step`` the graph would break into three, and small networks would take longer
    than without compiling.
    """

    def __init__(self, case: Case) -> None:
        import torch

        super().__init__(case)
        names = [name for name, _ in self.model.named_parameters()]
        self.parameters = [part.detach() for part in self.model.parameters()]
        self.m = [torch.zeros_like(part) for part in self.parameters]
        self.v = [torch.zeros_like(part) for part in self.parameters]
        self.taken = torch.zeros(())

        def loss(parameters: Any, X: Any, y: Any) -> Any:
            named = dict(zip(names, parameters, strict=True))
            outputs = torch.func.functional_call(self.model, named, (X,))
            return torch.nn.functional.cross_entropy(outputs, y)

        def step(parameters: Any, m: Any, v: Any, taken: Any, X: Any, y: Any, rows: Any) -> Any:
            batch = X.index_select(0, rows), y.index_select(0, rows)
            gradients, before = torch.func.grad_and_value(loss)(parameters, *batch)
            taken += 1
            own, root = 1 - ADAM.beta1**taken, torch.sqrt(1 - ADAM.beta2**taken)
            for parameter, g, mean, square in zip(parameters, gradients, m, v, strict=True):
                mean.mul_(ADAM.beta1).add_(g, alpha=1 - ADAM.beta1)
                square.mul_(ADAM.beta2).addcmul_(g, g, value=1 - ADAM.beta2)
                parameter.sub_(LEARNING_RATE * (mean / own) / (square.sqrt() / root + ADAM.epsilon))
            return before

        torch._dynamo.reset()  # another row of the grid is another graph
        self.compiled = torch.compile(
            step, dynamic=False, fullgraph=True, options={"cpp_wrapper": True}
        )
        self._forget()

    def _forget(self) -> None:
        if hasattr(self, "taken"):
            for value in (*self.m, *self.v, self.taken):
                value.zero_()

    def _step(self, rows: Any) -> Any:
        return self.compiled(self.parameters, self.m, self.v, self.taken, self.X, self.y, rows)


class InJax:
    """JAX with a whole epoch inside one ``jit``: ``lax.scan`` over steps, buffers donated."""

    def __init__(self, case: Case) -> None:
        import jax

        self.case = case
        order = case.order.reshape(case.steps, case.batch)
        self.data = [jax.numpy.array(part) for part in (case.X, np.int32(case.y), np.int32(order))]
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        """Go back to the start: weights and optimizer."""
        import jax

        start = columns(self.case, self.case.net.params)
        copies = [jax.tree.map(jax.numpy.array, start)]
        copies += [jax.tree.map(jax.numpy.zeros_like, start) for _ in range(2)]
        self.state = (*copies, jax.numpy.zeros((), "float32"))

    def run(self) -> float:
        """Take the steps of an epoch; returns its mean loss."""
        self.state, loss = self.epoch(self.state, *self.data)
        return float(loss)

    @staticmethod
    def _loss(layers: Any, X: Any, y: Any) -> Any:
        import jax

        for W, b in layers[:-1]:
            X = jax.nn.relu(X @ W + b)
        W, b = layers[-1]
        logits = X @ W + b
        correct = jax.numpy.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=1) - correct).mean()

    @classmethod
    def _step(cls, X: Any, y: Any, state: Any, rows: Any) -> tuple[Any, Any]:
        import jax

        layers, m, v, taken = state
        batch = (part.at[rows].get(mode="promise_in_bounds") for part in (X, y))
        loss, g = jax.value_and_grad(cls._loss)(layers, *batch)
        taken += 1
        own, other = 1 - ADAM.beta1**taken, 1 - ADAM.beta2**taken
        m = jax.tree.map(lambda m, g: ADAM.beta1 * m + (1 - ADAM.beta1) * g, m, g)
        v = jax.tree.map(lambda v, g: ADAM.beta2 * v + (1 - ADAM.beta2) * g * g, v, g)
        layers = jax.tree.map(
            lambda p, m, v: (
                p - LEARNING_RATE * (m / own) / (jax.numpy.sqrt(v / other) + ADAM.epsilon)
            ),
            layers,
            m,
            v,
        )
        return (layers, m, v, taken), loss

    @classmethod
    def _epoch(cls, state: Any, X: Any, y: Any, order: Any) -> tuple[Any, Any]:
        import jax

        state, losses = jax.lax.scan(functools.partial(cls._step, X, y), state, order)
        return state, losses.mean()

    @property
    def params(self) -> Array:
        """All parameters, flat."""
        layers = self.state[0]
        return flat([W for W, _ in layers], [b for _, b in layers])


class Products:
    """The floor, as a path: the matrix products of as many steps."""

    def __init__(self, case: Case) -> None:
        self.floor, self.steps = Floor(case.net, case.X[: case.batch]), case.steps

    def reset(self) -> None:
        """There is nothing to go back to."""

    def run(self) -> None:
        """Make the products of an epoch's steps."""
        self.floor.run(self.steps)


PATHS: dict[str, Callable[[Case], Any]] = {
    NUMPY: InNumpy,
    SCIKIT_LEARN: InScikitLearn,
    TORCH: InTorch,
    TORCH_COMPILED: InCompiledTorch,
    JAX: InJax,
}
# scikit-learn cuts the loss of an example at 16 where it reports it; before large networks have
# learnt anything, some lie above.
LOSS_APART = {SCIKIT_LEARN: 0.05}
MODULES = {SCIKIT_LEARN: "sklearn", TORCH: "torch", TORCH_COMPILED: "torch", JAX: "jax"}


def installed() -> list[str]:
    """Name the paths that can be taken here, fastbp's last."""
    paths = [path for path in PATHS if importlib.util.find_spec(MODULES.get(path, "numpy"))]
    if TORCH_COMPILED in paths and not shutil.which(os.environ.get("CXX", "g++")):
        paths.remove(TORCH_COMPILED)
    return [*paths, FASTBP]


def make(path: str, case: Case, threads: int) -> Any:
    """Make a path; with more than one thread, fastbp chooses how many of them it takes."""
    if path == FASTBP:
        return Compiled(case, n_threads=1 if threads == 1 else None)
    return PATHS[path](case)


def hold(threads: int) -> None:
    """Hold this process to one processor, if it is to have one thread: JAX heeds nothing else.

    What the other libraries heed are variables, set before the process starts.
    """
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if TORCH in installed():
        import torch

        torch.set_num_threads(threads)


def check(threads: int) -> dict[str, Any]:
    """Take a few steps on every path: by how much loss and parameters are off the naive path's."""
    case = Case(CHECK, CHECK.rows)
    naive = Plain(case, jacobian=True)
    loss, off = naive.run(), {}
    for path in installed():
        way = make(path, case, threads)
        off[path] = {"loss": abs(way.run() / loss - 1), "params": apart(case, way, naive)}
    return off


def rows_of_epoch(row: Row) -> int:
    """Say how many examples an epoch has here: the grid's, but less of the largest networks."""
    weights = sum(M * N for M, N in zip(row.sizes[:-1], row.sizes[1:], strict=True))
    steps = max(LEAST_STEPS, int(EPOCH_WORK / (3 * row.batch * weights)))
    return min(row.rows, steps * row.batch)


def epoch_time(way: Any) -> float:
    """Time an epoch, without what the path itself sets aside."""
    seconds = timed(way.run)
    return seconds - getattr(way, "aside", 0.0)


def measure(row: Row, threads: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Time all paths in turn, in rounds of at least ``seconds`` each; returns medians, µs a step.

    A round is one epoch or several, from the start weights. The first epoch compiles and is not
    timed. With one thread the floor takes its turn too.
    """
    case = Case(row, rows_of_epoch(row))
    ways = {path: make(path, case, threads) for path in installed()}
    losses = {path: way.run() for path, way in ways.items()}
    for path, loss in losses.items():
        if not math.isclose(loss, losses[NUMPY], rel_tol=LOSS_APART.get(path, 1e-3)):
            raise AssertionError(f"{path} does other work: {losses} on {case.label}")
    if threads == 1:
        ways[FLOOR] = Products(case)
        ways[FLOOR].run()
    gc.collect()
    times: dict[str, list[float]] = {path: [] for path in ways}
    repeats: dict[str, int] = {}
    for turn in range(rounds + 1):  # the first is for warming up, and to see how long an epoch is
        for path, way in ways.items():
            way.reset()
            if threads > 1:
                time.sleep(REST_SECONDS)
            count = repeats.get(path, 1)
            spent = sum(epoch_time(way) for _ in range(count))
            if turn == 0:
                repeats[path] = math.ceil(seconds / spent)
            else:
                times[path].append(spent / count / case.steps * 1e6)
    medians = {path: statistics.median(kept) for path, kept in times.items()}
    return {
        "network": str(row),
        "batch": row.batch,
        "floor_us": medians.pop(FLOOR, None),
        "step_us": medians,
    }


def main() -> None:
    """Check or measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--check", action="store_true", help="take a few steps, time nothing")
    parser.add_argument("--rows", type=int, nargs="*", help="of the grid, from 0; default all")
    parser.add_argument("--seconds", type=float, default=0.025, help="of a round, at least")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    hold(given.threads)
    if given.check:
        print(json.dumps(check(given.threads)))
        return
    rows = GRID if given.rows is None else [GRID[i] for i in given.rows]
    gc.disable()  # it would interrupt, and with all libraries loaded it takes half a second
    measured = [measure(row, given.threads, given.seconds, given.rounds) for row in rows]
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
