"""Classes for neural networks written from scratch, computed by compiled kernels.

Courses, books and notebooks build networks from classes like ``Layer_Dense`` and
``Optimizer_Adam``. To run such code on these classes, change its import::

    from fastbp.scratch import Activation_ReLU, Layer_Dense, Optimizer_Adam

Both styles of this code work. The earlier style calls layers one by one in a training loop that
ends in ``Activation_Softmax_Loss_CategoricalCrossentropy``. The later style trains a ``Model``,
whose training loop is compiled. Names, attributes and formulas are those of the notes (seed 003)
and of the public teaching code. float32 inputs give float32 outputs, float64 inputs float64.

Differences from the public teaching code:

- ``Loss_MeanAbsoluteError.backward`` has the sign that agrees with finite differences.
- ``Loss_BinaryCrossentropy`` sums over the outputs by default; ``mean_over_outputs=True`` takes the
  mean.
- ``Model.save`` writes safetensors, and pickles are never opened.
- Wrong shapes, unknown labels and a backward pass before a forward pass raise an error.
"""

from fastbp.scratch.accuracies import (
    Accuracy,
    Accuracy_Categorical,
    Accuracy_Regression,
)
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
