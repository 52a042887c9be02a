"""Runs of a preset: the networks of a table, trained as ``fastbp.TabularClassifier`` does."""

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import persistence
from fastbp.arrays import Array
from fastbp.data.datasets import DATASETS
from fastbp.data.files import is_table
from fastbp.data.sources import Examples
from fastbp.models import Model
from fastbp.network import Network
from fastbp.plan.processors import own_processors
from fastbp.runs.data import Clock, Prepared, WrongUseError
from fastbp.runs.files import CHECKPOINTS, Say
from fastbp.runs.fit import Result, evaluate
from fastbp.runs.settings import PLAIN, PLAIN_SETTINGS, Settings
from fastbp.tabular.recipes import PRESETS, Recipe
from fastbp.tabular.training import (
    How,
    Member,
    Rows,
    encoding_of,
    fit_members,
    new_network,
    splits_of,
)
from fastbp.training.history import History
from fastbp.training.interruption import catch_interrupts
from fastbp.training.resuming import CURVES, fingerprint, versions

MEMBER = "member-{:03d}.safetensors"
