"""Folders that Spark's workers and this process both reach, by the file system that Spark has them on."""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import DataFrameReader, SparkSession

__all__ = ["Entry", "Storage", "address_of", "is_address", "reader"]


def is_address(place: str | Path) -> bool:
    """Whether this is an address such as ``s3a://bucket/ratings.parquet`` rather than a path of this machine."""
    return isinstance(place, str) and "://" in place


def address_of(path: Path) -> str:
    """The address of a path of this machine. Not its URI: Hadoop takes an address as it stands, percent signs too."""
    return f"file:{path.resolve()}"


def reader(session: SparkSession) -> DataFrameReader:
    """A reader that takes addresses as they stand, and sees no pattern in ``[1]``."""
    return session.read.option("__globPaths__", "false")


@dataclass(frozen=True)
class Entry:
    """One entry of a folder."""

    name: str
    address: str
    is_folder: bool


@dataclass(frozen=True)
class Storage:
    """Hadoop's file systems, asked through the session's own JVM, so that credentials are Spark's alone."""

    session: SparkSession

    def entries(self, address: str) -> list[Entry]:
        """What lies in this folder, by name; the file itself where it is one.

        Raises:
            py4j.protocol.Py4JJavaError: Nothing is there, or it cannot be reached.
        """
        found = self._system(address).listStatus(self._path(address))
        entries = [
            Entry(status.getPath().getName(), status.getPath().toString(), bool(status.isDirectory()))
            for status in found
        ]
        return sorted(entries, key=lambda entry: entry.name)

    def is_folder(self, address: str) -> bool:
        """Whether there is a folder at this address."""
        return bool(self._system(address).getFileStatus(self._path(address)).isDirectory())

    def fetch(self, address: str, file: Path) -> Path:
        """A copy of what lies there as ``file`` on this machine."""
        # Raw: no checksum file beside the copy.
        self._system(address).copyToLocalFile(False, self._path(address), self._path(address_of(file)), True)  # noqa: FBT003  Java names no arguments
        return file

    def send(self, file: Path, address: str) -> None:
        """A copy of ``file`` at this address."""
        self._system(address).copyFromLocalFile(self._path(address_of(file)), self._path(address))

    def remove(self, address: str) -> None:
        """Take away the folder, if it is there."""
        self._system(address).delete(self._path(address), True)  # noqa: FBT003  as above

    @contextmanager
    def local(self, entry: Entry, scratch: Path) -> Iterator[Path]:
        """The file where this process can read it: itself, or a copy that is gone afterwards."""
        scheme, _, path = entry.address.partition(":")
        if scheme == "file":
            yield Path(path)
            return
        copy = scratch / f"{uuid.uuid4().hex}-{entry.name}"
        try:
            yield self.fetch(entry.address, copy)
        finally:
            with suppress(FileNotFoundError):
                copy.unlink()

    def _path(self, address: str) -> Any:  # noqa: ANN401  a Java object
        return self._jvm.org.apache.hadoop.fs.Path(address)

    def _system(self, address: str) -> Any:  # noqa: ANN401  as above
        return self._path(address).getFileSystem(self.session._jsc.hadoopConfiguration())  # noqa: SLF001  PySpark has no public name for it

    @property
    def _jvm(self) -> Any:  # noqa: ANN401  as above
        return self.session._jvm  # noqa: SLF001  as above
