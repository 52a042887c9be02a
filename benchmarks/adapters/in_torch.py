"""Training in PyTorch, eager and compiled."""

from typing import Any

import torch
from cases import LEARNING_RATE, Array, Case

from adapters.parameters import ADAM, join_layers, split_layers


class InTorch:
    """PyTorch in eager mode, with its fused Adam."""

    def __init__(self, case: Case) -> None:
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
        """Restore the start weights and clear the state of the optimizer."""
        linear = [part for part in self.model if isinstance(part, torch.nn.Linear)]
        with torch.no_grad():
            for part, (W, b) in zip(
                linear, split_layers(self.case, self.case.net.params), strict=True
            ):
                part.weight.copy_(torch.from_numpy(W.T))
                part.bias.copy_(torch.from_numpy(b))
        self._clear_state()

    def _clear_state(self) -> None:
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def run(self) -> float:
        """Train for one epoch; return its mean loss."""
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
        outputs = self.model(self.X.index_select(0, rows))
        return torch.nn.functional.cross_entropy(outputs, self.y.index_select(0, rows))

    @property
    def params(self) -> Array:
        """All parameters, a flat (P,) array in fastbp's order."""
        arrays = [part.detach().numpy().T for part in self.model.parameters()]
        return join_layers(arrays[::2], arrays[1::2])


class InCompiledTorch(InTorch):
    """PyTorch with a whole step compiled as one graph by ``torch.compile``, with a C++ wrapper.

    Gradients come from ``torch.func`` and Adam is written out: ``backward`` and the ``step`` of an
    optimizer would break the graph into three, which is slower than eager mode on small networks.
    """

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        names = [name for name, _ in self.model.named_parameters()]
        self.parameters = [part.detach() for part in self.model.parameters()]
        self.m = [torch.zeros_like(part) for part in self.parameters]
        self.v = [torch.zeros_like(part) for part in self.parameters]
        self.count = torch.zeros(())

        def loss(parameters: Any, X: Any, y: Any) -> Any:
            named = dict(zip(names, parameters, strict=True))
            outputs = torch.func.functional_call(self.model, named, (X,))
            return torch.nn.functional.cross_entropy(outputs, y)

        def step(parameters: Any, m: Any, v: Any, count: Any, X: Any, y: Any, rows: Any) -> Any:
            batch = X.index_select(0, rows), y.index_select(0, rows)
            gradients, value = torch.func.grad_and_value(loss)(parameters, *batch)
            count += 1
            correction, root = 1 - ADAM.beta1**count, torch.sqrt(1 - ADAM.beta2**count)
            for parameter, g, mean, square in zip(parameters, gradients, m, v, strict=True):
                mean.mul_(ADAM.beta1).add_(g, alpha=1 - ADAM.beta1)
                square.mul_(ADAM.beta2).addcmul_(g, g, value=1 - ADAM.beta2)
                parameter.sub_(
                    LEARNING_RATE * (mean / correction) / (square.sqrt() / root + ADAM.epsilon)
                )
            return value

        torch._dynamo.reset()  # each network of the grid is another graph
        self.compiled = torch.compile(
            step, dynamic=False, fullgraph=True, options={"cpp_wrapper": True}
        )
        self._clear_state()

    def _clear_state(self) -> None:
        if hasattr(self, "count"):
            for value in (*self.m, *self.v, self.count):
                value.zero_()

    def _step(self, rows: Any) -> Any:
        return self.compiled(self.parameters, self.m, self.v, self.count, self.X, self.y, rows)
