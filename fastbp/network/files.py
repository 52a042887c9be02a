"""Files of networks: one network, or several of one shape whose outputs are averaged."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

import numpy as np

from fastbp import checks, persistence
from fastbp.arrays import Array
from fastbp.choices.encodings import Encoding
from fastbp.network import arguments
from fastbp.own import OwnActivation, OwnLoss, resolve_names

# A file holds at most this many networks.
MAX_NETWORKS = 1000


def _prefix(k: int) -> str:
    """Return what the names of network ``k`` begin with."""
    return f"member.{k}." if k else ""


def save_networks(
    nets: Sequence[Any], path: str | PathLike[str], preparation: dict[str, Any] | None
) -> None:
    """Write networks of the same structure to one file; ``Network.save`` documents it."""
    net: Any = nets[0]
    tensors: dict[str, Array] = {}
    for k, each in enumerate(nets):
        each.layout.check(each.params)
        checks.numbers("params", each.params, each.dtype)
        tensors |= {_prefix(k) + name: array for name, array in each.state_dict().items()}
    description, version = net.description(), 1
    if preparation is not None:
        description["preparation"], version = preparation, preparation.get("since", 2)
    if net.learned_bytes or net.learned_numbers:
        description["learned_bytes"], version = net.learned_bytes, max(version, 3)
    if net.tuned:
        description["tuned"], version = arguments.tuned_as_lists(net.tuned), max(version, 6)
    if len(nets) > 1:
        description["networks"] = len(nets)
    if net.encoding is not None or len(nets) > 1:
        version = max(version, 7)
    if net.encoding is not None and net.encoding.edges:
        version = max(version, 8)
    switches = any(getattr(net.layout, name) for name in arguments.SWITCHES)
    if switches or net.layout.members > 1:
        version = max(version, 8)
    persistence.write_tensors(path, tensors, description, version=version)


def load_networks(
    kind: Any, path: str | PathLike[str], own: Iterable[OwnActivation | OwnLoss]
) -> tuple[list[Any], dict[str, Any] | None]:
    """Read the networks of a file, and the preparation that was saved with them, or None.

    ``kind`` is the class of the networks. ``Network.load`` documents what is raised.
    """
    tensors, description = persistence.read_tensors(path)
    preparation = description.pop("preparation", None)
    learned_bytes = description.pop("learned_bytes", None)
    tuned, count = description.pop("tuned", []), description.pop("networks", 1)
    resolve_names(description, own, path)
    try:
        if "encoding" in description:
            description["encoding"] = Encoding(**description["encoding"])
        groups = _by_network(tensors, checks.whole("networks", count, 1, MAX_NETWORKS))
        found = sum(array.size for array in groups[0].values())
        described = description.get("sizes"), description.get("encoding"), found
        arguments.check_size(*described, description)
        nets = []
        for group in groups:
            net = kind(**description)
            net.load_state_dict(group)
            if not np.isfinite(net.params).all():
                raise ValueError("its parameters are not all finite")
            net.learned_bytes, net.learned_numbers = learned_bytes is True, learned_bytes is False
            net.set_tuned(arguments.tuned_from_lists(tuned))
            nets.append(net)
    except (KeyError, MemoryError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not contain the network that it describes: {error}"
        ) from None
    return nets, preparation


def _by_network(tensors: dict[str, Array], count: int) -> list[dict[str, Array]]:
    """Divide the tensors of a file by the network that they belong to."""
    groups: list[dict[str, Array]] = [{} for _ in range(count)]
    prefixes = {_prefix(k): k for k in range(1, count)}
    for name, array in tensors.items():
        head = ".".join(name.split(".", 2)[:2]) + "."
        k = prefixes.get(head, 0)
        groups[k][name.removeprefix(_prefix(k))] = array
    return groups
