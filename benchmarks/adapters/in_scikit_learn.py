"""Training in scikit-learn."""

import time
import warnings

import numpy as np
from cases import LEARNING_RATE, Array, Case

from adapters.parameters import ADAM, join_layers, split_layers


class FixedOrder(np.random.RandomState):
    """A random state whose ``shuffle`` returns the fixed ``order`` (n,)."""

    def __init__(self, order: Array) -> None:
        super().__init__(0)
        self.order, self.shuffle_time = order, 0.0

    def shuffle(self, x: Array) -> None:
        """Copy the order into ``x`` (n,), and record the time: the steps begin now."""
        self.shuffle_time = time.perf_counter()
        x[:] = self.order


class InScikitLearn:
    """scikit-learn's ``MLPClassifier`` through its public API: an epoch is a ``fit``.

    With ``warm_start``, ``fit`` continues from the weights, which ``reset`` overwrites. The model's
    random state returns the benchmark's order, so that scikit-learn's own loop gathers the same
    batches. The set-up time of ``fit`` before the first step does not depend on the number of
    epochs and is not counted.
    """

    def __init__(self, case: Case) -> None:
        from sklearn.neural_network import MLPClassifier

        self.case = case
        self.model = MLPClassifier(
            case.row.sizes[1:-1],
            alpha=0.0,
            batch_size=case.batch,
            learning_rate_init=LEARNING_RATE,
            beta_1=ADAM.beta1,
            beta_2=ADAM.beta2,
            epsilon=ADAM.epsilon,
            max_iter=1,
            shuffle=False,
        )
        # One step allocates the arrays and sets the classes; its result is overwritten.
        X, y, classes = case.X[: case.batch], case.y[: case.batch], np.arange(case.row.sizes[-1])
        self.model.partial_fit(X, y, classes=classes)
        self.random = FixedOrder(case.order)
        self.model.set_params(shuffle=True, random_state=self.random, warm_start=True)
        self.setup_seconds = 0.0  # of the last run, before its first step
        self.reset()

    def reset(self) -> None:
        """Restore the start weights; ``fit`` makes a new optimizer."""
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        start = split_layers(self.case, self.case.net.params)
        for (W, b), (W_start, b_start) in zip(pairs, start, strict=True):
            W[:], b[:] = W_start, b_start

    def run(self) -> float:
        """Train for one epoch; return its mean loss."""
        from sklearn.exceptions import ConvergenceWarning

        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch never converges
            self.model.fit(self.case.X, self.case.y)
        self.setup_seconds = self.random.shuffle_time - start
        return float(self.model.loss_)

    @property
    def params(self) -> Array:
        """All parameters, a flat (P,) array in fastbp's order."""
        return join_layers(self.model.coefs_, self.model.intercepts_)
