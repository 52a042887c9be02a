"""The learning rate of a run whose setting ``lr`` is ``auto``."""

from pathlib import Path

import numpy as np

from fastbp.runs.data import Clock, Prepared, WrongUseError
from fastbp.runs.defaults import LEARNING_RATES
from fastbp.runs.description import read_description
from fastbp.runs.files import DESCRIPTION
from fastbp.runs.fit import batch_size, network, optimizer, penalty, smoothing
from fastbp.runs.settings import Settings
from fastbp.training.rate_search import find_learning_rate

STEPS = 200


def with_learning_rate(
    settings: Settings, data: Prepared, folder: Path, clock: Clock, *, resume: bool
) -> tuple[Settings, list[tuple[str, str]]]:
    """Return the settings with a number as ``lr``, if it is ``auto``, and what is to be printed.

    In a resumed run, the number is the one in the description in its folder. Otherwise it is found
    by a range test on the training rows, and rounded to two digits.

    Raises
    ------
    WrongUseError
        If the settings cannot be applied to the data.
    """
    if settings.lr != "auto":
        return settings, []
    if resume:
        try:
            recorded = read_description(folder / DESCRIPTION).get("lr")
        except (OSError, ValueError):
            recorded = None
        if isinstance(recorded, float):
            return settings.replace(lr=recorded), []
    with clock.on("finding the learning rate"):
        rate = _found(settings, data)
    if rate is None:
        rate = LEARNING_RATES[settings.optimizer]
        note = (
            f"the loss decreased with no rate in a test of {STEPS} steps; {rate:g} is the default"
        )
    else:
        note = f"{rate:g} was found by a test of {STEPS} steps"
    return settings.replace(lr=rate), [("learning rate", note)]


def _found(settings: Settings, data: Prepared) -> float | None:
    """Return the learning rate that a range test suggests."""
    net, batch = network(settings, data), batch_size(settings, data)
    # The test visits no more rows than these; the others need not be copied.
    random = np.random.default_rng(settings.seed)
    count = min(len(data.training_rows), STEPS * batch)
    rows = np.sort(random.choice(data.training_rows, count, replace=False))
    try:
        test = find_learning_rate(
            net,
            data.X[rows],
            data.y[rows],
            optimizer=optimizer(settings.replace(lr=None)),
            batch_size=batch,
            steps=STEPS,
            seed=settings.seed,
            sample_weight=None if data.weights is None else data.weights[rows],
            l1=settings.l1,
            l2=penalty(settings, data),
            dropout=settings.dropout if settings.hidden else 0.0,
            label_smoothing=smoothing(settings, net),
            clip_norm=settings.clip_norm,
        )
    except ValueError as error:
        raise WrongUseError(str(error)) from None
    return None if test.suggestion is None else float(f"{test.suggestion:.2g}")
