"""The derivations in plain NumPy: the slow twin of every kernel that has a meaning for a reader.

A twin has the name of its kernel in ``kernels`` and says the same thing as plainly as it can.
It differs in three ways. It returns new arrays and leaves its arguments alone. Rows come first
everywhere, (B, K), in the losses too. Activations and losses go by their names.

The axes are those of ``kernels``: B rows, M fan-in, N fan-out, K outputs, L layers. What comes
in as float32 stays float32.
"""

from fastbp.reference.activations import *
from fastbp.reference.dense import *
from fastbp.reference.losses import *
from fastbp.reference.network import *
from fastbp.reference.optimizers import *
from fastbp.reference.random import *
from fastbp.reference.rows import *
from fastbp.reference.scalar import *
