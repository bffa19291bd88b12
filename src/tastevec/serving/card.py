"""The model card: what a bundle says of itself to a reader."""

from __future__ import annotations

from typing import Any

__all__ = ["model_card"]


def model_card(facts: dict[str, Any]) -> str:
    """The README of a bundle, in Markdown."""
    settings, data = facts["settings"], facts["data"]
    chosen = facts.get("validation") or {}
    added = facts.get("added", {}).get("items", 0)
    later = (
        f"\nIt knows {added:,} films more, added later and placed by what is said of them." if added else ""
    )
    measured = "\n".join(f"| {name} | {value:.4f} |" for name, value in chosen.items())
    return f"""---
library_name: tastevec
tags: [recommender-systems, user-embeddings]
---

# A taste encoder ({settings["preset"]} preset)

Reads what a person rated and answers with {settings["dim"]} numbers in the space of the film vectors.
Trained by tastevec {facts["tastevec"]} on {data["train_users"]:,} people of {data["name"]} ({data["items"]:,} films).{later}

```python
import tastevec as tv
model = tv.load("this folder")
vectors = model.encode(ratings)
films = model.recommend(ratings, k=10)
```

## Measured on validation people, who chose the epoch

| measure | value |
|---|---|
{measured}

These people chose the epoch, so the values flatter. For people who chose nothing, beside floors and with intervals, run
`tastevec evaluate` on the prepared data.

## Settings

{chr(10).join(f"- `{name}`: {value}" for name, value in settings.items())}
"""
