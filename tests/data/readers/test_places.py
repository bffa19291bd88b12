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


def test_files_may_lie_at_the_top_of_a_zip(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    packed = pack(tmp_path / "flat.zip", {file.name: file.read_bytes() for file in folder.iterdir()})
    assert count(read_source(packed, connection=connection, settings=PLAIN)) == 192


def test_the_release_nearest_to_the_top_of_a_zip_is_taken(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    members = {f"top/{file.name}": file.read_bytes() for file in folder.iterdir()}
    clutter = {"top/": b"", "top/old/ratings.csv": b"nothing", "__MACOSX/top/._ratings.dat": b"\0"}
    packed = pack(tmp_path / "r.zip", clutter | members)
    assert count(read_source(packed, connection=connection, settings=PLAIN)) == 192


def test_a_member_cannot_leave_the_folder_it_is_unpacked_into(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    members = {f"../../{file.name}": file.read_bytes() for file in folder.iterdir()}
    before = sorted(tmp_path.rglob("*"))
    packed = pack(tmp_path / "r.zip", members)
    assert count(read_source(packed, connection=connection, settings=PLAIN)) == 192
    assert sorted(tmp_path.rglob("*")) == sorted([*before, packed])


def test_a_damaged_zip_is_refused(tmp_path, connection):
    packed = worlds.zip_folder(worlds.write_csv_release(tmp_path / "release"), tmp_path / "r.zip")
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"r\.zip is not a whole zip .*tastevec fetch"):
        read_source(packed, connection=connection, settings=PLAIN)
    packed.write_bytes(whole[:200] + bytes(50) + whole[250:])
    with pytest.raises(SourceError, match=r"r\.zip is not a whole zip"):
        read_source(packed, connection=connection, settings=PLAIN)


def test_a_zip_without_a_release_says_what_was_expected(tmp_path, connection):
    packed = pack(tmp_path / "r.zip", {"photo.jpg": b""})
    with pytest.raises(SourceError, match=r"none of the files of a release; expected u\.data \(ml-100k\)"):
        read_source(packed, connection=connection, settings=PLAIN)


def test_a_folder_without_a_release_says_what_it_holds(tmp_path, connection):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(SourceError, match=r"holds photo\.jpg; expected u\.data"):
        read_source(tmp_path, connection=connection, settings=PLAIN)


def test_two_recbole_datasets_in_one_folder_are_one_too_many(tmp_path, connection):
    worlds.write_recbole(tmp_path, "a")
    worlds.write_recbole(tmp_path, "b")
    with pytest.raises(SourceError, match=r"one NAME\.inter"):
        read_source(tmp_path, connection=connection, settings=PLAIN)
    assert count(read_source(tmp_path / "b.inter", connection=connection, settings=PLAIN)) == 192


def test_a_recbole_dataset_may_lack_its_items(tmp_path, connection):
    worlds.write_recbole(tmp_path, "a")
    (tmp_path / "a.item").unlink()
    source = read_source(tmp_path, connection=connection, settings=PLAIN)
    assert [row_report.file for row_report in source.row_reports] == ["a.inter"]


def test_a_place_where_nothing_is_is_named(tmp_path, connection):
    with pytest.raises(SourceError, match=r"nowhere does not exist; expected a release or a table"):
        read_source(tmp_path / "nowhere", connection=connection, settings=PLAIN)


def test_a_file_that_cannot_be_opened_is_named(tmp_path, connection):
    folder = worlds.write_1m(tmp_path / "release")
    (folder / "ratings.dat").unlink()
    (folder / "ratings.dat").mkdir()
    with pytest.raises(SourceError, match=r"ratings\.dat cannot be read \(Is a directory\)"):
        read_source(folder, connection=connection, settings=PLAIN)


def test_a_zip_that_cannot_be_unpacked_is_named(tmp_path, connection, monkeypatch):
    packed = worlds.zip_folder(worlds.write_1m(tmp_path / "release"), tmp_path / "r.zip")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(SourceError, match=r"r\.zip cannot be unpacked .*No space left"):
        read_source(packed, connection=connection, settings=PLAIN)
