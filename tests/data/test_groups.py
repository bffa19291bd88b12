from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.data.streaming import iter_user_batches, table_to_histories


def batches(owners, cuts):
    """The rows as batches, cut at these places; each row's ``place`` is its number."""
    table = pa.table({"user_id": owners, "place": list(range(len(owners)))})
    edges = [0, *sorted(cuts), len(owners)]
    return [
        batch
        for start, end in pairwise(edges)
        for batch in (
            table.slice(start, end - start).to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
        )
    ]


def owners_of(lengths):
    return [user for user, length in enumerate(lengths) for _ in range(length)]


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    users=st.integers(1, 5),
    rows=st.integers(1, 12),
)
def test_groups_hold_whole_people_and_no_more_than_asked_wherever_the_batches_are_cut(
    lengths, cuts, users, rows
):
    owners = owners_of(lengths)
    groups = list(
        iter_user_batches(batches(owners, [cut for cut in cuts if cut < len(owners)]), users=users, rows=rows)
    )
    assert [place for group in groups for place in group["place"].to_pylist()] == list(range(len(owners)))
    held = [set(group["user_id"].to_pylist()) for group in groups]
    assert sum(map(len, held)) == len(lengths)  # nobody is in two
    for group, members in zip(groups, held, strict=True):
        assert len(members) <= users
        assert len(group) <= rows or len(members) == 1
    for group, following in pairwise(groups):  # each is as full as it can be
        newcomer = lengths[following["user_id"][0].as_py()]
        assert len(set(group["user_id"].to_pylist())) == users or len(group) + newcomer > rows
    whole = list(iter_user_batches(batches(owners, []), users=users, rows=rows))
    assert [group.to_pydict() for group in groups] == [group.to_pydict() for group in whole]


@pytest.mark.parametrize("ids", [[1, 1, 2], ["a", "a", "b"], [2**53 + 1, 2**53 + 1, 2**53 + 2]])
def test_a_group_keeps_the_callers_own_ids(ids):
    table = pa.table(
        {
            "user_id": ids,
            "items": pa.array([3, None, -1], pa.int32()),
            "ratings": pa.array([4, None, 2], pa.float32()),
            "timestamps": [1, 2, 3],
        }
    )
    users = table_to_histories(table)
    assert users.user_ids.tolist() == [ids[0], ids[2]]
    assert users.items.tolist() == [3, -1, -1]
    assert users.offsets.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(users.ratings, [4, np.nan, 2])


def test_nobody_makes_no_group():
    assert list(iter_user_batches([])) == []
