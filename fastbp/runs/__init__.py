"""Runs: from data as they lie in a file to a folder with all that was learnt.

``settings`` says what a run is, ``data`` reads and prepares, ``fit`` trains and measures, ``files``
and ``report`` write the folder, ``single`` puts one run together and ``sweeps`` many.
"""

from fastbp.runs.data import WrongUseError
from fastbp.runs.fit import Result
from fastbp.runs.settings import Settings
from fastbp.runs.single import run

__all__ = ["Result", "Settings", "WrongUseError", "run"]
