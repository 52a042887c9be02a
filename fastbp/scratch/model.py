"""``Model``: a sequence of from-scratch layers to train, evaluate and save."""

import functools
import inspect
import itertools
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.scratch import files as scratch_files
from fastbp.scratch.attributes import inherits_methods
from fastbp.scratch.compiled import CompiledSteps
from fastbp.scratch.layers import (
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Input,
)
from fastbp.scratch.losses import (
    Activation_Softmax_Loss_CategoricalCrossentropy,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
)
from fastbp.scratch.report import Report


class Model:
    """A sequence of layers with a loss, an optimizer and an accuracy.

    ``add`` the layers, ``set`` the three objects, ``finalize``, then ``train``. Layers can be
    user-defined: they need ``forward(inputs, training)``, which sets ``output``, and
    ``backward(dvalues)``, which sets ``dinputs``. Layers with ``weights`` are trained.

    Attributes
    ----------
    layers : list
    trainable_layers : list
        The layers with weights.
    input_layer, output_layer_activation
        The ``Layer_Input`` before the first layer, and the last layer; set by ``finalize``.
    softmax_classifier_output
        The combined softmax and cross-entropy if the model ends in these two; else None.
    loss, optimizer, accuracy
    """

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.trainable_layers: list[Any] = []
        self.input_layer: Any = None
        self.output_layer_activation: Any = None
        self.softmax_classifier_output: Any = None
        self._finalized_layers: list[Any] = []
        self.loss: Any = None
        self.optimizer: Any = None
        self.accuracy: Any = None

    def add(self, layer: Any) -> None:
        """Append a layer or an activation."""
        if not callable(getattr(layer, "forward", None)):
            raise TypeError(f"a layer must have a method forward; {layer!r:.80} has none")
        self.layers.append(layer)

    def set(self, *, loss: Any = None, optimizer: Any = None, accuracy: Any = None) -> None:
        """Set the loss, the optimizer and the accuracy; None leaves a part unchanged."""
        for name, value in (("loss", loss), ("optimizer", optimizer), ("accuracy", accuracy)):
            if value is not None:
                setattr(self, name, value)
        if self.input_layer is not None:
            self.finalize()

    def finalize(self) -> None:
        """Connect the layers: set ``prev`` and ``next`` of each to its neighbours.

        Raises
        ------
        ValueError
            If there are no layers.
        """
        if not self.layers:
            raise ValueError("a model must have at least one layer; call add() before finalize()")
        self.input_layer = Layer_Input()
        self._finalized_layers = list(self.layers)
        chain = [self.input_layer, *self.layers, self.loss]
        for before, layer, after in zip(chain[:-2], chain[1:-1], chain[2:], strict=True):
            layer.prev, layer.next = before, after
        self.trainable_layers = [layer for layer in self.layers if hasattr(layer, "weights")]
        self.output_layer_activation = self.layers[-1]
        if self.loss is not None:
            self.loss.remember_trainable_layers(self.trainable_layers)
        self.softmax_classifier_output = None
        last = self.layers[-1]
        if isinstance(last, Activation_Softmax) and isinstance(
            self.loss, Loss_CategoricalCrossentropy
        ):
            self.softmax_classifier_output = Activation_Softmax_Loss_CategoricalCrossentropy()

    def _require(self, *names: str) -> None:
        """Raise an error if a named part is not set, or the layers changed after ``finalize``."""
        for name in names:
            if getattr(self, name) is None:
                call = "finalize()" if name == "input_layer" else f"set({name}=...)"
                raise RuntimeError(f"the model has no {name} yet; call {call} first")
        pairs = itertools.zip_longest(self.layers, self._finalized_layers)
        if "input_layer" in names and any(layer is not finalized for layer, finalized in pairs):
            raise RuntimeError("the model's layers have changed; call finalize() again")
        if "accuracy" in names and not hasattr(self.layers[-1], "predictions"):
            raise TypeError(
                f"the model ends in {type(self.layers[-1]).__name__}, which has no predictions(); "
                "add an activation after it, such as Activation_Linear()"
            )

    # ------------------------------------------------------------------ one pass

    def forward(self, X: Any, training: bool) -> Any:
        """Run ``X`` (B, M) through the layers and return the last output."""
        self._require("input_layer")
        self.input_layer.forward(X, training)
        for layer in self.layers:
            if _takes_training(layer):
                layer.forward(layer.prev.output, training)
            else:
                layer.forward(layer.prev.output)
        return self.layers[-1].output

    def backward(self, output: Any, y: Any) -> None:
        """Propagate the gradient of the loss back through the layers.

        Softmax with cross-entropy, and sigmoid with binary cross-entropy, use the combined
        gradient (p - y) / B unless one of their methods is overridden. It equals the two separate
        steps except where a sigmoid output is saturated and wrong: there the clipped p of the
        separate binary loss makes its gradient almost vanish.

        Parameters
        ----------
        output : (B, K) array
            The output of the last layer.
        y : array
            The targets.
        """
        self._require("loss")
        last = self.layers[-1]
        softmax = inherits_methods(last, Activation_Softmax, "forward", "backward")
        sigmoid = inherits_methods(last, Activation_Sigmoid, "forward", "backward")
        if (
            self.softmax_classifier_output is not None
            and softmax
            and inherits_methods(self.loss, Loss_CategoricalCrossentropy, "backward")
        ):
            self.softmax_classifier_output.backward(output, y)
            last.dinputs = self.softmax_classifier_output.dinputs
        elif sigmoid and inherits_methods(self.loss, Loss_BinaryCrossentropy, "backward", "scale"):
            output = checks.floats("output", output, 2)
            y = checks.alike("y", y, output, output.shape)
            factor = self.loss.scale(output.shape[1]) / len(output)
            last.dinputs = (output - y) * output.dtype.type(factor)
        else:
            self.loss.backward(output, y)
            last.backward(self.loss.dinputs)
        for layer in reversed(self.layers[:-1]):
            layer.backward(layer.next.dinputs)

    # ------------------------------------------------------------------ training

    def train(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        print_every: int = 1,
        validation_data: Sequence[Any] | None = None,
    ) -> None:
        """Train on ``X`` (n, M) and ``y`` without shuffling the rows.

        Steps that are not reported run in the compiled loop if it supports all layers, the loss,
        the optimizer and the accuracy: dense layers with ReLU, sigmoid or no activation between
        them, but not dropout or user-defined parts. All other steps run layer by layer; the two
        ways differ by rounding only. The last step always runs layer by layer, so that every layer
        holds its last output and gradients.

        Parameters
        ----------
        X : (n, M) array
        y : (n,) or (n, K) array
        epochs : int
        batch_size : int, optional
            Rows per step; by default all rows.
        print_every : int
            Number of steps between printed lines. If an epoch is one step, the first and the last
            epoch are printed too; if it has several, its first and last step are. 0 prints nothing.
        validation_data : (X, y), optional
            Data to evaluate after each epoch whose last step is reported.

        Raises
        ------
        RuntimeError
            If ``finalize`` has not been called or a part has not been set.
        ValueError, TypeError
            If the data or an argument do not match this description.
        """
        self._require("input_layer", "loss", "optimizer", "accuracy")
        X, y = _checked_data(X, y)
        epochs = checks.whole("epochs", epochs, 1)
        rows = len(X) if batch_size is None else checks.whole("batch_size", batch_size, 1)
        every = checks.whole("print_every", print_every, 0)
        report = Report(-(-len(X) // rows), epochs, every)
        if validation_data is not None:
            validation_data = _checked_data(*validation_data)
        self.accuracy.init(y)
        compiled = CompiledSteps.for_model(self, X, y, min(rows, len(X)))
        done = 0
        while done < report.total_steps:
            epoch, step = divmod(done, report.steps_per_epoch)
            if step == 0:
                self.loss.new_pass()
                self.accuracy.new_pass()
                report.print_epoch_start(epoch)
            if compiled is None or report.runs_layer_by_layer(done):
                batch = slice(step * rows, (step + 1) * rows)
                report.print_step(done, self._step(X[batch], y[batch]), self.optimizer)
                done += 1
            else:
                requested = report.compiled_run_length(done)
                taken = compiled.advance(done, requested)
                done += taken
                if taken < requested:
                    compiled = None  # a value is not finite: continue layer by layer
                    continue
            if done % report.steps_per_epoch == 0:
                report.print_epoch_means(self)
                if validation_data is not None and report.is_reported(done - 1):
                    self.evaluate(*validation_data, batch_size=batch_size)

    def _step(self, X: Array, y: Array) -> tuple[Any, Any, Any]:
        """Take one step layer by layer; return the accuracy, data loss and penalties before it."""
        output = self.forward(X, training=True)
        losses = self.loss.calculate(output, y, include_regularization=True)
        predictions = self.output_layer_activation.predictions(output)
        accuracy = self.accuracy.calculate(predictions, y)
        self.backward(output, y)
        self.optimizer.pre_update_params()
        for layer in self.trainable_layers:
            self.optimizer.update_params(layer)
        self.optimizer.post_update_params()
        return accuracy, *losses

    def evaluate(self, X_val: Any, y_val: Any, *, batch_size: int | None = None) -> None:
        """Print the mean loss and the accuracy on ``X_val`` (n, M) and ``y_val``."""
        self._require("input_layer", "loss", "accuracy")
        X, y = _checked_data(X_val, y_val)
        rows = len(X) if batch_size is None else checks.whole("batch_size", batch_size, 1)
        self.loss.new_pass()
        self.accuracy.new_pass()
        for start in range(0, len(X), rows):
            output = self.forward(X[start : start + rows], training=False)
            self.loss.calculate(output, y[start : start + rows])
            predictions = self.output_layer_activation.predictions(output)
            self.accuracy.calculate(predictions, y[start : start + rows])
        accuracy, loss = self.accuracy.calculate_accumulated(), self.loss.calculate_accumulated()
        print(f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}")

    def predict(self, X: Any, *, batch_size: int | None = None) -> Array:
        """Compute the outputs (n, K) for ``X`` (n, M)."""
        X = checks.floats("X", X)
        rows = len(X) if batch_size is None else checks.whole("batch_size", batch_size, 1)
        outputs = [
            self.forward(X[start : start + rows], training=False)
            for start in range(0, max(len(X), 1), max(rows, 1))
        ]
        return np.vstack(outputs)

    # ------------------------------------------------------------------ parameters and files

    def get_parameters(self) -> list[Any]:
        """Return (weights, biases) of each trainable layer, from its ``get_parameters``."""
        return [layer.get_parameters() for layer in self.trainable_layers]

    def set_parameters(self, parameters: Sequence[Sequence[Any]]) -> None:
        """Set the parameters of every trainable layer, in the form of ``get_parameters``.

        Raises
        ------
        ValueError
            If there is not one entry per trainable layer, or a shape differs; then no layer
            changes.
        """
        if len(parameters) != len(self.trainable_layers):
            raise ValueError(
                "parameters must have one entry for each of the "
                f"{len(self.trainable_layers)} trainable layers, not {len(parameters)}"
            )
        pairs = list(zip(self.trainable_layers, parameters, strict=True))
        for i, (layer, arrays) in enumerate(pairs):
            shapes = [np.shape(array) for array in arrays]
            expected = [np.shape(array) for array in layer.get_parameters()]
            if shapes != expected:
                raise ValueError(f"parameters[{i}] must have the shapes {expected}, not {shapes}")
        for layer, arrays in pairs:
            layer.set_parameters(*arrays)

    def save_parameters(self, path: str | PathLike[str]) -> None:
        """Write the parameters to a safetensors file; a failed write leaves an old file intact."""
        scratch_files.write_parameters(path, self.get_parameters())

    def load_parameters(self, path: str | PathLike[str]) -> None:
        """Read a file of ``save_parameters`` into a model of the same layers.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it is not a file of ``save_parameters``, or its shapes differ. Pickles are not
            opened.
        """
        self.set_parameters(scratch_files.read_parameters(path))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the whole model to a safetensors file: layers, loss, optimizer and accuracy.

        The file includes the optimizer's state, so that training can continue.

        Raises
        ------
        TypeError
            If a part is not a class of ``fastbp.scratch``: the file holds no code, so user-defined
            classes cannot be written. ``save_parameters`` works with any layer.
        """
        scratch_files.write_model(path, self)

    @staticmethod
    def load(path: str | PathLike[str]) -> "Model":
        """Read a model from a file of ``save``; nothing in the file is executed.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it is not a file of ``save``. Pickles are refused, because opening one can execute
            code.
        """
        model = Model()
        scratch_files.read_model(path, model)
        return model


def _checked_data(X: Any, y: Any) -> tuple[Array, Array]:
    """Return ``X`` and ``y`` as arrays with the same number of rows, at least one."""
    X, y = checks.floats("X", X), np.asarray(y)
    if X.ndim == 0 or y.ndim == 0:
        raise ValueError(f"X and y must have rows; their shapes are {X.shape} and {y.shape}")
    checks.check_row_count("y", len(y), len(X))
    if len(X) == 0:
        raise ValueError(f"X has no rows; its shape is {X.shape}")
    return X, y


def _takes_training(layer: Any) -> bool:
    """Return whether ``layer.forward`` takes ``training``; in the earlier style it does not."""
    method = layer.forward
    function = getattr(method, "__func__", None)  # the same for all layers of a class
    return _accepts(method, 2) if function is None else _accepts(function, 3)


@functools.lru_cache(maxsize=256)
def _accepts(function: Any, count: int) -> bool:
    """Return whether ``function`` can be called with ``count`` positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # the signature is not available
        return True
    return True
