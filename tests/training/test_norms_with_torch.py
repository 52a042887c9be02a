"""Norms, residual connections and parametric activations against PyTorch."""

import itertools
from typing import Any

import numpy as np
import pytest

import fastbp

torch = pytest.importorskip("torch")

SIZES, ROWS, BATCH = [5, 8, 8, 8, 6, 6, 3], 48, 12
GRADIENTS = {"float32": 1e-5, "float64": 1e-11}
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}
ACTIVATIONS = {"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "tanh": torch.nn.Tanh}


class Twin(torch.nn.Module):
    """The same network as a list of modules, with the names of ``state_dict``."""

    def __init__(self, net: fastbp.Network) -> None:
        super().__init__()
        self.residual, modules = net.layout.residual, []
        for layer, (M, N) in enumerate(itertools.pairwise(SIZES)):
            modules.append(torch.nn.Linear(M, N))
            if layer < len(SIZES) - 2:
                modules += [torch.nn.LayerNorm(N)] if net.layout.layer_norm else []
                modules += [torch.nn.BatchNorm1d(N)] if net.layout.batch_norm else []
                modules.append(ACTIVATIONS[net.activations[0]]())
        self.layers = torch.nn.Sequential(*modules).to(getattr(torch, net.dtype.name))
        state = {name: torch.tensor(array) for name, array in net.state_dict().items()}
        names = [name for name in state if name.startswith("alphas")]
        self.alphas = torch.nn.ParameterList(torch.nn.Parameter(state.pop(n)) for n in names)
        self.layers.load_state_dict(state, strict=not net.layout.batch_norm)

    def forward(self, a: Any) -> Any:
        below, alphas = a, list(self.alphas)
        for k, module in enumerate(self.layers):
            if isinstance(module, torch.nn.Linear):
                below = a
            z, a = a, module(a)
            ends = type(module) in ACTIVATIONS.values()
            if ends and alphas:
                a = z + alphas.pop(0) * (a - z)
            if self.residual and ends and k > 2 and a.shape == below.shape:
                a = a + below
        return a

    def gradients(self) -> dict[str, Any]:
        """The gradients, with the names of ``Network.state_dict``."""
        alphas = {f"alphas.{k}": each.grad for k, each in enumerate(self.alphas)}
        return {name: each.grad for name, each in self.layers.named_parameters()} | alphas

    def state(self) -> dict[str, Any]:
        """The parameters, with the names of ``Network.state_dict``."""
        alphas = {f"alphas.{k}": each.detach() for k, each in enumerate(self.alphas)}
        return self.layers.state_dict() | alphas


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "kind",
    [
        ["layer_norm"],
        ["residual"],
        ["layer_norm", "residual"],
        ["parametric"],
        ["layer_norm", "residual", "parametric"],
        ["batch_norm"],
        ["batch_norm", "residual", "parametric"],
    ],
    ids=str,
)
def test_training(kind: list[str], activation: str, dtype: str) -> None:
    random = np.random.default_rng(0)
    X = random.standard_normal((ROWS, SIZES[0])).astype(dtype)
    y = random.integers(0, SIZES[-1], ROWS)
    net = fastbp.Network(SIZES, activation, dtype=dtype, seed=2, **dict.fromkeys(kind, True))
    for part in net.layout.parts[2 * net.layout.layers :]:
        values = random.normal(0.5, 0.5, part.size)
        values = np.abs(values) if part.kind == "variances" else values
        net.params[part.start : part.start + part.size] = values
    twin = Twin(net).eval()
    p = torch.softmax(twin(torch.from_numpy(X)), 1).detach().numpy()
    np.testing.assert_allclose(net.forward(X), p, rtol=0, atol=GRADIENTS[dtype])
    twin.train()
    torch.nn.functional.cross_entropy(twin(torch.from_numpy(X)), torch.from_numpy(y)).backward()
    found = net.copy()
    _, found.params[:] = net.loss_and_gradients(X, y)
    for name, gradient in twin.gradients().items():
        atol = GRADIENTS[dtype]
        np.testing.assert_allclose(found.state_dict()[name], gradient, rtol=0, atol=atol)
    twin = Twin(net).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        for start in range(0, ROWS, BATCH):
            rows = slice(start, start + BATCH)
            optimizer.zero_grad()
            outputs = twin(torch.from_numpy(X[rows]))
            torch.nn.functional.cross_entropy(outputs, torch.from_numpy(y[rows])).backward()
            optimizer.step()
    fastbp.train(
        net,
        X,
        y,
        optimizer=fastbp.SGD(0.05, momentum=0.9),
        epochs=3,
        batch_size=BATCH,
        shuffle=False,
    )
    for name, tensor in twin.state().items():
        if name.endswith("num_batches_tracked"):
            continue
        found = net.state_dict()[name]
        np.testing.assert_allclose(found, tensor.numpy(), rtol=0, atol=20 * TOLERANCE[dtype])
