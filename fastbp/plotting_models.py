"""Kept for old imports: the plots of models have moved to ``fastbp.plotting``."""

from fastbp.plotting import decision_regions, weight_images

__all__ = ["decision_regions", "weight_images"]
