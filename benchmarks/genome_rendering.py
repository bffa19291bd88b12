"""The saved cross-validation of the predicted genome as the Markdown that the pages show."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_genome"]

_MEASURES = {
    "correlation": "correlation over tags",
    "beyond_the_mean": "the same, mean genome taken away",
    "per_tag": "correlation over films, mean of tags",
    "overall": "correlation of all relevances",
    "overlap@10": "overlap of the 10 best tags",
    "rmse": "RMS error",
}
_BY_EVIDENCE = ("correlation", "beyond_the_mean", "overlap@10")


def rendered_genome(results: dict[str, Any]) -> str:
    """What was predicted of how many films, the floors beside it, and by how much was known of a film."""
    return "\n\n".join((_asked(results), _systems(results), _by_evidence(results), _errors(results)))


def _asked(results: dict[str, Any]) -> str:
    sample, settings = results["sample"], results["settings"]
    first, last = (round(year) for year in sample["years"]["middle_90_%"])
    tags, ratings = sample["tag applications"], sample["ratings"]
    return (
        f"{sample['films']} films with a real genome, of the {sample['catalogue']:,} of ml-1m-5k; each predicted once, in "
        f"{settings['folds']} folds. Mean ± half of the 95 % interval over films. **They are few, and no fair sample**: nine in "
        f"ten came out from {first} to {last}, so that nothing is learned of other times, and they have more tags and ratings "
        f"than most (median {tags['films']:.0f} applications and {ratings['films']:.0f} ratings, in the catalogue "
        f"{tags['catalogue']:.0f} and {ratings['catalogue']:.0f}). The kinds of features were chosen on the same films, which "
        "flatters a little."
    )


def _systems(results: dict[str, Any]) -> str:
    lines = [["", *_MEASURES.values()]]
    lines += [[row["system"], *(_cell(row[measure]) for measure in _MEASURES)] for row in results["systems"]]
    return markdown_table(lines)


def _by_evidence(results: dict[str, Any]) -> str:
    named = [_MEASURES[measure] for measure in _BY_EVIDENCE]
    lines = [
        ["known of a film", "films", "of the catalogue", "confidence told", *named, "mean genome: overlap"]
    ]
    lines += [
        [
            _bin(row),
            str(row["films"]),
            f"{row['share_of_catalogue']:.0%}",
            f"{row['confidence']:.2f}",
            *(_cell(row["predicted"][measure]) for measure in _BY_EVIDENCE),
            _cell(row["mean genome"]["overlap@10"]),
        ]
        for row in results["by_evidence"]
    ]
    return markdown_table(lines)


def _errors(results: dict[str, Any]) -> str:
    told = results["standard_errors"]
    return (
        "Ratings are those of training people who liked the film or found it so-so. The confidence told with a film is the "
        "correlation beyond the mean genome that films with as much evidence reached when left out. "
        f"Standard errors: the mean square of error by standard error is {told['mean_square']:.2f} (1 is right), and "
        f"{told['within_two']:.0%} of all relevances lie within two."
    )


def _bin(row: dict[str, Any]) -> str:
    if row["below"] is None:
        return f"{row['from']} {row['evidence']} or more"
    last = row["below"] - 1
    return f"{row['from']} to {last} {row['evidence']}" if last > row["from"] else f"no {row['evidence']}"


def _cell(measure: dict[str, float] | None) -> str:
    """A mean and half of its interval."""
    if measure is None:
        return "-"
    return f"{measure['mean']:.3f} ±{(measure['high'] - measure['low']) / 2:.3f}"
