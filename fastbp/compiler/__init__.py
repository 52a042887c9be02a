"""How kernels are declared, compiled and stored, over Numba and LLVM."""
