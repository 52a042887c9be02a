"""Pictures of training runs and of models. Matplotlib is imported when one is drawn."""

from fastbp.optional import MissingMatplotlibError
from fastbp.plotting.models import decision_regions, weight_images
from fastbp.plotting.runs import (
    confusion_matrix,
    confusion_picture,
    predicted_against_true,
    training_picture,
)

__all__ = [
    "MissingMatplotlibError",
    "confusion_matrix",
    "confusion_picture",
    "decision_regions",
    "predicted_against_true",
    "training_picture",
    "weight_images",
]
