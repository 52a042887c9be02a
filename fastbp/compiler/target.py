"""The processor that code is compiled for: its name, its features, and its widest vectors."""

import functools
import os

from llvmlite import binding

# FASTBP_VECTOR_BYTES=32 or 16 forbids wider vectors, for tests and benchmarks: code is compiled as
# for a processor without the features whose names begin so.
VARIABLE = "FASTBP_VECTOR_BYTES"
_FORBIDDEN = {
    "64": (),
    "32": ("avx512", "avx10", "evex512", "amx"),
    "16": ("avx", "evex", "amx", "fma", "f16c", "xop", "vaes", "vpclmul"),
}

# LLVM prefers half of a vector of 64 bytes on several processors, by this feature. With whole ones,
# exponentials take three quarters of the time; explicit vectors are not affected.
HALVES = "prefer-256-bit"

# How LLVM's names of systems begin, by family of processors.
X86 = ("x86", "amd64", "i386", "i686")
ARM = ("aarch64", "arm64")


@functools.cache
def processor() -> tuple[str, str]:
    """LLVM's name and features of this processor, or NUMBA_CPU_NAME and NUMBA_CPU_FEATURES."""
    name = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = binding.get_host_cpu_features().flatten()
    widest = os.environ.get(VARIABLE, "64")
    if widest not in _FORBIDDEN:
        raise ValueError(f"{VARIABLE} must be 16, 32 or 64; it is {widest!r}")
    forbidden = _FORBIDDEN[widest]
    names = [feature for feature in features.split(",") if feature]
    kept = [f"-{each[1:]}" if each[1:].startswith(forbidden) else each for each in names]
    if binding.get_process_triple().startswith(X86):
        kept = [*(each for each in kept if each[1:] != HALVES), f"-{HALVES}"]
    return name, ",".join(kept)


@functools.cache
def vector_bytes() -> int:
    """Return the bytes of the widest vectors on which the processor multiplies and adds."""
    features = set(processor()[1].split(","))
    if "+avx512f" in features:
        return 64
    return 32 if {"+avx2", "+fma"} <= features else 16


@functools.cache
def vector_registers() -> int:
    """Return the number of vector registers."""
    features = set(processor()[1].split(","))
    return 32 if "+avx512f" in features or "+neon" in features else 16
