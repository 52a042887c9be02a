"""Networks of random shapes, activations, losses and optimizers train as in PyTorch."""

import itertools

import numpy as np
import pytest
from slow import some

import fastbp

torch = pytest.importorskip("torch")
F = torch.nn.functional

ACTIVATIONS = {
    "identity": torch.nn.Identity,
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "elu": torch.nn.ELU,
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "softplus": torch.nn.Softplus,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
    "selu": torch.nn.SELU,
    "mish": torch.nn.Mish,
}
# The loss of each row: summed over the outputs.
LOSSES = {
    "softmax_cross_entropy": lambda z, t: F.cross_entropy(z, t, reduction="none"),
    "sigmoid_cross_entropy": lambda z, t: F.binary_cross_entropy_with_logits(
        z, t, reduction="none"
    ).sum(1),
    "squared_error": lambda z, t: ((z - t) ** 2).sum(1) / 2,
    "absolute_error": lambda z, t: (z - t).abs().sum(1),
    "huber": lambda z, t: F.huber_loss(z, t, reduction="none").sum(1),
    "poisson": lambda z, t: F.poisson_nll_loss(z, t, reduction="none").sum(1),
}
# Rates at which no drawn problem diverges. Adagrad's sum of squares starts above 0: otherwise its
# first step divides a gradient by its own size, and rounding of one near 0 decides the sign.
OPTIMIZERS = {
    "sgd": (fastbp.SGD(0.01), lambda p: torch.optim.SGD(p, 0.01)),
    "momentum": (fastbp.SGD(0.01, 0.9), lambda p: torch.optim.SGD(p, 0.01, 0.9)),
    "nesterov": (
        fastbp.SGD(0.01, 0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.01, 0.9, nesterov=True),
    ),
    "adam": (fastbp.Adam(0.003), lambda p: torch.optim.Adam(p, 0.003)),
    "adamw": (
        fastbp.AdamW(0.003, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.003, weight_decay=0.1),
    ),
    "rmsprop": (fastbp.RMSprop(0.001), lambda p: torch.optim.RMSprop(p, 0.001, 0.9)),
    "adagrad": (
        fastbp.Adagrad(0.01, initial=0.1),
        lambda p: torch.optim.Adagrad(p, 0.01, initial_accumulator_value=0.1),
    ),
}
STEPS = 20


def draw(seed):
    """Draw an architecture, data and an optimizer; every row of the tables is drawn in turn."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 40, random.integers(2, 6)).tolist()
    activations = [str(random.choice(list(ACTIVATIONS))) for _ in sizes[1:-1]]
    if activations:
        activations[0] = list(ACTIVATIONS)[seed % len(ACTIVATIONS)]
    loss = list(LOSSES)[seed % len(LOSSES)]
    optimizer = list(OPTIMIZERS)[seed % len(OPTIMIZERS)]
    if loss == "softmax_cross_entropy":
        sizes[-1] = max(sizes[-1], 2)
    n = int(random.integers(1, 60))
    X, K = random.normal(size=(n, sizes[0])), sizes[-1]
    if loss == "softmax_cross_entropy":
        y = random.integers(0, K, n)
    elif loss == "sigmoid_cross_entropy":
        y = random.random((n, K))
    else:
        y = random.poisson(1.0, (n, K)).astype(float)
    weights = random.random(n) + 0.1 if seed % 3 == 0 else None
    return sizes, activations, loss, optimizer, X, y, weights


def in_torch(net, sizes, activations, dtype):
    layers = []
    for k, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(torch.nn.Linear(fan_in, fan_out, dtype=dtype))
        if k < len(activations):
            layers.append(ACTIVATIONS[activations[k]]())
    model = torch.nn.Sequential(*layers)
    state = net.state_dict().items()
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state})
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", some(range(200), 9))
def test_training_steps_agree(seed, dtype):
    """In float64 to 1e-12 per parameter, in float32 to 1e-5, relative to the largest."""
    sizes, activations, loss, optimizer, X, y, weights = draw(seed)
    net = fastbp.Network(sizes, activations or "relu", loss, dtype, seed=seed)
    model = in_torch(net, sizes, activations, getattr(torch, dtype))
    ours, theirs = OPTIMIZERS[optimizer]
    rule = theirs(model.parameters())
    tensors = [torch.from_numpy(X.astype(dtype))]
    tensors.append(torch.from_numpy(y if y.dtype.kind == "i" else y.astype(dtype)))
    w = torch.ones(len(X), dtype=torch.float64) if weights is None else torch.from_numpy(weights)
    w = (w / w.sum()).to(tensors[0].dtype)
    losses = []
    for _ in range(STEPS):
        rule.zero_grad()
        value = (w * LOSSES[loss](model(tensors[0]), tensors[1])).sum()
        value.backward()
        rule.step()
        losses.append(float(value.detach()))
    history = fastbp.train(
        net,
        X.astype(dtype),
        y if y.dtype.kind == "i" else y.astype(dtype),
        optimizer=ours,
        epochs=STEPS,
        batch_size=len(X),
        shuffle=False,
        sample_weight=weights,
        n_threads=1,
    )
    limit = 1e-5 if dtype == "float32" else 1e-12
    want = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    scale = max(1.0, *(float(np.abs(array).max()) for array in want.values()))
    for name, array in net.state_dict().items():
        np.testing.assert_allclose(array, want[name], rtol=0, atol=limit * scale, err_msg=name)
    np.testing.assert_allclose(history.loss, losses, rtol=10 * limit, atol=10 * limit)
