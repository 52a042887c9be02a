"""How tests call kernels: as operations of a plan, the form in which training calls them."""

import numpy as np

from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner


def call(kernel, *arguments):
    """Call a kernel's entry once; return its result as an integer."""
    plan = Plan()
    plan.begin("call")
    plan.add(
        kernel,
        *(
            Operand.of(f"argument {k}", argument) if isinstance(argument, np.ndarray) else argument
            for k, argument in enumerate(arguments)
        ),
    )
    plan.finish()
    return list_runner(plan, "call")()
