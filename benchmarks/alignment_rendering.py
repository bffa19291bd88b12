"""The saved alignment of two trainings as the Markdown that the page shows."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_alignment"]

_FITS = {
    "used": "all films, on which it was fitted",
    "held_out": "a fifth of them, fitted on the others",
    "unturned": "that fifth, not turned",
    "shuffled": "that fifth, films paired by chance",
}


def rendered_alignment(results: dict[str, Any]) -> str:
    """How near films and people come, beside doing nothing and beside chance."""
    fits, people = results["alignment"], results["people"]
    films = [("films", "residual, of the vectors' length", "mean cosine")]
    films += [
        (name, f"{fits[fit]['residual']:.3f}", f"{fits[fit]['cosine']:+.3f}") for fit, name in _FITS.items()
    ]
    nearest = f"of the {people['nearest']} nearest people of the old space, found"
    asked = [("people", "mean cosine to their old vector", nearest)]
    asked += [
        ("turned", f"{people['cosine']:+.3f}", f"{people['shared']:.0%}"),
        ("not turned", f"{people['cosine, not turned']:+.3f}", f"{people['shared, not turned']:.0%}"),
        ("encoded again, all of them", "-", f"{people['shared, each in its own space']:.0%}"),
    ]
    told = (
        f"{results['data']}, two trainings whose training people were drawn by two seeds; {fits['films']:,} films that people rated in both, "
        f"{people['unseen by both']:,} people from whom neither has learned, their taste as a whole."
    )
    return f"{told}\n\n{markdown_table(films)}\n\n{markdown_table(asked)}"
