"""The program of the model card reads a history as tastevec does, whatever the kind of feedback and the policy on repeats."""

import re
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastevec.data.inputs import InputConfig
from tastevec.data.value_scale import ValueScale
from tastevec.serving.card_program import program
from tastevec.serving.interactions import parse
from tastevec.serving.parsed_users import ModelReading

ITEMS = [3, 5, 7, 8, 10, 12]
SCALES = {
    "explicit": (ValueScale.explicit(1, 5), "latest"),
    "explicit, all rows": (ValueScale.explicit(0.5, 5, 4.5), "keep"),
    "implicit": (ValueScale.strength("implicit", positive_from=1, top=1), "sum"),
    "weighted": (ValueScale.strength("weighted", positive_from=1, top=40), "sum"),
    "weighted, all rows": (ValueScale.strength("weighted", positive_from=2, top=40), "keep"),
    "events": (ValueScale.strength("events", positive_from=1, top=3), "strongest"),
}
HISTORIES = st.lists(
    st.tuples(
        st.sampled_from([*ITEMS, 4, 5.0, " 7 ", "8.0", "nowhere"]),
        st.sampled_from([1, 2, 4.5, 5, None]),
        st.none() | st.integers(1_600_000_000, 1_600_000_003) | st.just(1_700_000_000),
    ),
    max_size=12,
)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    pq.write_table(pa.table({"item_id": ITEMS}), folder / "items.parquet")
    return folder


@pytest.mark.parametrize("layout", ["time", "sets", "item"])
@pytest.mark.parametrize("kind", SCALES)
def test_program_reads_any_history_as_the_model_does(kind, layout, folder):
    scale, repeats = SCALES[kind]
    how = {"time": {}, "sets": {"max_history_overall": 5}}.get(layout)
    reading = InputConfig(
        scale, 3, **({"order": "item", "truncate": "oldest", "pad": "full"} if how is None else how)
    )
    facts = {"settings": {"preset": "taste"}, "data": {"feedback": {"repeats": repeats}}}
    code = re.findall(r"```python\n(.*?)```", program(facts, reading, None, "[]"), re.DOTALL)[0]
    names = {}
    exec(code.replace('"this folder"', repr(str(folder))), names)  # noqa: S102  the program of a card
    model = ModelReading({str(item): row for row, item in enumerate(ITEMS)}, scale, repeats)

    @settings(max_examples=40)
    @given(history=HISTORIES)
    def check(history):
        history = [(item, value if scale.kind != "implicit" else 1, time) for item, value, time in history]
        if history and all(value is None for _, value, _ in history):  # which means "positive" to tastevec
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = names["arrays"](history)
        expected = reading.arrays(parse(history, model).histories)
        of_note = {"items", "normalized_ratings", "lengths"}
        for name in of_note if layout == "item" else expected.keys() - {"normalized_ratings"}:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6, err_msg=name)

    check()


def test_program_refuses_what_the_list_refuses(folder):
    facts = {"settings": {"preset": "taste"}, "data": {}}
    code = re.findall(
        r"```python\n(.*?)```",
        program(facts, InputConfig(ValueScale.explicit(1, 5), 3), None, "[]"),
        re.DOTALL,
    )[0]
    names = {}
    exec(code.replace('"this folder"', repr(str(folder))), names)  # noqa: S102  as above
    with pytest.raises(ValueError, match="off the scale 1 to 5"):
        names["read"]([(3, 7)])
    with pytest.raises(ValueError, match="0 of 20 interactions are with an item of the model"):
        names["read"]([(1000 + item, 5) for item in range(20)])
    with pytest.warns(UserWarning, match="1 of 2 interactions are with unknown items"):
        names["read"]([(3, 5), ("nowhere", 5)])
