"""Write a network and the preparation of its data as one C file."""

import re
from collections.abc import Sequence
from os import PathLike

import numpy as np

from fastbp.data.preparation import Preparation
from fastbp.export.c_source import Source
from fastbp.export.forms import check_forms
from fastbp.network import Network
from fastbp.persistence import write_atomically


def export_c(
    path: str | PathLike[str],
    net: Network,
    preparation: Preparation | None = None,
    name: str = "fastbp",
    others: Sequence[Network] = (),
) -> None:
    """Write a network, and the preparation of its data if given, as C99 source.

    The file needs only the C standard library, including its math functions (`-lm`). It allocates
    no memory and has no mutable state, so any number of threads may call it. It defines ``int
    NAME_predict``, which predicts one row. Its arguments depend on ``preparation``:

    - with prepared columns, ``const double *numbers``, ``const char *const *categories``,
      ``double *outputs``: ``numbers`` holds the numeric columns in order, with NAN for a missing
      value; ``categories`` holds the categorical columns in order as UTF-8 strings. Surrounding
      blanks are ignored, and NULL or an empty string is a missing value;
    - with a preparation of the target alone, ``const float *x``, ``double *outputs``, where x has
      the dtype of the network. Divide images of bytes by 255, as ``Network.forward`` does;
    - without preparation, ``const float *x``, ``float *outputs``, both of the network's dtype.

    The outputs are probabilities, or values in their own units. The function returns 0 on success.
    If the k-th number (counted from 1) is not finite, it returns k and leaves the outputs
    unchanged. With prepared columns, NAN is allowed, and a number that is too large is also
    rejected. ``int NAME_class(outputs)`` returns the class of a classifier. Enums hold the sizes
    and arrays the names of columns, classes and values; the comment at the top of the file
    describes all of them.

    Parameters
    ----------
    path : path
        The file, written atomically. The same network gives a byte-identical file.
    net : Network
    preparation : Preparation, optional
    name : str
        The prefix of all names in the file: letters, digits and underscores, a letter first.
    others : sequence of Network
        Networks of the same structure; the outputs of all are averaged.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the name is not as described, the preparation does not fit the network, a parameter is
        not finite, a name or category contains a zero byte, which ends a C string, or an activation
        or the loss cannot be expressed in C, as is the case for user-defined ones.
    """
    check_forms("c", "C", *net.layer_activations, net.loss_row)
    if not (isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name, re.ASCII)):
        raise ValueError(
            "name must consist of letters, digits and underscores and start with a letter, not "
            f"{name!r}"
        )
    if preparation is not None:
        preparation.check_network(net.sizes[0], net.sizes[-1])
    if not all(np.isfinite(each.params).all() for each in (net, *others)):
        raise ValueError("the network has parameters that are not finite, which C cannot express")
    # All lines are made, and all texts checked, before the file is opened.
    lines = [
        line.encode("ascii") + b"\n" for line in Source((net, *others), preparation, name).lines()
    ]
    write_atomically(path, lambda file: file.writelines(lines))
