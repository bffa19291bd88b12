"""A model as an evaluation sees it: one bundle, or a folder of bundles that differ by their seed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tastevec.errors import DataError, FormatError
from tastevec.evaluation.scorers import Runs
from tastevec.schema import BUNDLE_FILE
from tastevec.serving.recommender import load

if TYPE_CHECKING:
    from pathlib import Path

    from tastevec.data.prepared import Prepared
    from tastevec.serving.recommender import Recommender

__all__ = ["model_runs"]

_OF_ITS_OWN: Final = ("seed", "device", "report_to")  # settings in which the runs of one system may differ


def model_runs(folder: Path, prepared: Prepared) -> Runs:
    """The model of this folder, called by its name, ready to be judged on the data that it was trained on.

    Args:
        folder: A bundle; or a folder of bundles, one a seed, which are one system of several runs.
        prepared: The data of the evaluation.

    Raises:
        FormatError: It is neither, or a bundle is damaged or of another format version.
        DataError: A bundle was trained on other data or knows films that came later, or those of a folder differ by more
            than their seed.
    """
    folder = folder.resolve()
    bundles = {bundle: load(bundle) for bundle in _bundles(folder)}
    for bundle, recommender in bundles.items():
        _refuse_other_data(bundle.relative_to(folder.parent), recommender, prepared)
        _refuse_later_films(bundle.relative_to(folder.parent), recommender)
    first, *others = bundles
    for other in others:
        _refuse_other_settings(first, other, bundles)
    settings = [recommender.bundle.facts["settings"] for recommender in bundles.values()]
    seeds = [own["seed"] for own in settings]
    if len(set(seeds)) < len(seeds):
        raise DataError(
            f"the bundles in {folder} have the seeds {', '.join(map(str, seeds))}; expected a seed of its own for each: "
            "remove what is there twice"
        )
    alike = {name: value for name, value in settings[0].items() if name not in _OF_ITS_OWN}
    scorers = [recommender.scorer(folder.name) for recommender in bundles.values()]
    return Runs(folder.name, scorers, {"seeds": seeds, **alike})


def _bundles(folder: Path) -> list[Path]:
    """The folder itself, or the bundles in it, by name."""
    inside = sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    if (folder / BUNDLE_FILE).exists() or not any((path / BUNDLE_FILE).exists() for path in inside):
        return [folder]
    for path in inside:
        if not (path / BUNDLE_FILE).exists():
            raise FormatError(
                f"{folder} holds bundles, and {path.name}, which is none (it lacks {BUNDLE_FILE}); expected one bundle a "
                "seed and nothing else: let its training end, or move it away"
            )
    return inside


def _refuse_other_data(bundle: Path, recommender: Recommender, prepared: Prepared) -> None:
    """A model that was trained on other people may have seen these, and its films may have other places."""
    if recommender.bundle.facts["data"]["fingerprint"] != prepared.fingerprint:
        raise DataError(
            f"model {bundle} was not trained on {prepared.folder}; people who are unseen there may have taught it: evaluate "
            "it on its own prepared folder, or train on this one"
        )


def _refuse_later_films(bundle: Path, recommender: Recommender) -> None:
    """A model that knows more films than the data ranks another catalogue than its baselines."""
    if added := len(recommender.bundle.model.added_items):
        raise DataError(
            f"model {bundle} knows {added} films that were added after its training, and the data do not; expected the model "
            "as it was trained: evaluate the one that it was made from"
        )


def _refuse_other_settings(first: Path, other: Path, bundles: dict[Path, Recommender]) -> None:
    one, two = (bundles[path].bundle.facts["settings"] for path in (first, other))
    changed = [name for name in sorted({*one, *two} - {*_OF_ITS_OWN}) if one.get(name) != two.get(name)]
    if changed:
        raise DataError(
            f"the bundles {first.name} and {other.name} in {first.parent} differ in {', '.join(changed)}; expected runs of one "
            "system, which differ in their seed alone: evaluate them as two models"
        )
