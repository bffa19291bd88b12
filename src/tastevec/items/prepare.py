"""From a source to one prepared folder: histories, films and the vectors of both kinds, whole or not at all."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from tastevec.data.arrangement import ArrangeSettings, arrange, find_cut
from tastevec.data.atomic import new_folder
from tastevec.data.prepared import Prepared, write_manifest
from tastevec.data.readers import ReadSettings, Source, read_source
from tastevec.data.tables import connect
from tastevec.errors import SettingsError
from tastevec.items.film_vectors import cut_tags, visible_tags, write_film_vectors
from tastevec.items.genome import Genome, read_genome
from tastevec.schema import ITEM_ID, MANIFEST_FILE, Division, Preset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PrepareSettings", "prepare"]

_RESOLVED = ("split", "order", "minimum_interactions")  # what the preset decided, for the manifest
_LATER = 0.1  # the share of ratings at or after the cut of a split by time
_OTHER_NUMBERS = "ml-100k"  # its films are numbered by themselves; all later releases share their numbers


@dataclass(frozen=True)
class PrepareSettings:
    """How a source is prepared.

    Attributes:
        preset: "taste" keeps everything, oldest first, and divides people by hash, 70 / 15 / 15; "seed" is the
            research note's: films in the order of their ids, only those with a genome, people shuffled 70 / 30.
        split: How people are divided; None is the preset's own, and "seed" takes no other. "hash" is by a hash of
            the id; "liang" is the published split of Liang et al. 2018, people who liked fewer than 5 films dropped;
            "time" divides by hash too, and ends what training and validation people did at the moment before which
            nine tenths of all ratings lie, so that nothing is learned from later.
        heldout: Of "liang": people of validation, and as many of test; the published number is for ml-20m.
        genome: A folder with a genome, borrowed by film id; instead of the release's own, if it has one.
        tags: Files of tags from elsewhere.
        items: A table of film metadata.
        skip_bad_rows: Count bad rows and set them aside instead of refusing the file.
        rating_range: The lowest and the highest rating; None is the release's own.
        memory: What the table engine may hold; the rest goes to disk.
        seed: Of the split and of the content vectors; the note's vectors have their own, 42.
    """

    preset: Preset = "taste"
    split: Division | None = None
    heldout: int = 10_000
    genome: Path | None = None
    tags: tuple[Path, ...] = ()
    items: Path | None = None
    skip_bad_rows: bool = False
    rating_range: tuple[float, float] | None = None
    memory: str = "2GB"
    seed: int = 42

    def __post_init__(self) -> None:
        if self.preset == "seed" and self.split is not None:
            raise SettingsError(
                f"split is {self.split}, and preset seed divides people by the research note's own shuffle; leave out "
                "--split, or --preset seed"
            )

    @property
    def reading(self) -> ReadSettings:
        """What the readers are told."""
        return ReadSettings(
            tags=self.tags,
            items=self.items,
            skip_bad_rows=self.skip_bad_rows,
            rating_range=self.rating_range,
        )

    def arranging(self, with_vector: frozenset[Any] | None, cut: int | None = None) -> ArrangeSettings:
        """How histories are laid out, given the films that have a genome (None where there is none at all)."""
        if self.preset == "seed":
            return ArrangeSettings(split="note", seed=self.seed, order="item", keep_items=with_vector)
        return ArrangeSettings(split=self.split or "hash", seed=self.seed, heldout=self.heldout, cut=cut)


def prepare(
    source_path: Path,
    out: Path,
    *,
    settings: PrepareSettings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """Read a release or a table of one's own and write the prepared folder ``out``.

    No rating and no tag of a validation or test person enters a film vector. Interrupted at any moment, the old
    folder stays or there is none.

    Args:
        source_path: A release's folder or zip, or a CSV or Parquet of interactions.
        out: Where the folder shall be; an earlier one of ours is replaced.
        settings: Defaults to ``PrepareSettings()``.
        progress: Told the name of each stage as it begins.

    Raises:
        DataError: The source cannot be understood, a row is bad, or there are no times to split by.
        FormatError: ``out`` holds something else.
        SettingsError: A setting is out of its range, or asks for film ids that the source does not share.
    """
    settings = settings or PrepareSettings()
    clock = _Clock(progress or (lambda _stage: None))
    with new_folder(out, owned_by=MANIFEST_FILE) as folder:
        connection = connect(settings.memory, spill=folder.parent)
        try:
            with clock.stage("read"):
                source = read_source(source_path, connection=connection, settings=settings.reading)
                _refuse_other_numbers(source, settings)
            with clock.stage("genome"):
                genome = _find_genome(source, settings, connection)
            with clock.stage("arrange"):
                cut = find_cut(source, connection, later=_LATER) if settings.split == "time" else None
                arranging = settings.arranging(_with_genome(source, genome), cut)
                counts = arrange(source, folder, arranging, connection)
            with clock.stage("vectors"):
                tags = visible_tags(connection.to_pyarrow(source.tags), folder)
                account = {}
                if cut is not None:
                    tags, account["cut"] = cut_tags(tags, cut, genome)
                borrowed = settings.genome is not None
                made = write_film_vectors(folder, tags, genome, seed=settings.seed, borrowed=borrowed)
        finally:
            connection.disconnect()
        write_manifest(
            folder,
            source=source,
            counts=counts,
            settings=_resolved(settings, arranging),
            timings=clock.seconds,
            vectors=made | account,
        )
    return Prepared.open(out)


@dataclass
class _Clock:
    progress: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: Literal["read", "genome", "arrange", "vectors"]) -> Iterator[None]:
        self.progress(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


def _refuse_other_numbers(source: Source, settings: PrepareSettings) -> None:
    if _OTHER_NUMBERS in {source.format, source.name} and (settings.genome or settings.tags):
        raise SettingsError(
            f"{source.name} numbers its films otherwise than every later release, so that a genome or tags from "
            "elsewhere would meet the wrong films; leave out --genome and --tags"
        )


def _find_genome(source: Source, settings: PrepareSettings, connection: Any) -> Genome | None:  # noqa: ANN401 - untyped
    folder = settings.genome or source.genome_folder
    if folder is None:
        return None
    return read_genome(folder, connection, skip_bad_rows=settings.skip_bad_rows)


def _with_genome(source: Source, genome: Genome | None) -> frozenset[Any] | None:
    """The films with a genome, by ids of the source's own type."""
    if genome is None:
        return None
    kind = source.interactions.schema().to_pyarrow().field(ITEM_ID).type
    return frozenset(pa.array(genome.item_ids).cast(kind).to_pylist())


def _resolved(settings: PrepareSettings, arranging: ArrangeSettings) -> dict[str, Any]:
    """The settings for the manifest, with what the preset decided and without what the split does not ask for."""
    told = asdict(settings) | {name: getattr(arranging, name) for name in _RESOLVED}
    if arranging.split != "liang":
        del told["heldout"]
    if arranging.cut is not None:
        told |= {"cut": arranging.cut, "time_share": _LATER}
    return _plain(told)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The same with each path as its last name: the manifest travels, the machine's folders do not."""

    def shown(value: Any) -> Any:  # noqa: ANN401 - whatever a setting holds
        if isinstance(value, Path):
            return value.name
        return [shown(part) for part in value] if isinstance(value, tuple) else value

    return {name: shown(value) for name, value in settings.items()}
