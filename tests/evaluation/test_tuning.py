"""Hyperparameter tuning of baselines."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

import worlds
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError, FormatError, MissingExtraError, SettingsError
from tastevec.evaluation import tuning
from tastevec.evaluation.evaluate import evaluate
from tastevec.evaluation.html_report import write_report
from tastevec.evaluation.registry import (
    BaselineSpec,
    Range,
    build_baselines,
    published_settings,
    strong_baselines,
    trivial_baselines,
)
from tastevec.evaluation.tuning import read_tuned_settings, tune
from users import plain_dataset, world

TEACH, CHOOSE, ASK = (np.array(some) for some in ([0, 1, 2, 3, 6, 7, 8, 9], [4, 10], [5, 11]))

FEW = worlds.ITEMS - 4  # items that a reduced catalog has


class Nudged:
    """A scorer whose quality depends on one setting; it records the histories that it gets."""

    name = "nudged"

    def __init__(self, push, made):
        self.push, self.seen, self.train_histories = push, [], []
        made.append(self)

    def fit(self, train, item_count):
        self.train_histories.append(train)
        self.item_count = item_count

    def score(self, histories):
        """Return scores; the best push for a full history is 3, for a shortened one 30."""
        self.seen.append(histories)
        aim = 30.0 if histories.lengths.max(initial=0) <= 3 else 3.0
        own = np.array(
            [np.bincount(items >= worlds.ITEMS // 2, minlength=2).argmax() for items in _items(histories)]
        )
        half = np.arange(self.item_count) >= worlds.ITEMS // 2
        distance = abs(np.log10(self.push) - np.log10(aim))
        right = np.where(half == own[:, None], 1.0, -1.0) - distance * (np.arange(self.item_count) % 3)
        return right.astype(np.float32)


def _items(histories):
    return np.split(histories.items, histories.offsets[1:-1])


def _dataset(task_record=CHOOSE):
    return plain_dataset(
        world().take(TEACH), world().take(task_record), worlds.ITEMS, ValueScale.explicit(1, 5)
    )


@pytest.fixture
def made():
    return []


@pytest.fixture
def spec(made):
    return BaselineSpec(
        "nudged",
        lambda settings, _seed: Nudged(settings["push"], made),
        published={"push": 100.0},
        space={"push": Range(0.1, 1000, log=True)},
        last_n=(20,),
    )


def test_tune_returns_best_of_12_trials_published_first(spec, made):
    choices = tune([spec], _dataset())
    assert made[0].push == 100.0
    assert len(made) == 12
    for question, chosen in choices.items():
        found = chosen.tuning
        assert found["best"] >= found["published"]
        assert found["trials"] == 12
        assert found["budget"] == {"trials": 12, "seconds": 360.0}
        assert chosen.settings["push"] in [scorer.push for scorer in made]
        assert found["measure"].startswith("random-20pct" if question.horizon == "overall" else "last-20pct")
    assert json.loads(json.dumps([chosen.tuning for chosen in choices.values()]))
    assert [(question.system, question.horizon) for question in choices] == [
        ("nudged", "overall"),
        ("nudged", "next"),
        ("nudged, last 20 items", "next"),
    ]


def test_baseline_of_other_horizons_is_not_tuned(spec, made):
    lagged = replace(spec, name="lagged", horizons=("next",), last_n=())
    assert [variant.system for variant in tune([lagged, spec], _dataset(), horizons=("overall",))] == [
        "nudged"
    ]
    assert len(made) == 12


def test_tuning_reads_the_most_frequent_items(spec, made, monkeypatch):
    monkeypatch.setattr(tuning, "MAX_ITEMS", FEW)
    chosen = tune([spec], _dataset())
    for scorer in made:
        for histories in (*scorer.train_histories, *scorer.seen):
            assert histories.items.max(initial=0) < FEW
    assert {f"{FEW} items" in found.tuning["measure"] for found in chosen.values()} == {True}


def test_trial_is_fitted_once_on_training_users(spec, made):
    tune([spec], _dataset())
    for scorer in made:
        [train_histories] = scorer.train_histories
        assert set(train_histories.user_ids) == set(world().user_ids[TEACH])
        assert {user for seen in scorer.seen for user in seen.user_ids} == set(world().user_ids[CHOOSE])


def test_tune_with_equal_seed_tries_equal_settings(spec, made):
    first = tune([spec], _dataset(), seed=3)
    pushes = [scorer.push for scorer in made]
    made.clear()
    again = tune([spec], _dataset(), seed=3)
    assert [scorer.push for scorer in made] == pushes
    assert [c.settings for c in again.values()] == [c.settings for c in first.values()]


def test_tune_without_time_tries_published_settings(spec, made, monkeypatch):
    monkeypatch.setattr(tuning, "SECONDS", 0.0)
    for chosen in tune([spec], _dataset()).values():
        assert chosen.settings == {"push": 100.0}
        assert chosen.tuning["trials"] == 1
    assert len(made) == 1


def test_tune_keeps_published_settings_unless_improved(made):
    flat = BaselineSpec(
        "flat",
        lambda _settings, _seed: Nudged(3.0, made),
        published={"push": 7, "share": 0.5},
        space={"push": (5, 6, 7), "share": Range(0, 1)},
    )
    for chosen in tune([flat], _dataset()).values():
        assert chosen.settings == {"push": 7, "share": 0.5}


def test_tune_covers_given_horizons_only(spec):
    assert [question.horizon for question in tune([spec], _dataset(), horizons=["overall"])] == ["overall"]


def test_tune_without_space_keeps_settings():
    [popularity, recent] = trivial_baselines(world(), scale=ValueScale.explicit(1, 5))
    choices = tune([popularity, recent], _dataset())
    assert {question.system: chosen.tuning is None for question, chosen in choices.items()} == {
        "popularity": True,
        "recent popularity": False,
    }


def test_tune_progress_counts_every_trial(spec):
    found_text = []
    tune([spec, spec], _dataset(), progress=lambda *step: found_text.append(step))
    assert [done for done, _, _ in found_text] == [*range(13), *range(12, 25)]
    assert {(total, note) for _, total, note in found_text} == {(24, "Tuning nudged")}


def test_tune_silences_optuna_and_restores_verbosity(spec, capfd):
    import optuna  # noqa: PLC0415  an extra

    before = optuna.logging.get_verbosity()
    tune([spec], _dataset())
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_tune_without_optuna_names_the_extra(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tastevec\[tune\]'"):
        tune([spec], _dataset())


@pytest.mark.parametrize("place", range(6))
def test_every_baseline_can_be_tuned(place, monkeypatch):
    monkeypatch.setattr(tuning, "TRIALS", 2)
    spec = strong_baselines(scale=ValueScale.explicit(1, 5))[place]
    choices = tune([spec], _dataset())
    report = evaluate(
        build_baselines([spec], choices, [1]),
        _dataset(ASK),
        tasks=["random-20pct", "next-item", "last-20pct"],
    )
    short = {f"{spec.name}, last {count} items" for count in spec.last_n}
    assert {facts.system for facts in report.systems} == {spec.name, *short}


@pytest.fixture
def saved(tmp_path):
    """A function that writes a tuned evaluation on data with fingerprint abc."""

    def save(choices, specs, fingerprint="abc"):
        report = evaluate(
            build_baselines(specs, choices, [1]), _dataset(ASK), tasks=["next-item", "last-20pct"]
        )
        object.__setattr__(report, "data", {"name": "tiny", "fingerprint": fingerprint, "split": "test"})
        write_report(report, tmp_path / "results")
        return tmp_path / "results"

    return save


def _trivial_and(spec):
    return [*trivial_baselines(world(), scale=ValueScale.explicit(1, 5)), spec]


def test_tuned_settings_are_read_back(saved, spec):
    specs = _trivial_and(spec)
    choices = tune(specs, _dataset(), horizons=["next"])
    again = read_tuned_settings(saved(choices, specs), specs, horizons=["next"], fingerprint="abc")
    assert again == choices


def test_tuned_settings_of_other_data_are_refused(saved, spec):
    folder = saved(published_settings([spec], ["next"]), [spec])
    with pytest.raises(DataError, match=r"tuned on data abc. Expected xyz, the data of this evaluation"):
        read_tuned_settings(folder, [spec], horizons=["next"], fingerprint="xyz")


def test_untuned_results_are_refused(saved, spec):
    specs = _trivial_and(spec)
    folder = saved(published_settings(specs, ["next"]), specs)
    with pytest.raises(SettingsError, match="no tuned settings of 'recent popularity'"):
        read_tuned_settings(folder, specs, horizons=["next"], fingerprint="abc")
    folder = saved(tune(specs, _dataset(), horizons=["next"]), specs)
    with pytest.raises(SettingsError, match="of 'popularity' for horizon overall"):
        read_tuned_settings(folder, specs, horizons=["overall"], fingerprint="abc")


def test_tuned_settings_of_empty_folder_are_refused(tmp_path, spec):
    with pytest.raises(FormatError):
        read_tuned_settings(tmp_path, [spec], horizons=["next"], fingerprint="abc")
