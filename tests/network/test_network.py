"""The network: layout, initialisation, forward, gradients, model files."""

import itertools
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import reference
from fastbp.choices.activations import ACTIVATIONS
from fastbp.choices.losses import LOSSES


def make_data(rng, rows, sizes, loss, dtype="float64"):
    X = rng.normal(size=(rows, sizes[0])).astype(dtype)
    if loss == "softmax_cross_entropy":
        return X, rng.integers(0, sizes[-1], rows)
    return X, rng.uniform(0.0, 1.0, (rows, sizes[-1])).astype(dtype)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_params_are_one_buffer_with_views():
    net = fastbp.Network([5, 4, 3])
    assert net.params.shape == (5 * 4 + 4 + 4 * 3 + 3,)
    assert [W.shape for W in net.weights] == [(5, 4), (4, 3)]
    net.weights[1][2, 1] = 7.0
    assert net.params[5 * 4 + 4 + 2 * 3 + 1] == 7.0
    net.params[:] = 0.0
    assert not net.weights[0].any()
    assert not any(np.may_share_memory(net.weights[0], other) for other in net.biases)


def test_initialisation_follows_the_activation_and_the_seed():
    net = fastbp.Network([400, 300, 10], "relu", seed=3)
    he = np.sqrt(2 / 400)
    assert net.weights[0].std() == pytest.approx(he, rel=0.02)
    glorot = np.sqrt(6 / 310)
    assert np.abs(net.weights[1]).max() <= glorot
    assert net.weights[1].std() == pytest.approx(glorot / np.sqrt(3), rel=0.05)
    assert not any(b.any() for b in net.biases)
    tanh = fastbp.Network([400, 300, 10], "tanh", seed=3)
    assert np.abs(tanh.weights[0]).max() <= np.sqrt(6 / 700)
    again = fastbp.Network([400, 300, 10], "relu", seed=3)
    np.testing.assert_array_equal(net.params, again.params)
    assert not np.array_equal(net.params, fastbp.Network([400, 300, 10], seed=4).params)


def test_forward_is_the_textbook_formula():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, 4))
    net = fastbp.Network([4, 6, 3], "tanh", dtype="float64")
    net.biases[0][:] = rng.normal(size=6)
    net.biases[1][:] = rng.normal(size=3)
    z = np.tanh(X @ net.weights[0] + net.biases[0]) @ net.weights[1] + net.biases[1]
    np.testing.assert_allclose(net.forward(X), softmax(z), rtol=1e-12)
    np.testing.assert_array_equal(net.predict(X), z.argmax(axis=1))
    values = fastbp.Network([4, 6, 3], "tanh", "squared_error", "float64")
    values.params[:] = net.params
    np.testing.assert_allclose(values.forward(X), z, rtol=1e-12)
    np.testing.assert_allclose(values.predict(X), z, rtol=1e-12)
    counts = fastbp.Network([4, 6, 3], "tanh", "poisson", "float64")
    counts.params[:] = net.params
    np.testing.assert_allclose(counts.forward(X), np.exp(z), rtol=1e-12)
    odds = fastbp.Network([4, 6, 3], "tanh", "sigmoid_cross_entropy", "float64")
    odds.params[:] = net.params
    np.testing.assert_allclose(odds.forward(X), 1 / (1 + np.exp(-z)), rtol=1e-12)
    np.testing.assert_array_equal(odds.predict(X), (z > 0).astype(int))


@pytest.mark.parametrize("rows", [0, 1, 2, 333, 5000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_rows_equal_single_rows(rows, dtype):
    """Rows are processed in blocks; 5,000 rows take several blocks."""
    rng = np.random.default_rng(rows)
    net = fastbp.Network([3, 50, 40, 4], ["gelu", "relu"], dtype=dtype)
    X = rng.normal(size=(rows, 3)).astype(dtype)
    outputs = net.forward(X)
    assert outputs.shape == (rows, 4)
    assert outputs.dtype == dtype
    assert net.predict(X).shape == (rows,)
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    for i in range(0, rows, max(rows // 7, 1)):
        np.testing.assert_allclose(outputs[i : i + 1], net.forward(X[i : i + 1]), atol=tolerance)


def test_input_of_any_layout_is_accepted_and_not_changed():
    rng = np.random.default_rng(1)
    net = fastbp.Network([4, 5, 3])
    X = rng.normal(size=(6, 4)).astype("float32")
    expected = net.forward(X)
    wide = np.zeros((12, 8), "float32")
    wide[::2, ::2] = X
    locked = X.copy()
    locked.flags.writeable = False
    for given in (wide[::2, ::2], np.asfortranarray(X), locked, X.astype("float64"), X.tolist()):
        before = np.array(given)
        np.testing.assert_allclose(net.forward(given), expected, rtol=1e-6)
        np.testing.assert_array_equal(before, np.array(given))
    y = np.array([0, 1, 2, 0, 1, 2])
    labels = y.copy()
    labels.flags.writeable = False
    loss, gradients = net.loss_and_gradients(locked, labels)
    again, same = net.loss_and_gradients(X, y)
    assert loss == again
    np.testing.assert_array_equal(gradients, same)


# Compiled separately: one layer or several; class indices or values as targets; relu only,
# activations whose derivative is computed from the output, or, if a layer is gelu, any activation.
# Penalties double the number of cases.
DIFFERENCES = [
    *itertools.product([[name, "gelu"] for name in ACTIVATIONS], list(LOSSES)[1:], [3]),
    ("relu", "softmax_cross_entropy", 2),
]


@pytest.mark.parametrize(
    ("activation", "loss", "depth"),
    [
        *DIFFERENCES,
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in itertools.product(ACTIVATIONS, LOSSES, [1, 2, 3])
            if row not in DIFFERENCES
        ),
    ],
    ids=str,
)
def test_gradients_agree_with_finite_differences(activation, loss, depth):
    """Every activation, loss and depth; penalties, weights, dropout and smoothing off and on."""
    rng = np.random.default_rng(depth)
    sizes = [3, *[6] * (depth - 1), 2]
    X, y = make_data(rng, 5, sizes, loss)
    net = fastbp.Network(sizes, activation, loss, "float64", seed=depth)
    net.params += rng.normal(scale=0.3, size=net.params.shape)  # no bias at a kink
    assert fastbp.gradient_check(net, X, y) < 2e-6
    penalties = {"l1": 0.01, "l2": 0.1, "dropout": 0.3, "seed": 5}
    if loss.endswith("cross_entropy"):
        penalties["label_smoothing"] = 0.2
    weights = rng.uniform(0.1, 3.0, 5)
    assert fastbp.gradient_check(net, X, y, weights, **penalties) < 2e-6


def test_gradient_check_sees_a_wrong_gradient(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = make_data(rng, 5, [3, 4, 2], "softmax_cross_entropy")
    net = fastbp.Network([3, 4, 2], dtype="float64")
    right = fastbp.Network.loss_and_gradients

    def wrong(self, *args, **kwargs):
        loss, gradients = right(self, *args, **kwargs)
        gradients[3] *= 1.01
        return loss, gradients

    monkeypatch.setattr(fastbp.Network, "loss_and_gradients", wrong)
    assert fastbp.gradient_check(net, X, y) > 1e-3


def test_loss_and_gradients_leaves_the_network_alone():
    rng = np.random.default_rng(0)
    X, y = make_data(rng, 9, [3, 4, 2], "softmax_cross_entropy")
    net = fastbp.Network([3, 4, 2], dtype="float64")
    before = net.params.copy()
    loss, gradients = net.loss_and_gradients(X, y, l2=0.5)
    np.testing.assert_array_equal(net.params, before)
    assert gradients.shape == before.shape
    plain, _ = net.loss_and_gradients(X, y)
    assert loss == pytest.approx(plain + 0.25 * sum((W**2).sum() for W in net.weights))


@pytest.mark.parametrize("loss", LOSSES)
def test_integer_weights_equal_repeated_rows(loss):
    rng = np.random.default_rng(2)
    sizes = [3, 5, 2]
    X, y = make_data(rng, 6, sizes, loss)
    times = np.array([1, 3, 0, 2, 1, 4])
    activation = "relu" if loss == "softmax_cross_entropy" else "gelu"
    net = fastbp.Network(sizes, activation, loss, "float64")
    loss_w, gradients_w = net.loss_and_gradients(X, y, times)
    loss_r, gradients_r = net.loss_and_gradients(np.repeat(X, times, 0), np.repeat(y, times, 0))
    assert loss_w == pytest.approx(loss_r, rel=1e-12)
    np.testing.assert_allclose(gradients_w, gradients_r, rtol=1e-10, atol=1e-14)
    found = net.evaluate(X, y, times)
    assert found == pytest.approx(net.evaluate(np.repeat(X, times, 0), np.repeat(y, times, 0)))


def test_evaluate_measures_loss_accuracy_and_r2():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 4))
    net = fastbp.Network([4, 80, 3], dtype="float64")
    y = rng.integers(0, 3, 3000)
    loss, accuracy = net.evaluate(X, y)
    p = net.forward(X)
    assert loss == pytest.approx(-np.log(p[np.arange(3000), y]).mean(), rel=1e-10)
    assert accuracy == pytest.approx((p.argmax(axis=1) == y).mean())
    values = fastbp.Network([4, 80, 2], "relu", "squared_error", "float64")
    t = values.forward(X) + rng.normal(size=(3000, 2))
    loss, r2 = values.evaluate(X, t)
    residual = ((values.forward(X) - t) ** 2).sum()
    assert loss == pytest.approx(residual / 6000, rel=1e-10)
    assert r2 == pytest.approx(1 - residual / ((t - t.mean(axis=0)) ** 2).sum(), rel=1e-10)


def test_equal_outputs_count_as_the_first_class():
    net = fastbp.Network([2, 3, 4])
    net.params[:] = 0.0
    X = np.ones((8, 2))
    assert net.evaluate(X, np.zeros(8, int))[1] == pytest.approx(1.0)
    assert net.evaluate(X, np.full(8, 2))[1] == 0.0
    assert (net.predict(X) == 0).all()


def test_one_hot_and_indices_give_the_same_bits():
    rng = np.random.default_rng(4)
    net = fastbp.Network([3, 5, 4])
    X, y = rng.normal(size=(10, 3)), rng.integers(0, 4, 10)
    loss, gradients = net.loss_and_gradients(X, y)
    for form in (np.eye(4)[y], np.eye(4, dtype=bool)[y], y.astype("uint8"), y.astype(float)):
        again, same = net.loss_and_gradients(X, form)
        assert again == loss
        np.testing.assert_array_equal(same, gradients)


def test_save_and_load_give_the_same_network(tmp_path):
    path = tmp_path / "net.safetensors"
    net = fastbp.Network([4, 6, 5, 2], ["gelu", "relu"], "huber", "float64", huber_delta=0.3)
    net.params[:] = np.random.default_rng(0).normal(size=net.params.shape)
    net.save(path)
    twin = fastbp.load(path)
    assert repr(twin) == repr(net)
    assert twin.description() == net.description()
    np.testing.assert_array_equal(twin.params, net.params)
    assert not list(tmp_path.glob(".*"))
    first = path.read_bytes()
    twin.save(path)
    assert path.read_bytes() == first


def test_model_files_have_the_names_and_shapes_of_torch(tmp_path):
    from safetensors.numpy import load_file

    net = fastbp.Network([4, 6, 3])
    net.save(tmp_path / "net.safetensors")
    tensors = load_file(tmp_path / "net.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "0.weight": (6, 4),
        "0.bias": (6,),
        "2.weight": (3, 6),
        "2.bias": (3,),
    }
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    model.load_state_dict({name: torch.from_numpy(t) for name, t in tensors.items()})
    X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    with torch.no_grad():
        theirs = torch.softmax(model(torch.from_numpy(X)), dim=1).numpy()
    np.testing.assert_allclose(net.forward(X), theirs, atol=1e-6)


def test_weights_trained_by_torch_are_loaded():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    net = fastbp.Network([4, 6, 3])
    net.load_state_dict(model.state_dict())
    X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    with torch.no_grad():
        theirs = torch.softmax(model(torch.from_numpy(X)), dim=1).numpy()
    np.testing.assert_allclose(net.forward(X), theirs, atol=1e-6)
    model.load_state_dict({name: torch.from_numpy(t) for name, t in net.state_dict().items()})
    with torch.no_grad():
        np.testing.assert_array_equal(model[0].weight.numpy(), net.weights[0].T)


def test_state_dict_can_be_saved_and_loaded():
    net, twin = fastbp.Network([4, 6, 3]), fastbp.Network([4, 6, 3], seed=1)
    state = net.state_dict()
    twin.load_state_dict({name: array.astype(np.float64) for name, array in state.items()})
    np.testing.assert_array_equal(twin.params, net.params)
    state["0.weight"][:] = 0  # copies
    assert net.weights[0].all()
    for changes, message in (
        ({"4.weight": np.zeros(3)}, "'4.weight' is not a parameter"),
        ({"2.bias": np.zeros(4)}, r"'2.bias' must hold numbers in the shape \(3,\); it has"),
        ({"0.weight": np.zeros((4, 6))}, r"'0.weight' must hold numbers in the shape \(6, 4\)"),
        ({"2.bias": np.array(["a", "b", "c"])}, "the dtype <U1"),
    ):
        with pytest.raises(ValueError, match=message):
            twin.load_state_dict({**state, **changes})
    with pytest.raises(ValueError, match=r"'0\.bias' is missing; the given names are: 0\.weight"):
        twin.load_state_dict({"0.weight": state["0.weight"]})
    np.testing.assert_array_equal(twin.params, net.params)


def test_bad_model_files_give_clear_errors(tmp_path):
    from safetensors.numpy import save_file

    net = fastbp.Network([4, 3])
    path = tmp_path / "net.safetensors"
    net.save(path)
    whole = path.read_bytes()
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        fastbp.load(tmp_path / "nothing-here")
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="damaged"):
        fastbp.load(path)
    path.write_bytes(b"\x80\x04 a pickle, say")
    with pytest.raises(ValueError, match="is a pickle, which fastbp does not open"):
        fastbp.load(path)
    path.write_bytes(b"a text, say")
    with pytest.raises(ValueError, match="not a safetensors file"):
        fastbp.load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not a model of fastbp"):
        fastbp.load(path)
    path.write_bytes(whole.replace(rb"{\"version\": 1", rb"{\"version\": 9"))
    with pytest.raises(ValueError, match="version 9"):
        fastbp.load(path)
    path.write_bytes(whole.replace(b"0.bias", b"7.bias"))
    with pytest.raises(ValueError, match=r"0.bias"):
        fastbp.load(path)


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    net = fastbp.Network([4, 3])
    net.save(path)
    before = path.read_bytes()

    def fail(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    net.params += 1.0
    with pytest.raises(OSError, match="no space"):
        net.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_pickle_and_copy_keep_views_of_their_own_buffer():
    net = fastbp.Network([4, 3, 2])
    for twin in (pickle.loads(pickle.dumps(net)), net.copy()):
        np.testing.assert_array_equal(twin.params, net.params)
        twin.weights[0][0, 0] = 99.0
        assert twin.params[0] == 99.0
        assert net.params[0] != 99.0
    assert net.copy("float64").forward(np.ones((1, 4))).dtype == np.float64


OUT = ["relu", "sigmoid", "softplus", "gelu"]


@pytest.mark.parametrize(
    ("activation", "loss", "out"),
    [
        *(("silu", "huber", out) for out in OUT),
        ("tanh", "squared_error", "gelu"),
        # Activations whose derivative is computed from the output are compiled separately.
        *(pytest.param("tanh", "squared_error", out, marks=pytest.mark.slow) for out in OUT[:3]),
    ],
)
def test_an_activation_of_the_output(out, activation, loss, tmp_path):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(7, 5)), rng.uniform(size=(7, 2))
    net = fastbp.Network([5, 6, 2], activation, loss, "float64", seed=2, out_activation=out)
    net.params += rng.normal(scale=0.3, size=net.params.shape)
    plain = fastbp.Network([5, 6, 2], activation, loss, "float64")
    plain.params[:] = net.params
    want = reference.activate(plain.forward(X), np.zeros(2), out)
    np.testing.assert_allclose(net.forward(X), want, rtol=1e-12)
    np.testing.assert_allclose(net.forward(X[:1]), want[:1], rtol=1e-12)
    penalties = {"l1": 0.01, "l2": 0.1, "dropout": 0.3}
    assert fastbp.gradient_check(net, X, y, rng.uniform(0.1, 3.0, 7), **penalties) < 2e-6
    losses = {"squared_error": reference.squared_error, "huber": reference.huber}
    assert net.evaluate(X, y)[0] == pytest.approx(losses[loss](want, y)[0], rel=1e-12)
    net.save(tmp_path / "net.safetensors")
    twin = fastbp.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(twin.forward(X), net.forward(X))
    assert f"out_activation={out!r}" in repr(twin)


def test_an_output_activation_is_allowed_with_some_losses_only():
    for loss in ("softmax_cross_entropy", "sigmoid_cross_entropy", "poisson"):
        with pytest.raises(ValueError, match=f"not with {loss}, which determines"):
            fastbp.Network([3, 4, 2], loss=loss, out_activation="tanh")
    with pytest.raises(ValueError, match="unknown out_activation 'tan'; did you mean 'tanh'"):
        fastbp.Network([3, 4, 2], loss="huber", out_activation="tan")
    assert fastbp.Network([3, 2], loss="huber", out_activation="identity").forward(
        np.ones((1, 3))
    ).shape == (1, 2)
