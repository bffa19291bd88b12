"""MovieLens releases: URLs, files, counts, checksums, terms and citations."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tastevec.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

TERMS: Final = (
    "GroupLens allows research use with acknowledgement and without implying its endorsement; commercial use needs its "
    "permission, and whether the data may be passed on is said in the release's own README"
)
CITATION: Final = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM Transactions on "
    "Interactive Intelligent Systems 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872"
)
GENOME_CITATION: Final = (
    "Jesse Vig, Shilad Sen, and John Riedl. 2012. The Tag Genome: Encoding Community Knowledge to Support Novel "
    "Interaction. ACM Transactions on Interactive Intelligent Systems 2, 3: 13:1-13:44. https://doi.org/10.1145/2362394.2362395"
)
_FOLDER = "https://files.grouplens.org/datasets/movielens/"
_TABLES = ("links.csv", "movies.csv", "ratings.csv", "tags.csv")
_GENOME = ("genome-scores.csv", "genome-tags.csv")


@dataclass(frozen=True)
class PackagedCopy:
    """A copy of a release inside a Python package, for machines that can reach only a package registry.

    Attributes:
        requirement: The package and its version, as pip takes it.
        members: The SHA-256 of each file, computed from that wheel.
        terms: The terms of the package, besides those of the data.
    """

    requirement: str
    members: Mapping[str, str]
    terms: str


@dataclass(frozen=True)
class Release:
    """A MovieLens release, as GroupLens describes it.

    Attributes:
        name: GroupLens' name, and the name of the folder of `fetch`.
        ratings: Number of ratings.
        users: Number of users with ratings or tags.
        items: Rows of the film table, rated or not.
        tags: Number of tag applications; 0 if the release has none.
        md5: The content of the ``.md5`` file of the zip; None for a release that changes in place, whose file is
            downloaded each time.
        encoding: The encoding of its text files.
        members: Required files.
        extras: Optional files.
        copy: The copy inside a Python package, if there is one.
    """

    name: str
    ratings: int
    users: int
    items: int
    tags: int
    md5: str | None
    encoding: str = "utf-8"
    members: tuple[str, ...] = _TABLES
    extras: tuple[str, ...] = ("README.txt",)
    copy: PackagedCopy | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The URL of the zip."""
        return f"{_FOLDER}{self.name}.zip"

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files that `fetch` may write, from each source."""
        return (*self.members, *self.extras, *(self.copy.members if self.copy else ()))

    @property
    def citation(self) -> str:
        """The papers to cite."""
        return f"{CITATION} {GENOME_CITATION}" if _GENOME[0] in self.members else CITATION


# From the wheel recbole-1.2.1-py3-none-any.whl, SHA-256 9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407.
_RECBOLE = PackagedCopy(
    requirement="recbole==1.2.1",
    members=MappingProxyType(
        {
            "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        }
    ),
    terms="a copy in RecBole's own format, inside the MIT-licensed PyPI package recbole 1.2.1; the data stay under GroupLens's terms",
)

# Name, ratings, users, items, tags and MD5. Counts: each release's own README. MD5: the .md5 files of the zips, as quoted by
# several public repositories.
_ALL = (
    Release(
        *("ml-100k", 100_000, 943, 1_682, 0, "0e33842e24a9c977be4e0107933c0723"),
        encoding="iso-8859-1",
        members=("u.data", "u.item"),
        extras=("README", "u.genre", "u.user"),
        copy=_RECBOLE,
    ),
    Release(
        *("ml-1m", 1_000_209, 6_040, 3_883, 0, "c4d9eecfca2ab87c1945afe126590906"),
        encoding="iso-8859-1",
        members=("movies.dat", "ratings.dat"),
        extras=("README", "users.dat"),
    ),
    Release(
        *("ml-10m", 10_000_054, 71_567, 10_681, 95_580, "ce571fd55effeba0271552578f2648bd"),
        members=("movies.dat", "ratings.dat", "tags.dat"),
        extras=("README.html",),
    ),
    Release(
        *("ml-20m", 20_000_263, 138_493, 27_278, 465_564, "cd245b17a1ae2cc31bb14903e1204af3"),
        members=_GENOME + _TABLES,
    ),
    Release(
        *("ml-25m", 25_000_095, 162_541, 62_423, 1_093_360, "6b51fb2759a8657d3bfcbfc42b592ada"),
        members=_GENOME + _TABLES,
    ),
    Release("ml-32m", 32_000_204, 200_948, 87_585, 2_000_072, "d472be332d4daa821edc399621853b57"),
    # These two change in place: counts as of July 2023 and September 2018.
    Release("ml-latest", 33_832_162, 330_975, 86_537, 2_328_315, None, members=_GENOME + _TABLES),
    Release("ml-latest-small", 100_836, 610, 9_742, 3_683, None),
)
RELEASES: Final[Mapping[str, Release]] = MappingProxyType({release.name: release for release in _ALL})


def find_release(name: str) -> Release:
    """Return the release of this name.

    Raises:
        SettingsError: There is none.

    Examples:
        >>> find_release("ml-1m").ratings
        1000209
    """
    if name in RELEASES:
        return RELEASES[name]
    close = difflib.get_close_matches(name.lower(), RELEASES, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise SettingsError(f"{name!r}: not a MovieLens release. Expected one of {', '.join(RELEASES)}.{hint}")
