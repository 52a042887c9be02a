"""Trials of Optuna, pruned by a callback of training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.WARNING)
RATES = (1e-2, 3e-2, 1e-6, 1e-5, 2e-2, 1e-6)


def data() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 120)
    return random.standard_normal((120, 4)) + 2.0 * y[:, None], y


def objective(trial: Any) -> float:
    X, y = data()
    rate = RATES[trial.suggest_int("which", 0, len(RATES) - 1)]
    net = fastbp.Network([4, 8, 2], seed=0)
    history = fastbp.train(
        net,
        X,
        y,
        optimizer=fastbp.Adam(rate),
        validation_fraction=0.25,
        epochs=10,
        callbacks=fastbp.OptunaPruning(trial),
    )
    assert len(history) == 10
    return float(min(history.validation_loss))


def study(path: Path) -> Any:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2)
    options = {"storage": storage, "pruner": pruner, "load_if_exists": True}
    return optuna.create_study(study_name="rates", **options)


def test_slow_trials_are_pruned_and_the_storage_goes_on(tmp_path: Path) -> None:
    first = study(tmp_path / "trials.db")
    for which in range(len(RATES)):
        first.enqueue_trial({"which": which})
    first.optimize(objective, n_trials=3)
    whole = study(tmp_path / "trials.db")  # another process would open it in the same way
    whole.optimize(objective, n_trials=3)
    states = [trial.state.name for trial in whole.trials]
    assert len(states) == 6
    assert "PRUNED" in states
    assert RATES[whole.best_params["which"]] >= 1e-2
    pruned = [trial for trial in whole.trials if trial.state.name == "PRUNED"]
    assert all(2 <= len(trial.intermediate_values) < 10 for trial in pruned)
    complete = [trial for trial in whole.trials if trial.state.name == "COMPLETE"]
    assert all(min(trial.intermediate_values.values()) == trial.value for trial in complete)


def test_the_curve_must_exist() -> None:
    with pytest.raises(ValueError, match=r"curve must be one of loss, .*, not 'accuracy'"):
        fastbp.OptunaPruning(None, "accuracy")
    X, y = data()
    trial = optuna.create_study().ask()
    net = fastbp.Network([4, 2], seed=0)
    with pytest.raises(ValueError, match=r"the history has no validation_loss: pass"):
        fastbp.train(net, X, y, epochs=1, callbacks=fastbp.OptunaPruning(trial))
