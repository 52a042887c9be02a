"""The former place of the pictures of models, which are in ``fastbp.plotting`` now."""

from fastbp.plotting import decision_regions, weight_images

__all__ = ["decision_regions", "weight_images"]
