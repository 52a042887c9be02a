"""A table of the layers of a network."""

from typing import Any

HEADS = ("layer", "kind", "activation", "shape of W", "parameters")


def table_of_layers(net: Any) -> str:
    """Return a table of the layers, to be printed: activations, shapes of W, parameters."""
    table = [HEADS]
    if net.encoding is not None:
        size = sum(array.size for array in net.encoding_params.values())
        table.append(("", "encoding", "", "", f"{size:,}"))
    for layer, (W, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        name = net.activations[layer] if layer < len(net.activations) else _of_outputs(net)
        shape = f"({', '.join(map(str, W.shape))})"
        kind, size, (M, N) = "dense", W.size + b.size, W.shape[-2:]
        if net.layout.is_normed(layer):
            norm, each = ("batch norm", 4) if net.layout.batch_norm else ("layer norm", 2)
            kind, size = f"{kind}, {norm}", size + each * N
        if net.layout.is_parametric(layer):
            kind, size = f"{kind}, parametric", size + N
        if net.layout.members > 1:
            kind = f"{kind}, {net.layout.members} members"
            size += net.layout.members * (M + N) if layer < len(net.activations) else 0
        if net.layout.is_residual(layer):
            kind = f"{kind}, residual"
        table.append((str(layer + 1), kind, name, shape, f"{size:,}"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for *texts, parameters in table:
        cells = [text.ljust(width) for text, width in zip(texts, widths, strict=False)]
        lines.append("  ".join([*cells, parameters.rjust(widths[-1])]))
    rule = "-" * len(lines[0])
    total = f"total: {net.params.size:,} parameters, {net.params.nbytes:,} bytes ({net.dtype.name})"
    return "\n".join([lines[0], rule, *lines[1:], rule, total, f"loss: {net.loss}"])


def _of_outputs(net: Any) -> str:
    """Return the name of the activation of the last layer, which the loss determines."""
    if net.loss_row.output == "probabilities":
        return str(net.loss.removesuffix("_cross_entropy"))
    return "exp" if net.link is not None else str(net.layer_activations[-1].name)
