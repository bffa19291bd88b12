"""For any content and any interruption, a folder is the old one or the new one."""

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.data.files import atomic_file, atomic_folder

MARK = "ours"
CONTENTS = st.dictionaries(st.sampled_from(["a", "b", "c/d", "c/e"]), st.binary(max_size=9), max_size=4)


class _StopError(Exception):
    pass


def write(folder, contents, *, stop):
    with atomic_folder(folder, marker_file=MARK, files=("?", "c/?")) as temporary:
        for step, (name, content) in enumerate([*contents.items(), (MARK, b"")]):
            if step == stop:
                raise _StopError
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(content)


def write_file(path, content, *, stops):
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
        if stops:
            raise _StopError


def found(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@given(st.lists(st.tuples(CONTENTS, st.none() | st.integers(0, 5)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_folder_has_content_of_last_complete_write(writings):
    with tempfile.TemporaryDirectory() as root:
        out, expected = Path(root) / "out", {}
        for contents, stop in writings:
            with suppress(_StopError):
                write(out, contents, stop=stop)
                expected = {**contents, MARK: b""}
            assert (found(out) if out.exists() else {}) == expected
            assert {path.name for path in Path(root).iterdir()} <= {"out"}


@given(st.lists(st.tuples(st.binary(max_size=9), st.booleans()), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_file_has_content_of_last_complete_write(writings):
    with tempfile.TemporaryDirectory() as root:
        out, expected = Path(root) / "out", None
        for content, stops in writings:
            with suppress(_StopError):
                write_file(out, content, stops=stops)
                expected = content
            assert (out.read_bytes() if out.exists() else None) == expected
            assert {path.name for path in Path(root).iterdir()} <= {"out"}
