"""The parts of the documentation that both estimators share."""

from typing import Any

TRAINING_PARAMETERS = """\
hidden_layer_sizes : int or array-like of int, default=(100,)
    Width of each hidden layer; ``()`` for none.
activation : str or sequence of str, default='relu'
    Activation of the hidden layers, one name for all or one for each: one of scikit-learn's
    (``identity``, ``logistic``, ``tanh``, ``relu``) or ``leaky_relu``, ``elu``, ``softplus``,
    ``gelu``, ``silu``, ``selu``,
    ``mish``.
solver : str or Optimizer, default='adam'
    One of scikit-learn's (``lbfgs``, ``sgd``, ``adam``), or ``adamw``, ``rmsprop``, ``adagrad``; or
    an optimizer such as ``fastbp.AdamW(1e-3, weight_decay=0.1)``, which has its own
    hyperparameters.
alpha : float, default=0.0001
    ``alpha / (2 n) * sum W**2`` is added to the mean loss of a batch of n rows, as in scikit-learn;
    with sample weights, n is the sum of the weights of the batch.
batch_size : int or 'auto', default='auto'
    Rows per step. ``'auto'`` is 200, or all rows if there are fewer. L-BFGS uses all rows.
learning_rate : str or Schedule, default='constant'
    ``constant``. Only with ``solver='sgd'``, as in scikit-learn: ``invscaling``, ``adaptive``. With
    every solver except L-BFGS: ``plateau`` (``adaptive`` for any solver), ``step``,
    ``exponential``, ``cosine``, ``one_cycle``, or a schedule such as
    ``fastbp.CosineSchedule(warmup_epochs=2)``; these span ``max_iter`` epochs.
learning_rate_init : float, default=0.001
    Initial learning rate.
power_t : float, default=0.5
    With ``invscaling``, the learning rate is divided by ``(t_ + 1)^power_t``.
max_iter : int, default=200
    Maximum number of epochs; for L-BFGS, of iterations.
shuffle : bool, default=True
    Whether each epoch visits the rows in a new order.
random_state : int, RandomState instance or None, default=None
    Determines the weights, the validation rows, the order of the rows, and dropout. All but dropout
    are drawn exactly as in scikit-learn.
tol : float, default=1e-4
    Minimum improvement of the loss or the score that counts; for L-BFGS, training stops when no
    element of the gradient is larger in absolute value than ``tol``.
verbose : bool or int, default=False
    Whether to print the loss of each epoch, or of each iteration of L-BFGS.
warm_start : bool, default=False
    Whether ``fit`` starts with the current weights.
momentum : float, default=0.9
    Momentum of ``solver='sgd'``.
nesterovs_momentum : bool, default=True
    Whether the momentum of ``solver='sgd'`` is Nesterov's.
early_stopping : bool, default=False
    Whether training stops when the score on validation rows no longer improves, and the weights
    with the best score are restored. Otherwise it stops when the training loss no longer improves.
validation_fraction : float, default=0.1
    Fraction of the rows to hold out, unless ``fit`` is given ``validation_data``. If there are
    two classes, they keep their proportions, as in scikit-learn.
beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
    For ``adam`` and ``adamw``; ``rmsprop`` uses ``beta_2`` and ``epsilon``, ``adagrad`` uses
    ``epsilon``.
n_iter_no_change : int or inf, default=10
    Number of epochs in a row without improvement after which training stops.
max_fun : int, default=15000
    Maximum number of evaluations of the loss, for L-BFGS.
"""

FURTHER_PARAMETERS = """\
dropout : float or sequence of float, default=0.0
    Fraction of each hidden layer's outputs dropped in training (not for L-BFGS).
clip_norm : float, optional
    Maximum norm of the gradient; longer gradients are scaled down to it (not for L-BFGS).
scoring : str or callable, optional
    The score of validation rows: any scorer of scikit-learn, by name or as a callable, or
    ``'loss'``, which is minus the loss. By default {score}.
callbacks : callable or iterable of callables, optional
    Functions are called with the estimator after every epoch; returning True stops training.
    Objects of ``fastbp.callbacks`` do what they do in ``fastbp.train``, in ``fit`` only and not
    for L-BFGS; ``validation_metric`` is the score. Their results are in ``callbacks_``.
dtype : {{'auto', 'float32', 'float64'}}, default='auto'
    Precision. ``'auto'`` follows X, as in scikit-learn: float64 for everything but float32. With
    this default, results agree with scikit-learn's to rounding. ``'float32'`` takes less time and
    half the memory, and trains equally well, because the rounding error of float32 is far below the
    noise of mini-batches. L-BFGS always computes in float64.
n_threads : int, optional
    Number of threads that compute each step. By default one thread for small steps and all
    processors for large ones; always one if ``fit`` is called outside the main thread, for example
    by joblib.
"""

FITTED_ATTRIBUTES = """\
coefs_, intercepts_ : lists of arrays
    Weights (fan-in, fan-out) and biases (fan-out,) of each layer: views of one flat buffer.
    Writing into them, or assigning a list of arrays, changes the network.
loss_ : float
    Loss of the last epoch: the mean over its batches, each before its step, with the penalty.
best_loss_ : float or None
    The lowest epoch loss; None with ``early_stopping``.
loss_curve_ : list of float
    Loss of each epoch, or of each iteration of L-BFGS.
validation_scores_ : list of float or None
    Score on the validation rows after each epoch; None without validation rows.
validation_loss_curve_ : list of float or None
    Loss on the validation rows, without the penalty.
best_validation_score_ : float or None
    The highest score, with ``early_stopping``.
stopped_ : bool
    Whether training stopped because nothing improved.
n_iter_ : int
    Number of epochs of the last fit (1 after ``partial_fit``).
t_ : int
    Number of rows visited, summed over this fit and the fits that it continues.
callbacks_ : list
    Copies of the objects of ``fastbp.callbacks`` among ``callbacks``, as the last fit left them.
n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
    As in scikit-learn.

Warns
-----
ConvergenceWarning
    If ``max_iter`` is reached first.
"""


def document(estimator: Any, score: str) -> None:
    """Replace the placeholders in the docstring of an estimator whose default score is given."""
    if estimator.__doc__ is None:  # python -OO removes docstrings
        return
    parts = {
        "{training_parameters}": TRAINING_PARAMETERS,
        "{further_parameters}": FURTHER_PARAMETERS.format(score=score),
        "{fitted_attributes}": FITTED_ATTRIBUTES,
    }
    for placeholder, text in parts.items():
        indented = text.rstrip().replace("\n", "\n    ").replace("\n    \n", "\n\n")
        estimator.__doc__ = estimator.__doc__.replace(placeholder, indented)
