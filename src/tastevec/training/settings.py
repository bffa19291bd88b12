"""Training settings: one class for each preset, whose defaults are the preset."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Final, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tastevec.errors import SettingsError
from tastevec.schema import Preset, renamed


class PresetSettings(BaseModel):
    """The settings that all presets have."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: Preset
    """The preset that the other settings start from."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Random seed of every draw."""
    dim: Annotated[int, Field(ge=2, le=1024)] = 64
    """Dimension of item and user embeddings."""


class TrainSettings(PresetSettings):
    """The settings of both presets with a network, at the values of ``taste``."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the training."""
    hidden_size: Annotated[int, Field(ge=8)] = 128
    """Width of the transformer."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Transformer layers."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Attention heads."""
    max_history: Annotated[int, Field(ge=1)] = 200
    """Most recent interactions of a user that the transformer reads."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability."""
    epochs: Annotated[int, Field(ge=0)] = 12
    """Most passes of the transformer over the training users; 0: the closed form alone."""
    patience: Annotated[int, Field(ge=0)] = 2
    """Epochs without a better validation score after which the training ends; 0: it never ends early."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Users per step, over all processes."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Pieces in which each process computes its part of a step, where memory is short; the step is the same."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Precision of the transformer in training; the softmax over the catalog stays in float32. ``auto`` is bfloat16 from
    a hidden size of 128 on, on a processor that supports it; on others bfloat16 is several times slower."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Maximum learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of all steps in which the learning rate rises; afterwards it falls along a cosine."""
    report_to: Literal["tensorboard", "wandb", "mlflow", "none"] = "tensorboard"
    """Where the training curves go. wandb and mlflow are extras; MLflow stores them locally unless its environment says otherwise."""

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size: {self.hidden_size} with {self.heads} heads. Expected a multiple of heads."
            )
        return self


class TasteSettings(TrainSettings):
    """The settings of preset ``taste``."""

    preset: Literal["taste"] = "taste"
    """The preset that the other settings start from."""
    item_vectors: Literal["collaborative", "content"] = "collaborative"
    """Source of the item vectors, which the transformer does not change: fitted to the training users, or content vectors."""
    tune: bool = True
    """Whether the constants of the closed form are chosen on validation users; else defaults."""
    transformer_weight: Annotated[float, Field(ge=0)] | None = None
    """Weight of the transformer in the next embedding; None: chosen on validation users."""
    item_vector_steps: Annotated[int, Field(ge=1)] = 800
    """Steps of the fit of the item vectors, of 200 lists each."""
    max_history_overall: Annotated[int, Field(ge=0)] = 2000
    """Most recent interactions that the overall embedding reads, order-free; 0: the same as the transformer."""
    time_gaps: bool = True
    """Whether the transformer reads the time since the previous interaction."""
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of items read without their learned input embedding in training, as new items are; and of histories read
    without times."""
    target_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the positions of a history whose next positive is predicted, drawn at each step."""
    history_split_rate: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of histories read as two, split at a random position at each step."""
    sequence_packing: bool = True
    """Whether short histories share a row in the transformer: about 5 % of its computation is padding then, and not a
    quarter. Dropout draws other numbers."""


class NoteSettings(TrainSettings):
    """The settings of preset ``bert-cosine``, the research note's model."""

    preset: Literal["bert-cosine"] = "bert-cosine"
    """The preset that the other settings start from."""
    backbone: str = "bert-base-cased"
    """Pretrained BERT, as a Hugging Face id or a local folder, whose width and heads are used; ``none``: from scratch."""
    item_vectors: Literal["genome-svd", "content"] = "genome-svd"
    """Source of the item vectors, which do not learn: tag genome and genres, or content; without a genome, content."""
    hidden_size: Annotated[int, Field(ge=8)] = 768
    """Width of BERT without a backbone."""
    heads: Annotated[int, Field(ge=1)] = 12
    """Attention heads without a backbone."""
    max_history: Annotated[int, Field(ge=1)] = 512
    """Interactions of a user that BERT reads, the first by item id."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout probability."""
    epochs: Annotated[int, Field(ge=1)] = 4
    """Passes over the training users."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better validation score after which the training ends; 0: it never ends early."""
    batch_size: Annotated[int, Field(ge=1)] = 4
    """Users per step, over all processes."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Maximum learning rate of AdamW."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all steps in which the learning rate rises; afterwards it falls along a cosine."""


class DirectionSettings(PresetSettings):
    """The settings of preset ``direction``, the research note's question in closed form."""

    preset: Literal["direction"] = "direction"
    """The preset that the other settings start from."""
    item_vectors: Literal["genome-svd", "content"] = "genome-svd"
    """Source of the item vectors, which do not learn: tag genome and genres, or content; without a genome, content."""
    max_history: Annotated[int, Field(ge=1)] = 2000
    """Most recent interactions of a user that are read, order-free."""


class TrainChoices(TypedDict, total=False):
    """The settings of all presets as keywords; see `TasteSettings`, `NoteSettings` and `DirectionSettings`."""

    seed: int
    dim: int
    device: Literal["auto", "cpu", "cuda"]
    hidden_size: int
    layers: int
    heads: int
    max_history: int
    dropout: float
    epochs: int
    patience: int
    batch_size: int
    gradient_accumulation_steps: int
    precision: Literal["float32", "bfloat16", "auto"]
    learning_rate: float
    weight_decay: float
    warmup: float
    report_to: Literal["tensorboard", "wandb", "mlflow", "none"]
    item_vectors: Literal["collaborative", "content", "genome-svd"]
    tune: bool
    transformer_weight: float | None
    item_vector_steps: int
    max_history_overall: int
    time_gaps: bool
    input_dropout: float
    target_fraction: float
    history_split_rate: float
    sequence_packing: bool
    backbone: str


AnySettings = TasteSettings | NoteSettings | DirectionSettings
PRESETS: Final[dict[Preset, type[AnySettings]]] = {
    "taste": TasteSettings,
    "bert-cosine": NoteSettings,
    "direction": DirectionSettings,
}
_OLD_NAMES: Final = {
    "accumulate": "gradient_accumulation_steps",
    "asked": "target_fraction",
    "cut": "history_split_rate",
    "gaps": "time_gaps",
    "packed": "sequence_packing",
    "set_history": "max_history_overall",
}


def resolve_settings(preset: Preset = "taste", **changes: object) -> AnySettings:
    """Return the preset's settings with ``changes``; strings are parsed as the type of the setting.

    Raises:
        SettingsError: A setting is unknown, out of range, or contradicts another.

    Examples:
        >>> resolve_settings("bert-cosine", epochs="1").epochs
        1
    """
    if preset not in PRESETS:
        message = f"preset: {preset!r}. Expected one of {', '.join(PRESETS)}."
        raise SettingsError(renamed("preset", preset) or message)
    try:
        return PRESETS[preset].model_validate(changes)
    except ValidationError as error:
        first = error.errors()[0]
        name, found = ".".join(map(str, first["loc"])), first["input"]
        if not first["loc"]:  # two settings contradict each other
            raise SettingsError(str(first["ctx"]["error"])) from None
        if first["type"] == "extra_forbidden":
            raise SettingsError(_unknown(preset, name)) from None
        message = f"{name}: {found!r}. Expected: {first['msg'].removeprefix('Input should be ')}."
        raise SettingsError(renamed(name, found) or message) from None


def _unknown(preset: Preset, name: str) -> str:
    """Return the message for a name that is no setting of the preset."""
    known = PRESETS[preset].model_fields
    if name in _OLD_NAMES:
        return f"{name} is now {_OLD_NAMES[name]}"
    near = get_close_matches(name, known, n=1)
    others = [other for other, settings in PRESETS.items() if name in settings.model_fields]
    hint = f" Did you mean {near[0]}?" if near else ""
    hint = f" It is a setting of preset {others[0]}." if others else hint
    return f"{name}: not a setting of preset {preset}.{hint} Expected one of {', '.join(known)}."
