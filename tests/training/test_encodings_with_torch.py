"""Encodings, factors and schedules against PyTorch: outputs, gradients and training."""

import math
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.arrays import Array

torch = pytest.importorskip("torch")

ENCODING = fastbp.Encoding(
    numbers=3, frequencies=6, width=4, sigma=0.5, tables=((5, 3), (4, 2)), scaling=True
)
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
M, K, ROWS = 6, 3, 48


def data(dtype: str) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, M))
    X[:, 4] = rng.integers(0, 5, ROWS)
    X[:, 5] = rng.integers(0, 4, ROWS)
    return X.astype(dtype), rng.integers(0, K, ROWS)


class Twin(torch.nn.Module):
    """The same network as modules and parameters of PyTorch."""

    def __init__(self, net: fastbp.Network) -> None:
        super().__init__()
        encoding = net.encoding
        assert encoding is not None
        self.encoding = encoding
        p, F = net.encoding_params, encoding.frequencies
        numbers = p["numbers"]
        n, width = len(numbers), encoding.width - 1
        parts = [numbers[:, :F], numbers[:, F : 2 * F]]
        parts.append(numbers[:, 2 * F : 2 * F + width * F].reshape(n, width, F))
        parts.append(numbers[:, 2 * F + width * F :])
        make = lambda a: torch.nn.Parameter(torch.tensor(np.array(a)))  # noqa: E731
        self.numbers = torch.nn.ParameterList(map(make, parts))
        self.tables = torch.nn.ParameterList(make(p[f"tables.{k}"]) for k in range(2))
        self.scales = make(p["scales"])
        self.weights = torch.nn.ParameterList(map(make, net.weights))
        self.biases = torch.nn.ParameterList(map(make, net.biases))
        self.activation = {"selu": torch.nn.SELU(), "mish": torch.nn.Mish()}[net.activations[0]]

    def forward(self, X: Any) -> Any:
        w, phase, V, c = self.numbers
        numbers = X[:, : self.encoding.numbers, None]
        cosines = torch.cos(2 * math.pi * w * numbers + phase)
        embedded = (torch.einsum("bnf,nef->bne", cosines, V) + c).flatten(1)
        plain = M - len(self.tables)
        rows = [table[X[:, plain + k].long()] for k, table in enumerate(self.tables)]
        a = torch.cat([X[:, :plain], embedded, *rows], 1) * self.scales
        for k, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = a @ W + b
            a = self.activation(z) if k + 1 < len(self.weights) else z
        return a

    def flat(self) -> Array:
        """The parameters in the order of ``Network.params``."""
        layers = [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]
        w, phase, V, c = self.numbers
        numbers = torch.cat([w, phase, V.flatten(1), c], 1)
        parts = [*layers, numbers, *self.tables, self.scales]
        return torch.cat([part.detach().flatten() for part in parts]).numpy()


def network(dtype: str, activation: str) -> fastbp.Network:
    net = fastbp.Network([M, 9, 7, K], activation, dtype=dtype, seed=2, encoding=ENCODING)
    rng = np.random.default_rng(3)
    net.encoding_params["scales"][:] = rng.uniform(0.5, 1.5, net.layout.sizes[0])
    return net


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ["selu", "mish"])
def test_training(activation: str, dtype: str) -> None:
    """Adam with decay, a rate for each kind of parameter, and schedules of both."""
    X, y = data(dtype)
    net = network(dtype, activation)
    twin = Twin(net)
    logits = twin(torch.tensor(X))
    p = torch.softmax(logits, 1).detach().numpy()
    np.testing.assert_allclose(net.forward(X), p, atol=TOLERANCE[dtype])

    epochs, batch, rate, decay = 3, 12, 0.003, 0.1
    groups = {
        "weights": (list(twin.weights), 1.0, 1.0),
        "biases": (list(twin.biases), 0.1, 0.0),
        "numbers": (list(twin.numbers), 0.5, 1.0),
        "tables": (list(twin.tables), 1.0, 1.0),
        "scales": ([twin.scales], 6.0, 1.0),
    }
    optimizer = torch.optim.AdamW(
        [{"params": params, "factor": f, "decay": d} for params, f, d in groups.values()],
        betas=(0.9, 0.95),
    )
    steps = epochs * ROWS // batch
    for t in range(steps):
        for group in optimizer.param_groups:
            turns = math.log2(1 + 15 * t / steps)
            group["lr"] = rate * group["factor"] * 0.5 * (1 - math.cos(2 * math.pi * turns))
            late = max(0.0, 2 * t / steps - 1)
            group["weight_decay"] = decay * group["decay"] * 0.5 * (1 + math.cos(math.pi * late))
        rows = slice(t * batch % ROWS, t * batch % ROWS + batch)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            twin(torch.tensor(X[rows])), torch.tensor(y[rows]), label_smoothing=0.1
        )
        loss.backward()
        optimizer.step()
    fastbp.train(
        net,
        X,
        y,
        optimizer=fastbp.AdamW(
            rate,
            beta2=0.95,
            weight_decay=decay,
            rate_factors={"biases": 0.1, "numbers": 0.5, "scales": 6.0},
            decay_factors={"biases": 0.0},
        ),
        schedule={"rate": "coslog4", "decay": "flat_cos"},
        epochs=epochs,
        batch_size=batch,
        shuffle=False,
        label_smoothing=0.1,
    )
    np.testing.assert_allclose(net.params, twin.flat(), atol=TOLERANCE[dtype])
