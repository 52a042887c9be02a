"""Embeddings of numbers by bins against PyTorch: outputs and training."""

import itertools
from typing import Any

import numpy as np
import pytest

import fastbp

torch = pytest.importorskip("torch")

EDGES = ((-1.0, -0.2, 0.5, 2.0), (-0.5, 0.5), (0.0, 1.0, 3.0))
ENCODING = fastbp.Encoding(numbers=3, width=4, edges=EDGES, scaling=True)
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}


class Twin(torch.nn.Module):
    """The same network; each column has a linear layer on its numbers of bins."""

    def __init__(self, net: fastbp.Network) -> None:
        super().__init__()
        state = {name: torch.tensor(array) for name, array in net.state_dict().items()}
        self.parts = torch.nn.ParameterDict(
            {name.replace(".", "_"): torch.nn.Parameter(tensor) for name, tensor in state.items()}
        )

    def shares(self, x: Any, k: int) -> Any:
        """The numbers of the bins of a column, (B, T)."""
        edges, columns = EDGES[k], []
        for t, (low, high) in enumerate(itertools.pairwise(edges)):
            share = (x - low) / (high - low)
            share = share if t == 0 else torch.clamp(share, min=0.0)
            columns.append(share if t == len(edges) - 2 else torch.clamp(share, max=1.0))
        columns += [torch.zeros_like(x)] * (ENCODING.bins - len(columns))
        return torch.stack(columns, dim=1)

    def forward(self, X: Any) -> Any:
        p, T, width = self.parts["encoding_numbers"], ENCODING.bins, ENCODING.width - 1
        embedded = [
            self.shares(X[:, k], k) @ p[k, : width * T].reshape(width, T).T + p[k, width * T :]
            for k in range(len(EDGES))
        ]
        a = torch.cat([X, *embedded], dim=1) * self.parts["encoding_scales"]
        a = torch.tanh(a @ self.parts["0_weight"].T + self.parts["0_bias"])
        return a @ self.parts["2_weight"].T + self.parts["2_bias"]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_training(dtype: str) -> None:
    random = np.random.default_rng(0)
    X = (1.5 * random.standard_normal((48, 4))).astype(dtype)[:, :3]
    y = random.integers(0, 3, 48)
    net = fastbp.Network([3, 6, 3], "tanh", dtype=dtype, seed=1, encoding=ENCODING)
    twin = Twin(net)
    p = torch.softmax(twin(torch.tensor(X)), 1).detach().numpy()
    np.testing.assert_allclose(net.forward(X), p, rtol=0, atol=TOLERANCE[dtype])
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        for start in range(0, 48, 12):
            rows = slice(start, start + 12)
            optimizer.zero_grad()
            outputs = twin(torch.tensor(X[rows]))
            torch.nn.functional.cross_entropy(outputs, torch.tensor(y[rows])).backward()
            optimizer.step()
    how = {"optimizer": fastbp.SGD(0.1), "epochs": 3, "batch_size": 12, "shuffle": False}
    fastbp.train(net, X, y, **how)
    for name, array in net.state_dict().items():
        want = twin.parts[name.replace(".", "_")].detach().numpy()
        np.testing.assert_allclose(array, want, rtol=0, atol=20 * TOLERANCE[dtype])
