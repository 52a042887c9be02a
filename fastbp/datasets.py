"""Data sets that need no download: the public names of ``fastbp.data.datasets``."""

from fastbp.data.datasets import (
    DATASETS,
    Dataset,
    breast_cancer,
    diabetes,
    digits,
    iris,
    load,
    sine,
    sine_data,
    spiral,
    spiral_data,
    split,
    vertical_data,
    wine,
)

__all__ = [
    "DATASETS",
    "Dataset",
    "breast_cancer",
    "diabetes",
    "digits",
    "iris",
    "load",
    "sine",
    "sine_data",
    "spiral",
    "spiral_data",
    "split",
    "vertical_data",
    "wine",
]
