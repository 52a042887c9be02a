"""Arguments of hidden layers, which tests of networks and of exports share."""

LAYER_KINDS = {
    "norm": {"layer_norm": True},
    "residual": {"residual": True},
    "both": {"layer_norm": True, "residual": True},
    "parametric": {"parametric": True},
    "all": {"layer_norm": True, "residual": True, "parametric": True},
}
BATCH_NORM_KINDS = {
    "batch_norm": {"batch_norm": True},
    "all_with_batch_norm": {"batch_norm": True, "residual": True, "parametric": True},
}
