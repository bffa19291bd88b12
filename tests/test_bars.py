"""Bars: what was wanted beside what made-up results say, line by line."""

from __future__ import annotations

import json

import pytest
from bars import bars, read, rendered_bars
from rendering import PAGES, rendered
from saved_evaluation import Found, SavedEvaluation
from wanted import NOT_MEASURED, Wanted
from widths import beside, kept

from reports import asked, facts, measured, report_of
from tastevec.evaluation.results import Slice

NOTHING = dict.fromkeys(read())


def evaluation(*, ease=0.4, graded=None, taste=0.44):
    """Four people, each with the same numbers, so that intervals are points."""
    task, following = asked("fold-in"), asked("next-liked")
    found = {"EASE": ease, "EASE, any rating": ease / 2, "EASE, likes and middle": graded, "taste": taste}
    found = {name: value for name, value in found.items() if value is not None}
    results = []
    for name, value in found.items():
        values = {"ndcg_at_100": [value] * 4, "recall_at_20": [value] * 4, "recall_at_50": [value] * 4}
        curve = [
            Slice("known films", str(length), "ndcg@100", [value if length > 2 else 1 - value] * 4)
            for length in (1, 2, 3, 5)
        ]
        wholes = {"effective_rank": [50.0], "top_direction": [0.2], "hubness@10": [1.5]}
        model = name == "taste"
        halves = {"halves_closer": [0.9, 1.0, 1.0, 1.0]} if model else {}
        results += [
            measured(name, task, wholes=wholes if model else None, slices=curve, **values, **halves),
            measured(name, following, ndcg_at_10=[value / 2] * 4),
        ]
    systems = [facts(name, floor=name != "taste", runs=1) for name in found]
    return report_of(systems, results).to_json()


def lines(**saved):
    """The bars by question and what is wanted."""
    return {(bar.about, bar.wanted): bar for bar in bars(NOTHING | saved)}


def line(found, about, *words):
    [bar] = [
        bar
        for (name, wanted), bar in found.items()
        if name == about and all(word in wanted for word in words)
    ]
    return bar


def whole(**changes):
    return {"evaluation": evaluation(**changes), "stages": []}


def test_without_results_nothing_is_measured_and_nothing_met():
    found = bars(NOTHING)
    assert {bar.measured for bar in found} == {bar.verdict for bar in found} == {NOT_MEASURED}
    assert len({(bar.about, bar.wanted) for bar in found}) == len(found)


def test_the_model_stands_beside_the_better_of_the_two_plain_ones():
    bar = line(lines(**{"ml-1m-5k": whole()}), "fold-in", "NDCG@100 3 %", "any rating")
    assert bar.measured == "0.440 against 0.400 (EASE): +10.0 % [+10.0, +10.0]"
    assert bar.verdict == "met"


def test_graded_ease_has_lines_of_its_own():
    found = lines(**{"ml-1m-5k": whole(graded=0.43)})
    assert line(found, "fold-in", "NDCG@100 3 %", "any rating").verdict == "met"
    assert line(found, "fold-in", "NDCG@100 3 %", "likes and middle").verdict == "missed by 0.7 points"
    assert line(found, "fold-in", "R@20", "likes and middle").verdict == "met"
    without = lines(**{"ml-1m-5k": whole()})
    assert line(without, "fold-in", "R@20", "likes and middle").verdict == NOT_MEASURED


def test_as_good_is_not_above():
    found = lines(**{"ml-1m-5k": whole(taste=0.4)})
    assert line(found, "fold-in", "R@50", "any rating").verdict == "missed by 0.0 points"


def test_what_comes_next_is_so_many_times_the_best_floor():
    found = lines(**{"ml-1m-5k": whole(taste=0.6)})
    bar = line(found, "next-liked", "1.7 times")
    assert bar.measured == "0.300 against 0.200 (EASE): 1.50 [1.50, 1.50] times"
    assert bar.verdict == "missed by 0.20"
    assert line(found, "next-liked", "SASRec").verdict == NOT_MEASURED


def test_the_curve_counts_from_three_known_films():
    """Of one and two known films the model is below."""
    found = lines(**{"ml-1m-5k": whole()})
    bar = line(found, "fold-in", "every length")
    assert bar.measured == "above at 2 of 2 lengths; the least at 3: +0.040 beside EASE"
    assert bar.verdict == "met"
    below = line(lines(**{"ml-1m-5k": whole(taste=0.3)}), "fold-in", "every length")
    assert below.verdict == "missed at 2 of 2 lengths, by 0.100 at most"


def test_vectors_are_told_by_their_shape_and_by_the_pairs_drawn():
    found = lines(**{"ml-1m-5k": whole()})
    assert line(found, "vectors, overall", "rank").verdict == "met"
    assert line(found, "vectors, overall", "direction").verdict == "missed by 5.0 points"
    bar = line(found, "vectors, overall", "halves")
    assert bar.measured.startswith("97.5 % [")
    assert bar.verdict == "met, but the interval holds the bound"
    assert line(found, "vectors, overall", "hubness").verdict == NOT_MEASURED  # no iALS here
    assert line(found, "vectors, next", "rank").verdict == NOT_MEASURED


def test_hubs_are_counted_against_the_lower_of_the_two_ials():
    told = evaluation()
    for name, hubs in (("iALS, likes", 1.2), ("iALS, likes and middle", 1.4)):
        row = next(row for row in told["wholes"] if row["metric"] == "hubness@10")
        told["wholes"].append(row | {"system": name, "mean": hubs})
    bar = line(lines(**{"ml-1m-5k": {"evaluation": told, "stages": []}}), "vectors, overall", "hubness")
    assert (bar.measured, bar.verdict) == ("1.50 against 1.20 (iALS, likes)", "missed by 0.30")


def cold(**changes):
    row = {
        "question": "all films",
        "system": "taste, trained without them",
        "horizon": "overall",
        "metric": "recall@20",
    }
    row |= {"mean": 0.3, "low": 0.2, "high": 0.4, "ratio": 1.4, "ratio_low": 1.2, "ratio_high": 1.6} | changes
    warm = {"task": "fold-in", "metric": "ndcg@100", "without": 0.49, "with_all": 0.5}
    return {
        "cold": [row, row | {"horizon": "next", "ratio": 9.0}, row | {"system": "random", "horizon": None}],
        "warm": [warm | {"ratio": 0.98, "ratio_low": 0.97, "ratio_high": 0.99}],
    }


def test_cold_films_are_told_by_the_overall_answer():
    found = lines(**{"cold-films": cold()})
    bar = line(found, "cold films", "R@20 among all films")
    assert (bar.measured, bar.verdict) == (
        "0.300: 1.40 [1.20, 1.60] times",
        "missed by 0.10, within the interval",
    )
    assert line(found, "cold films", "R@50 among all films").verdict == NOT_MEASURED
    none = line(lines(**{"cold-films": cold(ratio=None)}), "cold films", "R@20 among all films")
    assert none.verdict == NOT_MEASURED


def test_the_loss_of_the_other_films_is_at_most_so_much():
    bar = line(lines(**{"cold-films": cold()}), "the other films", "fold-in")
    assert bar.measured == "0.490 against 0.500: +2.0 % [+1.0, +3.0] lost"
    assert bar.verdict.startswith("met")


def widths(differences):
    pairs = [
        {
            "task": task,
            "metric": metric,
            "a": "dim-64",
            "b": "dim-128",
            "difference": -gap,
            "low": -gap - 0.01,
            "high": -gap + 0.01,
        }
        for (task, metric), gap in differences.items()
    ]
    told = {"tasks": [{"task": "fold-in", "users": 4, "note": ""}], "rows": [], "wholes": [], "paired": pairs}
    seconds = [{"stage": "train dim-64 42", "seconds": 60.0}]
    return {
        "widths": [64, 128],
        "seeds": [42],
        "settings": {"hidden_size": 128},
        "stages": seconds,
        **kept(told, [64, 128]),
    }


def test_longer_vectors_are_told_question_by_question():
    found = lines(widths=widths({("fold-in", "ndcg@100"): 0.02, ("next-liked", "ndcg@10"): -0.005}))
    bar = line(found, "longer vectors", "128")
    assert (
        bar.measured == "fold-in NDCG@100 +0.020 [+0.010, +0.030]; next-liked NDCG@10 -0.005 [-0.015, +0.005]"
    )
    assert bar.verdict == "met: certainly better on 1 of 2 questions, certainly worse on 0; the table says so"
    assert line(found, "longer vectors", "256").verdict == NOT_MEASURED


def test_a_pair_is_turned_to_the_longer_minus_the_first():
    pair = {"task": "fold-in", "metric": "ndcg@100", "difference": 0.2, "low": 0.1, "high": 0.3}
    for a, b, sign in (("dim-8", "dim-64", -1), ("dim-64", "dim-8", 1)):
        found = beside({**pair, "a": a, "b": b}, "dim-8")
        assert (found["system"], found["beside"]) == ("dim-64", "dim-8")
        assert found["difference"] == sign * 0.2
        assert found["low"] < found["difference"] < found["high"]


def test_the_page_of_widths_shows_what_is_not_measured_as_a_dash():
    page = rendered(widths({("fold-in", "ndcg@100"): 0.02}))
    assert "| 64 | - | - | - | - | - | - | 60 |" in page
    assert "| 128 | fold-in | ndcg@100 | +0.020 [+0.010, +0.030] |" in page


def test_the_slowest_training_counts():
    stages = [
        {"stage": f"train taste {seed}", "seconds": seconds} for seed, seconds in ((42, 1500), (43, 2100))
    ]
    bar = line(lines(**{"ml-1m-5k": whole() | {"stages": stages}}), "training", "minutes")
    assert (bar.measured, bar.verdict) == ("25.0, 35.0 minutes", "missed by 5.0 minutes")
    speed = {"times_the_note": {"users_per_second": {"median": 25.0, "lowest": 22.0, "highest": 30.0}}}
    assert line(lines(**{"bench-training": speed}), "training", "20 times").verdict == "met"


@pytest.mark.parametrize(
    ("wanted", "found", "verdict"),
    [
        (Wanted(1.0), Found(1.0), "met"),
        (Wanted(1.0, strictly=True), Found(1.0), "missed by 0.000"),
        (Wanted(1.0), Found(1.2, 0.9, 1.5), "met, but the interval holds the bound"),
        (Wanted(1.0), Found(0.9, 0.7, 0.95), "missed by 0.100"),
        (Wanted(1.0), Found(0.9, 0.7, 1.05), "missed by 0.100, within the interval"),
        (
            Wanted(2.0, ".1f", " %", at_most=True),
            Found(2.5, 1.0, 4.0),
            "missed by 0.5 points, within the interval",
        ),
        (Wanted(2.0, ".1f", " %", at_most=True), Found(1.5, 1.0, 1.9), "met"),
    ],
)
def test_a_verdict_says_by_how_much_and_what_the_interval_says(wanted, found, verdict):
    assert wanted.verdict(found) == verdict


def test_a_difference_is_the_same_from_either_side():
    found = SavedEvaluation(evaluation(taste=0.43))
    one, other = (
        found.difference(*pair, "fold-in", "ndcg@100") for pair in (("taste", "EASE"), ("EASE", "taste"))
    )
    assert one == pytest.approx((0.03, 0.03, 0.03))
    assert other == pytest.approx((-0.03, -0.03, -0.03))


def test_where_no_interval_was_kept_none_is_told():
    found = SavedEvaluation(evaluation())
    assert found.difference("taste", "EASE, any rating", "fold-in", "recall@20") == (
        pytest.approx(0.24),
        None,
        None,
    )
    assert found.difference("taste", "nobody", "fold-in", "recall@20") is None


def test_results_are_read_from_their_folder(tmp_path):
    (tmp_path / "widths.json").write_text(json.dumps({"a": 1}))
    assert {name for name, told in read(tmp_path).items() if told} == {"widths"}


def test_the_bars_on_the_page_are_those_of_the_saved_results():
    """Else: make bars."""
    assert rendered_bars(read()) in "".join(page.read_text() for page in PAGES)
