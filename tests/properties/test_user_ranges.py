"""People are sorted in portions, and how large these are changes no byte of what is prepared."""

import tempfile
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sources import Row, prepare, source
from tastevec.data import streaming
from tastevec.data.preprocess import PreprocessSettings
from tastevec.data.streaming import user_ranges

IDS = st.sampled_from([st.integers(-3, 12), st.sampled_from(["", "Ann", "ann", "b 7", "é", "12", "9"])])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 20), st.integers(1, 5))
def test_user_ranges_have_all_users_in_order_within_limits(rows, at_once, most):
    users = pa.table({"user": range(len(rows)), "rows": rows})
    with patch.object(streaming, "_SORTED_ROWS", at_once), patch.object(streaming, "_MAX_RANGES", most):
        found = list(user_ranges(users, "rows"))
    assert pa.concat_tables(found).equals(users)
    assert len(found) <= most
    allowed = max(at_once, -(-sum(rows) // most))
    for some in found:
        _, *after = some["rows"].to_pylist()
        assert sum(after) < allowed  # no user is split


@given(
    IDS.flatmap(
        lambda ids: st.lists(st.tuples(ids, st.integers(1, 8)), unique=True, min_size=2, max_size=30)
    ),
    st.sampled_from(["time", "item"]),
    st.sampled_from(["hash", "bert-cosine"]),
    st.integers(1, 6),
    st.data(),
)
@settings(max_examples=25, deadline=None)
def test_preprocess_does_not_depend_on_range_size(pairs, order, split, at_once, data):
    timestamps = data.draw(st.lists(st.none() | st.integers(0, 40), min_size=len(pairs), max_size=len(pairs)))
    rows = [
        Row(user, item, 0.5 + item / 2, time) for (user, item), time in zip(pairs, timestamps, strict=True)
    ]
    chosen = PreprocessSettings(order=order, split_strategy=split, minimum_interactions=1)
    with tempfile.TemporaryDirectory() as root:
        whole = prepare(source(rows), Path(root) / "whole", chosen)
        with patch.object(streaming, "_SORTED_ROWS", at_once):
            parts = prepare(source(rows), Path(root) / "parts", chosen)
        assert whole.fingerprint == parts.fingerprint
