"""The item noun: what a catalog calls its items, in texts about one dataset or one model."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from tastevec.errors import SettingsError
from tastevec.schema import ITEM_NOUN

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_LETTERS: Final = 40


@dataclass(frozen=True)
class ItemNoun:
    """The singular and the plural, such as book and books; texts use them after a count or as a plural, without an article.

    Letters, spaces and hyphens alone: the words stand in HTML, Markdown and JSON.

    Raises:
        SettingsError: A word is empty, too long, or has another character.
    """

    one: str
    many: str

    def __post_init__(self) -> None:
        for word in (self.one, self.many):
            if not _is_word(word):
                raise SettingsError(
                    f"item_noun: {word[:_MAX_LETTERS]!r}. Expected ONE:MANY, such as book:books, each of at most "
                    f"{_MAX_LETTERS} letters, with spaces and hyphens between them"
                )

    @classmethod
    def parse(cls, text: str) -> ItemNoun:
        """Return the noun of ``ONE:MANY``.

        Examples:
            >>> ItemNoun.parse("board game:board games").counted(1_682)
            '1,682 board games'
        """
        one, _, many = text.partition(":")
        return cls(one.strip(), many.strip())

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ItemNoun:
        """Return the noun of the ``source`` of a prepared dataset, or of the ``data`` of a model."""
        return cls(**data["item_noun"]) if "item_noun" in data else ITEM

    def to_json(self) -> dict[str, str]:
        """Return the noun as the manifests store it."""
        return asdict(self)

    def counted(self, number: int) -> str:
        """Return the number with the noun.

        Examples:
            >>> ITEM.counted(1), ITEM.counted(2_000)
            ('1 item', '2,000 items')
        """
        return f"{number:,} {self.one if number == 1 else self.many}"

    @property
    def title(self) -> str:
        """The plural as the first word of a sentence."""
        return self.many[0].upper() + self.many[1:]


def _is_word(text: str) -> bool:
    letters = text.replace(" ", "-").split("-")
    return len(text) <= _MAX_LETTERS and all(
        part and all(unicodedata.category(letter)[0] in "LM" for letter in part) for part in letters
    )


ITEM: Final = ItemNoun(**ITEM_NOUN)
