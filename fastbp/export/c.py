"""Write a network and the preparation of its data as one C file."""

import re
from os import PathLike

import numpy as np

from fastbp.data.preparation import Preparation
from fastbp.export.c_source import Source
from fastbp.export.forms import check_forms
from fastbp.network import Network
from fastbp.persistence import write_whole


def export_c(
    path: str | PathLike[str],
    net: Network,
    preparation: Preparation | None = None,
    name: str = "fastbp",
) -> None:
    """Write a network, and the preparation of its data if given, as C99 source.

    The file needs only the C library with its mathematics. It allocates no memory and has no
    mutable state, so any number of threads may call it. It defines ``int NAME_predict``, which
    predicts one row. Its arguments depend on ``preparation``:

    - with prepared columns, ``const double *numbers``, ``const char *const *categories``,
      ``double *outputs``: the numbers in their order, NAN for a missing one; the categories as
      UTF-8, where surrounding blanks are ignored and NULL or an empty text is a missing one;
    - with a preparation of the target alone, ``const float *x``, ``double *outputs``, where x has
      the dtype of the network. Divide images of bytes by 255, as ``Network.forward`` does;
    - without preparation, ``const float *x``, ``float *outputs``, both of the network's dtype.

    The outputs are probabilities, or values in their own units. The function returns 0; or k, and
    leaves the outputs unchanged, if the k-th number, counted from 1, is not finite (a prepared
    number: infinite, or too large). ``int NAME_class(outputs)`` returns the class of a classifier.
    Enums hold the sizes and arrays the names of columns, classes and values; the comment at the
    top of the file describes all of them.

    Parameters
    ----------
    path : path
        The file, written whole or not at all. The same network gives the same bytes.
    net : Network
    preparation : Preparation, optional
    name : str
        The prefix of all names in the file: letters, digits and underscores, a letter first.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the name is not as described, the preparation does not fit the network, a parameter is
        not finite, a name or category contains a zero byte, which ends a C string, or an
        activation or the loss has no form in C, as the user's own have none.
    """
    check_forms("c", "C", *net.layer_activations, net.loss_row)
    if not (isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name, re.ASCII)):
        raise ValueError(
            f"name must be letters, digits and underscores, a letter first, not {name!r}"
        )
    if preparation is not None:
        preparation.check_network(net.sizes[0], net.sizes[-1])
    if not np.isfinite(net.params).all():
        raise ValueError("the network has parameters that are not finite, which C cannot express")
    # All lines are made, and all texts checked, before the file is opened.
    lines = [line.encode("ascii") + b"\n" for line in Source(net, preparation, name).lines()]
    write_whole(path, lambda file: file.writelines(lines))
