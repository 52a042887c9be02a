"""Recipes: the network and the training of tabular models, and the presets.

The method is that of RealMLP (D. Holzmueller, L. Grinsztajn, I. Steinwart, "Better by Default:
Strong Pre-Tuned MLPs and Boosted Trees on Tabular Data", 2024), with fewer epochs and networks,
several of which are averaged. ``benchmarks/tables`` measures the presets on tables that were not
used to choose them.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """How a tabular model is trained.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    epochs, batch_size : int
    members : int
        Networks whose outputs are averaged.
    folds : int
        Each member holds out another one of so many folds of the rows.
    classes_rate, values_rate : float
        Learning rates of classifiers and regressors, in the NTK parametrisation.
    dropout : float
        Falls to 0 in the second half of training, as the weight decay does.
    weight_decay : float
    label_smoothing : float
    numbers : bool
        Whether numbers are embedded.
    parametric : bool
        Whether each unit trains how much of its activation it uses.
    min_steps : int
        Tables of few rows are trained on for more epochs, until there are so many steps.
    """

    hidden: tuple[int, ...]
    epochs: int
    members: int
    folds: int = 5
    batch_size: int = 256
    classes_rate: float = 0.04
    values_rate: float = 0.2
    dropout: float = 0.0
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    numbers: bool = True
    parametric: bool = True
    min_steps: int = 0

    def for_rows(self, count: int) -> "Recipe":
        """Return the recipe with the epochs for a number of training rows."""
        per_epoch = max(1, -(-count // self.batch_size))
        return replace(self, epochs=max(self.epochs, -(-self.min_steps // per_epoch)))


# Activation and loss of regressors and of classifiers.
ACTIVATIONS = "mish", "selu"
LOSSES = "squared_error", "softmax_cross_entropy"
# Factors of the learning rate and the weight decay by kind of parameter; "ntk" is 1 / sqrt(fan-in),
# for the weight decay its inverse.
RATE_FACTORS: dict[str, float | str] = {
    "weights": "ntk",
    "biases": 0.1,
    "scales": 6.0,
    "numbers": 0.1,
    "alphas": 0.1,
}
DECAY_FACTORS: dict[str, float | str] = {"weights": "ntk", "biases": 0.0}
BETA2 = 0.95
# The standard deviation of the first frequencies of embedded numbers, and the sizes.
SIGMA, FREQUENCIES, WIDTH = 0.1, 16, 4
# The width of the embeddings of categories; up to so many categories are one-hot.
CATEGORY_WIDTH = ONE_HOT = 8

PRESETS = {
    "fast": Recipe((64, 64), 50, 2, weight_decay=0.05, min_steps=150),
    "good": Recipe((128, 128), 128, 3, min_steps=400),
    "best": Recipe((256, 256, 256), 256, 8, folds=8, dropout=0.15, min_steps=800),
}
# The name, beside those of presets, of a network whose settings are given one by one.
PLAIN = "plain"
