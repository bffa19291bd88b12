"""Models on the Hugging Face Hub: download and upload of a model folder.

huggingface_hub manages tokens itself: it reads them from ``HF_TOKEN`` or from ``hf auth login``. No token passes through this
module, and no text of a failed request, which can contain its headers, is in an error message.
"""

from __future__ import annotations

import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tastevec.errors import FormatError, HubError, MissingExtraError
from tastevec.extras import require
from tastevec.serving.bundle import Bundle, Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNAUTHORIZED: Final = (401, 403)
_NOT_FOUND: Final = 404


def open_bundle(name: Path | str, runtime: Runtime = "auto", *, revision: str | None = None) -> Bundle:
    """Return the bundle of a folder; or, where there is no such folder, of ``org/name`` on the Hugging Face Hub.

    Args:
        name: A folder, which has priority, or ``org/name``.
        runtime: See `Bundle.load`.
        revision: On the Hub: a branch, a tag or a commit; the main branch if not given.

    Raises:
        FormatError: It is neither; or the model is damaged or of another format version.
        HubError: The Hub requires a token, or cannot be reached and the model was not downloaded before.
    """
    folder, text = Path(name), name if isinstance(name, str) else name.as_posix()
    if folder.exists() or not _is_hub_name(text):
        return Bundle.load(folder, runtime)
    try:
        require("huggingface_hub")
    except MissingExtraError as error:
        raise FormatError(
            f"{text}: no such folder. Expected a model folder, or org/name on the Hugging Face Hub. {error}"
        ) from None
    from huggingface_hub import snapshot_download  # noqa: PLC0415  an extra

    with _plain_errors(
        text, "load", revision
    ):  # up to date where the Hub can be reached, else from its cache
        fetched = Path(snapshot_download(text, revision=revision))
    try:
        return Bundle.load(fetched, runtime)
    except FormatError as error:
        raise FormatError(
            f"{text}, downloaded from the Hugging Face Hub: {error} To download it again, remove {fetched.parents[1]}."
        ) from error


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


def _is_hub_name(name: str) -> bool:
    """Return whether the name looks like ``org/name``: one slash, between two names."""
    organization, slash, model = name.partition("/")
    return bool(organization.strip(".~") and slash and model) and "/" not in model and "\\" not in name


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
        f"{name}: the Hub returned status {status}. Expected to {action} {name}. Try again later."
    )


def _no_folder(action: str) -> str:
    return "no such folder, and " if action == "load" else ""
