"""The classes of neural networks written from scratch, compiled underneath.

Courses, books and notebooks build networks from classes like ``Layer_Dense`` and
``Optimizer_Adam``. Code in that dialect runs on these by changing its import::

    from fastbp.scratch import Activation_ReLU, Layer_Dense, Optimizer_Adam

Both dialects work: layers called one by one in a loop of one's own, with
``Activation_Softmax_Loss_CategoricalCrossentropy`` at the end, and a ``Model`` that trains, whose
loop is compiled as a whole. Names, attributes and formulas are those of the notes (seed 003) and of
the public teaching code; float32 in gives float32 out, float64 gives float64.

What differs, each for a reason:

- ``Loss_MeanAbsoluteError.backward`` has the sign that finite differences give.
- ``Loss_BinaryCrossentropy`` sums over the outputs, unless it is told ``mean_over_outputs=True``.
- ``Model.save`` writes safetensors, and no pickle is ever opened.
- Wrong shapes, unknown labels and a backward pass before a forward pass are refused with a message.
"""

from fastbp.scratch.layers import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
    Layer_Dropout,
    Layer_Input,
)
from fastbp.scratch.losses import (
    Accuracy,
    Accuracy_Categorical,
    Accuracy_Regression,
    Activation_Softmax_Loss_CategoricalCrossentropy,
    Loss,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from fastbp.scratch.model import Model
from fastbp.scratch.optimizers import (
    Optimizer_Adagrad,
    Optimizer_Adam,
    Optimizer_RMSprop,
    Optimizer_SGD,
)

__all__ = [
    "Accuracy",
    "Accuracy_Categorical",
    "Accuracy_Regression",
    "Activation_Linear",
    "Activation_ReLU",
    "Activation_Sigmoid",
    "Activation_Softmax",
    "Activation_Softmax_Loss_CategoricalCrossentropy",
    "Layer_Dense",
    "Layer_Dropout",
    "Layer_Input",
    "Loss",
    "Loss_BinaryCrossentropy",
    "Loss_CategoricalCrossentropy",
    "Loss_MeanAbsoluteError",
    "Loss_MeanSquaredError",
    "Model",
    "Optimizer_Adagrad",
    "Optimizer_Adam",
    "Optimizer_RMSprop",
    "Optimizer_SGD",
]
