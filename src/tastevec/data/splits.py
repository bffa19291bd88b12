"""Who learns, who selects and who is only ever measured: people, never ratings, are divided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LIANG_SEED", "liang_shuffle", "note_shuffle", "split_expression"]

LIANG_SEED: Final = 98765  # of the published split, and of what it hides of each person
_HEX_DIGITS = 8
_NOTE_HELD_OUT = 0.3


def split_expression(user_id: ibis.Value, *, seed: int, fractions: tuple[float, float, float]) -> ibis.Value:
    """Each person's split as its code in ``schema.SPLITS``, from nothing but his id and the seed.

    The MD5 of ``"{seed}:{user_id}"``, in hexadecimal, is compared as text with two thresholds, so that every engine
    and every order of rows agrees (Ibis' own ``hash`` differs from engine to engine), and a person who joins later
    moves nobody.

    Args:
        user_id: A column of integers or strings.
        seed: Another seed, another division.
        fractions: Expected shares of train, validation and test; they sum to 1.
    """
    train, validation, _ = fractions
    digest = (ibis.literal(f"{seed}:") + user_id.cast("string")).hexdigest("md5")
    in_train, in_validation = digest < _threshold(train), digest < _threshold(train + validation)
    return ibis.cases((in_train, 0), (in_validation, 1), else_=2).cast("int16")


def note_shuffle(user_ids: NDArray[Any], seed: int) -> NDArray[np.uint8]:
    """The research note's division: 70 % train (0), 30 % validation (1), nobody in test.

    Draws exactly what ``sklearn.model_selection.train_test_split(user_ids, test_size=0.3, random_state=seed)`` draws.

    Args:
        user_ids: (B,) in ascending order, as the note had them.
        seed: The note's is 42.

    Returns:
        (B,) codes, in the order of ``user_ids``.

    Source: the research note, section 6; scikit-learn, ``ShuffleSplit._iter_indices``.

    Examples:
        >>> note_shuffle(np.arange(10), 42)
        array([0, 1, 0, 0, 0, 1, 0, 0, 1, 0], dtype=uint8)
    """
    shuffled = np.random.RandomState(seed).permutation(
        len(user_ids)
    )  # scikit-learn draws from this generator
    codes = np.zeros(len(user_ids), dtype=np.uint8)
    codes[shuffled[: int(np.ceil(_NOTE_HELD_OUT * len(user_ids)))]] = 1
    return codes


def liang_shuffle(count: int, heldout: int) -> NDArray[np.uint8]:
    """The division of Liang et al.: of people in a shuffled order, the last are test, those before them validation.

    Draws exactly what the paper's published notebook draws, so that on ml-20m with ``heldout`` 10,000 the people of
    each split are those of the published numbers.

    Args:
        count: B, the people who liked 5 films or more, in ascending order of their ids.
        heldout: People of validation, and as many of test; 1 to B / 2.

    Returns:
        (B,) codes, in the order of the ids.

    Source: Liang, Krishnan, Hoffman & Jebara 2018, "Variational Autoencoders for Collaborative Filtering",
    section 4.1, and its notebook.

    Examples:
        >>> np.bincount(liang_shuffle(136_677, 10_000)).tolist()  # ml-20m
        [116677, 10000, 10000]
    """
    shuffled = np.random.RandomState(LIANG_SEED).permutation(count)  # the notebook draws from this generator
    codes = np.zeros(count, dtype=np.uint8)
    codes[shuffled[-heldout:]] = 2
    codes[shuffled[-2 * heldout : -heldout]] = 1
    return codes


def _threshold(share: float) -> str:
    """The text below which this share of all digests sorts; "g" sorts after every hexadecimal digit."""
    value = round(share * 16**_HEX_DIGITS)
    return f"{value:0{_HEX_DIGITS}x}" if value < 16**_HEX_DIGITS else "g"
