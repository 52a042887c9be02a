"""Shared by the tests of exports: compiling C files, and running C and ONNX files."""

import ctypes
import shutil
import subprocess

import numpy as np

from fastbp.export.c import export_c

COMPILER = shutil.which("cc")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def compiled(*sources, options=STRICT, compiler=COMPILER):
    """Make a shared library of C files."""
    library = sources[0].with_suffix(".so")
    command = [compiler, *options, "-O1", "-shared", "-fPIC", "-o", library, *sources, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def exported(folder, net, preparation=None, name="fastbp", others=()):
    export_c(folder / f"{name}.c", net, preparation, name, others)
    return compiled(folder / f"{name}.c")


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def predict_rows(function, X, K, dtype):
    """Call ``predict`` with every row of an array."""
    out = np.full((len(X), K), np.nan, dtype)
    for x, outputs in zip(np.ascontiguousarray(X), out, strict=True):
        assert function(pointer(x), pointer(outputs)) == 0
    return out


def predict_table(function, numbers, texts, K):
    """Call ``predict`` for every row of a table; None stands for NULL."""
    out = np.full((max(len(numbers), len(texts)), K), np.nan)
    for i, outputs in enumerate(out):
        given = [text if text is None else text.encode() for text in texts[i]] if len(texts) else []
        array = (ctypes.c_char_p * len(given))(*given)
        x = pointer(np.ascontiguousarray(numbers[i])) if len(numbers) else None
        assert function(x, array if given else None, pointer(outputs)) == 0
    return out


def run(path, **inputs):
    """Run a model in onnxruntime; return a dictionary of its outputs by name."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert {entry.name for entry in session.get_inputs()} == set(inputs)
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
