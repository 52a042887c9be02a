"""The model of the from-scratch dialect: layers in a row, trained, evaluated, kept in a file."""

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
from fastbp.scratch.compiled import CompiledSteps
from fastbp.scratch.layers import Activation_Sigmoid, Activation_Softmax, Layer_Input, keeps
from fastbp.scratch.losses import (
    Activation_Softmax_Loss_CategoricalCrossentropy,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
)


class Model:
    """Layers in a row, with a loss, an optimizer and an accuracy.

    ``add`` the layers, ``set`` the three objects, ``finalize``, then ``train``. Layers may be one's
    own: they need ``forward(inputs, training)``, which sets ``output``, and ``backward(dvalues)``,
    which sets ``dinputs``; those with ``weights`` are trained.

    Attributes
    ----------
    layers : list
    trainable_layers : list
        Those with weights.
    input_layer, output_layer_activation
        What stands before the first layer, and the last one; set by ``finalize``.
    softmax_classifier_output
        The softmax and cross-entropy in one, if the model ends in these two; else None.
    loss, optimizer, accuracy
    """

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.trainable_layers: list[Any] = []
        self.input_layer: Any = None
        self.output_layer_activation: Any = None
        self.softmax_classifier_output: Any = None
        self._finalized: list[Any] = []
        self.loss: Any = None
        self.optimizer: Any = None
        self.accuracy: Any = None

    def add(self, layer: Any) -> None:
        """Put a layer or activation at the end."""
        if not callable(getattr(layer, "forward", None)):
            raise TypeError(f"a layer needs a method forward; {layer!r:.80} has none")
        self.layers.append(layer)

    def set(self, *, loss: Any = None, optimizer: Any = None, accuracy: Any = None) -> None:
        """Set those of the three that are given."""
        for name, value in (("loss", loss), ("optimizer", optimizer), ("accuracy", accuracy)):
            if value is not None:
                setattr(self, name, value)
        if self.input_layer is not None:
            self.finalize()

    def finalize(self) -> None:
        """Connect the layers: each knows its neighbours as ``prev`` and ``next``.

        Raises
        ------
        ValueError
            If there are no layers.
        """
        if not self.layers:
            raise ValueError("a model needs one layer at least; add() it before finalize()")
        self.input_layer = Layer_Input()
        self._finalized = list(self.layers)
        chain = [self.input_layer, *self.layers, self.loss]
        for before, layer, after in zip(chain[:-2], chain[1:-1], chain[2:], strict=True):
            layer.prev, layer.next = before, after
        self.trainable_layers = [layer for layer in self.layers if hasattr(layer, "weights")]
        self.output_layer_activation = self.layers[-1]
        if self.loss is not None:
            self.loss.remember_trainable_layers(self.trainable_layers)
        self.softmax_classifier_output = None
        ends = self.layers[-1], self.loss
        if isinstance(ends[0], Activation_Softmax) and isinstance(
            ends[1], Loss_CategoricalCrossentropy
        ):
            self.softmax_classifier_output = Activation_Softmax_Loss_CategoricalCrossentropy()

    def _needs(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is None:
                how = "finalize()" if name == "input_layer" else f"set({name}=...)"
                raise RuntimeError(f"the model has no {name} yet; call {how} first")
        pairs = itertools.zip_longest(self.layers, self._finalized)
        if "input_layer" in names and any(layer is not known for layer, known in pairs):
            raise RuntimeError("the model's layers have changed; call finalize() again")
        if "accuracy" in names and not hasattr(self.layers[-1], "predictions"):
            raise TypeError(
                f"the model ends in {type(self.layers[-1]).__name__}, which has no predictions(); "
                "add an activation behind it, such as Activation_Linear()"
            )

    # ------------------------------------------------------------------ one pass

    def forward(self, X: Any, training: bool) -> Any:
        """Run ``X`` (B, M) through the layers; returns the last output."""
        self._needs("input_layer")
        self.input_layer.forward(X, training)
        for layer in self.layers:
            if _takes_training(layer):
                layer.forward(layer.prev.output, training)
            else:
                layer.forward(layer.prev.output)
        return self.layers[-1].output

    def backward(self, output: Any, y: Any) -> None:
        """Send the derivative of the loss back through the layers, from the last one's ``output``.

        Softmax with cross-entropy, and sigmoid with binary cross-entropy, take the gradient of
        both in one, (p - y) / B, unless a subclass has a backward of its own. It is what the two
        steps give, save that the binary loss on its own has hardly any where an output is certain
        and wrong, because it holds p.
        """
        self._needs("loss")
        last = self.layers[-1]
        rest = self.layers[:-1]
        softmax = keeps(last, Activation_Softmax, "forward", "backward")
        sigmoid = keeps(last, Activation_Sigmoid, "forward", "backward")
        if (
            self.softmax_classifier_output is not None
            and softmax
            and keeps(self.loss, Loss_CategoricalCrossentropy, "backward")
        ):
            self.softmax_classifier_output.backward(output, y)
            last.dinputs = self.softmax_classifier_output.dinputs
        elif sigmoid and keeps(self.loss, Loss_BinaryCrossentropy, "backward", "scale"):
            output = checks.floats("output", output, 2)
            y = checks.alike("y", y, output, output.shape)
            share = self.loss.scale(output.shape[1]) / len(output)
            last.dinputs = (output - y) * output.dtype.type(share)
        else:
            self.loss.backward(output, y)
            last.backward(self.loss.dinputs)
        for layer in reversed(rest):
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
        """Train on ``X`` (n, M) and ``y``, the rows in the order in which they lie.

        Steps that are not reported run in the compiled loop if it knows all layers, the loss, the
        optimizer and the accuracy (dense layers with ReLU, sigmoid or no activation between them;
        not dropout, nor anything of one's own); the others go layer by layer, with equal results.
        The last step always does, so that every layer keeps what it computed.

        Parameters
        ----------
        X : (n, M) array
        y : (n,) or (n, K) array
        epochs : int
        batch_size : int, optional
            Rows per step; all rows if it is not given.
        print_every : int
            Every so many steps a line is printed; where a step is an epoch, every so many epochs,
            the first and the last. 0 prints nothing.
        validation_data : (X, y), optional
            Evaluated after each epoch that is reported.

        Raises
        ------
        RuntimeError
            If ``finalize`` has not been called or a part has not been set.
        ValueError, TypeError
            If the data or the numbers are not as described.
        """
        self._needs("input_layer", "loss", "optimizer", "accuracy")
        X, y = _data(X, y)
        epochs = checks.whole("epochs", epochs, 1)
        rows = len(X) if batch_size is None else checks.whole("batch_size", batch_size, 1)
        report = _Report(-(-len(X) // rows), epochs, checks.whole("print_every", print_every, 0))
        if validation_data is not None:
            validation_data = _data(*validation_data)
        self.accuracy.init(y)
        compiled = CompiledSteps.of(self, X, y, min(rows, len(X)))
        done = 0
        while done < report.total:
            epoch, step = divmod(done, report.per_epoch)
            if step == 0:
                self.loss.new_pass()
                self.accuracy.new_pass()
                report.begin(epoch)
            if compiled is None or report.by_layers(done):
                part = slice(step * rows, (step + 1) * rows)
                report.step(done, self._step(X[part], y[part]), self.optimizer)
                done += 1
            else:
                wanted = report.run(done)
                taken = compiled.advance(done, wanted)
                done += taken
                if taken < wanted:
                    compiled = None  # something is not finite: let it show layer by layer
                    continue
            if done % report.per_epoch == 0:
                report.end(done, self)
                if validation_data is not None and report.shown(done - 1):
                    self.evaluate(*validation_data, batch_size=batch_size)

    def _step(self, X: Array, y: Array) -> tuple[Any, Any, Any]:
        """Take one step layer by layer; returns accuracy, data loss and penalties before it."""
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
        """Print loss and accuracy on ``X_val`` (n, M) and ``y_val``."""
        self._needs("input_layer", "loss", "accuracy")
        X, y = _data(X_val, y_val)
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
        """Get what each trainable layer's ``get_parameters`` gives: (weights, biases)."""
        return [layer.get_parameters() for layer in self.trainable_layers]

    def set_parameters(self, parameters: Sequence[Sequence[Any]]) -> None:
        """Set the parameters of every trainable layer, in the form of ``get_parameters``."""
        if len(parameters) != len(self.trainable_layers):
            raise ValueError(
                f"parameters must be one pair for each of the {len(self.trainable_layers)} "
                f"trainable layers, not {len(parameters)}"
            )
        pairs = list(zip(self.trainable_layers, parameters, strict=True))
        for i, (layer, arrays) in enumerate(pairs):
            shapes = [np.shape(array) for array in arrays]
            own = [np.shape(array) for array in layer.get_parameters()]
            if shapes != own:
                raise ValueError(f"parameters[{i}] must have the shapes {own}, not {shapes}")
        for layer, arrays in pairs:
            layer.set_parameters(*arrays)

    def save_parameters(self, path: str | PathLike[str]) -> None:
        """Write the parameters to a safetensors file, whole or not at all."""
        scratch_files.write_parameters(path, self.get_parameters())

    def load_parameters(self, path: str | PathLike[str]) -> None:
        """Read what ``save_parameters`` wrote, into a model of the same layers.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not such a file (a pickle is not opened), or its shapes are others.
        """
        self.set_parameters(scratch_files.read_parameters(path))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the whole model to a safetensors file: layers, loss, optimizer and accuracy.

        What the optimizer keeps is in it, so that training can go on.

        Raises
        ------
        TypeError
            If a part is not of ``fastbp.scratch``, which a file without code cannot hold;
            ``save_parameters`` works with any layer.
        """
        scratch_files.write_model(path, self)

    @staticmethod
    def load(path: str | PathLike[str]) -> "Model":
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not such a file. Pickles of other code are refused: opening one runs it.
        """
        model = Model()
        scratch_files.read_model(path, model)
        return model


def _data(X: Any, y: Any) -> tuple[Array, Array]:
    """Check that there are as many targets as rows, and at least one."""
    X, y = checks.floats("X", X), np.asarray(y)
    if X.ndim == 0 or y.ndim == 0:
        raise ValueError(f"X and y must have rows; their shapes are {X.shape} and {y.shape}")
    checks.rows_match("y", len(y), len(X))
    if len(X) == 0:
        raise ValueError(f"X has no rows; its shape is {X.shape}")
    return X, y


def _takes_training(layer: Any) -> bool:
    """Tell whether ``layer.forward`` takes ``training``; in the earlier dialect it does not."""
    method = layer.forward
    function = getattr(method, "__func__", None)  # the same for all layers of a class
    return _takes(method, 2) if function is None else _takes(function, 3)


@functools.lru_cache(maxsize=256)
def _takes(function: Any, count: int) -> bool:
    """Tell whether ``function`` can be called with ``count`` positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # it does not tell
        return True
    return True


class _Report:
    """Decides which steps are reported, and prints them."""

    def __init__(self, per_epoch: int, epochs: int, every: int) -> None:
        self.per_epoch, self.every = per_epoch, every
        self.total = per_epoch * epochs

    def shown(self, k: int) -> bool:
        """Tell whether step ``k`` is reported."""
        if not self.every:
            return False
        if self.per_epoch > 1:
            step = k % self.per_epoch
            return step % self.every == 0 or step == self.per_epoch - 1
        return (k + 1) % self.every == 0 or k in (0, self.total - 1)

    def by_layers(self, k: int) -> bool:
        """Tell whether step ``k`` goes layer by layer: it is reported, or the last."""
        return self.shown(k) or k == self.total - 1

    def run(self, k: int) -> int:
        """Count the steps from ``k`` on that need not go layer by layer.

        Where an epoch has several steps, those to its end at most.
        """
        if self.per_epoch == 1:
            last = self.total - 1
            shown = k + -(k + 1) % self.every if self.every else last
            return min(shown, last) - k
        end = k - k % self.per_epoch + self.per_epoch
        return next((stop for stop in range(k, end) if self.by_layers(stop)), end) - k

    def begin(self, epoch: int) -> None:
        """Print the head of an epoch of several steps."""
        if self.every and self.per_epoch > 1:
            print(f"epoch: {epoch + 1}")

    def step(self, k: int, results: tuple[Any, Any, Any], optimizer: Any) -> None:
        """Print step ``k``, if it is reported."""
        if self.shown(k):
            several = self.per_epoch > 1
            place = f"step: {k % self.per_epoch}" if several else f"epoch: {k + 1}"
            accuracy, data, penalties = results
            self._line(place, accuracy, data, penalties, optimizer)

    def end(self, done: int, model: Any) -> None:
        """Print the means of an epoch of several steps."""
        if self.every and self.per_epoch > 1:
            data, penalties = model.loss.calculate_accumulated(include_regularization=True)
            accuracy = model.accuracy.calculate_accumulated()
            self._line("training", accuracy, data, penalties, model.optimizer)

    @staticmethod
    def _line(place: str, accuracy: Any, data: Any, penalties: Any, optimizer: Any) -> None:
        rate = getattr(optimizer, "current_learning_rate", float("nan"))
        print(
            f"{place}, acc: {accuracy:.3f}, loss: {data + penalties:.3f} "
            f"(data_loss: {data:.3f}, reg_loss: {penalties:.3f}), lr: {rate}"
        )
