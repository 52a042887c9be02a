"""Networks for tables that need no tuning: ``TabularClassifier`` and ``TabularRegressor``."""
