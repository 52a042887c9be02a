"""Ensembles that share weights against PyTorch: losses, gradients and steps of training."""

from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.arrays import Array

torch = pytest.importorskip("torch")

SIZES, MEMBERS, ROWS, BATCH = [5, 8, 8, 6, 3], 4, 48, 12
TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
ACTIVATIONS = {"relu": torch.relu, "gelu": torch.nn.functional.gelu}
LOSSES = {
    "softmax_cross_entropy": torch.nn.functional.cross_entropy,
    "sigmoid_cross_entropy": lambda z, y: (
        torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="sum") / len(z)
    ),
    "squared_error": lambda z, y: 0.5 * ((z - y) ** 2).sum() / len(z),
}


class Twin:
    """The same ensemble, its tensors named as by ``Network.state_dict``."""

    def __init__(self, net: fastbp.Network) -> None:
        self.tensors = {
            name: torch.tensor(array, requires_grad=True)
            for name, array in net.state_dict().items()
        }
        self.f, self.loss_of = ACTIVATIONS[net.activations[0]], LOSSES[net.loss]
        self.residual = net.layout.residual
        self.modules = 3 if net.layout.layer_norm else 2

    def logits(self, x: Any) -> Any:
        """Return z of the last layer, (k, B, K)."""
        named, a = self.tensors, x.expand(MEMBERS, *x.shape)
        for layer in range(len(SIZES) - 2):
            first = self.modules * layer
            r, s = (named[f"{kind}_factors.{layer}"] for kind in ("input", "output"))
            z = torch.nn.functional.linear(a * r[:, None], named[f"{first}.weight"])
            z = z * s[:, None] + named[f"{first}.bias"][:, None]
            if self.modules == 3:
                gains, shifts = named[f"{first + 1}.weight"], named[f"{first + 1}.bias"]
                z = torch.nn.functional.layer_norm(z, z.shape[-1:], gains, shifts)
            below, a = a, self.f(z)
            if self.residual and layer and below.shape == a.shape:
                a = a + below
        top = self.modules * (len(SIZES) - 2)
        heads = named[f"{top}.weight"].transpose(1, 2)
        return a @ heads + named[f"{top}.bias"][:, None]

    def loss(self, x: Any, y: Any) -> Any:
        """Return the mean of the members' losses."""
        return sum(self.loss_of(z, y) for z in self.logits(x)) / MEMBERS


def problem(loss: str, dtype: str) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    X = random.standard_normal((ROWS, SIZES[0])).astype(dtype)
    if loss == "softmax_cross_entropy":
        return X, random.integers(0, SIZES[-1], ROWS)
    return X, random.integers(0, 2, (ROWS, SIZES[-1])).astype(dtype)


def network(**options: Any) -> fastbp.Network:
    net = fastbp.Network(SIZES, seed=2, members=MEMBERS, **options)
    random = np.random.default_rng(1)
    net.params[:] += random.normal(0.0, 0.2, net.params.size)
    return net


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients(loss: str, activation: str, dtype: str) -> None:
    (X, y), atol = problem(loss, dtype), TOLERANCE[dtype]
    net = network(activation=activation, loss=loss, dtype=dtype)
    twin = Twin(net)
    want = twin.loss(torch.from_numpy(X), torch.from_numpy(y))
    want.backward()
    found, gradient = net.loss_and_gradients(X, y)
    assert found == pytest.approx(want.item(), rel=atol)
    grads = fastbp.network.names.named_views(net.layout, gradient)
    for name, tensor in twin.tensors.items():
        np.testing.assert_allclose(grads[name], tensor.grad, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", [{}, {"layer_norm": True, "residual": True}], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training(optimizer: str, kind: dict[str, bool], dtype: str) -> None:
    (X, y), atol = problem("softmax_cross_entropy", dtype), TOLERANCE[dtype]
    net = network(dtype=dtype, **kind)
    twin = Twin(net)
    tensors = list(twin.tensors.values())
    if optimizer == "sgd":
        own: Any = fastbp.SGD(0.05, momentum=0.9)
        peer = torch.optim.SGD(tensors, lr=0.05, momentum=0.9)
    else:
        own = fastbp.AdamW(1e-3, weight_decay=0.1)
        peer = torch.optim.AdamW(tensors, lr=1e-3, weight_decay=0.1)
    for _ in range(2):
        for start in range(0, ROWS, BATCH):
            rows = slice(start, start + BATCH)
            peer.zero_grad()
            twin.loss(torch.from_numpy(X[rows]), torch.from_numpy(y[rows])).backward()
            peer.step()
    fastbp.train(net, X, y, optimizer=own, epochs=2, batch_size=BATCH, shuffle=False)
    for name, array in net.state_dict().items():
        tensor = twin.tensors[name].detach()
        np.testing.assert_allclose(array, tensor, rtol=0, atol=10 * atol, err_msg=name)
    p = torch.softmax(twin.logits(torch.from_numpy(X)), -1).mean(0).detach()
    np.testing.assert_allclose(net.forward(X), p, rtol=0, atol=10 * atol)
