"""Shapes, dtypes and marks of the tests of kernels."""

import numba
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiled kernels")
both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
# Row counts with remainders of 0 to 3 from blocks of four, down to one row; odd column counts, too.
shapes = pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 257), (2, 10), (3, 3), (4, 2), (5, 10), (6, 257), (7, 3), (8, 1), (33, 10)],
)
quick = settings(max_examples=40, deadline=None)


@st.composite
def logits(draw_):
    dtype = draw_(st.sampled_from([np.float32, np.float64]))
    shape = draw_(st.tuples(st.integers(1, 9), st.integers(1, 12)))
    return draw_(st_numpy.arrays(dtype, shape, elements=st.floats(-1e4, 1e4, width=32)))
