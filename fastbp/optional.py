"""Packages that only some functions need: one clear error where a package is missing."""

import importlib
from typing import Any


class MissingPackageError(ImportError):
    """A package that a function needs is not installed."""


class MissingPolarsError(MissingPackageError):
    """Polars, which reads tables, is not installed."""


class MissingOnnxError(MissingPackageError):
    """The package onnx, which writes ONNX files, is not installed."""


class MissingMatplotlibError(MissingPackageError):
    """Matplotlib, which draws pictures, is not installed."""


class MissingTensorboardError(MissingPackageError):
    """The package tensorboardX, which writes event files, is not installed."""


class MissingDaskError(MissingPackageError):
    """Dask's distributed, which connects workers, is not installed."""


class MissingOptunaError(MissingPackageError):
    """Optuna is not installed."""


class MissingMPIError(MissingPackageError):
    """mpi4py, which connects processes, is not installed."""


# For each package: what needs it, its name in prose, the extra that installs it, and the error.
_PACKAGES: dict[str, tuple[str, str, str, type[MissingPackageError]]] = {
    "polars": ("tables need", "Polars", "tables", MissingPolarsError),
    "onnx": ("ONNX files need", "onnx", "onnx", MissingOnnxError),
    "matplotlib": ("pictures need", "Matplotlib", "plot", MissingMatplotlibError),
    "distributed": ("--dask needs", "Dask", "dask", MissingDaskError),
    "optuna": ("pruning needs", "Optuna", "optuna", MissingOptunaError),
    "mpi4py": ("distributed training needs", "mpi4py", "mpi", MissingMPIError),
    "tensorboardX": ("event files need", "tensorboardX", "tensorboard", MissingTensorboardError),
}


def require(package: str) -> Any:
    """Import an optional package.

    Raises
    ------
    MissingPackageError
        If it is not installed; the message names the extra of fastbp that installs it. An import
        that fails inside the package raises its own error.
    """
    need, name, extra, error_class = _PACKAGES[package]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise error_class(
            f'{need} {name}, which is not installed: pip install "fastbp[{extra}]"'
        ) from None
