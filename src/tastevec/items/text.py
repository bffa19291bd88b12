"""Text embeddings: the texts of items, read by a BERT sentence encoder and kept in the user's cache.

Dimensions: N items, U different texts, D dimensions of the encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tastevec.data.files import atomic_file, sha256_of
from tastevec.errors import MissingExtraError, SettingsError
from tastevec.extras import is_hub_name, is_installed
from tastevec.schema import TEXT_COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

DEFAULT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
WORDS_ONLY: Final = "none"  # the value of ``text_model`` that reads words
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"  # never a pickle
_FILES = (
    _CONFIG,
    _WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
_MAX_TOKENS = 256
_SHARD = 2_000  # texts after which they are kept, so that an interruption loses a minute
# Of a core, together 49 texts of 47 words a second.
_SECONDS_A_TEXT, _SECONDS_A_WORD = 0.008, 0.00026
_HASH_BYTES = 16


@dataclass(frozen=True)
class TextEncoder:
    """A BERT sentence encoder in a local folder.

    Attributes:
        name: The last part of its path or name.
        folder: Its config, weights and tokenizer.
        digest: Of its weights: embeddings of other weights are others.
    """

    name: str
    folder: Path
    digest: str

    @property
    def label(self) -> str:
        """What a model stores: the name, and the begin of the digest."""
        return f"{self.name} {self.digest[:8]}"


def find_encoder(text_model: str | None) -> TextEncoder | str:
    """Return the encoder, or why item texts are read as words, as a sentence.

    Nothing is downloaded unless ``text_model`` names a model of the Hugging Face Hub.

    Args:
        text_model: A folder, a name on the Hub, ``none``, or None for the local copy of `DEFAULT_MODEL`, if there is one.

    Raises:
        SettingsError: The folder is no sentence encoder, or the name cannot be found.
        MissingExtraError: A model is stated, and torch or transformers are not installed.
    """
    if text_model == WORDS_ONLY:
        return "read as words (--text-model none)"
    missing = [library for library in ("torch", "transformers") if not is_installed(library)]
    if missing and text_model is None:
        return f"read as words: {' and '.join(missing)} are not installed. For embeddings: pip install 'tastevec[text]'"
    if missing:
        raise MissingExtraError(missing[0], "text")
    if text_model is None:
        folder = _snapshot(DEFAULT_MODEL, local=True)
        if folder is None:
            return f"read as words: no local copy of {DEFAULT_MODEL}. For embeddings: --text-model FOLDER, or --text-model {DEFAULT_MODEL} to download it"
        return _encoder(folder, DEFAULT_MODEL)
    if Path(text_model).is_dir():
        return _encoder(Path(text_model), Path(text_model).resolve().name)
    found = _snapshot(text_model, local=False) if is_hub_name(text_model) else None
    if found is None:
        raise SettingsError(
            f"--text-model {text_model}: not found as a local folder or on the Hugging Face Hub. Expected a BERT sentence encoder in "
            "safetensors. Download it where there is a network and name its folder, or use --text-model none"
        )
    return _encoder(found, text_model)


def _snapshot(name: str, *, local: bool) -> Path | None:
    """Return the folder of a model of the Hub; None where it is not there."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  an extra
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415  as above

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES), local_files_only=local))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
        return None


def _encoder(folder: Path, name: str) -> TextEncoder:
    found = [f"no {file}" for file in (_CONFIG, _WEIGHTS) if not (folder / file).is_file()]
    try:
        kind = found or json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = "unknown"
    if kind != "bert":
        raise SettingsError(
            f"--text-model {folder}: {found[0] if found else f'the model is {kind}'}. Expected a BERT sentence encoder in "
            "safetensors. Name another folder, or use --text-model none"
        )
    return TextEncoder(name.rpartition("/")[2], folder, sha256_of(folder / _WEIGHTS))


def embed_texts(
    texts: pa.Array | pa.ChunkedArray,
    encoder: TextEncoder,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the embeddings of texts, (N, D) of length 1; zeros where a text is null or empty.

    An embedding depends on its text and the encoder alone, and is computed once: it is kept in the user's cache.

    Args:
        texts: N texts.
        encoder: From `find_encoder`.
        progress: Called with the texts that are done, and all that had to be computed.

    Raises:
        SettingsError: The encoder cannot be loaded.
    """
    encoded = _known(texts).dictionary_encode()
    different: list[str] = encoded.dictionary.to_pylist()
    cache = _Cache.of(encoder)
    missing = [text for text in different if _hash(text) not in cache.known]
    model = _Model.load(encoder) if missing else None
    for start in range(0, len(missing) if model else 0, _SHARD):
        some = missing[start : start + _SHARD]
        assert model is not None
        cache.keep(some, model.encode(some))
        if progress:
            progress(start + len(some), len(missing))
    if not different:
        return np.zeros((len(encoded), 0), np.float32)
    vectors = np.stack([cache.known[_hash(text)] for text in different])  # (U, D)
    rows = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.where(rows[:, None] >= 0, vectors[rows], np.float32(0))


def _known(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the texts, null where empty."""
    known = pc.if_else(pc.equal(texts, ""), None, texts)
    return known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known


def _different(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pc.unique(_known(texts)).drop_null()


def expected_seconds(texts: pa.Array | pa.ChunkedArray, encoder: TextEncoder) -> tuple[int, float]:
    """Return how many of the texts are not in the cache, and how many seconds they will take on this machine."""
    known = _Cache.of(encoder).known
    new = pa.array([text for text in _different(texts).to_pylist() if _hash(text) not in known], pa.string())
    words = pc.sum(pc.count_substring_regex(new, r"\S+")).as_py() or 0
    return len(new), (len(new) * _SECONDS_A_TEXT + words * _SECONDS_A_WORD) / _cores()


def text_notes(items: pa.Table, text_model: str | None) -> tuple[str, ...]:
    """Return how the texts of the items will be read, and how long that takes, as sentences for the report.

    Raises:
        SettingsError: The encoder cannot be found.
        MissingExtraError: A model is stated, and torch or transformers are not installed.
    """
    names = _text_columns(items)
    encoder = find_encoder(text_model) if names else ""
    if isinstance(encoder, str):
        return (encoder,) if encoder else ()
    notes = []
    for name in names:
        new, seconds = expected_seconds(items[name], encoder)
        known = f"{len(_different(items[name])) - new:,} known, {new:,} new"
        label = name.removeprefix(TEXT_COLUMN)
        notes.append(f"{label}: embeddings by {encoder.name}; {known}, about {max(seconds, 1):,.0f} s")
    return tuple(notes)


def with_embeddings(
    items: pa.Table, text_model: str | None, progress: Callable[[int, int], None] | None = None
) -> tuple[pa.Table, str]:
    """Return items whose texts are embeddings, and the label of the encoder.

    Without an encoder the texts stay as they are, to be read as words, and the label is empty.

    Args:
        items: As `tastevec.data.intake.items.read_items` returns them.
        text_model: As for `find_encoder`.
        progress: As for `embed_texts`.

    Raises:
        SettingsError: The encoder cannot be found or loaded.
        MissingExtraError: A model is stated, and torch or transformers are not installed.
    """
    names = _text_columns(items)
    encoder = find_encoder(text_model) if names else ""
    if isinstance(encoder, str):
        return items, ""
    for name in names:
        vectors = embed_texts(items[name], encoder, progress)
        there = vectors.any(axis=1)
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.ravel()), vectors.shape[1], mask=pa.array(~there)
        )
        items = items.set_column(items.column_names.index(name), name, lists)
    return items, encoder.label


def _text_columns(items: pa.Table) -> list[str]:
    return [name for name in items.column_names if name.startswith(TEXT_COLUMN)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, eq=False)
class _Cache:
    """Embeddings of one encoder: files of hashes and vectors, each written once, in any number."""

    folder: Path
    known: dict[bytes, NDArray[np.float32]]

    @classmethod
    def of(cls, encoder: TextEncoder) -> _Cache:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "tastevec" / "texts" / encoder.digest[: 2 * _HASH_BYTES]
        known: dict[bytes, NDArray[np.float32]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            known.update(_shard(path))
        return cls(folder, known)

    def keep(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keep and write the embeddings of texts; without a writable folder they are computed again the next time."""
        self.known.update(zip(map(_hash, texts), vectors, strict=True))
        hashes = b"".join(map(_hash, texts))
        arrays: dict[str, NDArray[Any]] = {
            "hashes": np.frombuffer(hashes, np.uint8).reshape(-1, _HASH_BYTES),
            "vectors": vectors,
        }
        with (
            suppress(OSError),
            atomic_file(self.folder / f"{hashlib.sha256(hashes).hexdigest()[:32]}.safetensors") as path,
        ):
            save_file(arrays, path)


def _shard(path: Path) -> dict[bytes, NDArray[np.float32]]:
    """Return the embeddings of a file of the cache; none of a damaged one, which are computed again."""
    try:
        arrays = load_file(path)
        hashes, vectors = arrays["hashes"], arrays["vectors"]
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}
    whole = hashes.ndim == vectors.ndim == 2 and len(hashes) == len(vectors) and np.isfinite(vectors).all()  # noqa: PLR2004  rows
    return dict(zip(map(bytes, hashes), vectors, strict=True)) if whole else {}


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:_HASH_BYTES]


@dataclass(frozen=True, eq=False)
class _Model:
    """A loaded encoder and its tokenizer."""

    bert: Any
    tokenizer: Any

    @classmethod
    def load(cls, encoder: TextEncoder) -> _Model:
        from transformers import AutoTokenizer, BertModel  # noqa: PLC0415  an extra
        from transformers.utils import logging  # noqa: PLC0415  as above

        has_bar = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # loading takes a second
        try:
            bert = BertModel.from_pretrained(encoder.folder, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(encoder.folder)
        except (OSError, ValueError, SafetensorError) as error:
            first = str(error).partition("\n")[0][:200]
            raise SettingsError(
                f"--text-model {encoder.folder}: cannot be loaded ({first}). Expected a BERT sentence encoder with its tokenizer. "
                "Name another folder, or use --text-model none"
            ) from error
        finally:
            if has_bar:
                logging.enable_progress_bar()
        return cls(bert.eval(), tokenizer)

    @property
    def size(self) -> int:
        """D, the dimensions of an embedding."""
        return int(self.bert.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts, (U, D): the mean over the last states of at most 256 tokens, of length 1."""
        import torch  # noqa: PLC0415  an extra

        def one(text: str) -> NDArray[np.float32]:
            tokens = self.tokenizer(text, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
            with torch.inference_mode():
                mean = self.bert(**tokens).last_hidden_state[0].mean(dim=0)
            vector: NDArray[np.float32] = (mean / mean.norm().clamp_min(1e-9)).numpy()
            return vector

        # One text at a time, on one thread: in a batch, an embedding would depend on the other texts in its last bits.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(_cores()) as pool:
                return np.stack(list(pool.map(one, texts)))
        finally:
            torch.set_num_threads(threads)
