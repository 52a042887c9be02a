"""The models of the benchmark: each is built for a task, a seed and a number of threads.

A model is a function that returns a pair of functions: one fits on a DataFrame and a target, the
other returns probabilities of the classes or values. Packages are imported when a model is built,
so that the others can be measured without them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from table_sources import CLASSES

Build = Callable[[str, int, int], Any]
GAP = "missing"  # the category of a gap, where a package takes texts only


class Categories:
    """Give the texts of a DataFrame the dtype ``category``; its categories are those of training.

    Parameters
    ----------
    model : estimator
        Is fitted on the result.
    gaps_as_texts : bool
        Replace gaps in texts by a text, and keep them as objects.
    fill_numbers : bool
        Replace gaps in numbers by the mean of training.
    pass_names : str or None
        Parameter of ``fit`` that takes the names of the columns of texts.
    """

    def __init__(
        self,
        model: Any,
        gaps_as_texts: bool = False,
        fill_numbers: bool = False,
        pass_names: str | None = None,
    ):
        self.model, self.pass_names = model, pass_names
        self.gaps_as_texts, self.fill_numbers = gaps_as_texts, fill_numbers

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> "Categories":
        """Fit the model."""
        self.dtypes = {
            name: pd.CategoricalDtype(sorted(X[name].dropna().unique())) for name in texts(X)
        }
        self.means = X.select_dtypes("number").mean() if self.fill_numbers else {}
        extra = {self.pass_names: list(self.dtypes)} if self.pass_names else {}
        self.model.fit(self.prepare(X), y, **extra)
        return self

    def prepare(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the columns as the model takes them; texts not seen in training are gaps."""
        columns = {}
        for name, dtype in self.dtypes.items():
            if self.gaps_as_texts:
                columns[name] = X[name].astype(object).fillna(GAP)
            else:
                columns[name] = X[name].where(X[name].isin(dtype.categories)).astype(dtype)
        return X.assign(**columns).fillna(dict(self.means))

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Return the model's values."""
        return np.asarray(self.model.predict(self.prepare(X)))

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Return the model's probabilities."""
        return np.asarray(self.model.predict_proba(self.prepare(X)))


def texts(X: pd.DataFrame) -> list[str]:
    """Return the names of the columns that do not hold numbers."""
    return list(X.select_dtypes(exclude="number").columns)


def fill_gaps_in_texts(X: pd.DataFrame) -> pd.DataFrame:
    """Replace gaps in texts by a text."""
    return X.astype(object).fillna(GAP)


def usual_pipeline(network: Any, task: str) -> Any:
    """Impute and standardise numbers, encode texts one column per value, standardise values."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = make_pipeline(
        FunctionTransformer(fill_gaps_in_texts, feature_names_out="one-to-one"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    prepare = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("texts", words, make_column_selector(dtype_exclude="number")),
        ]
    )
    if task != CLASSES:
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    return Pipeline([("prepare", prepare), ("network", network)])


def scikit_learn(task: str, seed: int, threads: int) -> Any:
    """Return scikit-learn's network; BLAS uses the threads that the environment sets."""
    from sklearn import neural_network

    name = "MLPClassifier" if task == CLASSES else "MLPRegressor"
    return usual_pipeline(getattr(neural_network, name)(random_state=seed), task)


def fastbp_mlp(task: str, seed: int, threads: int) -> Any:
    """Return fastbp's network with scikit-learn's parameters in the same pipeline."""
    import fastbp

    name = "MLPClassifier" if task == CLASSES else "MLPRegressor"
    return usual_pipeline(getattr(fastbp, name)(random_state=seed, n_threads=threads), task)


def fastbp_tabular(preset: str) -> Build:
    """Return a builder of fastbp's estimator for tables with a preset."""

    def build(task: str, seed: int, threads: int) -> Any:
        import fastbp

        name = "TabularClassifier" if task == CLASSES else "TabularRegressor"
        return getattr(fastbp, name)(preset=preset, random_state=seed, n_threads=threads)

    return build


def hist_gradient_boosting(task: str, seed: int, threads: int) -> Any:
    """Return scikit-learn's gradient boosting; OpenMP uses the threads the environment sets."""
    from sklearn import ensemble

    name = "Classifier" if task == CLASSES else "Regressor"
    return Categories(getattr(ensemble, f"HistGradientBoosting{name}")(random_state=seed))


def xgboost(task: str, seed: int, threads: int) -> Any:
    """Return XGBoost."""
    import xgboost

    name = "XGBClassifier" if task == CLASSES else "XGBRegressor"
    make = getattr(xgboost, name)
    return Categories(make(random_state=seed, n_jobs=threads, enable_categorical=True))


def lightgbm(task: str, seed: int, threads: int) -> Any:
    """Return LightGBM."""
    import lightgbm

    name = "LGBMClassifier" if task == CLASSES else "LGBMRegressor"
    return Categories(getattr(lightgbm, name)(random_state=seed, n_jobs=threads, verbosity=-1))


def catboost(task: str, seed: int, threads: int) -> Any:
    """Return CatBoost, which takes categories as texts and writes no files."""
    import catboost

    name = "CatBoostClassifier" if task == CLASSES else "CatBoostRegressor"
    model = getattr(catboost, name)(
        random_seed=seed, thread_count=threads, verbose=False, allow_writing_files=False
    )
    return Categories(model, gaps_as_texts=True, pass_names="cat_features")


def real_mlp(variant: str) -> Build:
    """Return a builder of pytabkit's RealMLP with its tuned defaults, ``TD`` or ``TD_S``.

    It rejects gaps in numbers.
    """

    def build(task: str, seed: int, threads: int) -> Any:
        import pytabkit
        import torch

        torch.set_num_threads(threads)
        name = "Classifier" if task == CLASSES else "Regressor"
        make = getattr(pytabkit, f"RealMLP_{variant}_{name}")
        model = make(device="cpu", random_state=seed, n_threads=threads)
        return Categories(model, fill_numbers=True, pass_names="cat_col_names")

    return build


MODELS: dict[str, Build] = {
    "fastbp-fast": fastbp_tabular("fast"),
    "fastbp-good": fastbp_tabular("good"),
    "fastbp-best": fastbp_tabular("best"),
    "fastbp-mlp": fastbp_mlp,
    "sklearn-mlp": scikit_learn,
    "hist-gb": hist_gradient_boosting,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "catboost": catboost,
    "realmlp-td-s": real_mlp("TD_S"),
    "realmlp-td": real_mlp("TD"),
}
