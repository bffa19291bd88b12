"""What a bundle carries beside its encoder: the words for its vectors, and the map of its films."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tastevec.items.cold_start import load_rows
from tastevec.items.film_map import FilmMap
from tastevec.items.tag_directions import TagDirections, tag_blocks
from tastevec.serving.explanation import measured
from tastevec.serving.recommender import Recommender

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tastevec.data.prepared import Prepared
    from tastevec.serving.bundle import Bundle

__all__ = ["outfitted"]


def outfitted(bundle: Bundle, prepared: Prepared, people: NDArray[np.int64]) -> Bundle:
    """The bundle with tags, on which people are compared with those who taught it, and with a map.

    Args:
        bundle: Just trained.
        prepared: On what.
        people: (N,) how many training people stand behind each film.
    """
    vectors = bundle.model.item_vectors
    seed = bundle.facts["settings"]["seed"]
    drawn = (
        FilmMap.fit(vectors, seed=seed) if find_spec("openTSNE") else None
    )  # an extra, and no vector needs it
    told = load_rows(prepared.folder)
    tags = TagDirections.fit(tag_blocks(*told), vectors, people) if told else None
    if tags is None or not tags.names:
        return dataclasses.replace(bundle, film_map=drawn)
    taught = prepared.histories.take(prepared.users_in("train"))
    return dataclasses.replace(bundle, film_map=drawn, tags=measured(Recommender(bundle), tags, taught))
