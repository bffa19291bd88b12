"""Several prepared datasets: the users held out of all of them, and the items that all of them have.

Dimension letters: N items.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tastevec.errors import DataError
from tastevec.evaluation.dataset import EvalDataset
from tastevec.evaluation.tasks import LiangSplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.data.prepared import Prepared
    from tastevec.evaluation.scorers import EncodedScorer
    from tastevec.schema import Split


def shared_dataset(prepared: Prepared, others: Sequence[Prepared], split: Split) -> EvalDataset:
    """Return the evaluation dataset of ``prepared`` for models of other prepared datasets, too.

    Its users are those of this split in every dataset: no user whom one of them has for training or validation, and none that
    one of them lacks. Of their histories, which are those of ``prepared``, remain the items that every dataset has: these
    alone are input, held out and ranked. IDs are compared as text. The note of each task has the counts.

    Raises:
        DataError: No user or item remains, no interaction of the users is in another dataset, or the value scales or the
            split timestamps differ.
    """
    dataset = EvalDataset.of(prepared, split)
    users, items = dataset.held_out_users, np.ones(dataset.n_items, np.bool_)
    held_out = np.ones(len(users), np.bool_)
    for other in others:
        _refuse_other_values(prepared, other)
        held_out &= np.isin(_texts(users.user_ids), _texts(other.user_ids[other.users_in(split)]))
        items &= item_index(prepared, other) >= 0
    remaining = users.take(np.flatnonzero(held_out))
    if not len(remaining) or not items.any():
        names = ", ".join(str(each.folder) for each in (prepared, *others))
        what = f"user of the split {split}" if items.any() else "item"
        raise DataError(
            f"{names}: no {what} is in all of them. Expected datasets of the same users and items"
        )
    shown = remaining.keep_alone(items[remaining.items])
    also = [f"{_share_in(shown, prepared, other):.0%} in {other.folder.name}" for other in others]
    note = (
        f" Held out of {1 + len(others)} datasets: {len(remaining):,} of {len(users):,} users. Input, held out and ranked are the "
        f"{int(items.sum()):,} of {len(items):,} items of {prepared.folder.name} that all have, with "
        f"{len(shown.items) / max(1, len(remaining.items)):.0%} of the users' interactions; of these are also {', '.join(also)}. "
        f"Baselines are fitted on {prepared.folder.name}."
    )
    return replace(
        dataset,
        held_out_users=shown,
        split=None if isinstance(dataset.split, LiangSplit) else dataset.split,
        candidates=items,
        note=note,
    )


def item_index(prepared: Prepared, other: Prepared) -> NDArray[np.int64]:
    """Return for each of the N items of a dataset its index in another one; -1 where that lacks it."""
    ids, known = _texts(prepared.item_ids), _texts(other.item_ids)
    order = np.argsort(known)
    found = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[found] == ids, found, -1)


def on_items_of(prepared: Prepared, own: Prepared, scorer: EncodedScorer) -> EncodedScorer:
    """Return a model of the dataset ``own`` as a scorer of the items of another one; those it lacks have no vector."""
    index = item_index(prepared, own)

    def rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where((index >= 0)[:, None], vectors[index], np.float32(0))

    def known(histories: Histories) -> Histories:
        found = histories.renumbered(index)
        return replace(found, normalized_ratings=own.scale.normalize(found.ratings, found.offsets))

    predict = scorer.probabilities
    return replace(
        scorer,
        item_vectors=rows(scorer.item_vectors),
        encode=lambda histories, horizon: scorer.encode(known(histories), horizon),
        scored_items=None if scorer.scored_items is None else rows(scorer.scored_items),
        probabilities=None if predict is None else lambda users, horizon: predict(known(users), horizon),
    )


def _texts(ids: NDArray[np.generic]) -> NDArray[np.str_]:
    return ids.astype(str)


def _share_in(histories: Histories, prepared: Prepared, other: Prepared) -> float:
    """Return the share of interactions that another dataset has, too.

    Raises:
        DataError: None: equal IDs are those of other users or items.
    """
    users = np.flatnonzero(np.isin(_texts(other.user_ids), _texts(histories.user_ids)))
    theirs = other.histories.take(users)
    own, its = (
        np.char.add(np.char.add(_texts(each.user_ids)[each.owners], "\t"), _texts(ids)[each.items])
        for each, ids in ((histories, prepared.item_ids), (theirs, other.item_ids))
    )
    share = float(np.isin(own, its).mean()) if len(own) else 0.0
    if not share:
        raise DataError(
            f"{prepared.folder}, {other.folder}: none of the interactions of their {len(histories):,} common users is in both. Expected "
            "IDs of the same users and items"
        )
    return share


def _refuse_other_values(prepared: Prepared, other: Prepared) -> None:
    """Raise DataError for values of another meaning, and for another end of the training data."""
    both = (prepared, other)
    ranges = [f" {one.scale.low:g}:{one.scale.high:g}" * (one.scale.kind == "explicit") for one in both]
    found = {
        "feedback": [f"{one.scale.kind}{limits}" for one, limits in zip(both, ranges, strict=True)],
        "repeats": [str(one.manifest["feedback"].get("repeats")) for one in both],
        "split timestamp": [str(one.manifest["settings"].get("split_timestamp")) for one in both],
    }
    for name, (own, its) in found.items():
        if own != its:
            raise DataError(
                f"{name}: {own} in {prepared.folder}, {its} in {other.folder}. Expected the same. Prepare both with the same settings"
            )
