"""Bytes (uint8) are scaled to 0 to 1 in every container, and a network remembers them."""

import numpy as np
import pytest

import fastbp

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6)).astype(np.uint8)
Y = (PIXELS[:, 0] > 127).astype(int)


def frame(module):
    library = pytest.importorskip(module)
    return library.DataFrame({f"p{k}": PIXELS[:, k] for k in range(6)})


def memory_map(path):
    np.save(path / "pixels.npy", PIXELS)
    return np.load(path / "pixels.npy", mmap_mode="r")


CONTAINERS = {
    "pandas": lambda path: frame("pandas"),
    "polars": lambda path: frame("polars"),
    "memory map": memory_map,
    "Fortran order": lambda path: np.asfortranarray(PIXELS),
    "read-only": lambda path: np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape),
    "list of arrays": lambda path: list(PIXELS),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_container_does_not_decide_the_scale(kind, tmp_path):
    X = CONTAINERS[kind](tmp_path)
    nets = [fastbp.Network([6, 5, 2]) for _ in range(2)]
    histories = [
        fastbp.train(net, data, Y, epochs=3, batch_size=8, n_threads=1)
        for net, data in zip(nets, (PIXELS, X), strict=True)
    ]
    assert histories[0].loss == histories[1].loss
    assert nets[0].evaluate(PIXELS, Y) == nets[0].evaluate(X, Y)
    np.testing.assert_array_equal(nets[0].forward(PIXELS), nets[1].forward(X))
    np.testing.assert_allclose(nets[0].forward(PIXELS / 255), nets[1].forward(X), atol=1e-6)
    assert nets[1].learned_bytes


def nullable(path):
    return frame("pandas").convert_dtypes()


def mixed(path):
    return frame("pandas").astype({"p0": "UInt8"})


def objects(path):
    rows = np.empty(PIXELS.shape, object)
    for index, value in np.ndenumerate(PIXELS):
        rows[index] = value
    return rows


NULLABLE = {"pandas UInt8": nullable, "uint8 and UInt8": mixed, "NumPy's objects": objects}


@pytest.mark.parametrize("kind", NULLABLE)
def test_bytes_are_recognised_in_arrays_of_objects(kind):
    net, X = fastbp.Network([6, 5, 2]), NULLABLE[kind](None)
    assert net.inputs(X).dtype == np.uint8
    np.testing.assert_array_equal(net.forward(X), net.forward(PIXELS))


def test_python_integers_are_numbers():
    net = fastbp.Network([6, 5, 2])
    for X in (PIXELS.tolist(), PIXELS.astype(object), frame("pandas").astype("Int64")):
        np.testing.assert_array_equal(net.inputs(X), PIXELS.astype("float32"))


def test_a_missing_byte_is_refused():
    pandas = pytest.importorskip("pandas")
    X = nullable(None)
    X.iloc[3, 2] = pandas.NA
    with pytest.raises(TypeError, match="X must hold numbers, not Python objects"):
        fastbp.Network([6, 5, 2]).forward(X)


def trained():
    net = fastbp.Network([6, 5, 2])
    fastbp.train(net, PIXELS, Y, epochs=1)
    return net


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32", "float64", "int8"])
def test_a_network_that_learned_bytes_refuses_larger_numbers(dtype, tmp_path):
    net = trained()
    X = (PIXELS // 2).astype(dtype)
    net.save(tmp_path / "net.safetensors")
    loaded = fastbp.load(tmp_path / "net.safetensors")
    for each in (net, loaded, net.copy()):
        for call in (
            each.forward,
            each.predict,
            lambda X, each=each: each.evaluate(X, Y[: len(X)]),
        ):
            for rows in (X, X[:1]):
                with pytest.raises(ValueError, match="is trained on bytes"):
                    call(rows)
    np.testing.assert_array_equal(loaded.forward(PIXELS), net.forward(PIXELS))


def test_other_networks_take_any_numbers():
    net = fastbp.Network([6, 5, 2])
    fastbp.train(net, PIXELS.astype("float32"), Y, epochs=1)
    assert not net.learned_bytes
    net.forward(PIXELS.astype("int64"))


@pytest.mark.parametrize("scale", [1, 255])
def test_a_network_that_learned_numbers_refuses_bytes(scale, tmp_path):
    net = fastbp.Network([6, 5, 2])
    fastbp.train(net, PIXELS.astype("float32") / scale, Y, epochs=1)
    net.save(tmp_path / "net.safetensors")
    for each in (net, fastbp.load(tmp_path / "net.safetensors"), net.copy()):
        for call in (
            each.forward,
            each.predict,
            lambda X, each=each: each.evaluate(X, Y[: len(X)]),
            lambda X, each=each: each.backward(X, np.ones((len(X), 2))),
            lambda X, each=each: fastbp.train(each, X, Y[: len(X)]),
        ):
            for rows in (PIXELS, PIXELS[:1]):
                with pytest.raises(ValueError, match=r"is trained on numbers.*X contains bytes"):
                    call(rows)


def test_a_network_that_learned_numbers_takes_indicators_of_any_type():
    net, X = fastbp.Network([6, 5, 2]), PIXELS > 100
    fastbp.train(net, X.astype("float64"), Y, epochs=1, validation_data=(X.astype("uint8"), Y))
    np.testing.assert_array_equal(net.forward(X.astype("uint8")), net.forward(X.astype("f4")))


def test_validation_rows_of_another_scale_are_refused():
    numbers = PIXELS.astype("float32")
    for X, other in ((PIXELS, numbers), (numbers, PIXELS)):
        net = fastbp.Network([6, 5, 2])
        with pytest.raises(ValueError, match="this network is trained on"):
            fastbp.train(net, X, Y, validation_data=(other, Y))
        assert not net.learned_bytes
        assert not net.learned_numbers
    fastbp.train(net, PIXELS, Y, epochs=1, validation_data=(numbers / 255, Y))
