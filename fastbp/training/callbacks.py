"""Callbacks that take part in a run: they set its learning rate, and have a state and an end.

A callback of ``train`` is any function of the network and the history. Those that need more are a
``RunCallback``; ``fastbp.callbacks`` contains them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fastbp import checks
from fastbp.arrays import Array
from fastbp.network import Network
from fastbp.training.history import History
from fastbp.training.stopping import Callback


class Run(NamedTuple):
    """What a callback may know of a run when it begins and ends."""

    net: Network
    history: History
    epochs: int  # of the whole run
    evaluate: Callable[[], tuple[float, float]] | None  # validation loss and metric of ``net``
    restores_best: bool  # whether early stopping restores the best weights
    verbose: int


class RunCallback:
    """Base class of the callbacks that take part in a run.

    What a method computes must follow from its arguments and from ``state``; a resumed run is then
    bit-identical to an uninterrupted one.
    """

    sets_weights = False  # whether ``end`` changes the weights

    def begin(self, run: Run) -> None:
        """Check whether the run supports the callback, and forget an earlier run."""

    def __call__(self, net: Network, history: History) -> object:
        """Act after an epoch; True ends the run."""
        return None

    def next_rate(self, rate: float, history: History) -> float:
        """Return the learning rate of the next epoch, if ``rate`` is that of the optimizer."""
        return rate

    def stops(self, error: ArithmeticError) -> bool:
        """Return whether the run ends without the error of a loss that is not finite."""
        return False

    def end(self, run: Run) -> None:
        """Act after the last epoch."""

    def description(self, epochs: int) -> str | None:
        """Return what must be the same for a run of so many epochs to be resumed."""
        return None

    def state(self) -> dict[str, Array]:
        """Return what checkpoints store of the callback."""
        return {}

    def restore(self, arrays: dict[str, Array], epochs: int) -> None:
        """Restore a ``state`` after so many epochs, which has its names, shapes and types."""


class Callbacks:
    """The callbacks of a run, and the learning rate that they determine.

    Parameters
    ----------
    given : sequence of callables
    rate : float
        Learning rate of the optimizer.

    Attributes
    ----------
    rate : float
        Learning rate of the next epoch, which a schedule multiplies.
    """

    def __init__(self, given: Sequence[Callback], rate: float) -> None:
        self.given, self._first_rate, self.rate = given, rate, rate
        self._members = [each for each in given if isinstance(each, RunCallback)]

    def begin(self, run: Run) -> None:
        """Begin a run.

        Raises
        ------
        ValueError
            If a callback cannot be used in it.
        """
        setters = [type(each).__name__ for each in self._members if each.sets_weights]
        if len(setters) > 1:
            raise ValueError(f"only one callback can set the weights, not {' and '.join(setters)}")
        if setters and run.restores_best:
            raise ValueError(
                f"early_stopping restores the best weights, and {setters[0]} sets them to an "
                "average: pass EarlyStopping(patience, restores=False)"
            )
        if len({id(each) for each in self._members}) < len(self._members):
            raise ValueError("callbacks contains the same object twice")
        for each in self._members:
            each.begin(run)

    def __call__(self, net: Network, history: History) -> list[object]:
        """Call all after an epoch, and set the rate; return their results.

        Raises
        ------
        ValueError
            If a callback changed the history, which training needs.
        """
        lengths = history.lengths()
        results = [callback(net, history) for callback in self.given]
        if history.lengths() != lengths:
            raise ValueError(
                f"a callback changed the columns of the history: their lengths were {lengths} and "
                f"are {history.lengths()}"
            )
        self.set_rate(history)
        return results

    def set_rate(self, history: History) -> None:
        """Set the learning rate that follows the history."""
        self.rate = self._first_rate
        for each in self._members:
            self.rate = each.next_rate(self.rate, history)

    def stop(self, error: ArithmeticError) -> bool:
        """Return whether a callback ends training instead of the error."""
        answers = [each.stops(error) for each in self._members]
        return any(answers)

    def end(self, run: Run) -> bool:
        """End a run; return whether the weights may have changed."""
        for each in self._members:
            each.end(run)
        return any(each.sets_weights for each in self._members)

    def tensors(self) -> dict[str, Array]:
        """Return the states, with names for a checkpoint."""
        return {
            f"callback.{k}.{name}": array
            for k, each in enumerate(self._members)
            for name, array in each.state().items()
        }

    def restore(self, tensors: Mapping[str, Array], epochs: int) -> None:
        """Restore the states of a checkpoint after so many epochs.

        Raises
        ------
        ValueError
            If an array is missing, has another shape or type, or is not finite.
        """
        for k, each in enumerate(self._members):
            arrays = {}
            for name, like in each.state().items():
                key = f"callback.{k}.{name}"
                given = tensors.get(key)
                if given is None or given.shape != like.shape or given.dtype != like.dtype:
                    raise ValueError(f"{key!r} is missing or has another shape or type")
                arrays[name] = checks.numbers(key, given, given.dtype)
            each.restore(arrays, epochs)


def descriptions(callbacks: Sequence[Callback], epochs: int) -> list[str]:
    """Return what callbacks require to be the same for a run to be resumed."""
    members = [each for each in callbacks if isinstance(each, RunCallback)]
    texts = [each.description(epochs) for each in members]
    return [text for text in texts if text is not None]
