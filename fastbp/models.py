"""Models: one or several networks together with the preparation of their data."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError
from fastbp.data.frames import from_pandas, is_pandas
from fastbp.data.preparation import Preparation
from fastbp.data.series import check_columns, check_frame, gaps_as_null
from fastbp.data.text_values import convert_texts
from fastbp.network import Network
from fastbp.network.files import load_networks, save_networks
from fastbp.own import OwnActivation, OwnLoss


class UnseenDataWarning(UserWarning):
    """Data go beyond those of training: later dates, or unknown categories."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network, or several, with its data preprocessing.

    It takes tables or raw arrays, and predicts class names or values in the units of the target.

    Attributes
    ----------
    net : Network
    preparation : Preparation
    others : tuple of Network
        Further networks of the same structure; the outputs of all are averaged.
    """

    net: Network
    preparation: Preparation
    others: tuple[Network, ...] = ()

    @property
    def nets(self) -> tuple[Network, ...]:
        """All networks."""
        return self.net, *self.others

    def inputs(self, data: Any) -> Array:
        """Prepare data for the network; return (n, M).

        Parameters
        ----------
        data : polars.DataFrame, pandas.DataFrame, or (n, M) array of numbers

        Warns
        -----
        UnseenDataWarning
            If dates lie outside those of training, or categories are not inputs of the model.

        Raises
        ------
        UnusableDataError, ValueError, TypeError
            If the columns, shape or types differ from those of the training data.
        """
        columns = self.preparation.columns
        if is_pandas(data):
            data = from_pandas(data)
        if columns is not None and isinstance(data, np.ndarray):
            return columns.apply(data, self.net.dtype)
        if columns is not None:
            check_frame(data)
            check_columns(data, columns.sources)
            data = gaps_as_null(data.select(columns.sources), self.preparation.missing)
            data, _, _ = convert_texts(data, columns.categories, self.preparation.spellings)
            inputs, remarks = columns.apply_table(data, self.net.dtype)
            for remark in remarks:
                warnings.warn(remark, UnseenDataWarning, stacklevel=2)
            return inputs
        if not isinstance(data, np.ndarray):
            raise UnusableDataError(
                f"this model takes an array of {self.net.sizes[0]} columns, not a table"
            )
        return self.net.inputs(self.preparation.as_is(data, self.net.dtype))

    def outputs(self, data: Any) -> Array:
        """Return the mean outputs (n, K): probabilities, or values as scaled for training."""
        return self.outputs_of(self.inputs(data))

    def outputs_of(self, X: Array) -> Array:
        """Return the mean outputs (n, K) for prepared data (n, M)."""
        outputs = self.net.forward(X)
        for net in self.others:
            outputs += net.forward(X)
        if self.others:
            outputs /= len(self.nets)
        return outputs

    def predict(self, data: Any) -> Array:
        """Predict for data: class names (n,), or values (n, K) in their own units."""
        return self.preparation.target.decode(self.outputs(data))

    def save(self, path: str | PathLike[str]) -> None:
        """Write networks and preparation to one safetensors file, as ``Network.save`` does."""
        save_networks(self.nets, path, self.preparation.description())

    @classmethod
    def load(
        cls, path: str | PathLike[str], own: Iterable[OwnActivation | OwnLoss] = ()
    ) -> "Model":
        """Read a model; nothing in the file is executed.

        Parameters
        ----------
        path : path
        own : iterable of OwnActivation and OwnLoss
            The user-defined functions that the file refers to by name.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file was not written by fastbp, is damaged, has no preprocessing, or was written
            by a newer version.
        """
        try:
            (net, *others), description = load_networks(Network, path, own)
        except (RecursionError, OverflowError, MemoryError) as error:
            raise ValueError(
                f"{path} does not contain the network that it describes: {error}"
            ) from None
        if description is None:
            raise ValueError(
                f"{path} contains a network without data preprocessing; read it with fastbp.load"
            )
        try:
            preparation = Preparation.from_description(description)
            preparation.check_network(net.sizes[0], net.sizes[-1])
        except ValueError as error:
            raise ValueError(
                f"{path} does not contain the model that it describes: {error}"
            ) from None
        return cls(net, preparation, tuple(others))
