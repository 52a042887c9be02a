"""The derivation in plain NumPy, against which the tests compare the kernels.

A function here computes the result of the kernel of the same name in ``kernels``, in the plainest
form. It returns new arrays and does not change its arguments; rows come first, (B, K), in the
losses too. Functions that serve all activations or losses, such as ``activate`` and ``predict``,
take the name of the activation or loss. Kernels that only arrange memory (biases, transposes,
tiles) have no twin.

The axes are those of ``kernels``: B rows, M fan-in, N fan-out, K outputs, L layers. float32 inputs
give float32 results.
"""

from fastbp.reference.activations import *
from fastbp.reference.dense import *
from fastbp.reference.losses import *
from fastbp.reference.network import *
from fastbp.reference.optimizers import *
from fastbp.reference.random import *
from fastbp.reference.rows import *
from fastbp.reference.scalar import *
