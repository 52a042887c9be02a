"""Exports of robust preparations and clipped targets give the outputs of the model."""

import ctypes
import shutil

import numpy as np
import pytest

pl = pytest.importorskip("polars")

from export_cases import (  # noqa: E402
    DTYPES,
    ODD_NAMES,
    assert_close,
    classes,
    columns,
    model,
)
from exported_files import (  # noqa: E402
    COMPILER,
    STRICT,
    compiled,
    exported,
    pointer,
    predict_table,
    run,
)

from fastbp.data.fitting import fit_columns  # noqa: E402
from fastbp.data.targets import fit_target  # noqa: E402
from fastbp.export.c import export_c  # noqa: E402

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
pytestmark = pytest.mark.filterwarnings("ignore::fastbp.models.UnseenDataWarning")

MANY = (*ODD_NAMES[:-1], *(f"c{k}" for k in range(30)))
KNOWN = {
    "many": MANY,
    "two": ("no", "*/ yes"),
    "few": ("é", "b", "c"),
    "more": MANY[4:20],
    "one": ("x",),
}
NUMBERS = ("a", "b", "same", "far")
LARGEST = float(np.finfo(np.float64).max)


def draw(n=60, gaps=True):
    """Draw numbers (n, 4) and texts (n, 5); the last rows hold extreme numbers and new texts."""
    random = np.random.default_rng(1)
    numbers = random.normal(size=(n, 4)) * [1.0, 1e3, 0.0, 1e-3] + [0.0, 5e4, 2.5, 1e-6]
    texts = np.array([[*random.choice(known, n)] for known in KNOWN.values()], np.object_).T
    if gaps:
        numbers[random.random(numbers.shape) < 0.2] = np.nan
        texts[random.random(texts.shape) < 0.1] = ""
        numbers[-6:, :] = np.array([1e300, -1e300, LARGEST, -LARGEST, 0.0, 1e9])[:, None]
        texts[-4:] = [["new", "new", "new", "new", "new"], [""] * 5, ["C1"] * 5, ["no"] * 5]
    return numbers, texts


def frame_of(numbers, texts):
    data = dict(zip((*NUMBERS, *KNOWN), [*numbers.T, *texts.T], strict=True))
    return pl.DataFrame(
        {
            name: pl.Series(name, part.tolist(), pl.Float64 if name in NUMBERS else pl.String)
            for name, part in data.items()
        }
    )


def robust_columns():
    """Fit columns of every encoding to rows that have all categories, and gaps in some numbers."""
    numbers, texts = draw(400, gaps=False)
    numbers[::7, 1:] = np.nan
    texts[::9, 2:4] = ""
    fitted, _ = fit_columns(frame_of(numbers, texts), scaling="robust")
    assert fitted.encodings == {"many": "embedded", "two": "binary", "more": "embedded"}
    assert fitted.embedded == (len(MANY) + 1, 17)
    assert fitted.flagged == (1, 2, 3)
    assert fitted.scales[2] == 0.0
    assert "" in fitted.categories["few"]
    return fitted


def clipped_target():
    random = np.random.default_rng(2)
    y = random.normal(size=(50, 2)) * [0.3, 40.0] + [5.0, -1e3]
    return fit_target(y, ("v", "w"), "regression", scaled=True, clipped=True)


def reference_values(m, frame):
    """Predict, and check that some values are clipped and others are not."""
    want = m.predict(frame)
    free = m.preparation.target.decode(m.outputs(frame), clipped=False)
    assert 0 < (want != free).sum() < want.size
    return want


def as_onnx(tmp_path, m):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from fastbp.export.onnx import export_onnx

    export_onnx(tmp_path / "m.onnx", m.net, m.preparation)
    return tmp_path / "m.onnx"


def identity_model(fitted, dtype):
    """Make a model whose outputs are the prepared inputs."""
    target = fit_target(
        np.zeros((2, fitted.width)), tuple(fitted.names), "regression", scaled=False
    )
    m = model([], fitted, target, dtype)
    m.net.weights[0][:], m.net.biases[0][:] = np.eye(fitted.width), 0.0
    return m


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_prepares_the_same_inputs(tmp_path, dtype):
    m = identity_model(robust_columns(), dtype)
    numbers, texts = draw()
    want = m.inputs(frame_of(numbers, texts))
    got = run(as_onnx(tmp_path, m), X=numbers, categories=texts)["values"]
    np.testing.assert_allclose(got, want, rtol=1e-15 if dtype == "float64" else 1e-7, atol=0)
    assert np.abs(want[:, :4]).max() > 2.99


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_c_prepares_the_same_inputs(tmp_path, dtype):
    m = identity_model(robust_columns(), dtype)
    numbers, texts = draw()
    want = m.inputs(frame_of(numbers, texts))
    texts[texts == ""] = None
    library = exported(tmp_path, m.net, m.preparation)
    got = predict_table(library.fastbp_predict, numbers, texts, want.shape[1])
    np.testing.assert_allclose(got, want, rtol=1e-15 if dtype == "float64" else 1e-7, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnx_predicts_clipped_values(tmp_path, dtype):
    m = model([9], robust_columns(), clipped_target(), dtype)
    numbers, texts = draw()
    want = reference_values(m, frame_of(numbers, texts))
    got = run(as_onnx(tmp_path, m), X=numbers, categories=texts)
    assert list(got) == ["values"]
    assert got["values"].dtype == np.float64
    assert_close(got["values"], want, dtype)
    target = m.preparation.target
    assert (got["values"] >= target.low).all()
    assert (got["values"] <= target.high).all()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_c_predicts_clipped_values(tmp_path, dtype):
    m = model([9], robust_columns(), clipped_target(), dtype)
    numbers, texts = draw()
    want = reference_values(m, frame_of(numbers, texts))
    library = exported(tmp_path, m.net, m.preparation)
    got = predict_table(library.fastbp_predict, numbers, texts, 2)
    assert_close(got, want, dtype)
    target = m.preparation.target
    assert (got >= target.low).all()
    assert (got <= target.high).all()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_classes_of_numbers_or_categories_alone(tmp_path, dtype):
    numbers, texts = draw(400, gaps=False)
    frame = frame_of(numbers, texts)
    for names, inputs in ((NUMBERS, {"X": numbers}), (tuple(KNOWN), {"categories": texts})):
        fitted, _ = fit_columns(frame.select(names), scaling="robust")
        m = model([7], fitted, classes(4), dtype)
        want = m.outputs(frame.select(names))
        folder = tmp_path / names[0]
        folder.mkdir()
        given = [inputs.get("X", []), inputs.get("categories", [])]
        library = exported(folder, m.net, m.preparation)
        assert_close(predict_table(library.fastbp_predict, *given, 4), want, dtype)
        for n in (0, 1, 400):
            rows = {name: part[:n] for name, part in inputs.items()}
            got = run(as_onnx(folder, m), **rows)
            assert got["probabilities"].shape == (n, 4)
            if n:
                assert_close(got["probabilities"], want[:n], dtype)


@needs_compiler
def test_c_refuses_infinite_numbers_only(tmp_path):
    m = model([3], robust_columns(), clipped_target())
    predict = exported(tmp_path, m.net, m.preparation).fastbp_predict
    texts = (ctypes.c_char_p * len(KNOWN))()
    for bad in (np.inf, -np.inf):
        for k in range(4):
            x, outputs = np.zeros(4), np.full(2, 7.0)
            x[k] = bad
            assert predict(pointer(x), texts, pointer(outputs)) == k + 1
            assert outputs.tolist() == [7, 7]
    assert predict(pointer(np.full(4, LARGEST)), texts, pointer(np.zeros(2))) == 0


@needs_compiler
def test_the_c_file_compiles_as_cpp_and_beside_another(tmp_path):
    m = model([3], robust_columns(), clipped_target())
    other = model([3], columns(), classes(2))
    export_c(tmp_path / "a.c", m.net, m.preparation, "a")
    export_c(tmp_path / "b.c", other.net, other.preparation, "b")
    (tmp_path / "all.c").write_text('#include "a.c"\n#include "b.c"\n')
    compiled(tmp_path / "all.c")
    assert (tmp_path / "a.c").read_bytes().isascii()
    if compiler := shutil.which("c++"):
        options = ("-x", "c++", "-std=c++17", *STRICT[1:])
        compiled(tmp_path / "a.c", options=options, compiler=compiler)
