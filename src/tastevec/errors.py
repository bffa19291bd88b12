"""Every exception that tastevec raises on purpose.

::

    TastevecError
    ├── DataError            invalid input data
    │   ├── SourceError      a path without a known release or table
    │   ├── BadRowError      an invalid row, with file, line and column
    │   └── UnknownItemError an item that is not in the catalog
    ├── DownloadError        an incomplete download
    ├── HubError             an error of the Hugging Face Hub
    ├── FormatError          a prepared dataset or model folder is missing, damaged or of another version
    ├── SettingsError        an unknown setting, or one out of range
    ├── MissingExtraError    a missing optional library
    └── TrainingError        training cannot start or resume
    TastevecWarning          something was read otherwise than it may be meant

The form of a message is ``WHERE: FOUND. Expected WHAT. NEXT``, where NEXT is a command to run.
"""

from __future__ import annotations

__all__ = [
    "BadRowError",
    "DataError",
    "DownloadError",
    "FormatError",
    "HubError",
    "MissingExtraError",
    "SettingsError",
    "SourceError",
    "TastevecError",
    "TastevecWarning",
    "TrainingError",
    "UnknownItemError",
]


class TastevecError(Exception):
    """Base class; the command line prints the message as one line and exits with 1."""


class DataError(TastevecError):
    """Invalid input data.

    Attributes:
        code: The name of a stop that a caller may accept, such as ``few-positives``; None of other errors.
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class SourceError(DataError):
    """A path without a known release or table."""


class BadRowError(DataError):
    """An invalid row; the message has file, line and column."""


class UnknownItemError(DataError):
    """An item that is not in the catalog."""


class DownloadError(TastevecError):
    """A release could not be downloaded completely; no partial release remains."""


class HubError(TastevecError):
    """The Hugging Face Hub is unreachable, denies access, or needs a token."""


class FormatError(TastevecError):
    """A prepared dataset or model folder is missing, damaged or of another format version."""


class SettingsError(TastevecError):
    """An unknown setting, or one out of range."""


class MissingExtraError(TastevecError):
    """An optional library is not installed; the message has the install command."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed. Expected the extra {extra}. Run: pip install 'tastevec[{extra}]'"
        )
        self._arguments = library, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str], dict[str, object]]:
        return (
            type(self),
            self._arguments,
            vars(self),
        )  # not the message: a pool of processes would wait forever


class TrainingError(TastevecError):
    """Training cannot start or resume."""


class TastevecWarning(UserWarning):
    """Something was read otherwise than it may be meant, such as interactions with unknown items, which are ignored."""
