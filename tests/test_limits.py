"""Limits of size that keep files, functions and argument lists readable."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in ("fastbp", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60  # without docstring and blank lines
MAX_ARGUMENTS = 8
MAX_TOP_FILES = 15
IMPLIED = "self", "cls", "typingctx"  # arguments that callers do not write
# Public functions with the parameters of scikit-learn, Keras and PyTorch.
LONG_SIGNATURES = {
    ("fastbp/estimators/classifier.py", "__init__"),
    ("fastbp/estimators/regressor.py", "__init__"),
    ("fastbp/network/planning.py", "step_plan"),
    ("fastbp/network/structure.py", "__init__"),
    ("fastbp/training/train_network.py", "train"),
}


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                yield path, node


def code_lines(function: ast.FunctionDef, lines: list[str]) -> int:
    """Count the lines of a function that are neither blank nor in its docstring."""
    numbers = set(range(function.lineno, (function.end_lineno or 0) + 1))
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        numbers -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return sum(1 for number in numbers if lines[number - 1].strip())


def test_files_are_short() -> None:
    lengths = {path: text.count("\n") for path, text in FILES.items()}
    assert not {path: n for path, n in lengths.items() if n > MAX_FILE_LINES}


def test_functions_are_short() -> None:
    lines = {path: text.splitlines() for path, text in FILES.items()}
    lengths = {(path, node.name): code_lines(node, lines[path]) for path, node in functions()}
    assert not {name: n for name, n in lengths.items() if n > MAX_FUNCTION_LINES}


def test_functions_have_few_arguments() -> None:
    long = set()
    for path, node in functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in arguments if argument.arg not in IMPLIED]
        if len(names) > MAX_ARGUMENTS:
            long.add((path, node.name))
    assert long == LONG_SIGNATURES


def test_calls_do_not_unpack_literals() -> None:
    """``f(*(a, b))`` hides which argument is which."""
    found = []
    for path, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                unpacked = [a.value for a in node.args if isinstance(a, ast.Starred)]
                if any(isinstance(value, (ast.Tuple, ast.List)) for value in unpacked):
                    found.append((path, node.lineno))
    assert not found


def test_the_package_has_few_files_at_its_top() -> None:
    names = [path.name for path in (ROOT / "fastbp").iterdir() if path.is_file()]
    assert len(names) <= MAX_TOP_FILES, names
