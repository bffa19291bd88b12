import json
from pathlib import Path

import pytest
import torch
from transformers import BertModel

from encoders import NOTE, TASTE, ask, reading
from tastevec.model.backbone import BackboneError, backbone_shape, load_backbone
from tastevec.model.config import TasteConfig
from tastevec.model.encoder import TasteEncoder
from users import world

LAYERS = 2


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def with_backbone(checkpoint, shape):
    config = TasteConfig(n_items=20, dim=8, layers=LAYERS, **backbone_shape(checkpoint, LAYERS), **shape)
    made = TasteEncoder(config)
    load_backbone(made, checkpoint)
    return made.eval()


def test_the_checkpoint_fixes_the_shape(checkpoint):
    told = json.loads((Path(checkpoint) / "config.json").read_text())
    assert backbone_shape(checkpoint, LAYERS) == {
        "hidden_size": told["hidden_size"],
        "heads": told["num_attention_heads"],
        "intermediate_size": told["intermediate_size"],
        "activation": told["hidden_act"],
    }
    assert told["hidden_size"] == 384


@pytest.mark.parametrize("shape", [TASTE, NOTE], ids=["taste", "note"])
def test_the_first_layers_and_the_pooler_are_the_checkpoints_bit_for_bit(checkpoint, shape):
    made, bert = with_backbone(checkpoint, shape), BertModel.from_pretrained(checkpoint)
    assert len(made.blocks.layer) == LAYERS
    for ours, theirs in zip(made.blocks.layer, bert.encoder.layer, strict=False):
        wanted = theirs.state_dict()
        assert ours.state_dict().keys() == wanted.keys()
        assert all(torch.equal(weight, wanted[name]) for name, weight in ours.state_dict().items())
    if shape is NOTE:
        assert torch.equal(made.pooler.dense.weight, bert.pooler.dense.weight)
        assert torch.equal(made.pooler.dense.bias, bert.pooler.dense.bias)
    assert ask(made, world(), reading()).next.isfinite().all()


def test_the_layers_compute_what_they_compute_in_the_checkpoint(checkpoint):
    made, bert = with_backbone(checkpoint, NOTE), BertModel.from_pretrained(checkpoint).eval()
    states = torch.randn(2, 5, 384, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = made.blocks(states).last_hidden_state
        theirs = states
        for layer in bert.encoder.layer[:LAYERS]:
            theirs = layer(theirs)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["bert-base-cased", "nowhere/at-all", "no such folder"])
def test_what_cannot_be_reached_is_one_sentence_that_says_what_to_do(name):
    with pytest.raises(BackboneError) as refused:
        backbone_shape(name, LAYERS)
    told = str(refused.value)
    assert name in told
    assert "backbone=FOLDER" in told
    assert "backbone=fresh" in told
    assert "\n" not in told


def test_a_checkpoint_with_fewer_layers_is_refused(checkpoint):
    with pytest.raises(BackboneError, match="is a bert of 6 layers; expected a BERT of 7 or more"):
        backbone_shape(checkpoint, 7)


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 4}))
    with pytest.raises(BackboneError, match="is a gpt2 of"):
        backbone_shape(str(tmp_path), 1)


def test_a_folder_without_weights_is_refused(tmp_path, checkpoint):
    (tmp_path / "config.json").write_text((Path(checkpoint) / "config.json").read_text())
    config = TasteConfig(dim=8, layers=LAYERS, **backbone_shape(str(tmp_path), LAYERS))
    with pytest.raises(BackboneError, match="backbone=FOLDER"):
        load_backbone(TasteEncoder(config), str(tmp_path))
