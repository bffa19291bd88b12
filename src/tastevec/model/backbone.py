"""Blocks taken from a pretrained BERT: its first layers and its pooler, in the shape of our encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import BertConfig, BertModel

if TYPE_CHECKING:
    from .encoder import TasteEncoder

__all__ = ["BackboneError", "backbone_shape", "load_backbone"]


class BackboneError(Exception):
    """The checkpoint cannot be had, or is no BERT that fits; the message says what to do."""


def backbone_shape(name: str, layers: int) -> dict[str, int | str]:
    """The settings of `TasteConfig` that a checkpoint fixes.

    Args:
        name: A Hugging Face id, such as ``bert-base-cased``, or a local folder.
        layers: How many of its first layers will be used.

    Raises:
        BackboneError: It is not there, is no BERT, or has fewer layers.
    """
    try:
        found = BertConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise _unreachable(name) from error
    if found.model_type != "bert" or found.num_hidden_layers < layers:
        raise BackboneError(
            f"backbone {name} is a {found.model_type} of {found.num_hidden_layers} layers; expected a BERT of {layers} or more"
        )
    return {
        "hidden_size": found.hidden_size,
        "heads": found.num_attention_heads,
        "intermediate_size": found.intermediate_size,
        "activation": found.hidden_act,
    }


@torch.no_grad()
def load_backbone(encoder: TasteEncoder, name: str) -> None:
    """Copy the first layers of a checkpoint, and its pooler where the encoder has one, into ``encoder``.

    Raises:
        BackboneError: The checkpoint is not there.
    """
    try:
        # The older format is a pickle, which is never opened.
        pooled = encoder.config.readout == "pooler"
        bert = BertModel.from_pretrained(name, use_safetensors=True, add_pooling_layer=pooled)
    except (OSError, ValueError) as error:
        raise _unreachable(name) from error
    for ours, theirs in zip(encoder.blocks.layer, bert.encoder.layer[: encoder.config.layers], strict=True):
        ours.load_state_dict(theirs.state_dict())
    if bert.pooler is not None:
        encoder.pooler.load_state_dict(bert.pooler.state_dict())


def _unreachable(name: str) -> BackboneError:
    return BackboneError(
        f"backbone {name} is neither a local folder with a BERT checkpoint in safetensors nor reachable on the Hugging Face hub; download "
        "it where there is a network and pass its folder (--set backbone=FOLDER), or train fresh blocks (--set backbone=fresh)"
    )
