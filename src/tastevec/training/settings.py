"""The settings of a training run and the presets that fill them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tastevec.errors import SettingsError
from tastevec.schema import GENOME_SVD, Preset, renamed

__all__ = ["PRESETS", "TrainSettings", "resolve_settings"]


class TrainSettings(BaseModel):
    """Everything that decides what a trained model is, besides the data. The defaults are the ``taste`` preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: Preset = "taste"
    """The recipe that the other settings start from."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Reaches every random draw."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training runs."""

    dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Numbers in a vector."""
    backbone: str = "fresh"
    """``fresh`` blocks, or those of a pretrained BERT: a Hugging Face id or a local folder."""
    hidden_size: Annotated[int, Field(ge=8)] = 128
    """Width of fresh blocks; a pretrained backbone brings its own."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Transformer blocks; of a pretrained backbone, the first so many."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Attention heads of fresh blocks."""
    max_history: Annotated[int, Field(ge=1)] = 200
    """Films of a person that are read at once, the newest."""
    max_history_overall: Annotated[int, Field(ge=0)] = 2000
    """Films of a person that the *overall* answer reads, the newest, without order; 0: those that are read in order."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of hidden numbers dropped while training."""

    item_vectors: Literal["collaborative", "content", "genome-svd"] = "collaborative"
    """Where film vectors come from: factors of the training users' ratings with content for rare films, content alone,
    or the note's (genome and genres; content where the data hold no genome). They do not learn."""
    item_input: Literal["learned", "table"] = "learned"
    """What a film is as input: its vector with a learned one beside it, or its vector alone (note)."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of films that go without the learned one while training, as films do that come later; and of histories that
    go without their times."""
    time_gaps: bool = True
    """Whether the encoder is told how long after the film before it each film was rated."""
    rating_input: Literal["embed", "multiply"] = "embed"
    """A learned vector a rating level is added, or the film vector is multiplied by the normalised rating (note)."""
    order: Literal["time", "item"] = "time"
    """Films by time, or by id (note)."""
    truncate: Literal["newest", "oldest"] = "newest"
    """Which end of a long history is read; the note keeps the first ``max_history`` in its order."""
    attention: Literal["causal", "masked", "padded"] = "causal"
    """Films see earlier ones; or all; or all and the padding too (note)."""
    readout: Literal["moments", "pooler"] = "moments"
    """The state behind each film and a ridge fold-in, or BERT's pooler over the first position (note)."""
    blend_overall: Annotated[float, Field(ge=0)] = 1.5
    """How much of the *overall* answer is added to the *next* one, after the training; for ``readout=moments``."""
    blend_recent: Annotated[float, Field(ge=0)] = 4.0
    """How much is added of the linear answer to the newest ten films, without the mean person."""
    blend_short: Annotated[float, Field(ge=0)] = 60.0
    """How much more of that, divided by the number of films that are known."""
    positions: Literal["from_end", "none"] = "from_end"
    """Whether the encoder is told how long ago a film was, counted in films."""
    target: Literal["positive", "best-rated"] = "positive"
    """What is predicted: the next liked film, or the one rated highest (note)."""
    ties: Literal["all", "latest", "lowest-item"] = "all"
    """Which of several best-rated films is the target; ``lowest-item`` is the note's."""
    statistics: Literal["known", "everything"] = "known"
    """Whether a person's mean and range leave the target out (``known``) or not (note)."""
    loss: Literal["softmax", "cosine"] = "softmax"
    """Softmax over the whole catalogue, or cosine distance to the target's vector (note)."""
    target_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a history's moments that are asked for the next liked film each time."""

    history_split_rate: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of histories that are read as two each time, as if the films before a random one were not known."""

    epochs: Annotated[int, Field(ge=1)] = 20
    """Passes over the training users."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """People a step, of all processes together."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Pieces in which each process computes its part of a step, one after another, where it has no room for all at once;
    what a step learns is the same."""
    sequence_packing: bool = True
    """Whether short histories share a row while causal blocks learn, so that about 5 % of what they compute is padding and not a
    quarter; dropout draws other numbers then."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """What the blocks compute in while they learn; the softmax over the catalogue stays in float32. ``auto`` is bfloat16 from a
    hidden size of 128 on, on a processor that has it; on one that has not, bfloat16 takes several times as long."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """AdamW's highest rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decay."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of all steps in which the rate rises; afterwards it falls along a cosine."""
    report_to: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    """Where the curves go."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.backbone == "fresh" and self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        if self.target == "positive" and (self.loss, self.readout, self.attention) != (
            "softmax",
            "moments",
            "causal",
        ):
            raise ValueError("target=liked needs loss=softmax, readout=moments and attention=causal")
        if self.target == "positive" and (self.order, self.rating_input) != ("time", "embed"):
            raise ValueError(
                "target=liked needs order=time and rating_input=embed: in another order the next film may stand before "
                "the question, and a person's mean and range would tell an early moment of later films"
            )
        if self.readout == "pooler" and self.attention == "causal":
            raise ValueError(
                "readout=pooler needs attention=masked or padded: a causal first position sees one film only"
            )
        if self.readout == "pooler" and (self.blend_overall or self.blend_recent or self.blend_short):
            raise ValueError(
                "readout=pooler has no linear answer to add: set blend_overall=0, blend_recent=0 and blend_short=0"
            )
        if self.sequence_packing and self.attention != "causal":
            raise ValueError(
                f"sequence_packing needs attention=causal, found {self.attention}: set attention=causal or sequence_packing=false"
            )
        return self


PRESETS: dict[Preset, dict[str, Any]] = {
    "taste": {},
    "bert-cosine": {
        "backbone": "bert-base-cased",
        "hidden_size": 768,
        "heads": 12,
        "max_history": 512,
        "max_history_overall": 0,
        "dropout": 0.1,
        "item_vectors": GENOME_SVD,
        "item_input": "table",
        "time_gaps": False,
        "rating_input": "multiply",
        "order": "item",
        "truncate": "oldest",
        "attention": "padded",
        "sequence_packing": False,
        "readout": "pooler",
        "positions": "none",
        "blend_overall": 0.0,
        "blend_recent": 0.0,
        "blend_short": 0.0,
        "target": "best-rated",
        "ties": "lowest-item",
        "statistics": "everything",
        "loss": "cosine",
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "warmup": 0.0,
    },
}


def resolve_settings(preset: Preset = "taste", **changes: object) -> TrainSettings:
    """The preset's settings with ``changes`` on top; strings are read as the setting's type.

    Raises:
        SettingsError: A name is unknown, a value out of its range, or two settings contradict each other.

    Examples:
        >>> resolve_settings("bert-cosine", epochs="1").epochs
        1
    """
    try:
        return TrainSettings.model_validate({"preset": preset, **PRESETS[preset], **changes})
    except KeyError:
        message = f"preset {preset!r} is unknown; expected one of {', '.join(PRESETS)}"
        raise SettingsError(renamed("preset", preset) or message) from None
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # two settings contradict each other
            raise SettingsError(str(first["ctx"]["error"])) from None
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            near = get_close_matches(name, TrainSettings.model_fields, n=1)
            raise SettingsError(
                f"{name} is no setting{f'; did you mean {near[0]}?' if near else ''} "
                f"(known settings: {', '.join(TrainSettings.model_fields)})"
            ) from None
        message = f"{name}: {first['msg']}, found {first['input']!r}"
        raise SettingsError(renamed(name, first["input"]) or message) from None
