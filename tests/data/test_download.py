"""Downloads of releases from a server that may fail: complete and verified, or an error without leftovers."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import urllib.error
from types import MappingProxyType

import pytest

from servers import Page, serving, zip_of
from tastevec.data import download, releases
from tastevec.data import download as wheels
from tastevec.data import http as transfer
from tastevec.data.download import SOURCE_FILE, fetch
from tastevec.errors import DownloadError, SettingsError

# Two items and two ratings in the format of ml-1m, and incompressible bytes, so that transfers take several blocks.
FILES = {
    "ml-1m/movies.dat": "1::Toy Story (1995)::Animation\n2::Jumanji (1995)::Adventure\n",
    "ml-1m/ratings.dat": "1::1::5::978300760\n1::2::3::978302109\n",
    "ml-1m/users.dat": os.urandom(60_000),
}
ZIP = zip_of(FILES)


@pytest.fixture(name="server")
def _server(monkeypatch):
    """Yield a local GroupLens server: no known MD5, no pauses, a short timeout, small blocks."""
    with serving() as server:
        monkeypatch.setattr(releases, "_FOLDER", server.at(""))
        bare = {name: dataclasses.replace(release, md5=None) for name, release in releases.RELEASES.items()}
        monkeypatch.setattr(releases, "RELEASES", MappingProxyType(bare))
        monkeypatch.setattr(transfer, "_PAUSES", (0.0, 0.0))
        monkeypatch.setattr(transfer, "_TIMEOUT", 0.3)
        monkeypatch.setattr(transfer, "_BLOCK", 1 << 14)
        yield server


def _refused(to, match, name="ml-1m", **how):
    with pytest.raises(DownloadError, match=match):
        fetch(name, to, **how)


def _left(to):
    return sorted(path.name for path in to.iterdir()) if to.exists() else []


def _ranges(server):
    return [sent for path, sent in server.requests if path.endswith(".zip")]


def test_fetch_writes_release_and_its_source(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP)
    fetched = fetch("ml-1m", tmp_path)
    assert fetched.folder == tmp_path / "ml-1m"
    assert fetched.used_source == "grouplens"
    assert fetched.bytes == len(ZIP)
    assert (fetched.folder / "users.dat").read_bytes() == FILES["ml-1m/users.dat"]
    content = json.loads((fetched.folder / SOURCE_FILE).read_text())
    assert content["address"] == server.at("ml-1m.zip")
    assert content["checksum"] is None
    assert list(content["members"]) == ["movies.dat", "ratings.dat", "users.dat"]
    assert "research" in content["terms"]
    assert _left(tmp_path) == ["ml-1m"]


def test_fetch_reports_progress_up_to_the_total(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP)
    seen = []
    fetch("ml-1m", tmp_path, progress=lambda here, total: seen.append((here, total)))
    assert seen[0] == (0, len(ZIP))
    assert seen[-1] == (len(ZIP), len(ZIP))
    assert seen == sorted(seen)
    assert len(seen) > 3


def test_fetch_of_complete_folder_downloads_nothing(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP)
    first = fetch("ml-1m", tmp_path)
    before = len(server.requests)
    again = fetch("ml-1m", tmp_path)
    assert again == dataclasses.replace(first, already_there=True)
    assert len(server.requests) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "movies.dat").write_text("short"),
        lambda folder: (folder / "movies.dat").write_text(FILES["ml-1m/movies.dat"].replace("Toy", "Boy")),
        lambda folder: (folder / "movies.dat").unlink(),
        lambda folder: (folder / SOURCE_FILE).write_text("{}"),
        lambda folder: (folder / SOURCE_FILE).write_text("not json"),
    ],
    ids=["shortened", "altered", "missing", "emptied", "garbled"],
)
def test_fetch_of_damaged_folder_downloads_again(server, tmp_path, harm):
    server.pages["ml-1m.zip"] = Page(ZIP)
    harm(fetch("ml-1m", tmp_path).folder)
    again = fetch("ml-1m", tmp_path)
    assert not again.already_there
    assert (again.folder / "movies.dat").read_text() == FILES["ml-1m/movies.dat"]
    assert _left(tmp_path) == ["ml-1m"]


def test_fetch_from_other_source_downloads_again(server, tmp_path):
    server.pages["ml-1m.zip"] = server.pages["mirror.zip"] = Page(ZIP)
    fetch("ml-1m", tmp_path)
    mirror = fetch("ml-1m", tmp_path, source=server.at("mirror.zip"))
    assert (mirror.used_source, mirror.address) == ("url", server.at("mirror.zip"))
    assert fetch("ml-1m", tmp_path, source=server.at("mirror.zip")).already_there


def test_fetch_into_foreign_folder_is_refused(server, tmp_path):
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / "mine.txt").write_text("mine")
    _refused(tmp_path, "was not written by this command.*--to")
    assert _left(tmp_path / "ml-1m") == ["mine.txt"]
    assert server.requests == []


def test_fetch_verifies_the_published_md5(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP)
    digest = hashlib.md5(ZIP, usedforsecurity=False).hexdigest()
    server.pages["ml-1m.zip.md5"] = Page(f"MD5 (ml-1m.zip) = {digest}\n".encode(), kind="text/plain")
    assert fetch("ml-1m", tmp_path).checksum == f"md5:{digest}"


def test_fetch_with_wrong_md5_is_refused_and_leaves_nothing(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP)
    server.pages["ml-1m.zip.md5"] = Page(f"{'0' * 32}  ml-1m.zip\n".encode(), kind="text/plain")
    _refused(tmp_path, rf"MD5 .*\. Expected {'0' * 32}, which GroupLens publishes")
    assert _left(tmp_path) == []


def test_fetch_prefers_the_known_md5(server, tmp_path, monkeypatch):
    known = dataclasses.replace(releases.RELEASES["ml-1m"], md5="f" * 32)
    monkeypatch.setattr(releases, "RELEASES", {"ml-1m": known})
    server.pages["ml-1m.zip"] = Page(ZIP)
    _refused(tmp_path, f"Expected {'f' * 32}")
    assert ("ml-1m.zip.md5", None) not in server.requests


@pytest.mark.parametrize("status", [500, 503])
def test_fetch_with_unavailable_md5_is_refused(server, tmp_path, status):
    server.pages["ml-1m.zip"] = Page(ZIP)
    server.pages["ml-1m.zip.md5"] = Page(b"", statuses=[status])
    _refused(tmp_path, f"ml-1m.zip.md5: HTTP error {status}")
    assert _left(tmp_path) == []


def test_fetch_of_truncated_zip_leaves_nothing(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP[:-100])
    _refused(tmp_path, "truncated or damaged")
    assert _left(tmp_path) == []


def test_fetch_of_truncated_zip_of_unknown_length_is_refused(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, length=False, drop_after=30_000)
    _refused(tmp_path, "truncated or damaged")
    assert _left(tmp_path) == []


@pytest.mark.parametrize("how", [{"length": False}, {"chunked": True}])
def test_fetch_of_complete_zip_of_unknown_length_succeeds(server, tmp_path, how):
    server.pages["ml-1m.zip"] = Page(ZIP, **how)
    seen = []
    assert fetch("ml-1m", tmp_path, progress=lambda *counts: seen.append(counts)).bytes == len(ZIP)
    assert seen[-1] == (len(ZIP), None)


def test_fetch_of_zip_with_outside_path_leaves_nothing(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(zip_of(FILES | {"../evil.txt": "evil"}))
    _refused(tmp_path / "to", "is outside its folder")
    assert _left(tmp_path / "to") == []
    assert not (tmp_path / "evil.txt").exists()


def test_fetch_of_other_zip_is_refused(server, tmp_path):
    server.pages["x.zip"] = Page(zip_of({"other/readme": "hello"}))
    _refused(tmp_path, r"has no movies\.dat, ratings\.dat", source=server.at("x.zip"))
    assert _left(tmp_path) == []


@pytest.mark.parametrize("kind", ["text/html", "application/zip"])
def test_fetch_of_html_page_is_refused(server, tmp_path, kind):
    server.pages["ml-1m.zip"] = Page(b"<!DOCTYPE html><p>Log in to the wireless network", kind=kind)
    _refused(tmp_path, r"an HTML page\. Expected a zip\. Open it in a browser")
    assert _left(tmp_path) == []


def test_fetch_of_other_bytes_is_refused(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(b"\x1f\x8b gzip")
    _refused(tmp_path, r"a file that starts with .* Expected a zip")
    assert _left(tmp_path) == []


def test_download_404_is_not_retried(server, tmp_path):
    _refused(tmp_path, r"HTTP error 404 Not Found\. Expected a zip\. Choose another source with --source URL")
    assert _left(tmp_path) == []
    assert len(_ranges(server)) == 1


def test_download_500_is_retried(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, statuses=[500, 503])
    assert fetch("ml-1m", tmp_path).bytes == len(ZIP)


def test_download_500_fails_after_three_attempts(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, statuses=[500] * 9)
    _refused(tmp_path, "HTTP error 500 .*Run the same command again")
    assert len(_ranges(server)) == 3
    assert _left(tmp_path) == []


def test_download_resumes_after_dropped_connection(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, drop_after=40_000, drops=1)
    assert fetch("ml-1m", tmp_path).bytes == len(ZIP)
    assert _ranges(server) == [None, "bytes=40000-"]
    assert _left(tmp_path) == ["ml-1m"]


def test_download_continues_while_each_attempt_transfers_a_block(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, drop_after=20_000)
    seen = []
    assert fetch("ml-1m", tmp_path, progress=lambda here, _: seen.append(here)).bytes == len(ZIP)
    assert _ranges(server) == [None, "bytes=20000-", "bytes=40000-", "bytes=60000-"]
    assert seen == sorted(seen)


def test_download_after_repeated_drops_is_resumed_by_next_call(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, drop_after=5_000)
    _refused(
        tmp_path,
        "failed .ended after 15,000 of .* 15,000 bytes remain. Run the same command to resume",
    )
    assert _left(tmp_path) == ["ml-1m.zip.part", "ml-1m.zip.part.json"]
    server.pages["ml-1m.zip"] = Page(ZIP)
    assert fetch("ml-1m", tmp_path).bytes == len(ZIP)
    assert _ranges(server)[-1] == "bytes=15000-"
    assert _left(tmp_path) == ["ml-1m"]


def test_download_timeout_is_resumed_by_next_call(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, stall_after=5_000)
    _refused(tmp_path, r"no data for 0\.3 seconds.* Run the same command to resume")
    assert _left(tmp_path) == ["ml-1m.zip.part", "ml-1m.zip.part.json"]


def test_download_of_broken_chunks_is_resumed_by_next_call(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, chunked=True, drop_after=5_000)
    _refused(tmp_path, "Run the same command to resume")


def _broken_off(server, to):
    server.pages["ml-1m.zip"] = Page(ZIP, drop_after=5_000)
    _refused(to, "to resume")


def test_download_of_changed_file_starts_over(server, tmp_path):
    _broken_off(server, tmp_path)
    other = zip_of(FILES | {"ml-1m/users.dat": os.urandom(60_000)})
    server.pages["ml-1m.zip"] = Page(other, etag='"second"')
    assert fetch("ml-1m", tmp_path).bytes == len(other)


def test_download_range_of_other_file_starts_over(server, tmp_path):
    _broken_off(server, tmp_path)
    other = zip_of(FILES | {"ml-1m/users.dat": os.urandom(60_000)})
    server.pages["ml-1m.zip"] = Page(other, etag='"second"', if_range=False)
    assert fetch("ml-1m", tmp_path).bytes == len(other)
    assert _ranges(server)[-2:] == ["bytes=15000-", None]


def test_download_without_range_support_starts_over(server, tmp_path):
    _broken_off(server, tmp_path)
    server.pages["ml-1m.zip"] = Page(ZIP, ranges=False)
    assert fetch("ml-1m", tmp_path).bytes == len(ZIP)


def test_download_range_beyond_the_end_starts_over(server, tmp_path):
    _broken_off(server, tmp_path)
    shorter = zip_of(FILES | {"ml-1m/users.dat": "few"})
    server.pages["ml-1m.zip"] = Page(shorter, if_range=False)
    assert fetch("ml-1m", tmp_path).bytes == len(shorter)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_download_without_validator_is_not_resumed(server, tmp_path, etag):
    server.pages["ml-1m.zip"] = Page(ZIP, drop_after=5_000, etag=etag)
    _refused(tmp_path, "failed .ended after 5,000 of .*Run the same command again, or choose another source")
    assert set(_ranges(server)) == {None}
    assert _left(tmp_path) == []


def test_download_does_not_resume_other_address(server, tmp_path):
    _broken_off(server, tmp_path)
    server.pages["mirror.zip"] = Page(ZIP)
    fetch("ml-1m", tmp_path, source=server.at("mirror.zip"))
    assert server.requests[-1] == ("mirror.zip", None)


def test_interrupted_download_remains_resumable(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP)

    def interrupt(here, _):
        if here > 20_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("ml-1m", tmp_path, progress=interrupt)
    assert _left(tmp_path) == ["ml-1m.zip.part", "ml-1m.zip.part.json"]
    fetch("ml-1m", tmp_path)
    assert _ranges(server)[-1].startswith("bytes=")


def test_interrupt_while_unpacking_keeps_the_archive(server, tmp_path, monkeypatch):
    server.pages["ml-1m.zip"] = Page(ZIP)
    with monkeypatch.context() as patch:
        patch.setattr(download, "unpack", _raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch("ml-1m", tmp_path)
    assert _left(tmp_path) == ["ml-1m.zip.part", "ml-1m.zip.part.json"]
    fetch("ml-1m", tmp_path)
    assert _ranges(server) == [None]


def test_fetch_on_full_disk_fails_and_leaves_nothing(server, tmp_path, monkeypatch):
    server.pages["ml-1m.zip"] = Page(ZIP)
    monkeypatch.setattr(download, "unpack", _raising(OSError(28, "No space left on device")))
    _refused(tmp_path, "ml-1m: cannot be written .*No space left on device.*--to")
    assert _left(tmp_path) == []


def test_unreachable_server_is_not_retried(tmp_path):
    _refused(tmp_path, "unreachable .*Check the network", source="http://127.0.0.1:9/ml-1m.zip")
    assert _left(tmp_path) == []


def test_partial_file_remains_while_network_is_down(server, tmp_path, monkeypatch):
    _broken_off(server, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "_open", _raising(urllib.error.URLError("no route to host")))
        _refused(tmp_path, r"unreachable \(no route to host\)", source=server.at("ml-1m.zip"))
    assert _left(tmp_path) == ["ml-1m.zip.part", "ml-1m.zip.part.json"]


def test_download_is_retried_after_empty_response(server, tmp_path):
    server.pages["ml-1m.zip"] = Page(ZIP, statuses=[0])
    assert fetch("ml-1m", tmp_path).bytes == len(ZIP)


def test_source_grouplens_without_md5_fails(server, tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "_FOLDER", "http://127.0.0.1:9/")
    _refused(tmp_path, r"ml-1m\.zip\.md5: unreachable", source="grouplens")
    assert server.requests == []
    assert _left(tmp_path) == []


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://host/x.zip", "mirror", "http://"])
def test_source_that_is_not_a_url_is_refused(tmp_path, source):
    with pytest.raises(SettingsError, match="Expected auto, grouplens, pypi, or an http or https URL"):
        fetch("ml-1m", tmp_path, source=source)


def test_source_pypi_without_package_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no PyPI package has ml-1m"):
        fetch("ml-1m", tmp_path, source="pypi")


def test_fetch_of_unknown_release_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"Did you mean ml-10m\?"):
        fetch("ml-10mm", tmp_path)


# The packaged copy: a tiny wheel instead of RecBole's.
MEMBERS = {
    "ml-100k.inter": b"user_id:token\n1\n",
    "ml-100k.item": b"item_id:token\n1\n",
    "ml-100k.user": b"u\n",
}
_INFO = "recbole-1.2.1.dist-info"


def _build_wheel(folder, members):
    inside = {f"recbole/dataset_example/ml-100k/{name}": content for name, content in members.items()}
    inside |= {
        f"{_INFO}/METADATA": "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        f"{_INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{_INFO}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    wheel = folder / "recbole-1.2.1-py3-none-any.whl"
    wheel.write_bytes(zip_of(inside))
    return wheel


@pytest.fixture(name="packaged")
def _packaged(server, monkeypatch, tmp_path):
    """ml-100k with a packaged copy whose members are the tiny ones, and pip replaced by a copy of the tiny wheel."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in MEMBERS.items()}
    release = releases.RELEASES["ml-100k"]
    tiny = dataclasses.replace(release, copy=dataclasses.replace(release.copy, members=digests))
    monkeypatch.setattr(releases, "RELEASES", {"ml-100k": tiny})
    wheel = _build_wheel(tmp_path / "index", MEMBERS)
    monkeypatch.setattr(
        download, "download_wheel", lambda _, into: shutil.copy(wheel, into) and into / wheel.name
    )
    return server


def test_source_auto_uses_package_if_grouplens_fails(packaged, tmp_path):
    fetched = fetch("ml-100k", tmp_path / "to")
    assert packaged.requests
    assert (fetched.used_source, fetched.address) == ("pypi", "recbole==1.2.1")
    assert "GroupLens's terms" in fetched.terms
    assert "404" in fetched.tried[0]
    assert (fetched.folder / "ml-100k.inter").read_bytes() == MEMBERS["ml-100k.inter"]
    assert fetch("ml-100k", tmp_path / "to") == dataclasses.replace(fetched, already_there=True)


def test_source_auto_removes_partial_zip_after_using_package(packaged, tmp_path):
    packaged.pages["ml-100k.zip"] = Page(ZIP, drop_after=5_000)
    assert fetch("ml-100k", tmp_path / "to").used_source == "pypi"
    assert _left(tmp_path / "to") == ["ml-100k"]


def test_source_auto_prefers_grouplens(packaged, tmp_path):
    packaged.pages["ml-100k.zip"] = Page(
        zip_of({"ml-100k/u.data": "1\t1\t5\t0\n", "ml-100k/u.item": "1|Toy Story\n"})
    )
    assert fetch("ml-100k", tmp_path / "to").used_source == "grouplens"
    assert fetch("ml-100k", tmp_path / "to", source="pypi").used_source == "pypi"
    assert _left(tmp_path / "to" / "ml-100k") == [SOURCE_FILE, *sorted(MEMBERS)]


def test_package_member_with_other_sha256_is_refused(packaged, tmp_path, monkeypatch):
    wheel = _build_wheel(tmp_path / "index", MEMBERS | {"ml-100k.user": b"forged"})
    monkeypatch.setattr(download, "download_wheel", lambda *_: wheel)
    with pytest.raises(DownloadError, match=r"ml-100k\.user in recbole==1\.2\.1: SHA-256"):
        fetch("ml-100k", tmp_path / "to", source="pypi")
    assert packaged.requests == []
    assert _left(tmp_path / "to") == []


def test_source_auto_with_two_failures_names_both(packaged, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "download_wheel", _raising(DownloadError("pip could not")))
    _refused(tmp_path / "to", "neither GroupLens .*404.* nor PyPI .*pip could not", name="ml-100k")
    assert packaged.requests
    assert _left(tmp_path / "to") == []


def test_download_wheel_uses_pip_index_settings(tmp_path, monkeypatch):
    """Pip really runs here, on a folder instead of an index."""
    wheel = _build_wheel(tmp_path / "index", MEMBERS)
    (tmp_path / "into").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    found = wheels.download_wheel("recbole==1.2.1", tmp_path / "into")
    assert found.read_bytes() == wheel.read_bytes()


def test_download_wheel_error_contains_pip_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DownloadError, match=r"pip: recbole==1\.2\.1 failed \(No matching distribution"):
        wheels.download_wheel("recbole==1.2.1", tmp_path)


def test_download_wheel_error_without_pip_output_says_so(tmp_path, monkeypatch):
    done = subprocess.CompletedProcess([], returncode=1, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(DownloadError, match="no reason given"):
        wheels.download_wheel("recbole==1.2.1", tmp_path)


def test_download_wheel_without_pip_names_ensurepip(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DownloadError, match=r"pip is not installed.*-m ensurepip"):
        wheels.download_wheel("recbole==1.2.1", tmp_path)


def test_download_wheel_stops_after_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", _raising(subprocess.TimeoutExpired("pip", 600)))
    with pytest.raises(DownloadError, match=r"no recbole==1\.2\.1 within 600 seconds"):
        wheels.download_wheel("recbole==1.2.1", tmp_path)


@pytest.mark.slow
def test_real_package_has_ml_100k_with_known_sha256(tmp_path):
    try:
        fetched = fetch("ml-100k", tmp_path, source="pypi")
    except DownloadError as error:
        if "pip could not" not in str(error):
            raise
        pytest.skip(f"no package registry here: {error}")
    rows = (fetched.folder / "ml-100k.inter").read_bytes().count(b"\n") - 1
    assert rows == releases.RELEASES["ml-100k"].ratings


def _raising(error):
    def raise_it(*_, **__):
        raise error

    return raise_it
