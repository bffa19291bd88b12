"""The model card: data, terms, use, limits and measured results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from tastevec.data.releases import RELEASES, TERMS
from tastevec.data.value_scale import TOUCHED
from tastevec.nouns import ItemNoun
from tastevec.schema import POSITIVE_FROM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tastevec.data.inputs import InputConfig
    from tastevec.data.value_scale import ValueScale

_HERE: Final = "this folder"


def model_card(facts: dict[str, Any], reading: InputConfig, item_ids: NDArray[Any], name: str) -> str:
    """Return the README of a model in Markdown, with the header that the Hugging Face Hub reads.

    Args:
        facts: The facts of the bundle: data, settings, validation metrics, space.
        reading: The encoder's input layout.
        item_ids: (N,) the catalog.
        name: The name under which the examples load the model: a folder, or ``org/name`` on the Hub.
    """
    settings, data = facts["settings"], facts["data"]
    added = facts.get("added", {}).get("items", 0)
    noun = ItemNoun.of(data)
    later = f"\n{noun.counted(added)} more were added after training, without a rating." if added else ""
    # Made-up ratings of three items that the model knows.
    scale = reading.scale
    values = (scale.high, scale.low, scale.high) if scale.kind == "explicit" else (scale.positive_from,) * 3
    example = repr(list(zip(item_ids[:3].tolist(), map(float, values), strict=False)))
    return f"""{_header(data["name"])}
# tastevec model ({settings["preset"]} preset)

Maps the ratings of a user to a user embedding of {settings["dim"]} dimensions, in the space of the item embeddings.
Trained by tastevec {facts["tastevec"]} on {data["train_users"]:,} users of {data["name"]} ({noun.counted(data["items"])}).{later}

## Usage

{_with_tastevec(name, example, settings)}
{_without_tastevec(reading, name, example, settings)}
{_validation_metrics(facts)}
{_intended_use(facts, len(item_ids))}
{_terms(data["name"])}
## Settings

{chr(10).join(f"- `{name}`: {value}" for name, value in settings.items())}
"""


def _header(data: str) -> str:
    """Return what the Hub indexes, without a claim that cannot be looked up."""
    known = data in RELEASES
    license_ = "license: other\nlicense_name: movielens-terms" if known else "license: unknown"
    datasets = f"\ndatasets: [{data}]" if known else ""
    return f"""---
library_name: tastevec
{license_}{datasets}
tags: [recommender-systems, user-embeddings, feature-extraction, custom_code]
---
"""


def _with_tastevec(name: str, example: str, settings: Mapping[str, Any]) -> str:
    following = "is the same" if settings["preset"] == "direction" else "is order-aware"
    return f"""With tastevec (`pip install 'tastevec[serve]'`), which runs no code from the model folder:

```python
import tastevec as tv

model = tv.load("{name}")
ratings = {example}  # of one user, oldest first: item_id and rating
vector = model.encode(ratings)  # horizon overall; horizon="next" {following}
items = model.recommend(ratings, k=10)
```
"""


def _without_tastevec(reading: InputConfig, name: str, example: str, settings: Mapping[str, Any]) -> str:
    """Return how to compute the same vector without tastevec."""
    imports = "" if name == _HERE else "from huggingface_hub import snapshot_download\n"
    folder = f'"{name}"' if name == _HERE else f'snapshot_download("{name}")'
    program = _with_numpy if settings["preset"] == "direction" else _with_transformers
    return program(reading, imports, folder, example, settings["dim"])


def _with_numpy(reading: InputConfig, imports: str, folder: str, example: str, dim: int) -> str:
    """Return the formula of `DirectionEncoder` as a program."""
    return f"""Without tastevec, with NumPy, safetensors and pyarrow.

```python
{imports}import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

folder = {folder}
weights = load_file(f"{{folder}}/model.safetensors")
item_vectors = weights["items.weight"]  # (n_items, {dim}), of unit length
item_ids = pq.read_table(f"{{folder}}/items.parquet")["item_id"].to_pylist()
rows = {{item: row for row, item in enumerate(item_ids)}}
ratings = {example}
ratings = ratings[-{reading.max_history}:]  # it reads no more, and in no order
values = np.array([value for _, value in ratings], np.float32)
items, n = np.array([rows[item] for item, _ in ratings]), len(ratings)
bins = np.rint(({_share(reading.scale)}) * {reading.scale.n_bins - 1}).astype(int)
grades = weights["grades"][:, bins]  # (3, n): of the positives, of all, by rating
sums = grades @ item_vectors[items]
means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
known = np.concatenate([means.ravel(), [1, np.log1p(n)]])
own = weights["from_items"][items] + grades[2][:, None] * weights["from_grades"][items]
vector = known @ weights["from_means"] + own.sum(axis=0) / np.sqrt(n)
following = overall = (vector / np.linalg.norm(vector))[None]  # (1, {dim}), one vector for both horizons
scores = overall @ item_vectors.T  # (1, n_items), cosines: higher is better
```
"""


def _with_transformers(reading: InputConfig, imports: str, folder: str, example: str, dim: int) -> str:
    """Return how to compute the same vector with transformers alone."""
    scale, most = reading.scale, reading.max_history
    order = "ratings = sorted(ratings, key=lambda rated: rows[rated[0]])\n" if reading.order == "item" else ""
    end = f"-{most}:" if reading.truncate == "newest" else f":{most}"
    parts = {"": end} | (
        {"overall_": f"-{reading.max_history_overall}:"} if reading.max_history_overall else {}
    )
    if reading.order == "item" and scale.kind == "explicit":  # the research note's model
        ratings_input = """off = values - values.mean()  # from the mean of this user; scaled to -1 to 1
inputs = {"normalized_ratings": off / np.maximum(np.where(off > 0, off.max(), -off.min()), 1e-5)}
"""
    elif reading.order == "item":
        ratings_input = f"""inputs = {{"normalized_ratings": 2 * ({_share(scale)}) - 1}}
"""
    else:
        ratings_input = f"""inputs = {{"rating_bins": np.rint(({_share(scale)}) * {scale.n_bins - 1}).astype(int)}}
"""
    return f"""Without tastevec, with transformers, torch and pyarrow. `trust_remote_code` runs the Python files next to the weights. They are the
network of tastevec; read them first if you do not trust the source of this copy.

```python
{imports}import numpy as np
import pyarrow.parquet as pq
from transformers import AutoModel

folder = {folder}
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
item_ids = pq.read_table(f"{{folder}}/items.parquet")["item_id"].to_pylist()
rows = {{item: row for row, item in enumerate(item_ids)}}
ratings = {example}
{order}values = np.array([[value for _, value in ratings]], np.float32)
{ratings_input}inputs["items"] = np.array([[rows[item] for item, _ in ratings]])
arrays = {{}}
{_read(parts, reading)}following, _ = model.user_vectors(model.encode("next", **arrays))  # (1, {dim}), of unit length: order-aware
overall, norms = model.user_vectors(model.encode("overall", **arrays))  # order-free; norms (1,) are the lengths before
scores = overall @ model.item_vectors.T  # (1, n_items), cosines: higher is better
```
"""


def _read(parts: dict[str, str], reading: InputConfig) -> str:
    """Return the lines that take what the model reads of each input."""
    lines = []
    for part, end in parts.items():
        lines += [
            f'arrays |= {{"{part}" + name: row[:, {end}] for name, row in inputs.items()}}  # it reads no more',
            f'arrays["{part}lengths"] = np.array([arrays["{part}items"].shape[1]])',
        ]
    if reading.pad == "full":
        lines += [
            "for name in inputs:  # it was trained to see its padding",
            f'    arrays[name] = np.pad(arrays[name], ((0, 0), (0, {reading.max_history} - arrays["lengths"][0])))',
        ]
    return "".join(f"{line}\n" for line in lines)


def _share(scale: ValueScale) -> str:
    """Return `ValueScale.share` of positive and negative values ``values``, as an expression of NumPy."""
    positive, full = scale.positive_from, 1 - POSITIVE_FROM
    if scale.kind == "explicit":
        if scale.has_default_positive:
            return f"(values - {scale.low}) / {scale.high - scale.low}"
        below = f"{POSITIVE_FROM} * (values - {scale.low}) / {positive - scale.low}"
        above = f"{POSITIVE_FROM} + {full} * (values - {positive}) / {max(scale.high - positive, 1)}"
        if positive == scale.high:
            above = "1.0"
    else:
        below = f"np.where(values < 0, 0.0, {TOUCHED})"
        span = math.log(scale.top / positive)
        level = (
            f"np.minimum(np.log(np.maximum(values, {positive}) / {positive}) / {span}, 1)" if span else "1.0"
        )
        above = f"{POSITIVE_FROM} + {full} * {level}"
    return f"np.where(values >= {positive}, {above}, {below})"


def _validation_metrics(facts: dict[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in facts["validation"].items())
    return f"""## Validation metrics

| metric | value |
|---|---|
{rows}

Constants and epoch were chosen on these validation users, so the metrics are optimistic. For metrics on held-out test users, with baselines and
95 % confidence intervals, run `tastevec evaluate MODEL --data PREPARED --out results` on the data of the training, and put its table here.
"""


def _intended_use(facts: dict[str, Any], items: int) -> str:
    data = facts["data"]
    return f"""## Intended use

Recommendation, similar users and items, and tag explanations, for users who are not in the training data. For research, teaching, and
services whose operators evaluated it on their own users.

## Limits and uses to avoid

- **Decisions about users**: work, credit, insurance, health, politics or location. A user embedding is no evidence of any of these.
- **Identification of users.** The model stores no user, but was fitted to {data["train_users"]:,} users; an embedding of a user is personal data.
- **Unknown items.** The catalog has {ItemNoun.of(data).counted(items)}; others are refused or ignored until `tastevec add-items` adds them from their metadata.
- **Other populations.** The training users rated {ItemNoun.of(data).many} on one site at one time. Popular {ItemNoun.of(data).many} are recommended more often than other users like
  them, rare items less often.
- **Comparison with vectors of another model.** Vectors are in the space `{facts["space"]}`; vectors of another training, even on the same data, are not
  comparable. `tastevec align` rotates one space to the other, and reports the fit.
"""


def _terms(data: str) -> str:
    release = RELEASES.get(data)
    if release is None:
        return f"""## Terms

The code is part of tastevec, under the MIT license. The weights and item embeddings were fitted to {data}, which is no release that tastevec knows.
Before you share this model, find the terms of these data and state them here.
"""
    return f"""## Terms

The code is part of tastevec, under the MIT license. The weights and item embeddings were fitted to MovieLens ({data}), collected by GroupLens
Research at the University of Minnesota: {TERMS}. The same terms hold for what was fitted to the data.

## Citation

Data: {release.citation}

Method: tastevec (its CITATION.cff), version as above.
"""
