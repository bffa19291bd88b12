"""A prepared folder again, as if nobody who teaches or selects had ever met some of its films.

Dimension letters: B users, N films, M interactions.
"""

from __future__ import annotations

import shutil
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tastevec.data.files import new_folder
from tastevec.data.histories import NO_TIME
from tastevec.data.prepared import Prepared, seal
from tastevec.errors import DataError
from tastevec.evaluation.scorers import only_known
from tastevec.schema import (
    FEATURES_FILE,
    HISTORIES_FOLDER,
    ITEMS_FILE,
    MANIFEST_FILE,
    SPLITS,
    USER_ID,
    USERS_FILE,
    VECTORS_FILE,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories

__all__ = ["draw_films", "without_films"]

_DAY = 86_400  # seconds
_WHY = "film held back"  # the account's reason


def draw_films(prepared: Prepared, share: float, seed: int) -> NDArray[np.bool_]:
    """(N,) true for a random ``share`` of the films that a training person rated or tagged: of no other can be taken.

    Raises:
        DataError: That share is less than one film.
    """
    train = prepared.histories.take(prepared.users_in("train"))
    met = np.unique(train.items)
    wanted = int(share * len(met))
    if not wanted:
        raise DataError(
            f"{share:.0%} of the {len(met)} films that the training people met is not one film; expected one or more: "
            "prepare more data"
        )
    drawn = np.zeros(prepared.items.num_rows, np.bool_)
    drawn[np.random.default_rng(seed).permutation(met)[:wanted]] = True
    return drawn


def without_films(prepared: Prepared, films: NDArray[np.bool_], out: Path) -> Prepared:
    """``prepared`` written anew at ``out``, its training and validation people without these films (N,).

    Test people, films and film vectors stay as they are. Whoever has too few interactions left is left out, as by
    ``prepare``. The same films give the same bytes, and so the same fingerprint.

    Raises:
        FormatError: ``out`` holds something else.
    """
    histories = prepared.histories
    teaches = prepared.splits != SPLITS.index("test")
    held_back = teaches[histories.owners] & films[histories.items]
    left = only_known(histories, ~held_back)
    stays = np.flatnonzero(left.lengths >= prepared.manifest["settings"]["minimum_interactions"])
    left = left.take(stays)
    with new_folder(out, owned_by=MANIFEST_FILE) as folder:
        left.save(folder / HISTORIES_FOLDER)
        pq.write_table(_users(left, prepared.splits[stays]), folder / USERS_FILE)
        for name in (ITEMS_FILE, VECTORS_FILE, FEATURES_FILE):
            if name in prepared.manifest["files"]:
                shutil.copyfile(prepared.folder / name, folder / name)
        counts = _counted(prepared, left, prepared.splits[stays], int(held_back.sum()))
        seal(folder, prepared.manifest | {"counts": counts})
    return Prepared.open(out)


def _users(left: Histories, splits: NDArray[np.uint8]) -> pa.Table:
    """The people as a prepared folder lists them."""
    days = pa.array(left.times // _DAY, mask=left.times == NO_TIME)
    spans = pa.table({"owner": left.owners, "day": days}).group_by("owner", use_threads=False)
    spans = spans.aggregate([("day", "min"), ("day", "max")]).sort_by("owner")
    return pa.table(
        {
            USER_ID: left.user_ids,
            "split": pa.array(splits, pa.uint8()),
            "interactions": left.lengths,
            "first_day": spans["day_min"],
            "last_day": spans["day_max"],
        }
    )


def _counted(
    prepared: Prepared, left: Histories, splits: NDArray[np.uint8], held_back: int
) -> dict[str, Any]:
    """The account of the preparation, with what is held back and whoever is left out by that."""
    counts: dict[str, Any] = deepcopy(prepared.manifest["counts"])
    interactions, users = counts["interactions"], counts["users"]
    with_few = (
        interactions["kept"] - held_back - len(left.items)
    )  # the interactions of people who are left out
    interactions |= {"kept": len(left.items)}
    interactions["dropped"] |= {_WHY: held_back, f"user left with too few, {_WHY}": with_few}
    users["dropped"] |= {f"user left with too few, {_WHY}": users["kept"] - len(left)}
    users |= {"kept": len(left)}
    counts["splits"] = {name: int((splits == code).sum()) for code, name in enumerate(SPLITS)}
    return counts
