"""In onnxruntime, the ONNX file gives the outputs of the network and the model."""

import json
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("polars")

from export_cases import (  # noqa: E402
    DEEP,
    DTYPES,
    ENCODINGS,
    ENSEMBLES,
    KINDS,
    ODD_NAMES,
    assert_close,
    averaged,
    classes,
    columns,
    deep_network,
    encoded_network,
    ensembles,
    model,
    network,
    rows,
    table,
    twin,
    values,
)
from exported_files import run  # noqa: E402

import fastbp  # noqa: E402
from fastbp.choices.activations import ACTIVATIONS  # noqa: E402
from fastbp.choices.losses import LOSSES  # noqa: E402
from fastbp.export import onnx as module  # noqa: E402
from fastbp.export.onnx import export_onnx  # noqa: E402
from fastbp.optional import MissingOnnxError  # noqa: E402
from fastbp.persistence import FORMAT  # noqa: E402


def exported(tmp_path, net, X, others=()):
    path = tmp_path / "net.onnx"
    export_onnx(path, net, others=others)
    (outputs,) = run(path, X=X).values()
    assert outputs.dtype == net.dtype
    return outputs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("activation", "loss", "last"), KINDS)
def test_every_activation_and_link(tmp_path, activation, loss, last, dtype):
    net = network([7, 9, 3], activation, loss, dtype, out_activation=last)
    X = rows(40, 7, dtype)
    assert_close(exported(tmp_path, net, X), twin(net, X), dtype)


def test_every_activation_and_loss_has_onnx_operators():
    assert all(row.onnx for row in (*ACTIVATIONS.values(), *LOSSES.values()))


@pytest.mark.parametrize("sizes", [[1, 1], [4, 2], [1, 5, 1], [70, 33, 20, 11, 6]], ids=str)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_shapes(tmp_path, sizes, n):
    net = network(sizes, "softplus", "squared_error")
    X = rows(n, sizes[0], "float32")
    got = exported(tmp_path, net, X)
    assert got.shape == (n, sizes[-1])
    if n:
        assert_close(got, twin(net, X), "float32")


@pytest.mark.parametrize(
    ("activation", "dtype"), [("relu", "float32"), ("mixed", "float32"), ("mixed", "float64")]
)
def test_outputs_match_network_forward(tmp_path, activation, dtype):
    names = ["gelu", "elu"] if activation == "mixed" else activation
    net = network([6, 20, 12, 5], names, dtype=dtype)
    X = rows(30, 6, dtype)
    assert_close(exported(tmp_path, net, X), net.forward(X), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_far_from_zero(tmp_path, activation, dtype):
    net = network([1, 1], "relu", "squared_error", dtype, out_activation=activation)
    net.weights[0][:], net.biases[0][:] = 1.0, 0.0
    X = np.concatenate([np.linspace(-12, 12, 1001), [-1e3, -80, -1e-9, 80, 1e3]]).astype(dtype)[
        :, None
    ]
    got, want = exported(tmp_path, net, X), twin(net, X)
    bound = 5e-7 if dtype == "float32" else 2e-15
    np.testing.assert_allclose(got, want, rtol=bound, atol=bound)


@pytest.mark.filterwarnings("ignore::fastbp.models.UnseenDataWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("whole", [False, True], ids=["text", "whole"])
def test_classes_of_a_table(tmp_path, dtype, whole):
    table_columns = columns()
    m = model([8], table_columns, classes(4, whole), dtype)
    numbers, texts, frame = table(table_columns)
    export_onnx(tmp_path / "m.onnx", m.net, m.preparation)
    got = run(tmp_path / "m.onnx", X=numbers, categories=texts)
    assert list(got) == ["probabilities", "label"]
    assert_close(got["probabilities"], twin(m.net, m.inputs(frame)), dtype)
    assert_close(got["probabilities"], m.outputs(frame), dtype)
    assert got["label"].tolist() == m.predict(frame).tolist()
    assert got["label"].dtype == (np.int64 if whole else np.object_)
    assert len(set(got["label"].tolist())) > 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_of_a_table(tmp_path, dtype):
    table_columns = columns(len(ODD_NAMES), {})
    m = model([8], table_columns, values(3), dtype)
    numbers, _, frame = table(table_columns)
    export_onnx(tmp_path / "m.onnx", m.net, m.preparation)
    (got,) = run(tmp_path / "m.onnx", X=numbers).values()
    assert got.dtype == np.float64
    assert_close(got, m.predict(numbers), dtype)
    assert_close(got, m.predict(frame), dtype)


@pytest.mark.filterwarnings("ignore::fastbp.models.UnseenDataWarning")
def test_categories_alone_and_any_number_of_rows(tmp_path):
    table_columns = columns(0)
    m = model([], table_columns, classes(2))
    _, texts, frame = table(table_columns)
    export_onnx(tmp_path / "m.onnx", m.net, m.preparation)
    for n in (0, 1, 40):
        got = run(tmp_path / "m.onnx", categories=texts[:n])
        assert got["label"].shape == (n,)
        assert got["probabilities"].shape == (n, 2)
        assert_close(
            got["probabilities"], twin(m.net, m.inputs(frame))[:n], "float32"
        ) if n else None


def test_unprepared_arrays_with_named_classes(tmp_path):
    m = model([5, 8], None, classes(3))
    X = rows(20, 5, "float32")
    export_onnx(tmp_path / "m.onnx", m.net, m.preparation)
    got = run(tmp_path / "m.onnx", X=X)
    assert_close(got["probabilities"], m.outputs(X), "float32")
    assert got["label"].tolist() == m.predict(X).tolist()


def test_metadata_describe_columns_and_classes(tmp_path):
    m = model([4], columns(), classes(3))
    export_onnx(tmp_path / "m.onnx", m.net, m.preparation)
    loaded = onnx.load(tmp_path / "m.onnx")
    (entry,) = loaded.metadata_props
    assert entry.key == FORMAT
    metadata = json.loads(entry.value)
    assert metadata.pop("version") == loaded.producer_version == fastbp.__version__
    assert metadata.pop("preparation") == m.preparation.description()
    assert metadata == m.net.description()


def test_the_file_uses_the_operator_sets_of_2020(tmp_path):
    export_onnx(tmp_path / "n.onnx", network([3, 2]))
    loaded = onnx.load(tmp_path / "n.onnx")
    assert loaded.ir_version == 7
    assert {o.domain: o.version for o in loaded.opset_import} == {"": 13, "ai.onnx.ml": 2}


def test_same_bytes_twice(tmp_path):
    m = model([6, 6], columns(), classes(5), "float64")
    for name in ("a", "b"):
        export_onnx(tmp_path / name, m.net, m.preparation)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_refuses_a_preparation_of_another_network(tmp_path):
    m = model([6], columns(), classes(5))
    with pytest.raises(ValueError, match="the preparation makes 16 inputs; the network has 6"):
        export_onnx(tmp_path / "m.onnx", network([6, 5]), m.preparation)
    assert not list(tmp_path.iterdir())


def test_refuses_more_than_a_file_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="the parameters have 104 bytes"):
        export_onnx(tmp_path / "n.onnx", network([12, 2]))


def test_without_onnx_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingOnnxError, match=r'pip install "fastbp\[onnx\]"'):
        export_onnx(tmp_path / "n.onnx", network([3, 2]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings(tmp_path, name, dtype):
    net, X = encoded_network(name, dtype)
    assert_close(exported(tmp_path, net, X), net.forward(X), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", DEEP.values(), ids=DEEP)
def test_normalised_and_residual_layers(tmp_path, kind, dtype):
    net, X = deep_network(dtype, **kind)
    assert_close(exported(tmp_path, net, X), net.forward(X), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ENSEMBLES.values(), ids=ENSEMBLES)
def test_ensembles_that_share_weights(tmp_path, kind, dtype):
    for count in (1, 2):
        nets, X = ensembles(count, dtype, **kind)
        want = np.mean([net.forward(X) for net in nets], axis=0)
        assert_close(exported(tmp_path, nets[0], X, others=nets[1:]), want, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_outputs_of_networks_are_averaged(tmp_path, dtype):
    for target in (classes(3), values(2)):
        whole = averaged(3, target, dtype)
        numbers, _, data = table(whole.preparation.columns, 9)
        path = tmp_path / "nets.onnx"
        export_onnx(path, whole.net, whole.preparation, whole.others)
        name = "values" if target.classes is None else "probabilities"
        found = run(path, X=numbers)[name]
        want = whole.predict(data) if target.classes is None else whole.outputs(data)
        assert_close(found, want, dtype)
