"""Who learns, who selects and who is only ever measured: people, never ratings, are divided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["note_shuffle", "split_expression"]

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


def _threshold(share: float) -> str:
    """The text below which this share of all digests sorts; "g" sorts after every hexadecimal digit."""
    value = round(share * 16**_HEX_DIGITS)
    return f"{value:0{_HEX_DIGITS}x}" if value < 16**_HEX_DIGITS else "g"
