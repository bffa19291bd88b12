import zipfile

import pytest

import worlds
from tastevec.data.readers import ReadSettings, read_source
from tastevec.errors import SourceError

PLAIN = ReadSettings()


def count(source):
    return (
        source.interactions.get_backend()
        .con.sql(source.interactions.count().as_table().compile())
        .fetchall()[0][0]
    )


def pack(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_zip_without_a_folder_is_read(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    packed = pack(tmp_path / "flat.zip", {file.name: file.read_bytes() for file in folder.iterdir()})
    assert count(read_source(packed, connection=connection, settings=PLAIN)) == 192


def test_zip_with_several_releases_uses_the_topmost(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    members = {f"top/{file.name}": file.read_bytes() for file in folder.iterdir()}
    clutter = {"top/": b"", "top/old/ratings.csv": b"nothing", "__MACOSX/top/._ratings.dat": b"\0"}
    packed = pack(tmp_path / "r.zip", clutter | members)
    assert count(read_source(packed, connection=connection, settings=PLAIN)) == 192


def test_zip_member_with_parent_folders_stays_in_the_scratch_folder(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    members = {f"../../{file.name}": file.read_bytes() for file in folder.iterdir()}
    before = sorted(tmp_path.rglob("*"))
    packed = pack(tmp_path / "r.zip", members)
    assert count(read_source(packed, connection=connection, settings=PLAIN)) == 192
    assert sorted(tmp_path.rglob("*")) == sorted([*before, packed])


def test_damaged_zip_is_refused(tmp_path, connection):
    packed = worlds.zip_folder(worlds.write_csv_release(tmp_path / "release"), tmp_path / "r.zip")
    content = packed.read_bytes()
    packed.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        SourceError, match=r"r\.zip: the zip is truncated or damaged .*Fetch or export the file again"
    ):
        read_source(packed, connection=connection, settings=PLAIN)
    packed.write_bytes(content[:200] + bytes(50) + content[250:])
    with pytest.raises(SourceError, match=r"r\.zip: the zip is truncated or damaged"):
        read_source(packed, connection=connection, settings=PLAIN)


def test_zip_without_a_release_names_the_expected_files(tmp_path, connection):
    packed = pack(tmp_path / "r.zip", {"photo.jpg": b""})
    with pytest.raises(SourceError, match=r"contains no file of a release\. Expected u\.data \(ml-100k\)"):
        read_source(packed, connection=connection, settings=PLAIN)


def test_folder_without_a_release_lists_its_files(tmp_path, connection):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(SourceError, match=r"contains photo\.jpg\. Expected u\.data"):
        read_source(tmp_path, connection=connection, settings=PLAIN)


def test_folder_with_two_recbole_datasets_is_refused(tmp_path, connection):
    worlds.write_recbole(tmp_path, "a")
    worlds.write_recbole(tmp_path, "b")
    with pytest.raises(SourceError, match=r"one NAME\.inter"):
        read_source(tmp_path, connection=connection, settings=PLAIN)
    assert count(read_source(tmp_path / "b.inter", connection=connection, settings=PLAIN)) == 192


def test_recbole_dataset_without_items_is_read(tmp_path, connection):
    worlds.write_recbole(tmp_path, "a")
    (tmp_path / "a.item").unlink()
    source = read_source(tmp_path, connection=connection, settings=PLAIN)
    assert [row_report.file for row_report in source.row_reports] == ["a.inter"]


def test_missing_path_is_named(tmp_path, connection):
    with pytest.raises(SourceError, match=r"nowhere: not found\. Expected a release or a table"):
        read_source(tmp_path / "nowhere", connection=connection, settings=PLAIN)


def test_unreadable_file_is_named(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    (folder / "ratings.dat").unlink()
    (folder / "ratings.dat").mkdir()
    with pytest.raises(SourceError, match=r"ratings\.dat: not readable \(Is a directory\)"):
        read_source(folder, connection=connection, settings=PLAIN)


def test_full_disk_while_unpacking_names_the_zip(tmp_path, connection, monkeypatch):
    packed = worlds.zip_folder(worlds.write_1m(tmp_path / "release"), tmp_path / "r.zip")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tastevec.data.download._copy", full)
    with pytest.raises(SourceError, match=r"r\.zip: cannot be unpacked .*No space left"):
        read_source(packed, connection=connection, settings=PLAIN)
