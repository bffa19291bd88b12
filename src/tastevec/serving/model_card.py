"""The model card: data, terms, use, limits and measured results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tastevec.data.releases import RELEASES, TERMS
from tastevec.nouns import ItemNoun
from tastevec.serving.card_program import program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tastevec.data.inputs import InputConfig

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
{program(facts, reading, None if name == _HERE else name, example)}
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
