"""Messages between ranks in numbers of 16 bits, float16 or bfloat16.

A message has ``HEADER`` words: three sums and a factor, as float64. Then come the numbers, each
divided by the factor. bfloat16 has the exponents of float32 and 8 significant bits; its factor is
1. float16 has 11 significant bits and few exponents; its factor is a power of 2 that brings the
largest number to [2^14, 2^15), so that none overflows. It is NaN if a number is not finite.
"""

import ctypes
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import (
    Halves,
    Labels,
    Vector,
    Whole,
    instruction,
    kernel,
    part,
    scalar,
)
from fastbp.kernels.memory import as_float32, as_float64, as_int32, as_int64

# Words of a message before its numbers, and the place of the factor among them.
HEADER, FACTOR = 16, 12
# Exponents of float32: the bias, and that of the least normal float16.
BIAS, LEAST_16 = 127, -14
# What is added to the bits of the exponent of a float16 for that of a float32.
SHIFT_16 = (BIAS - 15) << 23
# The largest number becomes at least 2^LARGEST_16.
LARGEST_16 = 14


@scalar
def bfloat16_bits(x: Any) -> Any:
    """The bits of the bfloat16 nearest to a float32; of two, the even one."""
    bits = np.int64(as_int32(x))
    rounded = (bits + np.int64(0x7FFF) + ((bits >> np.int64(16)) & np.int64(1))) >> np.int64(16)
    return np.uint16((rounded if x == x else np.int64(0x7FC0)) & np.int64(0xFFFF))


@scalar
def from_bfloat16(bits: Any) -> Any:
    """The float32 equal to the bfloat16 with these bits."""
    return as_float32(np.int32(np.int32(np.int16(bits)) << np.int32(16)))


@scalar
def float16_bits(x: Any) -> Any:
    """The bits of the float16 nearest to a float32 below 2^15; of two, the even one."""
    bits = np.int64(as_int32(x))
    size = bits & np.int64(0x7FFFFFFF)
    odd = (size >> np.int64(13)) & np.int64(1)
    normal = (size - np.int64(SHIFT_16) + np.int64(0xFFF) + odd) >> np.int64(13)
    # Below, the last bit of a float16 is 2^-24, that of 1/2 in float32.
    sum_with_half = as_float32(np.int32(size)) + np.float32(0.5)
    small = np.int64(as_int32(sum_with_half)) - np.int64((BIAS - 1) << 23)
    rounded = normal if size >= np.int64((BIAS + LEAST_16) << 23) else small
    return np.uint16(rounded | ((bits >> np.int64(16)) & np.int64(0x8000)))


@scalar
def from_float16(bits: Any) -> Any:
    """The float32 equal to the finite float16 with these bits."""
    word = np.int32(bits)
    size = np.int32(np.int32(word & np.int32(0x7FFF)) << np.int32(13))
    # Without a leading 1: that of 2^-14 is added and subtracted.
    small = as_float32(np.int32(size + np.int32(SHIFT_16 + (1 << 23))))
    small = small - np.float32(2.0**LEAST_16)
    normal = as_float32(np.int32(size + np.int32(SHIFT_16)))
    value = small if size < np.int32(1 << 23) else normal
    return -value if word & np.int32(0x8000) else value


@part
def put_number(message: Array, place: int, x: float) -> None:
    """Write a float64 to four words."""
    bits = as_int64(x)
    for k in range(4):
        message[place + k] = np.uint16((bits >> np.int64(16 * k)) & np.int64(0xFFFF))


@part
def get_number(message: Array, place: int) -> float:
    """Read a float64 from four words."""
    bits = np.int64(np.int16(message[place + 3]))  # with its sign
    for k in range(2, -1, -1):
        bits = (bits << np.int64(16)) | np.int64(message[place + k])
    return as_float64(bits)


@part
def put_header(message: Array, sums: Array, factor: float) -> None:
    """Write what comes before the numbers."""
    for k in range(sums.shape[0]):
        put_number(message, 4 * k, np.float64(sums[k]))
    put_number(message, FACTOR, factor)


@kernel
def put_bfloat16(values: Vector, sums: Vector, message: Halves) -> None:
    """Write a message of ``values`` and ``sums`` (3,)."""
    put_header(message, sums, 1.0)
    for k in range(values.shape[0]):
        message[HEADER + k] = bfloat16_bits(np.float32(values[k]))


@kernel
def put_float16(values: Vector, sums: Vector, message: Halves) -> None:
    """Write a message of ``values`` and ``sums`` (3,)."""
    largest = np.int32(0)
    for k in range(values.shape[0]):
        size = np.int32(as_int32(np.float32(values[k])) & np.int32(0x7FFFFFFF))
        largest = max(largest, size)
    exponent = (np.int64(largest) >> np.int64(23)) - np.int64(BIAS)
    up = min(np.int64(LARGEST_16) - exponent, np.int64(BIAS - 1))
    finite = exponent <= BIAS
    scale = as_float32(np.int32((up + np.int64(BIAS)) << np.int64(23)))
    factor = as_float32(np.int32((np.int64(BIAS) - up) << np.int64(23)))
    put_header(message, sums, np.float64(factor) if finite else np.nan)
    for k in range(values.shape[0]):
        x = np.float32(values[k]) * scale
        message[HEADER + k] = float16_bits(x if finite else np.float32(0))


@kernel
def add_bfloat16(message: Halves, values: Vector) -> None:
    """Add a message's numbers to ``values``."""
    number = values.dtype.type
    for k in range(values.shape[0]):
        values[k] += number(from_bfloat16(message[HEADER + k]))


@kernel
def add_float16(message: Halves, values: Vector) -> None:
    """Add a message's numbers to ``values``."""
    number = values.dtype.type
    factor = np.float32(get_number(message, FACTOR))
    for k in range(values.shape[0]):
        values[k] += number(from_float16(message[HEADER + k]) * factor)


@kernel
def add_sums(message: Halves, sums: Vector) -> None:
    """Add a message's sums to ``sums`` (3,)."""
    number = sums.dtype.type
    for k in range(sums.shape[0]):
        sums[k] += number(get_number(message, 4 * k))


@instruction
def call_exchange(send: Array, receive: Array, count: int, call: Array) -> int:
    """Send and receive ``count`` words to and from each rank; return 0, or another number.

    ``call`` (3,) holds the address of a function with the arguments of ``MPI_Alltoall`` or
    ``MPI_Allgather``, and the handles of the type and of the group; see ``ranks.all_reduce``.
    """
    address, kind, group = (int(word) for word in call)
    pointer, whole, word = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    function = ctypes.CFUNCTYPE(whole, pointer, whole, word, pointer, whole, word, word)(address)
    return int(function(send.ctypes.data, count, kind, receive.ctypes.data, count, kind, group))


@kernel
def exchange(send: Halves, receive: Halves, count: Whole, call: Labels) -> bool:
    """Exchange words with all ranks; True, which stops the run, on failure."""
    return call_exchange(send, receive, count, call) != 0
