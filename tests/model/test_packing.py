"""Packing (tastevec.model.encoder): runs behind one another in rows, as if each had a row of its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders import TASTE, encoder
from tastevec.model.encoder import Packing

lengths = st.lists(st.integers(1, 12), min_size=1, max_size=14)


def states(counts, width=12):
    """(B, width, 1) a number for each place, zeros where padded."""
    numbers = torch.arange(1.0, len(counts) * width + 1).view(len(counts), width, 1)
    return numbers * (torch.arange(width) < torch.tensor(counts)[:, None])[..., None]


@given(counts=lengths)
def test_what_is_packed_lies_somewhere_once_and_comes_back(counts):
    packing, told = Packing.of(torch.tensor(counts), 12), states(counts)
    packed = packing.pack(told)
    assert packed.shape[:2] == packing.rows
    assert sorted(packed[packed > 0].tolist()) == sorted(told[told > 0].tolist())
    torch.testing.assert_close(packing.unpack(packed), told)


@given(counts=lengths)
def test_a_place_looks_at_its_own_run_up_to_itself_and_padding_at_padding(counts):
    packing, told = Packing.of(torch.tensor(counts), 12), states(counts)
    packed, mask = packing.pack(told)[..., 0], packing.mask()[:, 0]
    for row, numbers in enumerate(packed.tolist()):
        for place, number in enumerate(numbers):
            seen = {other for other, there in zip(numbers, mask[row, place].tolist(), strict=True) if there}
            first = (int(number) - 1) // 12 * 12 + 1
            assert seen == (set(range(first, int(number) + 1)) if number else {0})
    assert mask.diagonal(dim1=1, dim2=2).all()  # a softmax over nothing would be no number


@given(counts=lengths)
def test_it_never_takes_more_places_than_a_row_for_each(counts):
    height, width = Packing.of(torch.tensor(counts), 12).rows
    assert height * width <= len(counts) * max(counts)
    assert width <= max(counts) + 1


def test_the_pieces_of_a_run_that_was_cut_share_a_row():
    # 8 runs of 20 films with a start before each; three were cut, and have a start more.
    counts = [21] * 5 + [8, 14, 2, 20, 11, 11]
    assert Packing.of(torch.tensor(counts), 21).rows == (8, 22)


@pytest.mark.parametrize("counts", [[12, 12, 0, 3, 9, 1], [1], [0, 0]])
def test_an_encoder_says_of_packed_histories_what_it_says_of_padded_ones(counts):
    model, count = encoder(**TASTE), len(counts)
    generator = torch.Generator().manual_seed(3)
    width = max(*counts, 1)
    told = {
        "items": torch.randint(20, (count, width), generator=generator),
        "normalized_ratings": torch.rand(count, width, generator=generator),
        "rating_bins": torch.randint(9, (count, width), generator=generator),
        "time_gap_bins": torch.randint(3, (count, width), generator=generator),
        "lengths": torch.tensor(counts),
    }
    there = torch.arange(width + 1) <= told["lengths"][:, None]
    found, gradients = {}, {}
    for packed in (False, True):
        output = model(**told, linear=False, packed=packed)
        moments = output.moments[there]
        model.zero_grad()
        (moments.square().sum() + output.next.sum()).backward()
        found[packed] = moments, output.next
        gradients[packed] = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients[True], gradients[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
