"""What the encoder says.

Dimensions: B people, L films of a history, D numbers a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers.utils.generic import ModelOutput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TasteOutput"]


@dataclass
class TasteOutput(ModelOutput):
    """What the encoder says of B people.

    Attributes:
        next: (B, D) the answer to "what comes next?": the newest of the moments, and some of the linear answer.
        overall: (B, D) the answer to "what is the taste as a whole?"; None where it was not asked.
        moments: (B, L + 1, D) what the blocks say of what comes next before the first film and after each one. None where
            one vector answers both questions.
    """

    next: Tensor | None = None
    overall: Tensor | None = None
    moments: Tensor | None = None
