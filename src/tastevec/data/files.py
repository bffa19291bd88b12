"""Files on disk: atomic writes, checksums, manifests and paths that stay inside their folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import reprlib
import shutil
import stat
import uuid
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from tastevec.errors import FormatError, SettingsError
from tastevec.nouns import ItemNoun
from tastevec.schema import FOLDER_FILES, PREPARE_AGAIN, renamed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


def damaged(where: Path | str, found: str, expected: str, repair: str = PREPARE_AGAIN) -> FormatError:
    """Return the error of a file or folder with other content than expected."""
    return FormatError(f"{where}: {found}. Expected {expected}. {repair}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` when the block succeeds.

    If the block raises or the process is killed, ``path`` is unchanged. The file gets the permissions that the umask allows.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_file(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("complete")
        ...     (Path(folder) / "a.txt").read_text()
        'complete'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden_sibling(path, "part")
    temporary.touch(exist_ok=False)
    allowed = stat.S_IMODE(temporary.stat().st_mode)
    try:
        yield temporary
        temporary.chmod(allowed)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def result_file(path: Path, *, inputs: Inputs = ()) -> Iterator[Path]:
    """Write the Parquet file ``path`` as `atomic_file` does, if `check_replaceable` allows it before and after the block."""
    with atomic_file(check_replaceable(path, inputs=inputs)) as temporary:
        yield temporary
        check_replaceable(path, inputs=inputs)


@contextmanager
def atomic_folder(path: Path, *, marker_file: str, files: Collection[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder in the parent of ``path``; rename it to ``path`` when the block succeeds.

    The folder gets the permissions that the umask allows; ``marker_file`` and ``files`` are those of `check_replaceable`.

    Raises:
        FormatError: ``path`` may not be replaced, before or after the block.
    """
    target = check_replaceable(path, marker_file=marker_file, files=files)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden_sibling(target, "part")
    temporary.mkdir()
    try:
        yield temporary
        allow_by_umask(temporary)
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        check_replaceable(path, marker_file=marker_file, files=files)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


Inputs = Iterable[Path | str | None]  # of a command; what is no local path is ignored


def check_replaceable(
    path: Path, *, marker_file: str | None = None, files: Collection[str] = (), inputs: Inputs = ()
) -> Path:
    """Check that a result may be written to ``path`` and that nothing but an earlier result is lost by it.

    Args:
        path: The file or the folder of the result. A symbolic link is followed: the result replaces its target.
        marker_file: The file (a manifest) that marks a folder as written by tastevec; None for a Parquet file.
        files: Patterns of the other files of such a folder; by default `FOLDER_FILES` has them.
        inputs: What the result is computed from.

    Returns:
        The path without links.

    Raises:
        FormatError: The path is an input, inside one or contains one; it is a device, standard output, a mount point or the
            current folder; it is not writable; or it has other content than an earlier result.
    """
    target = Path(os.path.realpath(path))  # Path.resolve raises for a link to itself
    problem = _place_problem(path, target, is_folder=marker_file is not None)
    problem = problem or next(filter(None, (_input_problem(target, one) for one in inputs)), None)
    if problem is None and marker_file is None and not _is_replaceable_file(target):
        problem = "exists and was not written by this command"
    if problem is None and marker_file is not None and target.is_dir():
        problem = _content_problem(target, marker_file, files or FOLDER_FILES[marker_file])
    if problem is not None:
        expected = "a new or empty folder" if marker_file else "a new file name"
        raise damaged(path, problem, expected, "Choose another one with --out")
    return target


def _place_problem(path: Path, target: Path, *, is_folder: bool) -> str | None:
    """Return why nothing can be written at this path, whatever is there; None if something can."""
    mode = path.stat().st_mode if path.exists() else None
    places = [place.as_posix() for place in (path.absolute(), target)]  # /dev/stdout may be a link to a file
    parent = next(parent for parent in target.parents if parent.exists())
    problems = {
        "standard output": path.parts[:1] == ("-",),
        "a device": any(re.match(r"/proc/|/dev/(?!shm/)", place) for place in places),
        "a device, a pipe or a socket": mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)),
        "a folder": mode is not None and not is_folder and stat.S_ISDIR(mode),
        "a file, which was not written by this command": mode is not None
        and is_folder
        and stat.S_ISREG(mode),
        "the current folder, or one above it": is_folder and Path.cwd().is_relative_to(target),
        "a mount point, or a link to itself": target.is_symlink() or target.is_mount(),
        f"{parent} is a file": not parent.is_dir(),
        f"{parent} is not writable": not os.access(parent, os.W_OK | os.X_OK),
    }
    return next((problem for problem, is_found in problems.items() if is_found), None)


def _input_problem(target: Path, name: Path | str | None) -> str | None:
    """Return how this output would damage or hide this input; None if it does not."""
    if name is None or not os.path.exists(name):  # noqa: PTH110  for an address, Path.exists may raise
        return None
    source = Path(name).resolve()
    if _is_same(target, source):
        return f"the same as the input {name}"
    if any(_is_same(target, parent) for parent in source.parents):
        return f"contains the input {name}"
    if any(_is_same(parent, source) for parent in target.parents):
        return f"inside the input {name}"
    return None


def _is_same(one: Path, other: Path) -> bool:
    """Return whether both exist and are one file or folder, also as hard links or in another spelling."""
    return one.exists() and one.samefile(other)


def _is_replaceable_file(file: Path) -> bool:
    """Return whether the file does not exist, is empty, or is a Parquet file that names its space, as our results do."""
    if not file.exists() or not file.stat().st_size:
        return True
    import pyarrow as pa  # noqa: PLC0415  not needed to read a manifest
    import pyarrow.parquet as pq  # noqa: PLC0415  as above

    try:
        return b"space" in (pq.read_schema(file).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def _content_problem(folder: Path, marker_file: str, files: Collection[str]) -> str | None:
    """Return what the folder contains other than an earlier result; None if nothing."""
    if not _is_marker(folder / marker_file):
        is_empty = {entry.name for entry in folder.iterdir()} <= {LOCK_FILE}
        return None if is_empty else f"exists and was not written by this command (no {marker_file})"
    for entry in sorted(folder.rglob("*")):
        name = entry.relative_to(folder).as_posix()
        if not _is_ours(name, marker_file, files, is_folder=entry.is_dir() and not entry.is_symlink()):
            return f"contains {name}, which was not written by this command"
    return None


def _is_marker(file: Path) -> bool:
    """Return whether this is a manifest of ours, perhaps a damaged one, and no other JSON file of that name."""
    try:
        content = from_json(file.read_bytes())
    except ValueError:
        return True
    except OSError:
        return False
    return content == {} or (isinstance(content, dict) and not _MARKS.isdisjoint(content))


_MARKS: Final = {"format", "format_version", "preset"}  # each manifest of ours has one of these keys


def _is_ours(name: str, marker_file: str, files: Collection[str], *, is_folder: bool) -> bool:
    """Return whether a command writes a file or a folder of this name into a folder with this marker."""
    if is_folder:
        return any(fnmatchcase(name, pattern.rpartition("/")[0]) for pattern in files)
    return any(fnmatchcase(name, pattern) for pattern in (marker_file, *files, *_ANYWHERE))


# Temporary files of a killed process, the lock, and what macOS writes into each folder that is opened.
_ANYWHERE: Final = (f".*.{'[0-9a-f]' * 32}.part", ".lock", ".DS_Store")


def remove_result(folder: Path, *, marker_file: str) -> None:
    """Remove what a command wrote into the folder but its lock; files of other names and their folders stay."""
    files, marker = FOLDER_FILES[marker_file], folder / marker_file
    # A folder after its content, and the marker last, because it marks the rest as ours.
    for entry in sorted(folder.rglob("*"), key=lambda entry: (entry != marker, entry), reverse=True):
        is_folder = entry.is_dir() and not entry.is_symlink()
        name = entry.relative_to(folder).as_posix()
        if not _is_ours(name, marker_file, files, is_folder=is_folder) or name == LOCK_FILE:
            continue
        with suppress(OSError):  # a folder that is not empty
            entry.rmdir() if is_folder else entry.unlink()


def _hidden_sibling(path: Path, suffix: str) -> Path:
    """Return a new hidden name in the same folder; unlike `tempfile`'s, it gets the usual permissions."""
    return path.with_name(f".{path.name[:50]}.{uuid.uuid4().hex}.{suffix}")  # as a rule at most 255 bytes


def _swap(new: Path, path: Path) -> None:
    """Move ``new`` to ``path``. One rename cannot replace a folder, so the old one is moved away first."""
    if not path.exists():
        new.rename(path)
        return
    old = _hidden_sibling(path, "old")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def allow_by_umask(folder: Path) -> None:
    """Give everything in a new folder the permissions that the umask allows: those of the folder itself.

    safetensors writes files that only their owner can read, and copies have the permissions of their originals.
    """
    allowed = stat.S_IMODE(folder.stat().st_mode) & 0o777
    for entry in folder.rglob("*"):
        if not entry.is_symlink():
            entry.chmod(allowed if entry.is_dir() else allowed & 0o666)


def _sync(file: Path) -> None:
    """Force a file to disk: a rename may otherwise reach the disk before the bytes."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


LOCK_FILE: Final = ".lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Create the folder and hold its lock while the block runs; the system releases it if the process dies.

    A folder that is empty in the end is removed. Systems and file systems without locks have none.

    Raises:
        FormatError: Another process holds the lock.
    """
    descriptor = None
    while descriptor is None:
        descriptor = _lock(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty: there is something to resume
            (folder / LOCK_FILE).unlink()
            folder.rmdir()
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Return the open lock file of the folder; None if its last holder removed it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the folder is removed
        return None
    try:
        _flock(descriptor)
        if os.path.samestat(os.fstat(descriptor), (folder / LOCK_FILE).stat()):
            return descriptor
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, FileNotFoundError):
            return None
        if not isinstance(error, BlockingIOError):
            raise
        repair = "Wait for it, or choose another output with --out"
        raise damaged(folder, "another process writes there", "one at a time", repair) from error
    os.close(descriptor)
    return None


def _flock(descriptor: int) -> None:
    try:
        import fcntl  # noqa: PLC0415  Windows has none
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}:  # a file system without locks
            raise


def is_unsafe_path(name: str) -> bool:
    r"""Return whether a relative path (with slashes, as in zips and manifests) may leave its folder on any system.

    Examples:
        >>> [is_unsafe_path(name) for name in ("histories/items.npy", "../items.npy", "/etc/passwd", "C:x", "..\\x")]
        [False, True, True, True, True]
    """
    parts = PurePosixPath(name).parts
    return ".." in parts or name.startswith("/") or "\\" in name or bool(PureWindowsPath(name).drive)


def path_inside(folder: Path, name: str) -> Path:
    """Return the path of this file in ``folder``.

    Symbolic links are followed: model caches that store each file once need it, and who can create one can read
    its target anyway.

    Raises:
        FormatError: The name is empty, invalid, or leaves the folder.
    """
    if not name or "\0" in name or is_unsafe_path(name):
        found = f"the manifest names the file {name!r}, which is outside the folder"
        raise damaged(folder, found, "files inside it", "Do not use this folder; check its origin")
    return folder / name


CHECKSUM: Final = "manifest_checksum"
_NO_CHECKSUM: Final = "0" * 64


class StrictModel(BaseModel):
    """A JSON object: values are not converted to other types, unknown keys are allowed."""

    model_config = ConfigDict(strict=True, extra="allow")


def _checked_noun(words: dict[str, str]) -> dict[str, str]:
    try:
        ItemNoun(**words)
    except (SettingsError, TypeError) as error:
        raise ValueError(str(error)) from error
    return words


NounWords = Annotated[dict[str, str], AfterValidator(_checked_noun)]  # an `ItemNoun` in a manifest


@dataclass(frozen=True)
class ManifestSpec:
    """The manifest of one kind of folder.

    Attributes:
        model: Its keys and their types.
        format: The format version that is read.
        files_key: The key of the file names.
        expected: The kind of folder, for messages.
        command: The command that writes it, without ``--out``; empty if there is none.
        repair: The next step for a damaged folder, as a sentence.
    """

    model: type[StrictModel]
    format: int
    files_key: str
    expected: str
    command: str
    repair: str

    def next_step(self, folder: Path) -> str:
        """Return what to do if the folder is missing or has another format version."""
        return f"Run: {self.command} --out {folder}" if self.command else self.repair


def manifest_text(content: Mapping[str, Any], *, allow_nan: bool = True) -> str:
    """Return the JSON text of a manifest that ends with the SHA-256 of itself.

    Examples:
        >>> print(manifest_text({"format": 1}).replace("  ", ""), end="")
        {
        "format": 1,
        "manifest_checksum": "b75ce72ea8e37e46c7198516c7864e5818d4a60f733f12b40e3a6e77e3e0f1bf"
        }
    """
    content = {**content, CHECKSUM: _NO_CHECKSUM}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=allow_nan) + "\n"
    return text.replace(_NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


MAX_MANIFEST: Final = 4_000_000  # bytes; one of a hundred epochs has 90,000
_MAX_FILES, _MAX_NAME = 1_000, 1_000


def is_regular_file(path: Path, most: int | None = None) -> bool:
    """Return whether this is a file, or a link to one, of at most ``most`` bytes: no pipe, device or folder."""
    # Path.is_file raises for a name that is too long.
    return os.path.isfile(path) and (most is None or path.stat().st_size <= most)  # noqa: PTH113  as the line above says


def read_manifest(path: Path, spec: ManifestSpec) -> dict[str, Any]:
    """Return the content of a manifest, without its checksum. One without a checksum is read too.

    Raises:
        FormatError: The manifest is missing, damaged, changed or of another format version, lacks a key, or
            names a file outside its folder.
    """
    folder = path.parent
    if path.exists() and not is_regular_file(
        path, MAX_MANIFEST
    ):  # a pipe would block, gigabytes would fill the memory
        raise damaged(
            path, "no regular file, or too large", f"a file of at most {MAX_MANIFEST:,} bytes", spec.repair
        )
    try:
        text = path.read_bytes()
        content = from_json(text)
    except FileNotFoundError as error:
        raise damaged(folder, f"no {path.name}", spec.expected, spec.next_step(folder)) from error
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({error})", "a JSON file", spec.repair) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != spec.format or isinstance(found, bool):
        raise damaged(path, f"format {found}", f"format {spec.format}", spec.next_step(folder))
    files = content.get(spec.files_key)
    if isinstance(files, dict) and (len(files) > _MAX_FILES or any(len(name) > _MAX_NAME for name in files)):
        found = f"{len(files):,} files, the longest name of {max(map(len, files)):,} characters"
        raise damaged(path, found, f"at most {_MAX_FILES:,}, and {_MAX_NAME} characters", spec.repair)
    for name in files if isinstance(files, dict) else ():  # first: an unsafe name must be reported as such
        path_inside(folder, name)
    validated: dict[str, Any] = validate_json(path, content, spec.model, spec.repair)
    if CHECKSUM in validated and _digest(text, str(validated[CHECKSUM])) != validated.pop(CHECKSUM):
        raise damaged(path, "checksum mismatch", "the file as written", spec.repair)
    return validated


def validate_json(path: Path, content: Any, schema: Any, repair: str) -> Any:  # noqa: ANN401  any JSON value
    """Return ``content`` if it has the expected type.

    Args:
        path: The file, for the message.
        content: A parsed JSON value.
        schema: A `StrictModel`, or another type that pydantic knows.
        repair: The next step for the message, as a sentence.

    Raises:
        FormatError: It has another type.
    """
    try:
        TypeAdapter(schema).validate_python(content, strict=True)
    except ValidationError as error:
        raise damaged(path, validation_message(error), "the file as written", repair) from error
    return content


def _digest(text: bytes, checksum: str) -> str:
    """Return the SHA-256 of a manifest before its checksum was inserted."""
    return hashlib.sha256(text.replace(checksum.encode(), _NO_CHECKSUM.encode())).hexdigest()


def validation_message(error: ValidationError) -> str:
    """Return the first invalid value: its key, what was expected and what was found."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the top level"
    if message := renamed(where, first["input"]):
        return message
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {first['msg']}, found {reprlib.repr(first['input'])}"
