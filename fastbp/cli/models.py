"""The commands for trained models: evaluate, predict, info, export, plan; and bench."""

import argparse
import contextlib
import csv
import io
import json
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import persistence
from fastbp.arrays import Array
from fastbp.cli.output import TOPIC, plain, print_error, print_fact
from fastbp.data import sources
from fastbp.data.datasets import DATASETS
from fastbp.data.dialect import CsvFormat
from fastbp.data.errors import UnusableDataError, counted, rounded
from fastbp.data.files import is_table, kind_of
from fastbp.data.preparation import Preparation
from fastbp.data.sources import Examples
from fastbp.data.table_files import read_table
from fastbp.data.targets import missing_targets
from fastbp.models import Model
from fastbp.network import Network
from fastbp.network.files import load_networks
from fastbp.optional import MissingOnnxError, require
from fastbp.persistence import write_atomically
from fastbp.plotting.runs import confusion_matrix
from fastbp.runs.data import WrongUseError, errors_as_usage_error
from fastbp.runs.description import read_description
from fastbp.runs.files import DESCRIPTION, MODEL, number, shape_of
from fastbp.runs.fit import CHECKPOINTS
from fastbp.runs.scores import class_scores, mean_loss, scores
from fastbp.training.checkpoints import Checkpoints, Snapshot, paths
from fastbp.training.resuming import check_snapshot

# A confusion matrix is printed for at most this many classes.
PRINTED_CLASSES = 12
PREDICTIONS = (".csv", ".parquet", ".npy")


# ---------------------------------------------------------------------- models and their data


def _file_of(text: str) -> Path:
    """Return the file of a model, given by its path or by the folder of a run."""
    path = Path(text)
    if path.is_dir():
        path = path / MODEL
        if hint := _unfinished(Path(text)):
            if not path.is_file():
                raise WrongUseError(f"there is no model {path}: {hint}")
            print_error(f"{path} is the model of an earlier run: {hint}")
    if not path.is_file():
        raise WrongUseError(f"there is no model {path}")
    return path


def _unfinished(folder: Path) -> str:
    """Return how to continue an unfinished run in a folder; empty if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            newest = Checkpoints(folder / CHECKPOINTS).newest()
        except ValueError:
            return ""
    if newest is None or newest.metadata.get("ended"):
        return ""
    return f"the run is not finished; fastbp train {folder / DESCRIPTION} --resume continues it"


def _model(text: str) -> Model:
    with _model_errors_as_wrong_use():
        return Model.load(_file_of(text))


@contextlib.contextmanager
def _model_errors_as_wrong_use() -> Iterator[None]:
    """Raise errors of a model's file as WrongUseError."""
    with errors_as_usage_error():
        try:
            yield
        except (ValueError, TypeError) as error:
            raise WrongUseError(str(error)) from None


def _examples(model: Model, options: argparse.Namespace, *, requires_targets: bool) -> Examples:
    """Read data for a model."""
    columns, target = model.preparation.columns, model.preparation.target
    given, categories = getattr(options, "target", None), []
    if is_table(options.data):
        given = given or target.names
        categories = [] if columns is None else list(columns.categories)
    with errors_as_usage_error():
        return sources.read_examples(
            options.data,
            given or (),
            requires_targets=requires_targets,
            categories=categories,
            written=CsvFormat(
                getattr(options, "missing", model.preparation.missing),
                getattr(options, "separator", None),
                getattr(options, "decimal", None),
                getattr(options, "encoding", None),
            ),
            spellings=model.preparation.spellings,
        )


def _check_writable(path: Path) -> None:
    """Raise WrongUseError if a file cannot be written, before anything is computed."""
    if not path.parent.is_dir():
        raise WrongUseError(f"there is no folder {path.parent} to write {path.name} to")
    if path.is_dir():
        raise WrongUseError(f"cannot write {path}: it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise WrongUseError(f"cannot write to {path.parent}: permission denied")


# ---------------------------------------------------------------------- commands


def evaluate(options: argparse.Namespace) -> int:
    """Execute ``fastbp evaluate``."""
    model = _model(options.model)
    examples = _examples(model, options, requires_targets=True)
    target = model.preparation.target
    with _model_errors_as_wrong_use():
        task = "regression" if target.classes is None else "classification"
        gaps = missing_targets(examples.y, examples.target_names, task)
        if gaps.all():
            raise WrongUseError(f"{options.data} has no targets to compare with")
        if gaps.any():
            examples = examples.rows(~gaps)
        y = target.encode(examples.y)
        X = model.inputs(examples.X)
        outputs = model.outputs_of(X)
        loss = mean_loss(outputs, y) if model.others else model.net.evaluate(X, y)[0]
    measured = {"loss": loss, **scores(model, outputs, y)}
    classes: list[dict[str, Any]] = []
    if target.classes is not None:
        further, classes = class_scores(outputs, y)
        measured |= further
    if options.json:
        known: dict[str, Any] = {
            name.replace("²", "2"): value if math.isfinite(value) else None
            for name, value in measured.items()
        }
        known["rows"] = len(y)
        if target.classes is not None:
            known["classes"] = dict(zip(target.classes, classes, strict=True))
        print(json.dumps(known))  # JSON has no NaN
        return 0
    left_out = f", {int(gaps.sum()):,} without a target omitted" if gaps.any() else ""
    print(f"{'rows':<{TOPIC}} {len(y):,}{left_out}")
    for name, value in measured.items():
        if name != "rows":
            right = f", {value * len(y):,.0f} correct" if name == "accuracy" else ""
            print(f"{name:<{TOPIC}} {number(name, value)}{right}")
    if target.classes is not None and len(target.classes) <= PRINTED_CLASSES:
        _print_classes(classes, target.classes)
        matrix = confusion_matrix(y, outputs.argmax(axis=1), len(target.classes))
        _print_matrix(matrix, target.classes)
    return 0


def _print_classes(classes: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Print precision, recall, F1 and the number of rows of each class."""
    print(f"\n{'class':<{TOPIC}} {'precision':>9} {'recall':>9} {'F1':>9} {'rows':>9}")
    for name, row in zip(names, classes, strict=True):
        numbers = " ".join(f"{row[key]:>9.4f}" for key in ("precision", "recall", "F1"))
        print(plain(f"{name[:TOPIC]:<{TOPIC}} {numbers} {row['rows']:>9,}"))


def _print_matrix(matrix: Array, names: Sequence[str]) -> None:
    """Print how often each class was predicted for each true class."""
    short = [name[:12] for name in names]
    width = max(5, *(len(name) + 1 for name in short), len(str(matrix.max())) + 1)
    print(plain(f"\n{'true, predicted:':<{TOPIC}} {''.join(f'{name:>{width}}' for name in short)}"))
    for name, row in zip(short, matrix, strict=True):
        print(plain(f"{name:<{TOPIC}} {''.join(f'{count:>{width}}' for count in row)}"))


def predict(options: argparse.Namespace) -> int:
    """Execute ``fastbp predict``."""
    out = None if options.out is None else Path(options.out)
    if out is not None and out.suffix.lower() not in PREDICTIONS:
        raise WrongUseError(f"--out must end in {', '.join(PREDICTIONS)}, not {out.name!r}")
    if out is not None:
        _check_writable(out)
    model = _model(options.model)
    target = model.preparation.target
    if out is not None and out.suffix.lower() == ".npy" and (options.keep or options.probabilities):
        raise WrongUseError(
            "a .npy file contains only predictions; use a .csv or .parquet file for --out"
        )
    if options.probabilities and target.classes is None:
        raise WrongUseError("--probabilities requires a classifier; this model is a regressor")
    examples = _examples(model, options, requires_targets=False)
    with _model_errors_as_wrong_use():
        outputs = model.outputs(examples.X)
    predicted = target.decode(outputs)
    is_text = out is None or out.suffix.lower() == ".csv"
    columns: dict[str, Any] = {}
    for name in options.keep:
        if name.startswith(("prediction", "probability_")):
            raise WrongUseError(f"--keep {name}: the predictions already have this column")
        columns[name] = _kept_column(options.data, name)
    if target.classes is not None:
        columns["prediction"] = predicted
    else:
        for k, name in enumerate(target.names):
            label = "prediction" if len(target.names) == 1 else f"prediction_{name}"
            columns[label] = predicted[:, k]
            if is_text and model.net.dtype == np.float32:
                # The digits of float32 beyond the ninth are rounding.
                columns[label] = [float(f"{value:.9g}") for value in predicted[:, k].tolist()]
    if options.probabilities:
        for k, name in enumerate(target.classes or ()):
            # The digits of float32 beyond the sixth are rounding.
            columns[f"probability_{name}"] = [float(f"{p:.6g}") for p in outputs[:, k].tolist()]
    _write_predictions(columns, out)
    return 0


def _kept_column(data: str, name: str) -> list[Any]:
    """Read a column for ``--keep``, unchanged."""
    with errors_as_usage_error():
        if data in DATASETS or kind_of(data) != "table":
            raise UnusableDataError(f"--keep {name} needs a table; {data} is not a table")
        frame = read_table(data, texts=[name], written=CsvFormat(()))
        if name not in frame.columns:
            raise UnusableDataError(f"there is no column {name!r} in {data}")
        kept: list[Any] = frame[name].to_list()
        return kept


def _write_predictions(columns: dict[str, Any], out: Path | None) -> None:
    """Write columns to a file in the format of its suffix, or print them as CSV."""
    if out is None:
        if not sys.stdout.isatty():
            _write_csv(columns, sys.stdout)
            return
        shown = io.StringIO()
        _write_csv(columns, shown)
        sys.stdout.write(plain(shown.getvalue()))
        return
    kind = out.suffix.lower()
    if kind == ".csv":
        text = io.StringIO()
        _write_csv(columns, text)
        write_atomically(out, lambda file: file.write(text.getvalue().encode()))
    elif kind == ".parquet":
        with errors_as_usage_error():
            require("polars")
        import polars as pl

        write_atomically(out, lambda file: pl.DataFrame(columns).write_parquet(file))
    else:
        arrays = [np.asarray(column) for column in columns.values()]
        table = arrays[0] if len(arrays) == 1 else np.column_stack(arrays)
        write_atomically(out, lambda file: np.save(file, table, allow_pickle=False))


def _write_csv(columns: dict[str, Any], file: Any) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    lists = [
        column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()
    ]
    writer.writerows(zip(*lists, strict=True))


def info(options: argparse.Namespace) -> int:
    """Execute ``fastbp info``."""
    newest = sorted(paths(Path(options.model, CHECKPOINTS)))[-1:]
    hint = _unfinished(Path(options.model)) if newest else ""
    path = newest[0] if hint else _file_of(options.model)
    with _model_errors_as_wrong_use():
        kind = persistence.kind_of(path)
        if kind == "checkpoint":
            _print_checkpoint(path)
            if hint:
                print_fact("resume", hint)
            return 0
        (net, *others), described = load_networks(Network, path, ())
        preparation = None if described is None else Preparation.from_description(described)
    metadata = {
        "file": f"{path}, {path.stat().st_size:,} bytes",
        "network": f"{shape_of(net)}, {net.params.size:,} parameters, {net.dtype.name}",
        **({"networks": f"{1 + len(others)}, whose outputs are averaged"} if others else {}),
        "loss": net.loss,
    }
    for name, fact in metadata.items():
        print_fact(name, f"{fact}")
    if preparation is None:
        return 0
    columns, target = preparation.columns, preparation.target
    if target.classes is None:
        print_fact("predicts", f"values of {', '.join(target.names)}")
    else:
        print_fact("predicts", f"{target.names[0]}: one of {', '.join(target.classes)}")
    if preparation.image_shape is not None:
        print_fact("images", f"{' x '.join(map(str, preparation.image_shape))}")
    if columns is None:
        print_fact("takes", f"{net.sizes[0]:,} numbers without preparation")
        return 0
    robust = columns.scaling == "robust"
    centre, width = ("median", "scale") if robust else ("mean", "deviation")
    rows = zip(columns.numbers, columns.raw_means, columns.scales, strict=True)
    for k, (name, mean, scale) in enumerate(rows):
        gaps = ", may be missing" if k in columns.flagged else ""
        topic = "takes" if k == 0 else ""
        spread = f"{centre} {rounded(mean)}, {width} {rounded(scale)}"
        print_fact(topic, f"{name}: a number, {spread}{gaps}")
    for k, (name, known) in enumerate(columns.categories.items()):
        topic = "takes" if k == 0 and not columns.numbers else ""
        shown = ", ".join(value or "(missing)" for value in known[:8])
        more = f" and {len(known) - 8} more" if len(known) > 8 else ""
        print_fact(topic, f"{name}: one of {shown}{more}")
    return 0


def _print_checkpoint(path: Path) -> None:
    snapshot = Snapshot(*persistence.read_tensors(path, "checkpoint"))
    check_snapshot(snapshot, str(path))
    metadata = snapshot.metadata
    epochs, steps = snapshot.tensors["counts"][1:3].tolist()
    print_fact("file", f"{path}, {path.stat().st_size:,} bytes")
    print_fact("checkpoint", f"after {counted(epochs, 'epoch')}, {counted(steps, 'step')}")
    print_fact("the run", f"{'has ended' if metadata['ended'] else 'has not ended'}")
    print_fact("seconds", f"{metadata['seconds']:.1f}")
    for name, value in metadata["settings"].items():
        print_fact(name, f"{value}")
    print_fact("versions", f"{', '.join(f'{k} {v}' for k, v in metadata['versions'].items())}")


def export(options: argparse.Namespace) -> int:
    """Execute ``fastbp export``."""
    from fastbp.export.c import export_c  # imports modules that no other command needs
    from fastbp.export.onnx import export_onnx

    if options.onnx is None and options.c is None:
        raise WrongUseError("give a file to write: --onnx FILE, --c FILE, or both")
    for name in (options.onnx, options.c):
        if name is not None:
            _check_writable(Path(name))
    path = _file_of(options.model)
    with _model_errors_as_wrong_use():
        (net, *others), described = load_networks(Network, path, ())
        preparation = None if described is None else Model.load(path).preparation
    try:
        if options.onnx is not None:
            export_onnx(options.onnx, net, preparation, others)
            print(f"{'written':<{TOPIC}} {options.onnx}")
        if options.c is not None:
            export_c(options.c, net, preparation, options.name, others)
            print(f"{'written':<{TOPIC}} {options.c}")
    except (MissingOnnxError, ValueError, TypeError) as error:
        raise WrongUseError(str(error)) from None
    return 0


# Settings of a run, besides its optimizer and batch size, that change the operations of a step.
IN_A_STEP = ("l1", "l2", "dropout", "label_smoothing", "clip_norm")


def plan(options: argparse.Namespace) -> int:
    """Execute ``fastbp plan``: print the operations of a training step, with measured times."""
    model = _model(options.model)
    description = Path(options.model) / DESCRIPTION
    with _model_errors_as_wrong_use():
        settings = read_description(description) if description.is_file() else {}
        shown = model.net.plan(
            options.batch_size or settings.get("batch_size", 128),
            optimizer=options.optimizer or settings.get("optimizer", "adam"),
            n_threads=options.threads,
            **{name: settings[name] for name in IN_A_STEP if settings.get(name) is not None},
        )
        if options.threads == 1:
            shown.measure()
    print(shown)
    return 0


def bench(options: argparse.Namespace) -> int:
    """Execute ``fastbp bench``."""
    from fastbp.cli import bench as benching  # its imports are not needed by other commands

    for line in benching.lines(options.seconds):
        print(line, flush=True)
    return 0
