"""Fuzz a reader of files with atheris, which mutates the files that reach new lines of the reader.

pip install -e ".[fuzz]"
python tests/fuzz_with_atheris.py KIND [-max_total_time=60] [other options of libFuzzer]

KIND is a kind of file of ``file_cases.py``, such as "npz compressed". Parquet files are read in a
child process, which takes too long for this.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

# Numba cannot compile what is instrumented.
import fastbp.kernels
import fastbp.plan.run  # noqa: F401

with atheris.instrument_imports(include=["fastbp"]):
    from file_cases import KINDS


def main() -> None:
    """Start libFuzzer with one valid file; an exception that is not documented ends it."""
    kind, options = KINDS[sys.argv[1]], sys.argv[2:]
    folder = Path(tempfile.mkdtemp())
    path, valid = folder / f"file{kind.ending}", folder / "valid"
    kind.write(path)
    valid.mkdir()
    (valid / "first").write_bytes(path.read_bytes())

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                kind.read(path)
            except ValueError as error:
                if not str(error):
                    raise

    atheris.Setup([sys.argv[0], "-timeout=10", "-rss_limit_mb=4096", *options, str(valid)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
