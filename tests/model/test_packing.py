"""Sequence packing: several histories in one row give the states that each has in its own row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders import TASTE, encoder
from tastevec.model.encoder import Packing

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=14)


def numbered(counts, width=12):
    """Return (B, width, 1) with a number for each position, zeros at padding."""
    numbers = torch.arange(1.0, len(counts) * width + 1).view(len(counts), width, 1)
    return numbers * (torch.arange(width) < torch.tensor(counts)[:, None])[..., None]


@given(counts=lengths)
def test_pack_keeps_each_position_once_and_unpack_restores_it(counts):
    packing, states = Packing.of(torch.tensor(counts), 12), numbered(counts)
    packed = packing.pack(states)
    assert packed.shape[:2] == packing.rows
    assert sorted(packed[packed > 0].tolist()) == sorted(states[states > 0].tolist())
    torch.testing.assert_close(packing.unpack(packed), states)


@given(counts=lengths)
def test_mask_shows_own_sequence_up_to_the_position_and_padding_to_padding(counts):
    packing = Packing.of(torch.tensor(counts), 12)
    packed, mask = packing.pack(numbered(counts))[..., 0], packing.mask()[:, 0]
    for row, numbers in enumerate(packed.tolist()):
        for position, number in enumerate(numbers):
            seen = {
                other for other, shown in zip(numbers, mask[row, position].tolist(), strict=True) if shown
            }
            first = (int(number) - 1) // 12 * 12 + 1
            assert seen == (set(range(first, int(number) + 1)) if number else {0})
    assert mask.diagonal(dim1=1, dim2=2).all()  # a softmax over nothing would be NaN


@given(counts=lengths)
def test_packing_needs_no_more_positions_than_padding(counts):
    height, width = Packing.of(torch.tensor(counts), 12).rows
    assert height * width <= len(counts) * max(counts)
    assert width <= max(counts) + 1


def test_packing_puts_both_pieces_of_a_split_history_in_one_row():
    # 8 runs of 20 items with a start token each; three are split, and have one token more.
    counts = [21] * 5 + [8, 14, 2, 20, 11, 11]
    assert Packing.of(torch.tensor(counts), 21).rows == (8, 22)


@pytest.mark.parametrize("counts", [[12, 12, 0, 3, 9, 1], [1], [0, 0]])
def test_encoder_with_packing_has_the_states_and_gradients_of_padding(counts):
    model, count = encoder(**TASTE), len(counts)
    generator = torch.Generator().manual_seed(3)
    width = max(*counts, 1)
    inputs = {
        "items": torch.randint(20, (count, width), generator=generator),
        "rating_bins": torch.randint(9, (count, width), generator=generator),
        "time_gap_bins": torch.randint(3, (count, width), generator=generator),
        "lengths": torch.tensor(counts),
    }
    present = torch.arange(width + 1) <= inputs["lengths"][:, None]
    found, gradients = {}, {}
    for packing in (False, True):
        output = model(**inputs, packing=packing)
        states = output.per_position[present]
        model.zero_grad()
        (states.square().sum() + output.next.sum()).backward()
        found[packing] = states, output.next
        gradients[packing] = [w.grad.clone() for w in model.parameters() if w.grad is not None]
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients[True], gradients[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
