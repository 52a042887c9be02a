"""Checks of users' own functions in compiled form, before a plan calls them."""

from typing import Any

from llvmlite import binding

# Calls that count references to arrays; they have no effect on the arrays that kernels pass.
_REFERENCE_COUNTS = ("NRT_incref", "NRT_decref", "NRT_MemInfo_call_dtor")


class UnusableCodeError(ValueError):
    """A user's own function allocates memory, raises, calls Python or cannot be linked."""


def check_usable(module: Any, name: str) -> None:
    """Check that a user-defined function neither allocates memory, raises nor calls Python.

    Raises
    ------
    UnusableCodeError
        If it may allocate memory, raise an exception or call Python, or cannot be linked.
    """
    names = [function.name for function in module.functions]
    for callee in names:
        if callee.startswith("NRT_MemInfo_") and callee not in _REFERENCE_COUNTS:
            raise UnusableCodeError(
                "it allocates memory, for example for a NumPy array created inside it or for the "
                "assignment of one array to another"
            )
        if callee.startswith(("Py", "_Py", "numba_gil", "numba_unpickle")):
            raise UnusableCodeError(f"it calls the Python interpreter ({callee})")
    lines = [line.split()[:3] for line in str(module.get_function(name)).splitlines()]
    raises = any(line[:1] == ["ret"] and line != ["ret", "i64", "0"] for line in lines)
    if raises or "NRT_Allocate" in names:
        raise UnusableCodeError(
            "it may raise an exception; possible causes are raise, assert, an index that is "
            "checked, a NumPy function that checks its arguments, or a division by 0 in a function "
            "that was already compiled without error_model='numpy'"
        )
    for function in module.functions:
        callee = function.name
        known = callee.startswith("llvm.") or not function.is_declaration
        if not known and binding.address_of_symbol(callee) is None:
            raise UnusableCodeError(f"it calls {callee}, which cannot be linked")
