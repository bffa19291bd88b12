"""Models on the Hugging Face hub: fetched as a folder, pushed as one.

Tokens are huggingface_hub's own business: it reads them from ``HF_TOKEN`` or from where ``hf auth login`` keeps them. None passes
through here, and what the library says of a request that failed, which may show its headers, is not repeated.
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

__all__ = ["open_bundle", "push"]

_NO_RIGHT: Final = (401, 403)
_NOT_THERE: Final = 404


def open_bundle(name: Path | str, runtime: Runtime = "auto", *, revision: str | None = None) -> Bundle:
    """The bundle of a folder; or, where there is no such folder and the name has one slash, of the Hugging Face hub.

    Args:
        name: A folder, which always wins, or ``org/name``.
        runtime: What computes; see `Bundle.load`.
        revision: Of the hub: a branch, a tag or a commit; its main branch if not given.

    Raises:
        FormatError: It is neither; or the bundle is damaged or of another format version.
        HubError: The hub asks for a token, or cannot be reached and the model was not fetched before.
    """
    folder, said = Path(name), name if isinstance(name, str) else name.as_posix()
    if folder.exists() or not _may_be_on_the_hub(said):
        return Bundle.load(folder, runtime)
    try:
        require("huggingface_hub")
    except MissingExtraError as error:
        raise FormatError(
            f"there is no folder {said} here; expected a folder that tastevec train wrote, or org/name of the Hugging Face hub, "
            f"which cannot be asked: {error}"
        ) from None
    fetched = _fetched(said, revision)
    try:
        return Bundle.load(fetched, runtime)
    except FormatError as error:
        raise FormatError(
            f"{said}, fetched from the Hugging Face hub, is no whole model of this version: {error}. To fetch it anew, remove "
            f"{fetched.parents[1]}; if that changes nothing, tell who pushed it"
        ) from error


def push(bundle: Bundle, repository: str, *, private: bool | None = None) -> str:
    """Write the bundle to a repository of the Hugging Face hub, which is made if it is not there; the address of what was written.

    Args:
        bundle: All of it, with a card that loads it from there. Files of an earlier one that it lacks stay, and nothing reads
            them.
        repository: ``org/name``.
        private: Of a new repository: whether others see it; None is what the organisation says.

    Raises:
        HubError: The hub refuses, asks for a token that may write, or cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    require("huggingface_hub")
    from huggingface_hub import HfApi  # noqa: PLC0415  an extra

    with tempfile.TemporaryDirectory(prefix="tastevec-") as scratch:
        folder = bundle.save(Path(scratch) / "model", name=repository)
        with _plain_errors(repository, "push to"), warnings.catch_warnings():
            # A model's films are a table, and belong to it.
            warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
            api = HfApi()
            api.create_repo(repository, private=private, exist_ok=True)
            message = f"A taste encoder, space {bundle.space}"
            return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message))


def _may_be_on_the_hub(name: str) -> bool:
    """Whether it looks like ``org/name``: one slash, with something on either side of it."""
    organisation, slash, model = name.partition("/")
    return bool(organisation.strip(".~") and slash and model) and "/" not in model and "\\" not in name


def _fetched(name: str, revision: str | None) -> Path:
    """The folder in huggingface_hub's cache that holds the model as it is now on the hub, or as it last was."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  an extra

    with _plain_errors(name, "load", revision):
        return Path(snapshot_download(name, revision=revision))


@contextmanager
def _plain_errors(name: str, doing: str, revision: str | None = None) -> Iterator[None]:
    """What goes wrong at the hub, in one sentence that says what to do, and without what the request held."""
    from huggingface_hub.errors import (  # noqa: PLC0415  an extra
        HfHubHTTPError,
        HFValidationError,
        RevisionNotFoundError,
    )

    missing = f"there is no folder {name} here, and the Hugging Face hub" if doing == "load" else "the hub"
    try:
        yield
    except HFValidationError:
        raise FormatError(
            f"{missing} takes no such name; expected a folder that tastevec train wrote, or org/name"
        ) from None
    except RevisionNotFoundError:
        raise FormatError(
            f"{missing} has no revision {revision} of {name}; expected a branch, a tag or a commit: look at its list there"
        ) from None
    except HfHubHTTPError as error:
        raise _refused(name, doing, missing, error.response.status_code) from None
    except OSError as error:
        if error.errno is not None:  # the disk's
            raise
        raise _unreachable(name, doing, error) from None
    except Exception as error:  # noqa: BLE001  its client's own, of a package that changed its name, and its threads'
        raise _unreachable(name, doing, error) from None


def _refused(name: str, doing: str, missing: str, status: int) -> FormatError | HubError:
    """What the hub's answer means."""
    if status in _NO_RIGHT:
        right = "read" if doing == "load" else "write to"
        perhaps = f"{missing} does not show {name} to everybody" if doing == "load" else f"{missing} refuses"
        return HubError(
            f"{perhaps} (status {status}); expected a token that may {right} {name}: set HF_TOKEN or run hf auth login; "
            "or the name is misspelt"
        )
    if status == _NOT_THERE and doing == "load":
        return FormatError(
            f"{missing} has no {name}; expected a folder that tastevec train wrote, or org/name of a model there: look at the spelling"
        )
    return HubError(f"the Hugging Face hub answered {status} to the wish to {doing} {name}; try again later")


def _unreachable(name: str, doing: str, error: Exception) -> HubError:
    kept = ", and it was not fetched whole before" if doing == "load" else ""
    here = f"there is no folder {name} here, and " if doing == "load" else ""
    wanted = "expected a folder that tastevec train wrote, or the hub: " if doing == "load" else ""
    kind = type(error.__cause__ or error).__name__
    return HubError(
        f"{here}the Hugging Face hub cannot be reached to {doing} {name}, or broke off ({kind}){kept}; {wanted}look at the network, "
        "HF_ENDPOINT and HF_HUB_OFFLINE, and run the same again"
    )
