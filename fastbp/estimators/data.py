"""The data of an estimator: checked, converted for the kernels, and split."""

from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp import checks
from fastbp.arrays import Array, held
from fastbp.estimators.network import PerceptronNetwork
from fastbp.estimators.sparse_rows import checked_rows
from fastbp.network.decisions import check_indices
from fastbp.network.evaluation import row_count
from fastbp.plan.problem import Data, Sparse
from fastbp.training.options import as_validation_data

FLOATS = [np.float64, np.float32]


class ValidationRows(NamedTuple):
    """Rows that are not used for training: the network is scored on them after each epoch."""

    data: Data
    X: Any  # as given by the caller, for scorers
    y: Any


class PerceptronData(PerceptronNetwork):
    """Checks of the arguments of ``fit`` and ``predict``."""

    _numeric: ClassVar[bool]  # whether targets are numbers

    def _targets(self, y: Any, *, incremental: bool, reset: bool) -> Array:
        """Return the targets of the network, (n,) or (n, K), for checked ``y``."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """Return the number of outputs that the targets require."""
        raise NotImplementedError

    def _row_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        """Return the weights of the rows of ``y`` in the loss."""
        return sample_weight

    def _strata(self, targets: Array) -> Array | None:
        """Return the classes to keep the proportions of in validation rows; None: no classes."""
        return None

    def _check_arguments(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, reset: bool
    ) -> tuple[Data, Array | None]:
        """Check the arguments of a fit; if ``reset``, also make the network.

        Returns
        -------
        data : Data
            Its weights are in float64; ``_weighted`` converts them.
        sample_weight : (n,) array or None
            The weights of the rows, without the class weights, in float64.
        """
        sizes = self._hidden_sizes()
        X, y = self._arrays(X, y, reset=reset)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X).astype(np.float64)
        targets = self._targets(y, incremental=incremental, reset=reset)
        self.n_outputs_ = self._outputs()
        self._random_state = check_random_state(self.random_state)
        dtype = X.dtype if self.dtype == "auto" else self.dtype
        self._set_network([X.shape[1], *sizes, self.n_outputs_], dtype, reset)
        weights = self._row_weights(y, sample_weight)
        return self._data(X, targets)._replace(weights=weights), sample_weight

    def _arrays(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Check that ``X`` and ``y`` hold finite numbers and have the same number of rows."""
        checked: tuple[Any, Any] = validate_data(
            self,
            checked_rows("X", X),
            checked_rows("y", y),
            accept_sparse="csr",
            multi_output=True,
            y_numeric=self._numeric,
            dtype=FLOATS,
            order="C",
            reset=reset,
        )
        return checked

    def _data(self, X: Any, targets: Array) -> Data:
        """Convert checked arrays for the kernels; callbacks cannot free their memory."""
        dtype = self._net.dtype
        if targets.ndim == 1:
            check_indices(targets, self._net.sizes[-1])
        X = for_kernels(X, dtype)
        return Data(
            X if isinstance(X, Sparse) else held(X),
            checks.for_kernels(targets if targets.ndim == 1 else targets.astype(dtype)),
        )

    def _weighted(self, name: str, data: Data, weights: Array | None) -> Data:
        """Add float64 ``weights`` to data, in the network's dtype.

        Raises
        ------
        ValueError
            If they sum to 0; only those of ``training`` rows may have a sum below 0.
        """
        if weights is None:
            return data._replace(weights=None)
        scaled = checks.scaled_weights(weights)
        checks.check_total_weight(name, scaled, negative=name == "training")
        return data._replace(weights=checks.for_kernels(scaled.astype(self._net.dtype)))

    def _validation_data(self, given: Any) -> ValidationRows | None:
        """Check ``(X, y)`` or ``(X, y, sample_weight)``."""
        given = as_validation_data(given)
        if given is None:
            return None
        if self.solver == "lbfgs":
            raise ValueError("validation_data is not supported by solver='lbfgs'")
        X, y, weights = given
        checked_X, checked_y = self._arrays(X, y, reset=False)
        if weights is not None:
            weights = _check_sample_weight(weights, checked_X).astype(np.float64)
        targets = self._targets(checked_y, incremental=True, reset=False)
        data = self._weighted("validation", self._data(checked_X, targets), weights)
        return ValidationRows(data, X, y.copy() if isinstance(y, np.ndarray) else y)

    def _split(
        self, data: Data, weights: Array | None, X: Any, y: Any
    ) -> tuple[Data, ValidationRows]:
        """Hold out ``validation_fraction`` of the rows, the same rows as scikit-learn.

        The score of the validation rows uses ``weights``, which do not include the class weights.
        """
        kept, held_rows = train_test_split(
            np.arange(row_count(data.X)),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=self._strata(data.y),
        )
        if len(held_rows) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        columns = self._net.sizes[0]
        kept_data, held_data = (rows_of(data, rows, columns) for rows in (kept, held_rows))
        own_weights = None if weights is None else weights[held_rows]
        held_data = self._weighted("validation", held_data, own_weights)
        given = X, y
        if self.scoring not in (None, "loss"):  # scorers take the data as given
            given = tuple(_safe_indexing(checked_rows("X", part), held_rows) for part in given)
        return self._weighted("training", kept_data, kept_data.weights), ValidationRows(
            held_data, *given
        )

    def _infer(self, X: Any, *, apply_link: bool = True) -> Array:
        """Compute the outputs (n, K) of the network for ``X``; if not ``apply_link``, z."""
        check_is_fitted(self)
        X = checked_rows("X", X)
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOATS, order="C", reset=False)
        if X.shape[1] != self._net.sizes[0]:  # n_features_in_ was changed
            raise ValueError(
                f"X has {X.shape[1]} features, but the weights of {type(self).__name__} expect "
                f"{self._net.sizes[0]}"
            )
        link = self._net.link if apply_link else None
        return self._net.infer_checked(for_kernels(X, self._net.dtype), link)


def for_kernels(X: Any, dtype: Any) -> Array | Sparse:
    """Convert checked dense or sparse rows for the kernels."""
    if not sparse.issparse(X):
        return checks.for_kernels(np.asarray(X, dtype))
    count = X.indptr[-1]
    return Sparse(
        checks.for_kernels(np.asarray(X.data[:count], dtype)),
        checks.for_kernels(np.asarray(X.indices[:count], np.int32)),
        checks.for_kernels(np.asarray(X.indptr, np.int64)),
    )


def rows_of(data: Data, rows: Array, columns: int) -> Data:
    """Copy the rows with the given indices from data with ``columns`` columns."""
    X, y, weights = data
    if isinstance(X, Sparse):
        shape = row_count(X), columns
        matrix = sparse.csr_array((X.values, X.columns, X.starts), shape=shape)[rows]
        X = Sparse(
            matrix.data, np.asarray(matrix.indices, np.int32), np.asarray(matrix.indptr, np.int64)
        )
    else:
        X = X[rows]
    return Data(X, y[rows], None if weights is None else weights[rows])


def in_float64(data: Data) -> Data:
    """Convert data to float64; class indices stay as they are."""
    X, y, weights = data
    return Data(
        X._replace(values=_doubles(X.values)) if isinstance(X, Sparse) else _doubles(X),
        y if y.ndim == 1 else _doubles(y),
        None if weights is None else _doubles(weights),
    )


def _doubles(array: Array) -> Array:
    return checks.for_kernels(array.astype(np.float64, copy=False))
