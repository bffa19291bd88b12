"""The model card: data, terms, use, limits and measured results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tastevec.data.releases import RELEASES, TERMS

if TYPE_CHECKING:
    from tastevec.serving.bundle import Bundle

__all__ = ["model_card"]

_HERE: Final = "this folder"


def model_card(bundle: Bundle, space: str, name: str) -> str:
    """The README of a bundle, in Markdown, with the header that the Hugging Face hub reads.

    Args:
        bundle: Of which it tells.
        space: The name of its vector space.
        name: As which the examples load it: a folder, or ``org/name`` on the hub.
    """
    settings, data = bundle.facts["settings"], bundle.facts["data"]
    added = bundle.facts.get("added", {}).get("items", 0)
    later = (
        f"\nIt knows {added:,} films more, added later and placed by what is said of them." if added else ""
    )
    return f"""{_header(data["name"])}
# A taste encoder ({settings["preset"]} preset)

Reads what a person rated and answers with {settings["dim"]} numbers in the space of the film vectors.
Trained by tastevec {bundle.facts["tastevec"]} on {data["train_users"]:,} people of {data["name"]} ({data["items"]:,} films).{later}

## How to use it

{_with_tastevec(bundle, name)}
{_without_tastevec(bundle, name)}
{_measured(bundle)}
{_intended(bundle, space)}
{_terms(data["name"])}
## Settings

{chr(10).join(f"- `{name}`: {value}" for name, value in settings.items())}
"""


def _header(data: str) -> str:
    """What the hub indexes: nothing that could not be looked up is claimed."""
    known = data in RELEASES
    licence = "license: other\nlicense_name: movielens-terms" if known else "license: unknown"
    datasets = f"\ndatasets: [{data}]" if known else ""
    return f"""---
library_name: tastevec
{licence}{datasets}
tags: [recommender-systems, user-embeddings, feature-extraction, custom_code]
---
"""


def _with_tastevec(bundle: Bundle, name: str) -> str:
    return f"""With tastevec (`pip install 'tastevec[serve]'`), which runs no code out of the model:

```python
import tastevec as tv

model = tv.load("{name}")
ratings = {_example(bundle)}  # of one person, oldest first: item_id and rating
vector = model.encode(ratings)
films = model.recommend(ratings, k=10)
```
"""


def _without_tastevec(bundle: Bundle, name: str) -> str:
    """The same vector by transformers alone, from film rows and ratings."""
    reading = bundle.reading
    scale, most = reading.scale, reading.max_history
    brought = "" if name == _HERE else "from huggingface_hub import snapshot_download\n"
    folder = f'"{name}"' if name == _HERE else f'snapshot_download("{name}")'
    order = "ratings = sorted(ratings, key=lambda rated: rows[rated[0]])\n" if reading.order == "item" else ""
    end = f"[-{most}:]" if reading.truncate == "newest" else f"[:{most}]"
    padded = (
        f"told = {{name: torch.nn.functional.pad(row, (0, {most} - len(ratings))) for name, row in told.items()}}"
        "  # it was trained to see its padding\n"
        if reading.pad == "full"
        else ""
    )
    return f"""Without tastevec, by transformers, torch and pyarrow. `trust_remote_code` runs the Python files that lie beside the weights: they are
tastevec's own network, and who does not know where this copy comes from should read them first.

```python
{brought}import pyarrow.parquet as pq
import torch
from transformers import AutoModel

folder = {folder}
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
films = pq.read_table(f"{{folder}}/items.parquet")["item_id"].to_pylist()
rows = {{item: row for row, item in enumerate(items)}}
ratings = {_example(bundle)}
{order}ratings = ratings{end}  # more are not read in order
stars = torch.tensor([[stars for _, stars in ratings]])
off = stars - stars.mean()  # from this person's mean; -1 to 1 in what follows
told = {{
    "items": torch.tensor([[rows[film] for film, _ in ratings]]),
    "strengths": off / torch.where(off > 0, off.max(), -off.min()).clamp(min=1e-5),
    "rating_bins": ((stars - {scale.low}) / {scale.high - scale.low} * {scale.levels - 1}).round().long(),
}}
{padded}answer = model(**told, lengths=torch.tensor([len(ratings)]))
answer.next, answer.overall  # (1, {bundle.model.table.shape[1]}) each: what comes next, and the taste as a whole
```
"""


def _example(bundle: Bundle) -> str:
    """Ratings of one person, of films that the model knows."""
    scale = bundle.reading.scale
    stars = (float(scale.high), float(scale.low), float(scale.high))
    return repr(list(zip(bundle.item_ids[:3].tolist(), stars, strict=False)))


def _measured(bundle: Bundle) -> str:
    chosen = bundle.facts.get("validation") or {}
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in chosen.items())
    return f"""## Measured on validation people, who chose the epoch

| measure | value |
|---|---|
{rows}

These people chose the epoch, so the values flatter. Nobody else was asked when this card was written. For people who chose nothing,
beside floors and baselines and with intervals, run `tastevec evaluate MODEL --data PREPARED --out results` on the data that it
was prepared from, and put that table here.
"""


def _intended(bundle: Bundle, space: str) -> str:
    data = bundle.facts["data"]
    return f"""## What it is for

Recommending films, finding people and films that are alike, and describing a taste in tags; for people whom it has never seen, from their
ratings. Research, teaching, and services whose owners have measured it on people of their own.

## What it is not for, and what it cannot do

- **Decisions about people**: their work, credit, insurance, health, politics or whereabouts. A vector of taste says something of a person and proves nothing.
- **Naming people.** It stores nobody, but was fitted to {data["train_users"]:,} people; a vector that it makes of somebody is personal data.
- **Films that it does not know.** Its catalogue has {len(bundle.items):,}; others are refused or left out, until `tastevec add-items` places them by what is said of them.
- **Everybody.** It learned from those who rate films at one place and time. What many of them rated is recommended more often than it is liked elsewhere,
  and what few of them rated seldom.
- **Comparing its vectors with another model's.** They live in the space `{space}`; those of a model trained apart, even on the same data, mean other things.
  `tastevec align` maps one onto the other, and says how badly it fits.
"""


def _terms(data: str) -> str:
    release = RELEASES.get(data)
    if release is None:
        return f"""## Terms

The code is tastevec's, under the MIT licence. The weights and the film table were fitted to {data}, which is no release that tastevec knows: whoever
passes this model on must know under which terms those data may be used, and say so here.
"""
    return f"""## Terms

The code is tastevec's, under the MIT licence. The weights and the film table were fitted to MovieLens ({data}), collected by GroupLens Research at the
University of Minnesota: {TERMS}. Use what was fitted to the data under the same terms.

## How to cite

The data: {release.citation}

The method: tastevec (its CITATION.cff), version as above.
"""
