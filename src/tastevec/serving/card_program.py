"""The program of the model card: user vectors without tastevec, with transformers, ONNX Runtime or NumPy."""

from __future__ import annotations

import math
from string import Template
from typing import TYPE_CHECKING, Any, Final

from tastevec.data.inputs import FIRST_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN
from tastevec.data.value_scale import TOUCHED
from tastevec.schema import POSITIVE_FROM
from tastevec.serving.parsed_users import ModelReading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tastevec.data.inputs import InputConfig
    from tastevec.data.value_scale import ValueScale

_READ: Final = Template(r'''import re
import warnings

import numpy as np
import pyarrow.parquet as pq
$imports
folder = $folder
item_ids = pq.read_table(f"{folder}/items.parquet")["item_id"].to_pylist()
rows = {str(item): row for row, item in enumerate(item_ids)}


def read(history$argument):
    """Return (item, value, time) of a history, oldest first, each item once; it has (item_id, value) or (item_id, value, time)."""
    history, timed = [(*one, None)[:3] for one in history], []
    time = next((one[2] for one in history if one[2] is not None), -1)  # Unix seconds
    for item, value, own in history:
        time = time if own is None else own  # one without a time takes that of the one before it
        item = re.sub(r"^(-?\d+)\.0+$$", r"\1", str(item).strip())  # 50, 50.0 and " 50 " are one item
        timed.append((item, np.nan if value is None else value, time))
$check    known = sum(item in rows for item, _, _ in timed)
    if len(timed) >= 20 and known < 0.05 * len(timed):
        raise ValueError(f"{known} of {len(timed)} interactions are with an item of the model")
    if known < len(timed):
        warnings.warn(f"{len(timed) - known} of {len(timed)} interactions are with unknown items, and ignored")
    timed.sort(key=lambda one: one[2])
    found = {}
$delivered    for item, value, time in $every:
        $earlier
        found[item] = (item, $counts, time)
    return list(found.values())


''')
_CHECK: Final = Template("""    if any(value < $low or value > $high for _, value, _ in timed):
        raise ValueError("a rating is off the scale $low to $high")
""")
_DELIVERED: Final = """    kept = {}
    for place, one in enumerate(reversed(timed)):  # a row delivered twice counts once
        kept.setdefault(one if one[2] >= 0 else place, one)
"""
_REPEATS: Final = """    if not once:
        return list(reversed(kept.values()))
"""
_SUM: Final = "value if np.isnan(earlier) else np.nansum([earlier, value])"
_EARLIER: Final = "_, earlier, _ = found.pop(item, (item, np.nan, time))"
_COUNTS: Final[Mapping[str, str]] = {
    "latest": "value",
    "sum": _SUM,
    "strongest": "earlier if abs(earlier) > abs(value) or np.isnan(value) else value",
}

_SEQUENCE: Final = Template('''def inputs(interactions, most):
    """Return what the model reads of its newest interactions, as arrays of one row."""
    known = [(rows[item], value, time) for item, value, time in interactions if item in rows][-most:]
    items, values, times = np.array(known or np.zeros((0, 3))).T
    values, passed = values.astype(np.float32), np.diff(times.astype(int), prepend=times[:1])
    bins = np.where(np.isnan(values), $levels, np.rint(np.nan_to_num($share) * $steps))
    gaps = np.where(passed < 1, 0, np.minimum(1 + np.log2(np.maximum(passed, 1)).astype(int), $last_gap))
    gaps[:1] = $first_gap
    gaps[times < 0] = $unknown_gap
    found = {"items": items, "rating_bins": bins, "time_gap_bins": gaps}
    width = (0, 0 if len(known) else 1)  # an empty history is a row of padding
    found = {name: np.pad(one.astype(int), width)[None] for name, one in found.items()}
    return found | {"lengths": np.array([len(known)])}


def arrays(history):
$arrays
''')
_ONCE: Final = Template("""    interactions = read(history)
    return inputs(interactions, $most)
""")
_TWO: Final = Template("""    $read
    newest = inputs($once, $most_overall)
    return inputs($sequence, $most) | {"overall_" + name: one for name, one in newest.items()}
""")
_NOTE: Final = Template('''def arrays(history):
    """Return what the model reads, as arrays of one row, with the padding that it was trained to see."""
    interactions = $read
    values = np.array([value for _, value, _ in interactions], np.float32)
    $normalized
    known = [(rows[item], level) for (item, _, _), level in zip(interactions, levels) if item in rows]
    items, levels = np.array(sorted(known)[:$most] or np.zeros((0, 2))).T
    width = (0, $most - len(items))
    found = {"items": items.astype(int), "normalized_ratings": levels.astype(np.float32)}
    return {name: np.pad(one, width)[None] for name, one in found.items()} | {"lengths": np.array([len(items)])}
''')
_OF_RATINGS: Final = """rated = ~np.isnan(values)  # the mean of this user is 0, the ends are -1 and 1
    off = np.where(rated, values - np.sum(values, where=rated, dtype=float) / max(rated.sum(), 1), 0)
    span = np.where(off > 0, off.max(initial=0), -off.min(initial=0))
    levels = np.where(span < 1e-5, 0, off / np.maximum(span, 1e-5))"""

_TRANSFORMERS: Final = '''from transformers import AutoModel

model = AutoModel.from_pretrained(folder, trust_remote_code=True)
item_vectors = model.item_vectors  # (n_items, dim), of unit length


def encode(history, horizon, **how):
    """Return the user vector (dim,), of unit length; with ``dislike_weight=0`` low ratings do not push away."""
    vectors, norms = model.user_vectors(model.encode(horizon, **how, **arrays(history)))
    return vectors[0]
'''
_SESSION: Final = Template('''import json
import sys
import types
from pathlib import Path

import onnxruntime
from safetensors.numpy import load_file

package = sys.modules["model_code"] = types.ModuleType("model_code")
package.__path__ = [folder]  # its Python files, of which these need NumPy alone
from model_code.closed_form import ClosedForm
from model_code.geometry import Geometry

config = json.loads(Path(folder, "config.json").read_text())
weights, session = load_file(f"{folder}/model.safetensors"), onnxruntime.InferenceSession(f"{folder}/encoder.onnx")
table, geometry = weights["items.weight"], Geometry(weights["user_basis"], weights["item_basis"])
$prepared

def states(read):
    """Return the output of the graph at the last interaction (1, dim)."""
    present = np.arange(read["items"].shape[1]) < read["lengths"][:, None]
    known = read | {"vectors": table[read["items"]] * present[..., None]}
$learned    return session.run(None, {one.name: known[one.name] for one in session.get_inputs()})[0]


def encode(history, horizon, **how):
    """Return the user vector (dim,), of unit length; with ``dislike_weight=0`` low ratings do not push away."""
    read = arrays(history)
$before    vectors, norms = geometry.of_users($embeddings)
    return vectors[0]
''')
_CLOSED_FORM: Final = """parts = {name.partition(".")[2]: one for name, one in weights.items() if name.startswith("solution.")}
closed_form = ClosedForm.of(parts, config["weights"], table, config["added_items"], config["rating_bins"] + 1)
item_vectors = geometry.of_items(table)  # (n_items, dim), of unit length
"""
_LEARNED: Final = """    known["item_inputs"] = weights["item_inputs.weight"][read["items"]]
"""
_SOLVED: Final = "closed_form.encode(horizon, read, of_transformer, **how)"
_OF_TRANSFORMER: Final = """    of_transformer = states(read) if closed_form.reads_states(horizon) else None
"""
_UNITS: Final = """lengths = np.linalg.norm(table, axis=1, keepdims=True)
item_vectors = table / np.where(lengths > 0, lengths, 1)  # (n_items, dim), of unit length
"""
_FORMULA: Final = Template('''from safetensors.numpy import load_file

weights = load_file(f"{folder}/model.safetensors")
item_vectors = weights["items.weight"]  # (n_items, dim), of unit length


def encode(history, horizon):
    """Return the user vector (dim,), of unit length, the same for both horizons."""
    read = arrays(history)
    n = int(read["${part}lengths"][0])
    items, bins = read["${part}items"][0, :n], read["${part}rating_bins"][0, :n]
    grades = weights["grades"][:, bins]  # (3, n): of the positives, of all, by rating
    sums = grades @ item_vectors[items]
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    own = weights["from_items"][items] + grades[2][:, None] * weights["from_grades"][items]
    known = np.concatenate([means.ravel(), [1, np.log1p(n)]]) @ weights["from_means"]
    vector = known + own.sum(axis=0) / np.sqrt(max(n, 1))
    return vector / np.linalg.norm(vector)
''')
_USE: Final = Template("""

history = $example
overall, following = encode(history, "overall"), encode(history, "next")  # order-free, and $following
scores = item_vectors @ overall  # (n_items,), cosines: higher is better
""")


def program(facts: Mapping[str, Any], reading: InputConfig, name: str | None, example: str) -> str:
    """Return how to compute user vectors without tastevec, in Markdown.

    Args:
        facts: The facts of the bundle.
        reading: The encoder's input layout.
        name: ``org/name`` on the Hub; None for the folder of the card.
        example: A history, as Python.
    """
    preset, model = facts["settings"]["preset"], ModelReading.of(facts, reading.scale, {})
    imports = "" if name is None else "from huggingface_hub import snapshot_download\n"
    folder = '"this folder"' if name is None else f'snapshot_download("{name}")'
    read = _reading(reading, model.repeats, imports, folder)
    if preset == "direction":
        part = "overall_" if reading.max_history_overall or model.kept_repeats else ""
        use = _USE.substitute(example=example, following="the same")
        text = read + "\n\n" + _FORMULA.substitute(part=part) + use
        return f"Without tastevec, with NumPy, safetensors and pyarrow.\n\n{_fenced(text)}"
    use = _USE.substitute(example=example, following="order-aware")
    parts = {"prepared": _CLOSED_FORM, "learned": _LEARNED, "before": _OF_TRANSFORMER, "embeddings": _SOLVED}
    if preset == "bert-cosine":
        parts = {"prepared": _UNITS, "learned": "", "before": "", "embeddings": "states(read)"}
    return f"""Without tastevec, a history becomes the arrays that the model reads as follows. Whatever the order of its rows, their times count.

{_fenced(read)}
Then with transformers and torch. `trust_remote_code` runs the Python files next to the weights. They are the network of tastevec; read them
first if you do not trust the source of this copy.

{_fenced(_TRANSFORMERS + use)}
Or, in its place, with ONNX Runtime and safetensors, without torch; it runs two of these files.

{_fenced(_SESSION.substitute(parts) + use)}"""


def _fenced(code: str) -> str:
    return f"```python\n{code.strip()}\n```\n"


def _reading(reading: InputConfig, repeats: str, imports: str, folder: str) -> str:
    """Return the part that reads a history."""
    scale, keep = reading.scale, repeats == "keep"
    check = (
        _CHECK.substitute(low=f"{scale.low:g}", high=f"{scale.high:g}") if scale.kind == "explicit" else ""
    )
    delivered = {"sum": _DELIVERED, "keep": _DELIVERED + _REPEATS}.get(repeats, "")
    merged = repeats if not keep else "latest" if scale.kind == "explicit" else "sum"
    read = _READ.substitute(
        imports=imports,
        folder=folder,
        argument=", once=True" if keep else "",
        check=check,
        delivered=delivered,
        every="reversed(kept.values())" if delivered else "timed",
        earlier=_EARLIER
        if merged != "latest"
        else "found.pop(item, None)  # of several rows the latest counts",
        counts=_COUNTS[merged],
    )
    if reading.order == "item":
        explicit = scale.kind == "explicit"
        normalized = _OF_RATINGS if explicit else f"levels = np.nan_to_num(2 * ({_share(scale)}) - 1)"
        # Where rows stay, values are merged and normalized after unknown items are gone.
        rows = "[one for one in read(history) if one[0] in rows]" if keep else "read(history)"
        return read + _NOTE.substitute(read=rows, normalized=normalized, most=reading.max_history)
    most, overall = reading.max_history, reading.max_history_overall or (keep and reading.max_history)
    arrays = _ONCE.substitute(most=most)
    if overall:
        names = {"read": "interactions = read(history)", "once": "interactions", "sequence": "interactions"}
        if keep:
            names = {
                "read": "sequence = read(history, once=False)",
                "once": "read(history)",
                "sequence": "sequence",
            }
        arrays = _TWO.substitute(names, most=most, most_overall=overall)
    return read + _SEQUENCE.substitute(
        levels=scale.n_bins,
        steps=scale.n_bins - 1,
        share=_share(scale),
        last_gap=FIRST_TIME_GAP_BIN - 1,
        first_gap=FIRST_TIME_GAP_BIN,
        unknown_gap=UNKNOWN_TIME_GAP_BIN,
        arrays=arrays,
    )


def _share(scale: ValueScale) -> str:
    """Return `ValueScale.share` of ``values``, as an expression of NumPy."""
    positive, full = scale.positive_from, 1 - POSITIVE_FROM
    if scale.kind == "explicit":
        if scale.has_default_positive:
            return f"(values - {scale.low}) / {scale.high - scale.low}"
        below = f"{POSITIVE_FROM} * (values - {scale.low}) / {positive - scale.low}"
        above = f"{POSITIVE_FROM} + {full} * (values - {positive}) / {scale.high - positive or 1}"
        if positive == scale.high:
            above = "1.0"
    else:
        below = f"np.where(values < 0, 0.0, {TOUCHED})"
        span = math.log(scale.top / positive)
        level = (
            f"np.minimum(np.log(np.maximum(values, {positive}) / {positive}) / {span}, 1)" if span else "1.0"
        )
        above = f"{POSITIVE_FROM} + {full} * {level}"
    return f"np.where(values >= {positive}, {above}, {below})"
