"""Models on the Hugging Face Hub: download and upload of a model folder.

huggingface_hub manages tokens itself: it reads them from ``HF_TOKEN`` or from ``hf auth login``. No token passes through this
module, and no text of a failed request, which can contain its headers, is in an error message.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tastevec.errors import FormatError, HubError, MissingExtraError
from tastevec.extras import is_hub_name, require
from tastevec.schema import BUNDLE_FILE
from tastevec.serving.bundle import MODEL_FILES, Bundle, Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DOWNLOAD: Final = 20 * 2**30  # bytes; 64 dimensions of 10 million items are 10 GB with inputs and priors
_LOG: Final = logging.getLogger(
    "tastevec"
)  # without a configuration, a warning is one line on standard error
_UNAUTHORIZED: Final = (401, 403)
_NOT_FOUND: Final = 404


def open_bundle(name: Path | str, runtime: Runtime = "auto", *, revision: str | None = None) -> Bundle:
    """Return the bundle of a folder; or, where there is no such folder, of ``org/name`` on the Hugging Face Hub.

    Args:
        name: A folder, which has priority, or ``org/name``, if there is no local folder ``org``.
        runtime: See `Bundle.load`.
        revision: On the Hub: a branch, a tag or a commit; the main branch if not given.

    Raises:
        FormatError: It is neither; or the model is damaged or of another format version.
        HubError: The Hub requires a token, or cannot be reached and the model was not downloaded before.
    """
    folder, text = Path(name), name if isinstance(name, str) else name.as_posix()
    if os.path.exists(folder):  # noqa: PTH110  Path.exists raises for a name that is too long
        return Bundle.load(folder, runtime)
    expected = "Expected a model folder, or org/name on the Hugging Face Hub"
    if not is_hub_name(text):
        near = not folder.is_absolute() and "/" in text and os.path.exists(folder.parent)  # noqa: PTH110  as above
        inside = f" in {folder.parent}" if near else ""
        raise FormatError(
            f"{text}: no such folder{inside}. {expected}. Run: tastevec train PREPARED --out {text}"
        )
    try:
        require("huggingface_hub")
    except MissingExtraError as error:
        raise FormatError(f"{text}: no such folder. {expected}. {error}") from None
    _LOG.warning("%s: no such folder. Loading it from the Hugging Face Hub.", text)
    with _plain_errors(text, "load", revision):
        fetched = _download(text, revision)
    try:
        return Bundle.load(fetched, runtime)
    except FormatError as error:
        raise FormatError(
            f"{text}, downloaded from the Hugging Face Hub: {error} To download it again, remove {fetched.parents[1]}."
        ) from error


def _download(name: str, revision: str | None) -> Path:
    """Return the folder of a downloaded model: up to date where the Hub can be reached, else from the cache.

    Only the files of a model are downloaded, and nothing before their sizes are known.

    Raises:
        FormatError: The repository has no tastevec model, or a larger one than `MAX_DOWNLOAD`.
    """
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415  an extra
    from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError  # noqa: PLC0415  as above

    try:
        found = HfApi().model_info(name, revision=revision, files_metadata=True)
    except RevisionNotFoundError:
        raise
    except Exception:  # of its HTTP client, a package that changed its name
        with suppress(LocalEntryNotFoundError):
            return Path(
                snapshot_download(
                    name, revision=revision, allow_patterns=[*MODEL_FILES], local_files_only=True
                )
            )
        raise
    sizes = {one.rfilename: one.size or 0 for one in found.siblings or ()}
    if BUNDLE_FILE not in sizes:
        raise FormatError(
            f"{name}: no such folder, and no tastevec model on the Hub (no {BUNDLE_FILE}). Expected a model of tastevec push. "
            "Correct the name."
        )
    total = sum(sizes.get(file, 0) for file in MODEL_FILES)
    if total > MAX_DOWNLOAD:
        raise FormatError(
            f"{name}: {total:,} bytes on the Hub. Expected at most {MAX_DOWNLOAD:,}. Run: hf download {name} --local-dir FOLDER, "
            "and load that folder."
        )
    return Path(snapshot_download(name, revision=revision, allow_patterns=[*MODEL_FILES]))


def push(bundle: Bundle, repository: str, *, private: bool | None = None) -> str:
    """Upload the bundle to a repository on the Hugging Face Hub, created if necessary; return the URL of the upload.

    Args:
        bundle: The model. Files of an earlier model that it lacks stay, and nothing reads them.
        repository: ``org/name``.
        private: Visibility of a new repository; None is the default of the organization.

    Raises:
        HubError: The Hub refuses, requires a token with write access, or cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    require("huggingface_hub")
    from huggingface_hub import HfApi  # noqa: PLC0415  an extra

    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        folder = bundle.save(Path(scratch) / "model", name=repository)
        with _plain_errors(repository, "push to"), warnings.catch_warnings():
            # The item table of a model is a data file.
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            api = HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            message = f"Upload tastevec model, space {bundle.space}"
            return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message))


@contextmanager
def _plain_errors(name: str, action: str, revision: str | None = None) -> Iterator[None]:
    """Turn errors of the Hub client into one sentence, without the content of the request."""
    from huggingface_hub.errors import (  # noqa: PLC0415  an extra
        HfHubHTTPError,
        HFValidationError,
        RevisionNotFoundError,
    )

    try:
        yield
    except FormatError:  # ours
        raise
    except HFValidationError:
        raise FormatError(
            f"{name}: no such folder, and no valid name on the Hub. Expected a model folder, or org/name."
        ) from None
    except RevisionNotFoundError:
        raise FormatError(
            f"{name}: no revision {revision} on the Hub. Expected a branch, a tag or a commit."
        ) from None
    except HfHubHTTPError as error:
        raise _status_error(name, action, error.response.status_code) from None
    except Exception as error:  # of its HTTP client, a package that changed its name, and its threads
        if isinstance(error, OSError) and error.errno is not None:  # an error of the disk
            raise
        kind = type(error.__cause__ or error).__name__
        raise HubError(
            f"{name}: {_no_folder(action)}cannot reach the Hugging Face Hub to {action} it, or the connection broke ({kind}). Expected "
            "a connection. Check the network, HF_ENDPOINT and HF_HUB_OFFLINE, and run the command again."
        ) from None


def _status_error(name: str, action: str, status: int) -> FormatError | HubError:
    """Return the error for an HTTP status of the Hub."""
    if status in _UNAUTHORIZED:
        right = "read" if action == "load" else "write to"
        return HubError(
            f"{name}: {_no_folder(action)}the Hub denies access (status {status}). Expected a token that may {right} {name}. Set "
            "HF_TOKEN or run hf auth login, or correct the name."
        )
    if status == _NOT_FOUND and action == "load":
        return FormatError(
            f"{name}: no such folder, and no such model on the Hub. Expected a model folder, or org/name on the Hub."
        )
    return HubError(
        f"{name}: {_no_folder(action)}the Hub returned status {status}. Expected to {action} {name}. Try again later."
    )


def _no_folder(action: str) -> str:
    return "no such folder, and " if action == "load" else ""
