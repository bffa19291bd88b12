"""Pretrained backbones of the research note's model."""

import json
from pathlib import Path

import pytest
import torch
from transformers import BertModel

from encoders import forward, reading
from tastevec.model.backbone import BackboneError, backbone_shape, load_backbone
from tastevec.model.config import NoteConfig
from tastevec.model.note import NoteEncoder
from users import world

LAYERS = 2


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def with_backbone(checkpoint):
    config = NoteConfig(n_items=20, dim=8, layers=LAYERS, **backbone_shape(checkpoint, LAYERS))
    made = NoteEncoder(config)
    load_backbone(made, checkpoint)
    return made.eval()


def test_backbone_shape_is_that_of_checkpoint(checkpoint):
    config = json.loads((Path(checkpoint) / "config.json").read_text())
    assert backbone_shape(checkpoint, LAYERS) == {
        "hidden_size": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "intermediate_size": config["intermediate_size"],
        "activation": config["hidden_act"],
    }
    assert config["hidden_size"] == 384


def test_load_backbone_copies_first_layers_and_pooler_bit_for_bit(checkpoint):
    made, bert = with_backbone(checkpoint), BertModel.from_pretrained(checkpoint)
    assert len(made.blocks.layer) == LAYERS
    for layer, pretrained in zip(made.blocks.layer, bert.encoder.layer, strict=False):
        expected = pretrained.state_dict()
        assert layer.state_dict().keys() == expected.keys()
        assert all(torch.equal(weight, expected[name]) for name, weight in layer.state_dict().items())
    assert torch.equal(made.pooler.dense.weight, bert.pooler.dense.weight)
    assert torch.equal(made.pooler.dense.bias, bert.pooler.dense.bias)
    assert forward(made, world(), reading()).next.isfinite().all()


def test_loaded_layers_compute_the_states_of_checkpoint(checkpoint):
    made, bert = with_backbone(checkpoint), BertModel.from_pretrained(checkpoint).eval()
    states = torch.randn(2, 5, 384, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = made.blocks(states).last_hidden_state
        for layer in bert.encoder.layer[:LAYERS]:
            states = layer(states)
    torch.testing.assert_close(found, states)


@pytest.mark.parametrize("name", ["bert-base-cased", "nowhere/at-all", "no such folder"])
def test_backbone_out_of_reach_names_next_step_in_one_line(name):
    with pytest.raises(BackboneError) as refused:
        backbone_shape(name, LAYERS)
    message = str(refused.value)
    assert name in message
    assert "backbone=FOLDER" in message
    assert "backbone=none" in message
    assert "\n" not in message


def test_backbone_with_fewer_layers_is_refused(checkpoint):
    with pytest.raises(BackboneError, match=r"bert with 6 layers. Expected BERT with at least 7"):
        backbone_shape(checkpoint, 7)


def test_backbone_of_another_model_type_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 4}))
    with pytest.raises(BackboneError, match="gpt2 with"):
        backbone_shape(str(tmp_path), 1)


def test_backbone_folder_without_weights_is_refused(tmp_path, checkpoint):
    (tmp_path / "config.json").write_text((Path(checkpoint) / "config.json").read_text())
    config = NoteConfig(dim=8, layers=LAYERS, **backbone_shape(str(tmp_path), LAYERS))
    with pytest.raises(BackboneError, match="backbone=FOLDER"):
        load_backbone(NoteEncoder(config), str(tmp_path))
