"""The catalogue of MovieLens releases."""

import re

import pytest

from tastevec.data.releases import RELEASES, find_release
from tastevec.errors import SettingsError


def test_the_eight_releases_of_the_design_are_there():
    assert list(RELEASES) == [
        "ml-100k",
        "ml-1m",
        "ml-10m",
        "ml-20m",
        "ml-25m",
        "ml-32m",
        "ml-latest",
        "ml-latest-small",
    ]


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_every_release_has_an_address_a_digest_or_none_and_plain_member_names(release):
    assert release.address == f"https://files.grouplens.org/datasets/movielens/{release.name}.zip"
    assert release.md5 is None or re.fullmatch("[0-9a-f]{32}", release.md5)
    assert all("/" not in name for name in release.members + release.extras)
    assert release.ratings > release.users > 0
    assert "2827872" in release.citation


def test_digests_differ_and_only_releases_that_change_in_place_have_none():
    known = [release.md5 for release in RELEASES.values() if release.md5]
    assert len(set(known)) == len(known)
    assert [name for name, release in RELEASES.items() if release.md5 is None] == [
        "ml-latest",
        "ml-latest-small",
    ]


def test_a_release_with_a_genome_cites_the_genome_paper_too():
    assert "Tag Genome" in RELEASES["ml-25m"].citation
    assert "Tag Genome" not in RELEASES["ml-32m"].citation


def test_only_ml_100k_has_a_packaged_copy():
    assert [name for name, release in RELEASES.items() if release.copy] == ["ml-100k"]


def test_a_misspelt_name_is_answered_with_the_close_one():
    with pytest.raises(SettingsError, match=r"'ML-1M': .*Did you mean ml-1m\?"):
        find_release("ML-1M")


def test_a_name_that_is_like_none_is_answered_with_all():
    with pytest.raises(SettingsError, match="Expected one of ml-100k, ml-1m"):
        find_release("netflix")
