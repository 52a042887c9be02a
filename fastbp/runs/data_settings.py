"""The settings of the data of a run: the first fields of ``Settings``."""

from dataclasses import dataclass

from fastbp.data.datasets import DATASETS
from fastbp.data.files import MISSING
from fastbp.data.targets import TASKS
from fastbp.runs.fields import character, one_of, real, setting, switch, text, texts

DATA = "data"


@dataclass(frozen=True)
class DataSettings:
    """The data of a run, and how they are read; ``Settings`` documents the fields."""

    data: str = setting(
        "digits",
        text(),
        "a table (.csv, .tsv, .parquet), arrays (.npy, .npz, IDX), a bundled set "
        f"({', '.join(DATASETS)}), or a description of a run (.toml); default: digits",
        section="",
        metavar="DATA",
    )
    target: tuple[str, ...] = setting(
        (),
        texts(),
        "column to predict, or several; for arrays, the file of targets",
        section=DATA,
        several=True,
    )
    task: str | None = setting(
        None,
        one_of(TASKS),
        "classification or regression; by default inferred from the target",
        section=DATA,
    )
    ignore: tuple[str, ...] = setting(
        (), texts(), "columns to leave out", section=DATA, several=True
    )
    categories: tuple[str, ...] = setting(
        (), texts(), "columns of categories that look like numbers", section=DATA, several=True
    )
    missing: tuple[str, ...] = setting(
        MISSING,
        texts(),
        f"text that means a missing value (default: an empty field, {', '.join(MISSING[1:])})",
        section=DATA,
        several=True,
        metavar="TEXT",
    )
    separator: str | None = setting(
        None,
        character(),
        "character between the values of a CSV file, or tab (default: detected)",
        section=DATA,
        metavar="CHARACTER",
    )
    decimal: str | None = setting(
        None,
        one_of((".", ",")),
        "decimal mark of numbers in a CSV file (default: detected for each column)",
        section=DATA,
        metavar="MARK",
    )
    encoding: str | None = setting(
        None,
        text(),
        "encoding of a CSV file, such as cp1252 (default: detected)",
        section=DATA,
        metavar="NAME",
    )
    weight: str | None = setting(None, text(), "column with the weight of each row", section=DATA)
    hold_out: float = setting(
        0.2,
        real(0.0, 1.0, "high"),
        "fraction of the rows held out: used for evaluation, not for training",
        section=DATA,
        parse=float,
        metavar="FRACTION",
    )
    test: str | None = setting(
        None, text(), "test file, evaluated only after training", section=DATA, metavar="FILE"
    )
    test_target: str | None = setting(
        None,
        text(),
        "for arrays: the file with the targets of the test file",
        section=DATA,
        metavar="FILE",
    )
    as_is: bool = setting(
        False,
        switch(),
        "use arrays as stored, without copying (memory-mapped) and without standardising them",
        section=DATA,
        parse=bool,
    )
