"""Parameters and files of a model."""

import itertools
import pickle

import numpy as np
import pytest
from scratch_model_cases import (
    ONE_AVERAGE,
    OPTIMIZERS,
    PAIRS,
    PENALTIES,
    OwnAccuracy,
    OwnOptimizer,
    PlainLeak,
    PlainScale,
    assert_same_layers,
    assert_same_models,
    build,
    derived,
    is_compiled,
    layers_of,
    model_of,
    problem,
)
from slow import all_of

import fastbp
from fastbp import scratch
from fastbp.scratch import Model


def test_parameters_go_from_one_model_to_another():
    pair = "Loss_CategoricalCrossentropy"
    X, _ = problem(pair)
    one, other = build(pair, seed=1), build(pair, seed=2)
    parameters = one.get_parameters()
    assert [W.shape for W, _ in parameters] == [(3, 7), (7, 5), (5, 4)]
    assert [b.shape for _, b in parameters] == [(1, 7), (1, 5), (1, 4)]
    other.set_parameters(parameters)
    np.testing.assert_array_equal(other.predict(X), one.predict(X))
    assert other.get_parameters()[0][0] is other.layers[0].weights


def test_parameters_are_saved_and_loaded(tmp_path):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    one, other = build(pair, seed=1), build(pair, seed=2)
    one.layers[0].weights = np.asfortranarray(one.layers[0].weights)
    path = tmp_path / "weights"
    one.save_parameters(path)
    other.load_parameters(str(path))
    np.testing.assert_array_equal(other.predict(X), one.predict(X))
    assert other.layers[0].weights.dtype == np.float64
    other.train(X, y, epochs=2, print_every=0)
    third = build(pair, seed=3)
    third.load_parameters(path)  # training the loaded model has not changed the file
    np.testing.assert_array_equal(third.predict(X), one.predict(X))


def test_parameters_of_custom_layers_are_saved(tmp_path):
    class Own(PlainScale):
        def get_parameters(self):
            return (self.weights,)

        def set_parameters(self, weights):
            self.weights = weights

    pair = "Loss_CategoricalCrossentropy"
    models = []
    for seed in (1, 2):
        layers = layers_of(scratch, pair, seed=seed)
        layers.insert(1, Own())
        layers[1].weights = layers[1].weights * seed
        loss = scratch.Loss_CategoricalCrossentropy()
        models.append(model_of(layers, loss, None, None))
    models[0].save_parameters(tmp_path / "weights")
    models[1].load_parameters(tmp_path / "weights")
    X, _ = problem(pair)
    np.testing.assert_array_equal(models[0].predict(X), models[1].predict(X))


@pytest.mark.parametrize(
    ("pair", "rule"),
    all_of(
        PAIRS,
        OPTIMIZERS,
        always=[
            *((pair, "Optimizer_Adam") for pair in PAIRS),
            *itertools.product(list(PAIRS)[1:], ONE_AVERAGE),
            ("Loss_CategoricalCrossentropy", "Optimizer_SGD"),
        ],
    ),
)
def test_a_loaded_model_continues_bit_identically(pair, rule, tmp_path):
    X, y = problem(pair)
    for batch_size in (None, 6):
        model = build(pair, rule, penalties=PENALTIES)
        model.train(X, y, epochs=2, batch_size=batch_size, print_every=0)
        model.save(tmp_path / "model")
        before = np.random.get_state()[1].copy()
        loaded = Model.load(str(tmp_path / "model"))
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # nothing is drawn
        assert is_compiled(loaded, X, y, batch_size)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        for one in (model, loaded):
            one.train(X, y, epochs=2, batch_size=batch_size, print_every=0)
        assert_same_models(loaded, model, 0, exact=True)
        model.save(tmp_path / "model")
        loaded.save(tmp_path / "again")
        assert (tmp_path / "model").read_bytes() == (tmp_path / "again").read_bytes()


def test_every_part_is_in_the_file(tmp_path):
    layers = layers_of(scratch, "Loss_BinaryCrossentropy", penalties=PENALTIES)
    layers.insert(2, scratch.Layer_Dropout(0.3))
    model = model_of(
        layers,
        scratch.Loss_BinaryCrossentropy(mean_over_outputs=True),
        scratch.Optimizer_Adam(np.float32(0.5), 0.25, 1e-3, 0.75, 0.5),
        scratch.Accuracy_Categorical(binary=True),
    )
    X, y = problem("Loss_BinaryCrossentropy")
    model.train(X, y, epochs=2, print_every=0)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in layers]
    assert {name: getattr(loaded.layers[0], name) for name in PENALTIES} == PENALTIES
    assert loaded.layers[2].rate == layers[2].rate == 0.7
    assert loaded.loss.mean_over_outputs is True
    assert loaded.accuracy.binary is True
    for name, value in vars(model.optimizer).items():
        assert name.startswith("_") or getattr(loaded.optimizer, name) == value, name
    assert loaded.trainable_layers == loaded.loss.trainable_layers
    assert loaded.loss.trainable_layers == [loaded.layers[0], loaded.layers[3], loaded.layers[5]]

    regression = build("Loss_MeanSquaredError")
    regression.accuracy.init(np.arange(5, dtype=np.float32))
    regression.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").accuracy.precision == regression.accuracy.precision
    bare = Model()
    bare.add(scratch.Layer_Dense(2, 3))
    bare.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert (loaded.loss, loaded.optimizer, loaded.accuracy) == (None, None, None)
    np.testing.assert_array_equal(loaded.layers[0].weights, bare.layers[0].weights)


def test_an_untrained_model_is_the_same_after_a_file(tmp_path):
    """Initial weights take on the dtype of the first inputs, whether loaded or not."""
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair, dtype=np.float32)
    model = build(pair, "Optimizer_Adam", penalties=PENALTIES)
    np.random.seed(0)
    for layer in model.trainable_layers:
        layer.__init__(*layer.weights.shape, **PENALTIES)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    for one in (model, loaded):
        one.train(X, y, epochs=3, print_every=0)
    assert_same_layers(loaded.layers, model.layers, 0, exact=True)


@pytest.mark.parametrize("what", ["layer", "loss", "optimizer", "accuracy"])
def test_a_custom_part_is_not_written_to_a_file(what, tmp_path):
    model = build()
    if what == "layer":
        model.layers[1] = PlainLeak()
    else:
        own = derived(scratch)
        parts = dict(loss=own["Smoothed"](), optimizer=OwnOptimizer(), accuracy=OwnAccuracy())
        model.set(**{what: parts[what]})
    name = {"layer": "PlainLeak", "loss": "Smoothed"}.get(what, f"Own{what.title()}")
    with pytest.raises(TypeError, match=f"not a {name}; save_parameters works"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class Marker:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def write_text(path):
    path.write_text("weights: 1 2 3\n" * 20)


def write_foreign(path):
    from safetensors.numpy import save_file

    save_file({"0.weights": np.ones((2, 3))}, path, metadata={"format": "np"})


def write_network(path):
    fastbp.Network([2, 3, 2], seed=0).save(path)


def write_truncated(path):
    build().save(path)
    path.write_bytes(path.read_bytes()[:-40])


def write_beheaded(path):
    build().save(path)
    path.write_bytes(path.read_bytes()[40:])


FOREIGN_FILES = {
    "text": (write_text, "is not a safetensors file"),
    "empty": (lambda path: path.touch(), "is not a safetensors file"),
    "zeros": (lambda path: path.write_bytes(bytes(100)), "is not a safetensors file"),
    "foreign safetensors": (write_foreign, "safetensors file, but not a model of fastbp"),
    "network": (write_network, "holds a network, not a s"),
    "truncated": (write_truncated, "is not a safetensors file, or is damaged"),
    "beheaded": (write_beheaded, "is not a safetensors file, or is damaged"),
}


@pytest.mark.parametrize("load", [Model.load, lambda path: build().load_parameters(path)])
@pytest.mark.parametrize("kind", FOREIGN_FILES)
def test_foreign_and_damaged_files_are_refused(kind, load, tmp_path):
    path = tmp_path / "file"
    write, message = FOREIGN_FILES[kind]
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path)


@pytest.mark.parametrize("load", [Model.load, lambda path: build().load_parameters(path)])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_refused_and_nothing_in_them_runs(protocol, load, tmp_path):
    path, marker = tmp_path / "model.pickle", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Marker(marker), protocol))
    with pytest.raises(ValueError, match=r"is a pickle|is not a safetensors file"):
        load(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes()).close()
    assert marker.exists()  # unpickling does create it


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "file"
    build().save(path)
    with pytest.raises(ValueError, match="holds a scratch model, not a network"):
        fastbp.load(path)
    with pytest.raises(ValueError, match="holds a scratch model, not a set of scratch parameters"):
        build().load_parameters(path)
    build().save_parameters(path)
    with pytest.raises(ValueError, match="holds a set of scratch parameters, not a network"):
        fastbp.load(path)
    with pytest.raises(ValueError, match="holds a set of scratch parameters, not a scratch model"):
        Model.load(path)


def write_changed_file(path, change):
    """Write a model's file with a changed description or changed tensors."""
    from fastbp import persistence
    from fastbp.scratch import files as scratch_files

    build(rule="Optimizer_Adam").save(path)
    tensors, description = persistence.read_tensors(path, scratch_files.MODEL)
    change(tensors, description)
    persistence.write_tensors(path, tensors, description, scratch_files.MODEL)


CHANGES = {
    "no weights": lambda tensors, _: tensors.pop("0.weights"),
    "no biases": lambda tensors, _: tensors.pop("2.biases"),
    "weights of no layer": lambda tensors, _: tensors.update({"9.weights": np.ones((2, 2))}),
    "weights of a ReLU": lambda tensors, _: tensors.update({"1.weights": np.ones((2, 2))}),
    "biases too short": lambda tensors, _: tensors.update({"0.biases": np.ones((1, 2))}),
    "flat weights": lambda tensors, _: tensors.update({"0.weights": np.ones(21)}),
    "whole weights": lambda tensors, _: tensors.update({"0.weights": np.ones((3, 7), int)}),
    "no list of layers": lambda _, d: d.pop("layers"),
    "no loss": lambda _, d: d.pop("loss"),
    "no layers": lambda _, d: d.update(layers=[]),
    "numbers as layers": lambda _, d: d.update(layers=[1, 2]),
    "a word as layers": lambda _, d: d.update(layers="Layer_Dense"),
    "more": lambda _, d: d.update(more=1),
    "unknown layer": lambda _, d: d["layers"][0].update(type="Layer_Dance"),
    "a model as a layer": lambda _, d: d["layers"][0].update(type="Model"),
    "a method": lambda _, d: d["layers"][0].update(forward=1),
    "a word as penalty": lambda _, d: d["layers"][0].update(weight_regularizer_l1="1"),
    "no penalty": lambda _, d: d["layers"][0].pop("weight_regularizer_l1"),
    "an optimizer as loss": lambda _, d: d.update(loss={"type": "Optimizer_SGD"}),
    "rate None": lambda _, d: d["optimizer"].update(learning_rate=None),
    "rate negative": lambda _, d: d["optimizer"].update(learning_rate=-1.0),
    "half an iteration": lambda _, d: d["optimizer"].update(iterations=0.5),
    "beta 1": lambda _, d: d["optimizer"].update(beta_1=1.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_files_with_another_content_are_refused(change, tmp_path):
    path = tmp_path / "model"
    write_changed_file(path, CHANGES[change])
    with pytest.raises(ValueError, match="holds an invalid scratch model"):
        Model.load(path)


def test_parameters_of_other_shapes_are_refused_and_change_nothing(tmp_path):
    pair = "Loss_CategoricalCrossentropy"
    model = build(pair)
    held = model.get_parameters()
    for parameters, message in (
        ([(W, b) for W, b in held[:2]] + [(np.ones((5, 3)), np.ones((1, 3)))], r"\(5, 3\)"),
        ([(np.ones((3, 8)), np.ones((1, 8))), *held[1:]], r"\(3, 8\)"),
        (held[:2], "3 trainable layers, not 2"),
        ([], "3 trainable layers, not 0"),
    ):
        fresh = [tuple(np.array(array) + 1 for array in arrays) for arrays in parameters]
        with pytest.raises(ValueError, match=message):
            model.set_parameters(fresh)
        for (W, b), layer in zip(held, model.trainable_layers, strict=True):
            assert layer.weights is W
            assert layer.biases is b
    build("Loss_MeanSquaredError", seed=1).save_parameters(tmp_path / "weights")
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        model.load_parameters(tmp_path / "weights")
    for (W, b), layer in zip(held, model.trainable_layers, strict=True):
        assert layer.weights is W
        assert layer.biases is b


def test_a_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "model"
    build().save(path)
    before = path.read_bytes()
    model = build()
    model.layers[1] = PlainLeak()
    with pytest.raises(TypeError, match="PlainLeak"):
        model.save(path)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        build().save(tmp_path / "nowhere" / "model")
