import pytest
import torch

from encoders import KINDS, encoder, tensors
from users import of_every_length, world


@KINDS
@pytest.mark.parametrize("histories", [world, of_every_length])
def test_the_newest_answer_alone_is_the_newest_of_all(shape, layout, histories):
    model, told = encoder(**shape), tensors(histories(), **layout)
    rows = [told[name] for name in ("normalized_ratings", "rating_bins", "lengths", "time_gap_bins")]
    with torch.no_grad():
        vectors = model._gather(told["items"], told["lengths"])
        learned = model._learned(told["items"]) if model.config.item_input == "learned" else None
        expected, _ = model.read(vectors, *rows, learned)
        torch.testing.assert_close(model.newest(vectors, *rows, learned), expected, rtol=1e-5, atol=1e-5)


def test_of_one_block_too_the_newest_answer_is_the_newest_of_all():
    model, told = encoder(attention="causal"), tensors(of_every_length())
    del model.blocks.layer[1]
    rows = [told[name] for name in ("normalized_ratings", "rating_bins", "lengths")]
    with torch.no_grad():
        vectors = model._gather(told["items"], told["lengths"])
        expected, _ = model.read(vectors, *rows)
        torch.testing.assert_close(model.newest(vectors, *rows), expected, rtol=1e-5, atol=1e-5)
