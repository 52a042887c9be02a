"""The parameters of layers in a block: those of a network, or of one member of an ensemble."""

from fastbp.kernels import members
from fastbp.plan.buffers import ThreadBuffers
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan


class LayerParameters:
    """W and b of each layer, and their gradients.

    A block sends its rows through the members of an ensemble one after the other. W of a hidden
    layer is then that of the member, r W s, and dW is its gradient, from which ``add_gradient``
    computes those of W, r and s.

    Attributes
    ----------
    member : int
        The member whose parameters these are.
    """

    def __init__(self, plan: Plan, thread: ThreadBuffers) -> None:
        self.plan, self.thread, self.layout = plan, thread, thread.layout
        self.params, self.grads, self.member = thread.shared.params, thread.grads, 0

    def begin(self, member: int) -> None:
        """Compute the weights of a member of an ensemble."""
        self.member = member
        for layer in range(self.layout.layers - 1) if self.layout.members > 1 else ():
            W, r, s = self._shared(self.params, layer)
            self.plan.add(members.member_weights, W, r, s, self.W(layer), layer=layer)

    def add_gradient(self, layer: int) -> None:
        """Add the gradients of W and of the member's factors of a hidden layer."""
        if self.is_scaled(layer):
            given, found = self._shared(self.params, layer), self._shared(self.grads, layer)
            dW = self.dW(layer)
            self.plan.add(members.member_weights_backward, dW, *given, *found, layer=layer)

    def is_scaled(self, layer: int) -> bool:
        """Whether the weights of a layer are those of an ensemble times a member's factors."""
        return self.layout.members > 1 and layer < self.layout.layers - 1

    def W(self, layer: int) -> Operand:
        """W (M, N)."""
        if self.is_scaled(layer):
            return self.thread.member_weights(layer)
        return self._weights(self.params, layer, "W")

    def b(self, layer: int) -> Operand:
        """The biases (N,)."""
        return self._biases(self.params, layer, "b")

    def dW(self, layer: int) -> Operand:
        """dW (M, N), from this thread's rows."""
        if self.is_scaled(layer):
            return self.thread.member_gradient(layer)
        return self._weights(self.grads, layer, "dW")

    def db(self, layer: int) -> Operand:
        """db (N,), from this thread's rows."""
        return self._biases(self.grads, layer, "db")

    def _weights(self, buffer: Operand, layer: int, name: str) -> Operand:
        """The part of a flat buffer for W of a layer; for the last layer, that of the member."""
        M, N = self.layout.sizes[layer : layer + 2]
        start, rows, _ = self.layout.weights_at(layer)
        return buffer.part(start + (self.member * M * N if rows > M else 0), M, N, name=name)

    def _biases(self, buffer: Operand, layer: int, name: str) -> Operand:
        """The part of a flat buffer for the biases of a layer."""
        N = self.layout.sizes[layer + 1]
        return buffer.part(self.layout.biases_at(layer)[0] + self.member * N, N, name=name)

    def _shared(self, buffer: Operand, layer: int) -> tuple[Operand, Operand, Operand]:
        """W (M, N) of all members, r (M,) and s (N,) of the member in a flat buffer."""
        M, N = self.layout.sizes[layer : layer + 2]
        r, s = self.layout.factors_at(layer)
        return (
            buffer.part(self.layout.weight_starts[layer], M, N, name="W"),
            buffer.part(r + self.member * M, M, name="r"),
            buffer.part(s + self.member * N, N, name="s"),
        )
