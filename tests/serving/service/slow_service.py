"""A service with a fast-loading model and an inference delay of SLOW seconds; and its worker processes."""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from tastevec.data.inputs import InputConfig
from tastevec.data.value_scale import ValueScale
from tastevec.errors import FormatError
from tastevec.nouns import ITEM
from tastevec.serving.encoder import UserVectors
from tastevec.serving.service.app import run_service
from tastevec.serving.service.responses import AppState
from tastevec.serving.service.settings import read_settings
from tastevec.serving.service.worker import serve

ITEMS = 40


class Slow:
    """Items are on a circle; a user vector is the sum of the rated items' vectors."""

    def __init__(self, seed):
        angles = np.linspace(0, 2 * np.pi, ITEMS, endpoint=False)
        self.item_vectors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
        self.item_directions = self.item_vectors
        columns = {
            "item_id": np.arange(ITEMS),
            "title": [f"Film {n}" for n in range(ITEMS)],
            "year": pa.nulls(ITEMS, pa.int32()),
            "genres": pa.nulls(ITEMS, pa.list_(pa.string())),
            "train_users": np.arange(ITEMS),
        }
        self.bundle = SimpleNamespace(
            items=pa.table(columns),
            item_ids=np.arange(ITEMS),
            reading=InputConfig(scale=ValueScale.explicit(1.0, 5.0), max_history=12),
            facts={},
            fingerprint=f"fingerprint-{seed}",
            space=f"space-{seed}",
            item_map=None,
            tags=None,
            noun=ITEM,
        )

    def user_vectors(self, histories, *_how):
        if "SLOW" in os.environ:
            sys.stderr.write("inference starts\n")
        time.sleep(float(os.environ.get("SLOW", "0")))
        weights = np.zeros((len(histories), ITEMS), np.float32)
        weights[histories.owners, histories.items] = histories.ratings
        return UserVectors(weights @ self.item_vectors, np.ones(len(histories), np.float32))


def source():
    content = Path(sys.argv[1]).read_text(encoding="utf-8")
    if not content.isdigit():
        raise FormatError(f"{content}; train again")
    return AppState(Slow(int(content)))


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[2] == "worker":
        serve(source)
    else:
        command = [sys.executable, __file__, sys.argv[1], "worker"]
        run_service(command, read_settings(), port=int(sys.argv[2]), progress=say)
        say("ended")
