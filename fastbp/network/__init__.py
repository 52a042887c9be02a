"""Networks: structure, inference, gradients, and the gradient check."""

from fastbp.network.arguments import DTYPES
from fastbp.network.finite_differences import gradient_check
from fastbp.network.network import Network

load = Network.load

__all__ = ["DTYPES", "Network", "gradient_check", "load"]
