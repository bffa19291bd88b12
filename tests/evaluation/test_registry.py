"""The baseline registry: names, settings and shared scorers."""

import json
from dataclasses import replace

import numpy as np

import worlds
from tastevec.data.value_scale import ValueScale
from tastevec.evaluation.baselines import EASE, LastItems, PerHorizon, Popularity
from tastevec.evaluation.registry import (
    BaselineSpec,
    VariantSettings,
    build_baselines,
    published_settings,
    strong_baselines,
    trivial_baselines,
    vector_baselines,
)
from tastevec.evaluation.scorers import EncodedScorer, Runs
from users import users, world

BOTH = ("next", "overall")
EASES = BaselineSpec(
    "EASE",
    lambda settings, _seed: EASE(positive_from=4, **settings),
    published={"ridge": 400.0},
    last_n=(20,),
)


def _chosen(**ridges):
    """Return EASE settings with these ridges: overall, next, and next on the last items."""
    questions = EASES.variants(["overall", "next"])
    return {
        question: VariantSettings({"ridge": ridge})
        for question, ridge in zip(questions, ridges.values(), strict=True)
    }


def _names(specs, horizons=BOTH):
    return [runs.name for runs in build_baselines(specs, published_settings(specs, horizons), [1])]


def test_recent_popularity_is_omitted_without_timestamps():
    assert _names(trivial_baselines(world(), scale=ValueScale.explicit(1, 5))) == [
        "popularity",
        "recent popularity",
    ]
    assert _names(trivial_baselines(users([(0, 5)]), scale=ValueScale.explicit(1, 5))) == ["popularity"]


def test_strong_baselines_have_full_and_last_items_variants():
    whole = [
        "item-kNN",
        "EASE (positives)",
        "EASE (all ratings)",
        "EASE (graded)",
        "iALS (positives)",
        "iALS (graded)",
    ]
    specs = strong_baselines(scale=ValueScale.explicit(1, 5))
    standing = [name + end for name in whole for end in ("", ", last 20 items")]
    standing.insert(standing.index("EASE (graded)"), "EASE (all ratings), last 5 items")
    standing.insert(standing.index("EASE (positives)"), "lagged item-kNN")
    standing.insert(standing.index("iALS (positives)"), "lagged item regression")
    assert _names(specs) == standing
    assert _names(specs, ["overall"]) == whole


def test_scorer_name_equals_system_name():
    for specs in (
        trivial_baselines(world(), scale=ValueScale.explicit(1, 5)),
        strong_baselines(scale=ValueScale.explicit(1, 5)),
    ):
        for runs in build_baselines(specs, published_settings(specs, BOTH), [1]):
            assert {scorer.name for scorer in runs.scorers} == {runs.name}


def test_seeded_baselines_have_one_run_for_each_seed():
    specs = strong_baselines(scale=ValueScale.explicit(1, 5))
    runs = {
        system.name: system for system in build_baselines(specs, published_settings(specs, BOTH), [5, 6, 7])
    }
    assert {len(system.scorers) for name, system in runs.items() if name.startswith("iALS")} == {3}
    assert {len(system.scorers) for name, system in runs.items() if not name.startswith("iALS")} == {1}
    assert runs["iALS (positives)"].settings["seeds"] == [5, 6, 7]
    whole, shortened = runs["iALS (positives)"], runs["iALS (positives), last 20 items"]
    assert [scorer.scorer for scorer in shortened.scorers] == whole.scorers
    for scorer in whole.scorers:
        scorer.fit(world(), worlds.ITEMS)
    first, second, _ = (scorer.score(world()) for scorer in whole.scorers)
    assert not np.array_equal(first, second)


def test_system_settings_are_json():
    for specs in (
        trivial_baselines(world(), scale=ValueScale.explicit(1, 5)),
        strong_baselines(scale=ValueScale.explicit(1, 5)),
    ):
        for runs in build_baselines(specs, published_settings(specs, BOTH), [1, 2]):
            assert json.loads(json.dumps(runs.settings)) == runs.settings
    [ease, shortened] = build_baselines([EASES], published_settings([EASES], BOTH), [1])
    record = {"settings": {"ridge": 400.0}, "tuning": None}
    assert ease.settings == {"next": record, "overall": record}
    assert shortened.settings == {"next": record}


def test_published_settings_are_within_tuning_space():
    for spec in [
        *strong_baselines(scale=ValueScale.explicit(1, 5)),
        *trivial_baselines(world(), scale=ValueScale.explicit(1, 5)),
    ]:
        assert spec.space.keys() == spec.published.keys()
        for name, allowed in spec.space.items():
            value = spec.published[name]
            assert value in allowed if isinstance(allowed, tuple) else allowed.low <= value <= allowed.high


def test_every_corner_of_tuning_space_builds():
    for spec in strong_baselines(scale=ValueScale.explicit(1, 5)):
        ends = {
            name: list(allowed if isinstance(allowed, tuple) else (allowed.low, allowed.high))
            for name, allowed in spec.space.items()
        }
        for end in (0, -1):
            assert spec.make({name: values[end] for name, values in ends.items()}, 1)


def test_equal_settings_share_one_scorer():
    [whole], [shortened] = (
        runs.scorers for runs in build_baselines([EASES], _chosen(o=3.0, n=3.0, s=3.0), [1])
    )
    assert isinstance(whole, EASE)
    assert isinstance(shortened, LastItems)
    assert shortened.scorer is whole


def test_variants_have_own_settings_and_share_equal_ones():
    [whole], [shortened] = (
        runs.scorers for runs in build_baselines([EASES], _chosen(o=1.0, n=2.0, s=1.0), [1])
    )
    assert isinstance(whole, PerHorizon)
    assert whole.name == "EASE"
    assert whole.at_horizon("overall")._ridge == 1.0
    assert whole.at_horizon("next")._ridge == 2.0
    assert shortened.scorer is whole.at_horizon("overall")


def test_specs_with_equal_settings_share_nothing():
    other = replace(EASES, name="another", last_n=())
    [one, _, two] = build_baselines([EASES, other], published_settings([EASES, other], BOTH), [1])
    assert one.scorers[0] is not two.scorers[0]


def test_vector_baselines_are_in_the_space_of_each_run():
    spaces = [np.full((worlds.ITEMS, 2), number, np.float32) for number in (1, 2)]
    runs = [EncodedScorer("taste", f"space {i}", space, None) for i, space in enumerate(spaces)]
    found = vector_baselines(Runs("taste", runs), scale=ValueScale.explicit(1, 5))
    assert [floor.name for floor in found] == [
        "global mean vector (taste)",
        "mean of positives (taste)",
        "rating-weighted mean (taste)",
    ]
    for floor in found:
        assert [scorer.space for scorer in floor.scorers] == ["space 0", "space 1"]
        assert [scorer.item_vectors for scorer in floor.scorers] == spaces


def test_system_without_vectors_has_no_vector_baselines():
    assert vector_baselines(Runs.one(Popularity(positive_from=4)), scale=ValueScale.explicit(1, 5)) == []
