"""The version of fastbp."""

__version__ = "0.2.0"
