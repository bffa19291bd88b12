"""Every exception that tastevec raises on purpose.

::

    TastevecError
    ├── DataError            the user's data are not what they should be
    │   ├── SourceError      no release or table is recognised at that place
    │   ├── BadRowError      a row is wrong: file, line and column are named
    │   └── UnknownItemError a film that the catalogue does not hold
    ├── DownloadError        a release could not be fetched whole
    ├── HubError             the Hugging Face hub refuses, or cannot be reached
    ├── FormatError          a folder of ours is missing, damaged or of another version
    ├── SettingsError        a setting is unknown or out of its range
    ├── MissingExtraError    an optional library is not installed
    └── TrainingError        training cannot start or cannot go on

Each message says what was found, where, what was expected, and what to run next.
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
    "TrainingError",
    "UnknownItemError",
]


class TastevecError(Exception):
    """The root of the family; the command line prints it as one sentence and exits 1."""


class DataError(TastevecError):
    """The user's data are not what they should be."""


class SourceError(DataError):
    """No release or table is recognised at that place."""


class BadRowError(DataError):
    """A row is wrong; the message names file, line and column."""


class UnknownItemError(DataError):
    """A film that the catalogue does not hold."""


class DownloadError(TastevecError):
    """A release could not be fetched whole; nothing was left behind."""


class HubError(TastevecError):
    """The Hugging Face hub refuses, asks for a token, or cannot be reached."""


class FormatError(TastevecError):
    """A folder of ours is missing, damaged or of another format version."""


class SettingsError(TastevecError):
    """A setting is unknown or out of its range."""


class MissingExtraError(TastevecError):
    """An optional library is not installed; the message is the line that installs it."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; run: pip install 'tastevec[{extra}]'")


class TrainingError(TastevecError):
    """Training cannot start or cannot go on."""
