"""Pretrained backbone: the first layers and the pooler of a BERT checkpoint, for the research note's model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import BertConfig, BertModel

if TYPE_CHECKING:
    from .note import NoteEncoder


class BackboneError(Exception):
    """The backbone cannot be loaded, or is no BERT that fits; the message names the next step."""


def backbone_shape(name: str, layers: int) -> dict[str, int | str]:
    """Return the settings of `NoteConfig` that a checkpoint fixes, of whose first ``layers`` the encoder consists.

    ``name`` is a Hugging Face id, such as ``bert-base-cased``, or a local folder.

    Raises:
        BackboneError: It does not exist, is no BERT, or has fewer layers.
    """
    try:
        found = BertConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise _unreachable(name) from error
    if found.model_type != "bert" or found.num_hidden_layers < layers:
        raise BackboneError(
            f"backbone {name}: {found.model_type} with {found.num_hidden_layers} layers. Expected BERT with at least {layers}. "
            "Set another backbone, or fewer layers."
        )
    return {
        "hidden_size": found.hidden_size,
        "heads": found.num_attention_heads,
        "intermediate_size": found.intermediate_size,
        "activation": found.hidden_act,
    }


@torch.no_grad()
def load_backbone(encoder: NoteEncoder, name: str) -> None:
    """Copy the first layers and the pooler of a checkpoint into ``encoder``.

    Raises:
        BackboneError: The checkpoint does not exist.
    """
    try:
        # The older format is a pickle, which is never opened.
        bert: Any = BertModel.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise _unreachable(name) from error
    for own, pretrained in zip(
        encoder.blocks.layer, bert.encoder.layer[: encoder.config.layers], strict=True
    ):
        own.load_state_dict(pretrained.state_dict())
    encoder.pooler.load_state_dict(bert.pooler.state_dict())


def _unreachable(name: str) -> BackboneError:
    return BackboneError(
        f"backbone {name}: not found as a local folder or on the Hugging Face Hub. Expected a BERT checkpoint in safetensors. "
        "Download it where there is a network and set its folder (--set backbone=FOLDER), or train from scratch (--set backbone=none)."
    )
