"""Networks: structure, inference, gradients, the gradient check, and tuning."""

from fastbp.network.arguments import DTYPES
from fastbp.network.finite_differences import gradient_check
from fastbp.network.network import Network
from fastbp.network.tuning import tune

load = Network.load

__all__ = ["DTYPES", "Network", "gradient_check", "load", "tune"]
