import hashlib

import ibis
import numpy as np
import pyarrow as pa
import pytest
from sklearn.model_selection import train_test_split

from tastevec.data.preprocess import hash_split, liang_split, research_note_split


def codes(user_ids, seed=42, fractions=(0.7, 0.15, 0.15)):
    table = ibis.memtable(pa.table({"user_id": user_ids}))
    split = hash_split(table.user_id, seed=seed, fractions=fractions)
    return ibis.duckdb.connect().to_pyarrow(table.select(split=split))["split"].to_pylist()


def test_hash_split_is_md5_of_seed_and_id():
    def expected(user) -> int:
        share = int(hashlib.md5(f"7:{user}".encode(), usedforsecurity=False).hexdigest()[:8], 16) / 16**8
        return 0 if share < 0.7 else 1 if share < 0.85 else 2

    users = list(range(500))
    assert codes(users, seed=7) == [expected(user) for user in users]


def test_hash_split_of_number_and_text_id_is_equal():
    assert codes([1, 20, 300]) == codes(["1", "20", "300"])


def test_hash_split_has_expected_shares():
    shares = np.bincount(codes(list(range(20_000))), minlength=3) / 20_000
    np.testing.assert_allclose(shares, [0.7, 0.15, 0.15], atol=0.01)


def test_hash_split_depends_on_seed():
    users = list(range(200))
    assert codes(users, seed=1) != codes(users, seed=2)


@pytest.mark.parametrize("all_in", [0, 1, 2])
def test_hash_split_with_share_one_takes_all_users(all_in):
    fractions = tuple(float(code == all_in) for code in range(3))
    assert set(codes(list(range(300)), fractions=fractions)) == {all_in}


@pytest.mark.parametrize("count", [2, 3, 10, 11, 997])
def test_research_note_split_equals_scikit_learn(count):
    users = np.arange(count) * 3 + 1
    train, validation = train_test_split(users, test_size=0.3, random_state=42)
    drawn = research_note_split(users, 42)
    assert set(users[drawn == 0]) == set(train)
    assert set(users[drawn == 1]) == set(validation)


def test_research_note_split_has_published_sizes():
    drawn = research_note_split(np.arange(277_487), 42)
    assert np.bincount(drawn).tolist() == [194_240, 83_247]


def test_liang_split_has_published_sizes_and_seeded_shuffle():
    drawn = liang_split(136_677, 10_000)
    assert np.bincount(drawn).tolist() == [116_677, 10_000, 10_000]
    np.random.seed(98765)  # noqa: NPY002 - as published
    order = np.random.permutation(136_677)  # noqa: NPY002 - as published
    assert set(np.flatnonzero(drawn == 2)) == set(order[126_677:])
    assert set(np.flatnonzero(drawn == 1)) == set(order[116_677:126_677])
