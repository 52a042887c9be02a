"""Numba's cache files with checksums: a damaged file is compiled again instead of loaded."""

import contextlib
import hashlib
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbp.compiler import cache
from fastbp.compiler.internals import IndexDataCacheFile


class CheckedCacheFile(IndexDataCacheFile):
    """The index and the data of one kernel, each file with a checksum before its content."""

    def save(self, key: Any, data: Any) -> None:
        """Save the code of one signature in a file that is named by a hash of the signature.

        Numba numbers the files, and two processes that start with an empty index give one number
        to two signatures; the code of one could then be called for the other.
        """
        overloads = self._load_index()
        digest = hashlib.blake2b(repr(key).encode(), digest_size=6).digest()
        name = self._data_name(int.from_bytes(digest))
        if overloads.get(key) != name:
            self._save_index(overloads | {key: name})
        self._save_data(name, data)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        if Path(filepath).is_dir():
            cache.remove(Path(filepath))
        with super()._open_for_write(filepath) as file:
            file.write(cache.with_checksum(content.getvalue(), Path(filepath).name))

    def _load_index(self) -> dict[Any, str]:
        content = cache.read_checked(Path(self._index_path))
        if content is None:
            return {}
        file = io.BytesIO(content)
        if pickle.load(file) != self._version:
            return {}
        stamp, overloads = pickle.load(file)
        return dict(overloads) if stamp == self._source_stamp else {}

    def _load_data(self, name: str) -> Any:
        content = cache.read_checked(Path(self._data_path(name)))
        if content is None:
            raise OSError(f"{name} cannot be read")  # Numba compiles again
        return pickle.loads(content)


def store_checked(dispatcher: Any) -> None:
    """Make a dispatcher use files with checksums, and ignore a full disk."""
    stored = dispatcher._cache
    plain = stored._cache_file
    base = plain._index_name.removesuffix(".nbi")
    stored._cache_file = CheckedCacheFile(plain._cache_path, base, plain._source_stamp)
    save = stored.save_overload

    def save_unless_disk_full(*what: Any) -> None:
        with contextlib.suppress(OSError):
            save(*what)

    stored.save_overload = save_unless_disk_full
