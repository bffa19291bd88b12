"""Where the service takes its model from: a bundle's folder, read again at each reload, and the people beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tastevec.serving.neighbours import read_people
from tastevec.serving.recommender import load
from tastevec.serving.service.served import Served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["from_folder"]


def from_folder(folder: Path, people: Path | None = None) -> Callable[[], Served]:
    """A source that loads the bundle of this folder as it is at that moment.

    Args:
        folder: The bundle.
        people: Who can be found: a Parquet file that ``tastevec encode --horizon overall`` wrote with this model.

    Raises:
        FormatError: By the source: the folder is missing, damaged, or of another format version.
        DataError: By the source: the people's vectors are of another space or horizon.
    """

    def source() -> Served:
        model = load(folder)
        known = None if people is None else read_people(people, model.bundle.space, horizon="overall")
        return Served(model, name=folder.resolve().name, people=known)

    return source
