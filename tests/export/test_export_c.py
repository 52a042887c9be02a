"""The C file compiles without warnings and gives the outputs of the network and the model."""

import ctypes
import re
import shutil

import numpy as np
import pytest

pl = pytest.importorskip("polars")

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
from exported_files import (  # noqa: E402
    COMPILER,
    STRICT,
    compiled,
    exported,
    pointer,
    predict_rows,
    predict_table,
)

from fastbp.choices.activations import ACTIVATIONS  # noqa: E402
from fastbp.choices.losses import LOSSES  # noqa: E402
from fastbp.data.columns import Columns  # noqa: E402
from fastbp.export.c import export_c  # noqa: E402
from fastbp.export.c_literals import c_number, c_string  # noqa: E402

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


def texts_of(library, name, count):
    return [t.decode() for t in (ctypes.c_char_p * count).in_dll(library, name)]


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory):
    """Compile networks of all kinds at once: starting the compiler takes longest."""
    folder = tmp_path_factory.mktemp("kinds")
    nets = {}
    for dtype in DTYPES:
        for activation, loss, last in KINDS:
            name = f"n{len(nets)}"
            net = network([7, 9, 3], activation, loss, dtype, out_activation=last)
            export_c(folder / f"{name}.c", net, None, name)
            nets[activation, loss, last, dtype] = name, net
    (folder / "all.c").write_text("".join(f'#include "{name}.c"\n' for name, _ in nets.values()))
    return compiled(folder / "all.c"), nets


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("activation", "loss", "last"), KINDS)
def test_every_activation_and_link(every_kind, activation, loss, last, dtype):
    library, nets = every_kind
    name, net = nets[activation, loss, last, dtype]
    X = rows(40, 7, dtype)
    got = predict_rows(library[f"{name}_predict"], X, 3, dtype)
    want = twin(net, X)
    assert_close(got, want, dtype)
    if loss == "softmax_cross_entropy":
        found = [library[f"{name}_class"](pointer(row)) for row in got]
        assert found == got.argmax(axis=1).tolist()


def test_every_activation_and_loss_has_c_code():
    assert all(row.c for row in (*ACTIVATIONS.values(), *LOSSES.values()))


@needs_compiler
@pytest.mark.parametrize("sizes", [[1, 1], [4, 2], [1, 5, 1], [70, 33, 20, 11, 6]], ids=str)
def test_shapes(tmp_path, sizes):
    net = network(sizes, "softplus", "squared_error")
    X = rows(5, sizes[0], "float32")
    got = predict_rows(exported(tmp_path, net).fastbp_predict, X, sizes[-1], "float32")
    assert_close(got, twin(net, X), "float32")


@needs_compiler
@pytest.mark.parametrize(
    ("activation", "dtype"), [("relu", "float32"), ("mixed", "float32"), ("mixed", "float64")]
)
def test_outputs_match_network_forward(tmp_path, activation, dtype):
    net = network([6, 20, 12, 5], ["gelu", "elu"] if activation == "mixed" else "relu", dtype=dtype)
    X = rows(30, 6, dtype)
    got = predict_rows(exported(tmp_path, net).fastbp_predict, X, 5, dtype)
    assert_close(got, net.forward(X), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_far_from_zero(tmp_path, dtype):
    places = np.concatenate([np.linspace(-12, 12, 301), [-1e3, -80, -1e-9, 80, 1e3]])
    X = places.astype(dtype)[:, None]
    names = []
    for name in ACTIVATIONS:
        net = network([1, 1], "relu", "squared_error", dtype, out_activation=name)
        net.weights[0][:], net.biases[0][:] = 1.0, 0.0
        export_c(tmp_path / f"{name}.c", net, None, name)
        names.append(tmp_path / f"{name}.c")
    library = compiled(*names, options=(*STRICT, "-I", str(tmp_path)))
    for name in ACTIVATIONS:
        net = network([1, 1], "relu", "squared_error", dtype, out_activation=name)
        net.weights[0][:], net.biases[0][:] = 1.0, 0.0
        got = predict_rows(library[f"{name}_predict"], X, 1, dtype)
        bound = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(got, twin(net, X), rtol=bound, atol=bound, err_msg=name)


@pytest.mark.filterwarnings("ignore::fastbp.models.UnseenDataWarning")
@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("whole", [False, True], ids=["text", "whole"])
def test_classes_of_a_table(tmp_path, dtype, whole):
    table_columns = columns()
    m = model([8], table_columns, classes(4, whole), dtype)
    numbers, texts, frame = table(table_columns)
    library = exported(tmp_path, m.net, m.preparation)
    texts[texts == ""] = None
    got = predict_table(library.fastbp_predict, numbers, texts, 4)
    assert_close(got, m.outputs(frame), dtype)
    names = texts_of(library, "fastbp_outputs_names", 4)
    assert names == list(m.preparation.target.classes)
    found = [names[library.fastbp_class(pointer(row))] for row in got]
    assert found == [str(label) for label in m.predict(frame)]
    assert len(set(found)) > 1
    assert texts_of(library, "fastbp_numbers_names", 3) == list(table_columns.numbers)
    assert texts_of(library, "fastbp_categories_names", 3) == list(table_columns.categories)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_of_a_table(tmp_path, dtype):
    table_columns = columns(len(ODD_NAMES), {})
    m = model([8], table_columns, values(3), dtype)
    numbers, _, _ = table(table_columns)
    library = exported(tmp_path, m.net, m.preparation)
    got = predict_table(library.fastbp_predict, numbers, [], 3)
    assert_close(got, m.predict(numbers), dtype)
    assert texts_of(library, "fastbp_outputs_names", 3) == list(m.preparation.target.names)


@pytest.mark.filterwarnings("ignore::fastbp.models.UnseenDataWarning")
@needs_compiler
def test_categories_alone_ignore_surrounding_blanks(tmp_path):
    table_columns = columns(0)
    m = model([], table_columns, classes(2))
    _, texts, _ = table(table_columns)
    library = exported(tmp_path, m.net, m.preparation)
    # All Unicode white space, and characters that look like white space but are not.
    blanks = [chr(c) for c in (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))]
    blanks += [chr(c) for c in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)]
    others = [chr(c) for c in (0x1C, 0x86, 0x180E, 0x200B, 0x2060, 0xFEFF)]
    random = np.random.default_rng(7)
    for i, j in np.ndindex(texts.shape):
        before, after = random.choice([*blanks, "", others[i % 6]], (2, 3))
        texts[i, j] = "".join([*before, texts[i, j], *after])
    frame = pl.DataFrame(dict(zip(table_columns.categories, texts.T.tolist(), strict=True)))
    got = predict_table(library.fastbp_predict, [], texts, 2)
    assert_close(got, m.outputs(frame), "float32")


@needs_compiler
def test_unprepared_arrays_with_named_classes(tmp_path):
    m = model([5, 8], None, classes(3))
    X = rows(20, 5, "float32")
    library = exported(tmp_path, m.net, m.preparation)
    got = predict_rows(library.fastbp_predict, X, 3, np.float64)
    assert_close(got, m.outputs(X), "float32")


@needs_compiler
def test_says_which_number_is_not_finite_and_writes_nothing(tmp_path):
    predict = exported(tmp_path, network([4, 2])).fastbp_predict
    for bad in (np.nan, np.inf, -np.inf):
        x, outputs = np.array([0, 0, bad, 0], np.float32), np.full(2, 7, np.float32)
        assert predict(pointer(x), pointer(outputs)) == 3
        assert outputs.tolist() == [7, 7]


@needs_compiler
def test_says_which_number_of_a_table_is_infinite_or_too_large(tmp_path):
    table_columns = Columns(("a", "b"), np.zeros(2), np.ones(2), (1,))
    m = model([3], table_columns, classes(2))
    predict = exported(tmp_path, m.net, m.preparation).fastbp_predict
    for bad in (np.inf, -np.inf, 1e200):
        x, outputs = np.array([np.nan, bad]), np.full(2, 7.0)
        assert predict(pointer(x), None, pointer(outputs)) == 2
        assert outputs.tolist() == [7, 7]


@needs_compiler
def test_the_file_can_be_included_for_declarations_and_compiled_as_cpp(tmp_path):
    m = model([6], columns(), classes(5))
    export_c(tmp_path / "m.c", m.net, m.preparation, "my_Model2")
    caller = tmp_path / "caller.c"
    caller.write_text(
        '#define MY_MODEL2_DECLARATIONS\n#include "m.c"\n'
        "int sizes(void) { return 10000 * MY_MODEL2_NUMBERS + 1000 * MY_MODEL2_CATEGORIES\n"
        "    + 10 * MY_MODEL2_INPUTS + MY_MODEL2_OUTPUTS; }\n"
        "int call(const double *x, const char *const *t, double *out)\n"
        "{ return my_Model2_predict(x, t, out) + my_Model2_class(out); }\n"
    )
    library = compiled(caller, tmp_path / "m.c")
    assert library.sizes() == 33000 + 10 * m.net.sizes[0] + 5
    out = np.empty(5)
    texts = (ctypes.c_char_p * 3)(b"a", None, b"")
    assert library.call(pointer(np.zeros(3)), texts, pointer(out)) == out.argmax()
    if other := shutil.which("c++"):
        options = ("-x", "c++", "-std=c++17", *STRICT[1:])
        compiled(tmp_path / "m.c", options=options, compiler=other)


@needs_compiler
def test_parameters_come_back_to_the_last_bit(tmp_path):
    random = np.random.default_rng(8)
    for dtype, bits in (("float32", np.uint32), ("float64", np.uint64)):
        net = network([40, 25], loss="squared_error", dtype=dtype)
        drawn = random.integers(0, np.iinfo(bits).max, net.params.size, bits).view(dtype)
        info = np.finfo(dtype)
        special = [0.0, -0.0, info.max, -info.max, info.tiny, info.smallest_subnormal, 0.1, 1.0]
        net.params[:] = np.where(np.isfinite(drawn), drawn, 0)
        net.params[: len(special)] = special
        source = tmp_path / f"{dtype}.c"
        export_c(source, net, None, "f")
        # The array is static; this makes it visible to the test.
        source.write_text(source.read_text().replace("static const", "const"))
        real = {"float32": ctypes.c_float, "float64": ctypes.c_double}[dtype]
        array = (real * net.params.size).in_dll(compiled(source), "f_params")
        np.testing.assert_array_equal(np.array(array, dtype).view(bits), net.params.view(bits))


def test_all_global_data_are_const(tmp_path):
    m = model([6], columns(), values(2))
    export_c(tmp_path / "m.c", m.net, m.preparation)
    source = (tmp_path / "m.c").read_text()
    assert re.findall(r"#include <(.*)>", source) == ["math.h", "stddef.h", "string.h"]
    outside = re.findall(r"^[a-z].*\[\d+\] = ", source, re.MULTILINE)
    assert len(outside) > 8
    assert all(line.startswith(("static const ", "const char *const ")) for line in outside)


def test_same_bytes_twice_and_all_of_them_ascii(tmp_path):
    m = model([6, 6], columns(), classes(5), "float64")
    for name in ("a", "b"):
        export_c(tmp_path / name, m.net, m.preparation)
    source = (tmp_path / "a").read_bytes()
    assert source == (tmp_path / "b").read_bytes()
    assert source.isascii()
    assert source.endswith(b"\n")


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "é", "_a", "a\n", "a;", None], ids=repr)
def test_invalid_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name must consist of letters, digits and underscores"):
        export_c(tmp_path / "m.c", network([3, 2]), None, name)
    assert not list(tmp_path.iterdir())


def test_refuses_what_c_cannot_hold(tmp_path):
    table_columns = columns(2, {"text": ("a", "b\0c")})
    m = model([3], table_columns, classes(2))
    with pytest.raises(ValueError, match="contains a zero byte"):
        export_c(tmp_path / "m.c", m.net, m.preparation)
    net = network([3, 2])
    net.params[4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        export_c(tmp_path / "m.c", net)
    with pytest.raises(ValueError, match="the preparation makes 5 inputs; the network has 3"):
        export_c(tmp_path / "m.c", network([3, 2]), m.preparation)
    assert not list(tmp_path.iterdir())


def test_strings_and_numbers():
    assert c_string('a"\\?\n') == r'"a\"\\\?\012"'
    assert c_string("é1") == r'"\303\2511"'
    assert c_number(1.0) == "0x1p+0"
    assert c_number(-0.0, "f") == "-0x0p+0f"
    assert c_number(0.75) == "0x1.8p-1"


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_encodings(tmp_path, dtype):
    for name in ENCODINGS:
        net, X = encoded_network(name, dtype)
        library = exported(tmp_path, net, name=name)
        found = predict_rows(getattr(library, f"{name}_predict"), X, 3, dtype)
        assert_close(found, net.forward(X), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalised_and_residual_layers(tmp_path, dtype):
    for name, kind in DEEP.items():
        net, X = deep_network(dtype, **kind)
        library = exported(tmp_path, net, name=name)
        found = predict_rows(getattr(library, f"{name}_predict"), X, 3, dtype)
        assert_close(found, net.forward(X), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_ensembles_that_share_weights(tmp_path, dtype):
    for kind, options in ENSEMBLES.items():
        for count in (1, 2):
            nets, X = ensembles(count, dtype, **options)
            name = f"{kind}{count}"
            library = exported(tmp_path, nets[0], name=name, others=nets[1:])
            found = predict_rows(getattr(library, f"{name}_predict"), X, 3, dtype)
            assert_close(found, np.mean([net.forward(X) for net in nets], axis=0), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_outputs_of_networks_are_averaged(tmp_path, dtype):
    for name, target in (("classes", classes(3)), ("values", values(2))):
        whole = averaged(3, target, dtype)
        numbers, texts, data = table(whole.preparation.columns, 9)
        export_c(tmp_path / f"{name}.c", whole.net, whole.preparation, name, whole.others)
        predict = getattr(compiled(tmp_path / f"{name}.c"), f"{name}_predict")
        found = predict_table(predict, numbers, texts, target.outputs)
        want = whole.predict(data) if target.classes is None else whole.outputs(data)
        assert_close(found, want, dtype)
