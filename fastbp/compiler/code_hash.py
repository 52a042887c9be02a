"""A hash of functions, with which checkpoints detect changed code."""

import hashlib
import types
from typing import Any

import numpy as np


def code_hash(*functions: Any) -> str:
    """Hash functions, the functions that they call, and the constants that they use."""
    digest = hashlib.blake2b(digest_size=12)
    seen: set[Any] = set()

    def add_code(code: types.CodeType, doc: str | None) -> None:
        digest.update(code.co_code)
        digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                add_code(constant, None)
            elif doc is None or constant != doc:
                digest.update(repr(constant).encode())

    def add(value: Any) -> None:
        plain = getattr(value, "py_func", value)
        if isinstance(plain, types.FunctionType):
            if plain in seen:
                return
            seen.add(plain)
            digest.update(repr(getattr(value, "targetoptions", {}).get("fastmath")).encode())
            add_code(plain.__code__, plain.__doc__)
            for cell in plain.__closure__ or ():
                add(cell.cell_contents)
            for name in plain.__code__.co_names:
                if name in plain.__globals__:
                    add(plain.__globals__[name])
        elif isinstance(plain, np.ndarray):
            digest.update(f"{plain.dtype}{plain.shape}".encode() + plain.tobytes())
        elif isinstance(plain, int | float | complex | str | tuple | np.generic):
            digest.update(repr(plain).encode())

    for function in functions:
        add(function)
    return digest.hexdigest()
