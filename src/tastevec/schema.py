"""Names of files, columns and choices, format versions, and old values with new names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a catalog calls its items, for texts about one dataset: the singular and the plural.
ITEM_NOUN: Final = {"one": "item", "many": "items"}
MOVIELENS_NOUN: Final = {"one": "film", "many": "films"}

# Columns of written tables.
USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
RATING: Final = "rating"
TIMESTAMP: Final = "timestamp"  # Unix seconds
POSITION: Final = "position"  # index of the row in its source, from 0: orders equal timestamps
TITLE: Final = "title"
YEAR: Final = "year"
GENRES: Final = "genres"
TAG: Final = "tag"
WEIGHT: Final = "weight"
RELEVANCE: Final = "relevance"  # of a tag to an item, from 0 to 1
EVENT: Final = "event"
VECTOR: Final = "vector"
NORM: Final = "norm"  # of a user: the length of the embedding, whose direction is the vector
VECTOR_SOURCE: Final = "vector_source"
RANK: Final = "rank"  # from 1
SCORE: Final = "score"
PERCENTILE: Final = "percentile"
PROBABILITY: Final = "probability"
SIMILARITY: Final = "similarity"  # a cosine

# Begins of the names of item metadata columns that are read by their kind.
TEXT_COLUMN: Final = "text:"
NUMBER_COLUMN: Final = "number:"
VECTOR_COLUMN: Final = "vector:"

# What no user ID and no item ID may contain: Unicode category Cc, and its line and paragraph separators. Python, Arrow, DuckDB and Spark read this pattern alike.
CONTROL_CHARACTERS: Final = r"[\x00-\x1f\x7f-\x9f" "\u2028\u2029]"

# Metadata of a file of user or item vectors: how items are ranked.
METRIC: Final = "metric"
RANKS_ALIKE: Final = "inner product, cosine and Euclidean distance rank items alike"

# What the numbers of a recommendation mean, wherever they are described.
MEANINGS: Final[Mapping[str, str]] = {
    SCORE: "cosine of user and item vector, -1 to 1, comparable within one user",
    PERCENTILE: "share of the catalog with a lower score for this user, 0 to 100",
    PROBABILITY: "of a positive rating, if the user takes the item next, 0 to 1, comparable between users",
}

# Metadata of a file of aligned user vectors, in addition to space and horizon.
ALIGNED_FROM: Final = "aligned_from"
ALIGNED_COSINE: Final = "aligned_cosine"  # mean cosine of held-out items

# Names of item vector matrices.
GENOME_SVD: Final = (
    "genome-svd"  # the research note's: SVD of the genome, concatenated with genres, SVD again
)
CONTENT: Final = "content"  # tags, genres, year and title words
COLLABORATIVE: Final = "collaborative"  # factors of the training users' ratings
ADDED: Final = "content, added"  # vector source of an item added after training

# Files of a prepared dataset.
MANIFEST_FILE: Final = "manifest.json"
ITEMS_FILE: Final = "items.parquet"
USERS_FILE: Final = "users.parquet"
VECTORS_FILE: Final = "item_vectors.safetensors"
FEATURES_FILE: Final = "item_features.safetensors"
HISTORIES_FOLDER: Final = "histories"

# Files of a report about a prepared dataset.
DESCRIPTION_FILE: Final = "description.json"
PAGE_FILE: Final = "index.html"

# Files of a finished evaluation.
RESULTS_FILE: Final = "results.json"
PER_USER_FILE: Final = "per_user.parquet"
REPORT_FILE: Final = "report.html"
RANKINGS_FILE: Final = "rankings.parquet"
INPUTS_FILE: Final = "inputs.parquet"
HELD_OUT_FILE: Final = "held_out.parquet"

# Files of a model folder.
BUNDLE_FILE: Final = "bundle.json"
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
ENCODER_FILE: Final = "encoder.onnx"  # the encoder, for serving without PyTorch
COLD_START_FILE: Final = "item_cold_start.safetensors"
TAGS_FILE: Final = "tags.safetensors"
MAP_FILE: Final = "map.safetensors"
CALIBRATION_FILE: Final = "calibration.safetensors"

# Files of an alignment of two spaces.
ALIGNMENT_FILE: Final = "alignment.json"
ROTATION_FILE: Final = "rotation.safetensors"

# Files of a training run, in MODEL.training.
RUN_FILE: Final = "settings.json"

# All files of each kind of folder, by the one that marks it; with any other file, the folder is not replaced.
_CURVES: Final = "tensorboard/*tfevents*"
FOLDER_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    MANIFEST_FILE: (ITEMS_FILE, USERS_FILE, VECTORS_FILE, FEATURES_FILE, f"{HISTORIES_FOLDER}/*.npy"),
    DESCRIPTION_FILE: (PAGE_FILE,),
    RESULTS_FILE: (PER_USER_FILE, REPORT_FILE, RANKINGS_FILE, INPUTS_FILE, HELD_OUT_FILE),
    BUNDLE_FILE: (
        *(CONFIG_FILE, WEIGHTS_FILE, ENCODER_FILE, ITEMS_FILE, COLD_START_FILE, TAGS_FILE, MAP_FILE),
        CALIBRATION_FILE,
        *(
            "README.md",
            "closed_form.py",
            "config.py",
            "encoder.py",
            "geometry.py",
            "list_solver.py",
            "note.py",
        ),
        _CURVES,
    ),
    ALIGNMENT_FILE: (ROTATION_FILE, "vectors.parquet"),
    RUN_FILE: ("checkpoint-*/*", "checksums-*.json", "closed-form.safetensors", _CURVES),
}

# Format versions: raised when an older reader could misread what is written.
PREPARED_FORMAT: Final = 2
ALIGNMENT_FORMAT: Final = 2
BUNDLE_FORMAT: Final = 3
RESULTS_FORMAT: Final = 4

# What the components of the closed form are called where they are shown.
COMPONENTS: Final[Mapping[str, str]] = {
    "whole": "item regression",
    "lagged": "lagged item regression",
    "short": "short lagged item regression",
    "factors": "iALS",
    "wide": "wide iALS",
}

# What to do with a damaged folder.
PREPARE_AGAIN: Final = "Run tastevec prepare again."
TRAIN_AGAIN: Final = "Copy the model folder again, or run tastevec train again."

# A rating is positive from this share of the rating range: 4 stars of 0.5 to 5 is (4 - 0.5) / 4.5 = 0.78,
# of 1 to 5 it is (4 - 1) / 4 = 0.75, so 0.75 means 4 stars on every MovieLens scale.
POSITIVE_FROM: Final = 0.75

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")  # the codes 0, 1, 2 in users.parquet
SplitStrategy = Literal["hash", "liang", "temporal"]
Preset = Literal["taste", "bert-cosine", "direction"]
TaskId = Literal["top-rated", "random-20pct", "next-item", "last-20pct", "global-temporal"]
Horizon = Literal["next", "overall"]
DISLIKE_WEIGHT: Final = "dislike_weight"
DEFAULT_DISLIKE_WEIGHT: Final = 0.4  # of ratings below the middle of the scale, from 0 to 1
FeedbackKind = Literal["explicit", "implicit", "weighted", "events"]
Repeats = Literal["latest", "sum", "strongest", "keep"]
Order = Literal["timestamp", "file", "none"]
Unknown = Literal["warn", "ignore", "raise"]  # what happens to interactions with unknown items

_RENAMED: Final[Mapping[tuple[str, str], str]] = {
    ("preset", "seed"): "bert-cosine",
    ("item_vectors", "note"): GENOME_SVD,
    ("split_strategy", "time"): "temporal",
    ("task", "best-rated"): "top-rated",
    ("task", "fold-in"): "random-20pct",
    ("task", "next-liked"): "next-item",
    ("task", "last-20%"): "last-20pct",
    ("task", "after-cut"): "global-temporal",
}


def renamed(name: str, value: object) -> str | None:
    """Return the message for an old value of a setting; None if the value has no new name.

    Examples:
        >>> renamed("preset", "seed")
        "preset 'seed' is now 'bert-cosine'"
    """
    new = _RENAMED.get((name, str(value)))
    return None if new is None else f"{name} {value!r} is now {new!r}"
