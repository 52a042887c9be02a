"""Adding a built-in activation, loss or optimizer takes its kernels, its twin and one table row."""

import ast
import dataclasses
import functools
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import fastbp
from fastbp import optimizers, reference
from fastbp.choices import activations, losses
from fastbp.compiler.declare import Matrix, Number, Numbers, Vector, kernel

PACKAGE = Path(fastbp.__file__).parent

# The tables, and where else the names of all their rows may occur. The names of default choices
# (``relu``, ``adam``, ...) occur in many signatures and are not tested.
TABLES = {
    "choices/activations.py": (
        activations.ACTIVATIONS.keys() - {"identity", "relu"},
        {
            "choices/onnx_nodes.py": "nodes of the column ``onnx``",
            "estimators/documentation.py": "docstrings of both estimators",
        },
    ),
    "choices/losses.py": (
        losses.LOSSES.keys() - {"softmax_cross_entropy", "squared_error"},
        {
            "functional/losses.py": "a public function for each loss, with its own arguments",
            "functional/__init__.py": "its public name",
        },
    ),
    "optimizers.py": (
        optimizers.OPTIMIZERS.keys() - {"adam", "sgd"},
        {
            "estimators/documentation.py": "docstrings of both estimators",
            "scratch/optimizers.py": "the from-scratch classes name their kernels",
        },
    ),
}
# Names that have a meaning of their own in other files.
SCRATCH = {"scratch/compiled.py": "losses and activations of the from-scratch classes"}
EXCEPTIONS = {
    "sigmoid": {"choices/losses.py": "a link, too", "scratch/model.py": "a score"} | SCRATCH,
    "absolute_error": SCRATCH,
    "sigmoid_cross_entropy": {
        "estimators/classifier.py": "the loss of two classes and of several labels",
        "network/structure.py": "named in an error about softmax_cross_entropy",
    }
    | SCRATCH,
    "selu": {"tabular/recipes.py": "of classifiers of tables"},
    "mish": {"tabular/recipes.py": "of regressors of tables"},
    "adamw": {"runs/presets.py": "a report names it"},
    "poisson": {
        "estimators/losses.py": "scikit-learn adds a constant to this loss",
        "estimators/regressor.py": "a loss of scikit-learn with its own output activation",
        "runs/data.py": "targets are counts, which are not standardised",
    },
}
ROWS = [(table, name) for table, (names, _) in TABLES.items() for name in sorted(names)]


def names_in(path):
    """Every name and every string of a source file, except docstrings."""
    tree = ast.parse(path.read_text())
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documents:
                yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.alias):
            yield node.name


@functools.cache
def words_of_files():
    """The words of all names and strings of each file, except kernels and their twins."""
    return {
        path.relative_to(PACKAGE).as_posix(): {
            word for text in names_in(path) for word in re.findall(r"\w+", text)
        }
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ("kernels", "reference")
    }


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_a_name_occurs_only_in_its_table(table, name):
    found = {path for path, words in words_of_files().items() if name in words}
    assert table in found
    allowed = TABLES[table][1].keys() | EXCEPTIONS.get(name, {}).keys()
    assert found - {table} <= allowed
    assert EXCEPTIONS.get(name, {}).keys() <= found


# ---- A row is enough


@kernel
def bias_halved(z: Matrix, b: Vector) -> None:
    """(z + b) / 2."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            z[i, j] = (z[i, j] + b[j]) / z.dtype.type(2)


@kernel
def halved_backward(delta: Vector, a: Vector) -> None:
    """F' = 1/2."""
    for k in range(delta.shape[0]):
        delta[k] /= delta.dtype.type(2)


@kernel
def fourth_power(z: Matrix, targets: Matrix, row_weights: Vector, found: Numbers) -> None:
    """loss_i = sum_k (z_ki - t_ki)^4."""
    K, B = z.shape
    for k in range(K):
        for i in range(B):
            r = z[k, i] - targets[k, i]
            found[0] += row_weights[i] * r * r * r * r
            found[1] += row_weights[i] * r * r
            z[k, i] = row_weights[i] * z.dtype.type(4) * r * r * r


@kernel
def signs(params: Vector, grads: Vector, rate: Number, hyper: Numbers) -> None:
    """Params -= rate sign(grads)."""
    step = params.dtype.type(rate)
    for k in range(params.shape[0]):
        params[k] -= step if grads[k] > 0 else -step


@dataclasses.dataclass(frozen=True)
class Signs(optimizers.Optimizer):
    kernel: ClassVar[object] = signs


@pytest.fixture
def rows(monkeypatch):
    halved = activations.Activation("halved", bias_halved, halved_backward, c="z / 2")
    power = losses.Loss(
        "fourth_power", None, fourth_power, "values", "r2", allows_output_activation=True
    )
    monkeypatch.setitem(activations.ACTIVATIONS, "halved", halved)
    monkeypatch.setitem(losses.LOSSES, "fourth_power", power)
    monkeypatch.setitem(optimizers.OPTIMIZERS, "signs", Signs)
    # The twins.
    half = (lambda z: z / 2, lambda z: np.full_like(z, 0.5))
    monkeypatch.setitem(reference.ACTIVATIONS, "halved", half)


@pytest.mark.usefixtures("rows")
def test_a_row_of_each_table_is_all_that_training_needs(tmp_path):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 4))
    y = X[:, :2] * 0.5
    net = fastbp.Network([4, 9, 2], "halved", "fourth_power", "float64", out_activation="halved")
    assert fastbp.gradient_check(net, X[:9], y[:9]) < 1e-6
    history = fastbp.train(net, X, y, optimizer="signs", epochs=150, batch_size=20)
    assert history.loss[-1] < 0.1 * history.loss[0]
    assert history.metric[-1] > 0.5
    net.save(tmp_path / "net")
    np.testing.assert_array_equal(fastbp.load(tmp_path / "net").forward(X), net.forward(X))


@pytest.mark.usefixtures("rows")
def test_the_columns_of_a_row_are_all_that_exports_need(tmp_path):
    from fastbp.export.c import export_c
    from fastbp.export.onnx import export_onnx

    net = fastbp.Network([4, 9, 2], "halved", "fourth_power")
    export_c(tmp_path / "net.c", net)
    assert "a[k] = z / 2;" in (tmp_path / "net.c").read_text()
    with pytest.raises(ValueError, match="the activation 'halved' cannot be exported to ONNX"):
        export_onnx(tmp_path / "net.onnx", net)


@pytest.mark.usefixtures("rows")
def test_a_new_activation_is_compared_with_its_twin():
    z, b = np.array([[1.0, -2.0]]), np.array([0.5, 0.25])
    expected = reference.ACTIVATIONS["halved"][0](z + b)
    bias_halved(z, b)
    np.testing.assert_array_equal(z, expected)
