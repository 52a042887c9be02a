"""Runs: from a file of data and a table of settings to a folder with the trained network.

``settings`` defines the settings, ``description`` reads and writes them as TOML, ``data`` reads
and prepares the data, ``fit`` trains and evaluates, ``files`` and ``report`` write the folder,
``single`` executes one run, ``sweeps`` executes many.
"""

from fastbp.runs.data import WrongUseError
from fastbp.runs.fit import Result
from fastbp.runs.settings import Settings
from fastbp.runs.single import run

__all__ = ["Result", "Settings", "WrongUseError", "run"]
