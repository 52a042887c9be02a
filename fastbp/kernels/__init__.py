"""The compiled loops of fastbp, one subject per file.

The files, in the order of the derivation::

    activations    f(z) and f'(z)
    dense          z = X W + b and its gradients; ``products`` and ``sparse`` compute X W
    losses         softmax, sigmoid or identity with a loss, and its gradient
    optimizers     penalties, clipping, SGD to Adam
    normalisation  layer normalisation, and the sum of a residual connection
    batch_norm     batch normalisation
    members        an ensemble that shares W
    dropout        forward and backward pass
    encodings      embeddings of numbers and categories, and scales, before the first layer
    batches        the order of the rows, copies of the rows of a batch, their weights
    random         random numbers
    clock          counters of steps and epochs
    rows           softmax and cross-entropy of arrays (B, K), for callers' own code
    threads        the barrier between threads
    ranks          sums over processes
    half           numbers of 16 bits, for messages between processes
    scalar         exp, log, tanh of a number
    memory         views of arrays, vector loads

``fastbp.plan`` arranges kernels into a training step; ``print(net.plan(32))`` shows the step of a
network. ``fastbp.compiler`` compiles kernels and stores their machine code.

Legend, for every array::

    B  rows of a batch        M  fan-in of a layer     N  fan-out of a layer
    K  outputs (classes)      L  layers of weights     P  parameters in all

    n  rows of the data

    X (n, M) data     x (B, M) a batch    W (M, N) weights  b (N,) biases
    z = x W + b (B, N)
    a = f(z) (B, N)   delta = dLoss/dz (B, N)               dW, db, dX: dLoss/dW, ...

"Seed 000" to "seed 004" are the five source notes that this project implements, cited by equation
number. Seed 000 writes all matrices transposed, features first.

Kernels write into the arrays named as outputs, or in place where the docstring says so. They never
check their input, print or allocate; callers check. They can be called from Python and from a
caller's own ``@numba.njit`` function. Most have a twin in plain NumPy in ``fastbp.reference``.
"""

from fastbp.arrays import LINE, Array, aligned
from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.kernels.activations import (
    add_bias,
    bias_elu,
    bias_gelu,
    bias_leaky_relu,
    bias_mish,
    bias_relu,
    bias_selu,
    bias_sigmoid,
    bias_silu,
    bias_softplus,
    bias_tanh,
    elu_backward,
    leaky_relu_backward,
    multiply_slopes,
    relu,
    relu_backward,
    relu_backward_to,
    relu_to,
    selu_backward,
    sigmoid_backward,
    sigmoid_backward_to,
    sigmoid_to,
    softplus_backward,
    tanh_backward,
)
from fastbp.kernels.batches import (
    as_numbers,
    batch_weight,
    gather,
    gather_labels,
    gather_targets,
    not_finite,
    record_outputs,
    row_weights,
    set_row_address,
    shuffle,
)
from fastbp.kernels.clock import (
    end_epoch,
    end_step,
)
from fastbp.kernels.dense import (
    NARROW,
    add_bias_gradient,
    add_bias_to_columns,
    add_columns_bias_gradient,
    affine,
    bias_gradient,
    columns_with_bias,
    dense_backward,
    dense_relu,
    narrow_columns,
    narrow_gradient,
    narrow_relu,
    narrow_relu_backward,
    relu_backward_of_3,
    relu_backward_of_6,
    relu_backward_of_10,
)
from fastbp.kernels.dropout import (
    dropout,
    dropout_backward,
    dropout_scale,
)
from fastbp.kernels.losses import (
    SCRATCH,
    absolute_error,
    exp_of,
    huber,
    poisson,
    sigmoid_cross_entropy,
    sigmoid_of,
    softmax_cross_entropy,
    softmax_cross_entropy_of_probabilities,
    squared_error,
)
from fastbp.kernels.memory import (
    as_float32,
    as_float64,
    as_int32,
    as_int64,
    load,
    matrix,
    prefetch,
    store,
    vector,
)
from fastbp.kernels.optimizers import (
    adagrad,
    adam,
    adam_uncorrected,
    add_square_sum,
    advance_powers,
    clip_by_norm,
    penalise,
    rmsprop,
    sgd,
    sgd_momentum,
    sgd_nesterov,
    square_sum,
    stop_if_not_finite,
)
from fastbp.kernels.products import (
    add,
    clear,
    copy,
    first_product,
    first_product_by_number,
    first_product_of_few,
    gradient_by_number,
    product,
    product_by_panels,
    product_of_rows,
    small_product,
    tiled_product,
    transpose,
)
from fastbp.kernels.random import (
    random_bits,
    skip_draws,
)
from fastbp.kernels.rows import (
    cross_entropy,
    cross_entropy_backward,
    first_outside,
    logsumexp,
    softmax,
    softmax_backward,
    softmax_cross_entropies,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_gradient,
)
from fastbp.kernels.scalar import (
    ZERO,
    exp,
    exp_parts,
    expm1,
    flush_subnormal,
    log,
    log1p,
    normal_cdf,
    sigmoid,
    softplus,
    tanh,
)
from fastbp.kernels.sparse import (
    sparse_gradient,
    sparse_product,
)
from fastbp.kernels.threads import (
    barrier,
)

__all__ = [
    "LINE",
    "NARROW",
    "PLAIN",
    "SCRATCH",
    "TRANSPOSED",
    "ZERO",
    "Array",
    "absolute_error",
    "adagrad",
    "adam",
    "adam_uncorrected",
    "add",
    "add_bias",
    "add_bias_gradient",
    "add_bias_to_columns",
    "add_columns_bias_gradient",
    "add_square_sum",
    "advance_powers",
    "affine",
    "aligned",
    "as_float32",
    "as_float64",
    "as_int32",
    "as_int64",
    "as_numbers",
    "barrier",
    "batch_weight",
    "bias_elu",
    "bias_gelu",
    "bias_gradient",
    "bias_leaky_relu",
    "bias_mish",
    "bias_relu",
    "bias_selu",
    "bias_sigmoid",
    "bias_silu",
    "bias_softplus",
    "bias_tanh",
    "clear",
    "clip_by_norm",
    "columns_with_bias",
    "copy",
    "cross_entropy",
    "cross_entropy_backward",
    "dense_backward",
    "dense_relu",
    "dropout",
    "dropout_backward",
    "dropout_scale",
    "elu_backward",
    "end_epoch",
    "end_step",
    "exp",
    "exp_of",
    "exp_parts",
    "expm1",
    "first_outside",
    "first_product",
    "first_product_by_number",
    "first_product_of_few",
    "flush_subnormal",
    "gather",
    "gather_labels",
    "gather_targets",
    "gradient_by_number",
    "huber",
    "leaky_relu_backward",
    "load",
    "log",
    "log1p",
    "logsumexp",
    "matrix",
    "multiply_slopes",
    "narrow_columns",
    "narrow_gradient",
    "narrow_relu",
    "narrow_relu_backward",
    "normal_cdf",
    "not_finite",
    "penalise",
    "poisson",
    "prefetch",
    "product",
    "product_by_panels",
    "product_of_rows",
    "random_bits",
    "record_outputs",
    "relu",
    "relu_backward",
    "relu_backward_of_3",
    "relu_backward_of_6",
    "relu_backward_of_10",
    "relu_backward_to",
    "relu_to",
    "rmsprop",
    "row_weights",
    "selu_backward",
    "set_row_address",
    "sgd",
    "sgd_momentum",
    "sgd_nesterov",
    "shuffle",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_backward_to",
    "sigmoid_cross_entropy",
    "sigmoid_of",
    "sigmoid_to",
    "skip_draws",
    "small_product",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropies",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_gradient",
    "softmax_cross_entropy_of_probabilities",
    "softplus",
    "softplus_backward",
    "sparse_gradient",
    "sparse_product",
    "square_sum",
    "squared_error",
    "stop_if_not_finite",
    "store",
    "tanh",
    "tanh_backward",
    "tiled_product",
    "transpose",
    "vector",
]
