"""The benchmark of an epoch beside SASRec's: what goes to its process, how the two are compared, and how the page shows it."""

import json
import sys

import epoch
import numpy as np
import pytest
from epoch_rendering import rendered_epochs

from people import TAGGED, people
from tastevec.training.settings import resolve_settings

# A process that tells what table it was given, and then of five steps that took 1, 1, 1, 2 and 2 seconds.
STANDIN = """
import json, sys
import numpy as np
first = json.loads(sys.stdin.readline())
with np.load(first["interactions"]) as table:
    print(json.dumps({"RecTools": "0.0", "rows": len(table["item_id"])}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    assert asked == {"do": "train", "epochs": 1}
    told = {"loss": 1.0, "films": [9, 9, 9, 30, 10], "places": [9, 9, 9, 50, 50], "ended": [1, 2, 3, 5, 7]}
    print(json.dumps(told), flush=True)
"""


def test_sasrecs_epoch_is_timed_behind_its_first_steps_and_reads_every_rated_film(tmp_path):
    script = tmp_path / "standin.py"
    script.write_text(STANDIN)
    train = people([(0, 5), (1, TAGGED), (2, 1)], [(1, 3)])
    row = epoch.of_sasrec(train, 3, [sys.executable, str(script)], 2, {"batch_size": 2, "session_max_len": 5})
    assert row["versions"] == {"RecTools": "0.0", "rows": 3}  # the tag alone is no rating
    assert row["steps"] == 5
    assert row["epoch_seconds"] == 10.0  # two steps of 2 s, as if there were five
    assert row["films_per_second"] == 10.0
    assert row["padding"] == pytest.approx(0.6)
    assert (row["system"], row["round"]) == ("SASRec", 2)


def test_ours_has_the_width_the_depth_the_length_and_the_batch_of_sasrec():
    network = epoch.NETWORK
    for settings in epoch.OURS.values():
        ours = resolve_settings(**settings)
        assert ours.hidden_size == ours.dim == network["n_factors"]
        assert (ours.layers, ours.heads) == (network["n_blocks"], network["n_heads"])
        assert (ours.max_history, ours.batch_size) == (network["session_max_len"], network["batch_size"])
        assert ours.loss == network["loss"]
    asked = resolve_settings(**epoch.OURS["taste, asked as SASRec is"])
    assert (asked.asked, asked.cut) == (1.0, 0.0)


ROWS = [
    {
        "system": system,
        "round": turn,
        "steps": 10,
        "epoch_seconds": seconds,
        "films_per_second": 5.0,
        "padding": 0.1,
    }
    for turn, (ours, theirs) in enumerate([(10.0, 20.0), (10.0, 30.0), (20.0, 30.0)], 1)
    for system, seconds in (("taste", ours), ("SASRec", theirs))
]


def test_the_two_are_compared_round_by_round():
    found = {"system": "taste", "median": 2.0, "lowest": 1.5, "highest": 3.0}
    assert epoch.compared(ROWS) == [found]
    results = {
        "data": "ml-1m-5k",
        "peer_versions": {"RecTools": "0.19"},
        "settings": {"SASRec": dict(epoch.NETWORK)},
        "train_users": 3_500,
        "films": 3_883,
        "epochs": ROWS,
        "times": [found],
    }
    text = rendered_epochs(json.loads(json.dumps(results)))
    assert "| taste | 10 | 10.0 (10.0 to 20.0) | 5.0 (5.0 to 5.0) | 10% | **2.00** (1.50 to 3.00) |" in text
    assert "| SASRec | 10 | 30.0 (20.0 to 30.0) | 5.0 (5.0 to 5.0) | 10% | 1 |" in text
    assert np.median([2, 3, 1.5]) == found["median"]
