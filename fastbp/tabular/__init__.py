"""Networks for tables that need no tuning: ``TabularClassifier`` and ``TabularRegressor``."""

from fastbp.tabular.estimators import TabularClassifier, TabularRegressor

__all__ = ["TabularClassifier", "TabularRegressor"]
