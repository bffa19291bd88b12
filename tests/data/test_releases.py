"""The catalogue of MovieLens releases."""

import re

import pytest

from tastevec.data.releases import RELEASES, find_release
from tastevec.errors import SettingsError


def test_releases_are_the_eight_known_ones():
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
def test_releases_have_address_md5_and_plain_member_names(release):
    assert release.address == f"https://files.grouplens.org/datasets/movielens/{release.name}.zip"
    assert release.md5 is None or re.fullmatch("[0-9a-f]{32}", release.md5)
    assert all("/" not in name for name in release.members + release.extras)
    assert release.ratings > release.users > 0
    assert "2827872" in release.citation


def test_only_changing_releases_have_no_md5():
    known = [release.md5 for release in RELEASES.values() if release.md5]
    assert len(set(known)) == len(known)
    assert [name for name, release in RELEASES.items() if release.md5 is None] == [
        "ml-latest",
        "ml-latest-small",
    ]


def test_release_with_genome_cites_the_genome_paper():
    assert "Tag Genome" in RELEASES["ml-25m"].citation
    assert "Tag Genome" not in RELEASES["ml-32m"].citation


def test_only_ml_100k_has_packaged_copy():
    assert [name for name, release in RELEASES.items() if release.copy] == ["ml-100k"]


def test_find_release_misspelled_name_suggests_a_close_one():
    with pytest.raises(SettingsError, match=r"'ML-1M': .*Did you mean ml-1m\?"):
        find_release("ML-1M")


def test_find_release_unknown_name_lists_all():
    with pytest.raises(SettingsError, match="Expected one of ml-100k, ml-1m"):
        find_release("netflix")
