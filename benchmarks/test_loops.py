"""A custom training loop, compared with PyTorch: forward, a loss in NumPy, backward, step.

The overhead of the loop is the time of a round minus the times of its three plans and the loss.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import timed

import fastbp
from fastbp.compiler.declare import interpreted

SIZES, ROWS = (4, 64, 64, 2), 32
REPEATS, TURNS = 200, 9
pytestmark = pytest.mark.benchmark(group=f"own loop, 4-64-64-2, {ROWS} rows", disable_gc=True)


def data() -> tuple[Any, Any]:
    """Make rows and targets."""
    random = np.random.default_rng(0)
    X = random.standard_normal((ROWS, SIZES[0]), dtype=np.float32)
    return X, random.standard_normal((ROWS, SIZES[-1]), dtype=np.float32)


def fastbp_round() -> tuple[Callable[[], None], fastbp.Network, fastbp.Stepper]:
    """Return a function for one round of the loop in fastbp."""
    (X, y), net = data(), fastbp.Network(SIZES, loss="squared_error", seed=0)
    stepper, rows = fastbp.Stepper(net, fastbp.Adam(1e-3)), np.float32(ROWS)

    def once() -> None:
        d_outputs = (net.forward(X) - y) / rows
        stepper.step(net.backward(X, d_outputs))

    return once, net, stepper


def torch_round() -> Callable[[], None]:
    """Return the same round with PyTorch's fused Adam, from the same weights."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    layers = []
    for M, N in itertools.pairwise(SIZES):
        layers += [torch.nn.Linear(M, N), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    state = fastbp.Network(SIZES, loss="squared_error", seed=0).state_dict()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    X, y = (torch.from_numpy(array) for array in data())

    def once() -> None:
        optimizer.zero_grad()
        loss = 0.5 * ((model(X) - y) ** 2).sum() / ROWS
        loss.backward()
        optimizer.step()

    return once


def best_us(function: Callable[[], Any]) -> float:
    """Return the microseconds of a call, the minimum of several rounds."""

    def many() -> None:
        for _ in range(REPEATS):
            function()

    return min(timed(many) for _ in range(TURNS)) / REPEATS * 1e6


def test_custom_loop(benchmark: Any) -> None:
    """Time a round of the loop, and its overhead."""
    once, net, stepper = fastbp_round()
    benchmark.extra_info.update(subject="own loop", path="fastbp", precision="float32")
    benchmark.pedantic(once, rounds=20 if benchmark.enabled else 1, iterations=REPEATS)
    if not benchmark.enabled or interpreted():
        return
    ((forward,),) = net._inference._pool.values()
    ((backward,),) = net._gradients.plans._pool.values()
    (X, y), out = data(), net.forward(data()[0])
    kernels = sum(best_us(plan) for plan in (forward.run, backward._run, stepper._run))
    loss = best_us(lambda: (out - y) / np.float32(ROWS))
    whole = best_us(once)
    benchmark.extra_info.update(
        round_us=whole, kernels_us=kernels, loss_us=loss, overhead_us=whole - kernels - loss
    )
    assert len(X) == ROWS


def test_custom_loop_in_pytorch(benchmark: Any) -> None:
    """Time the same round in PyTorch's eager mode."""
    once = torch_round()
    benchmark.extra_info.update(subject="own loop", path="PyTorch", precision="float32")
    benchmark.pedantic(once, rounds=20 if benchmark.enabled else 1, iterations=REPEATS // 10)
    if benchmark.enabled:
        benchmark.extra_info.update(round_us=best_us(once))
