"""Pages: the tables of README and docs between ``<!-- NAME -->`` and ``<!-- /NAME -->``, rendered from the files in ``results``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tables import grouped, markdown_table, pivoted, render_cell

from tastevec.schema import COMPONENTS

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
NOTEBOOK = ROOT / "docs" / "notebook" / "the-note.ipynb"
Results = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table as data.

    Attributes:
        columns: Column titles and the format string of their cells.
        rows: A key of the results, or a function of the results.
        title: A format string, filled from the results; shown above the table.
    """

    columns: Mapping[str, str]
    rows: str | Callable[[Results], Iterable[Row]]
    title: str = ""

    def render(self, results: Results) -> str:
        """Return the title and the table; nothing where there are no rows."""
        rows = results.get(self.rows, ()) if isinstance(self.rows, str) else self.rows(results)
        text = markdown_table(self.columns, found) if (found := list(rows)) else ""
        return f"{render_cell(self.title, results)}\n\n{text}" if text and self.title else text


def _part(part: str | Table | Callable[[Results], str], results: Results) -> str:
    if isinstance(part, Table):
        return part.render(results)
    return render_cell(part, results) if isinstance(part, str) else part(results)


MACHINE = "{machine[cpu]}, {machine[cores]} cores; tastevec {versions[tastevec]}, commit {commit:.7}."
CI = "Mean ± half of the 95 % CI (bootstrap over users; the variation of seeds is not in it)."
BUSY = {"processes waiting at the start": "{busy:~.1f}"}
SECONDS = {"seconds": "{seconds:,.1f}", "peak memory, MB": "{peak_memory_mb:,}"}
TASKS = {
    "Next item, NDCG@10": "{next-item ndcg@10:±.3f}",
    "Last 20 %, NDCG@100": "{last-20pct ndcg@100:±.3f}",
    "Random 20 %, NDCG@100": "{random-20pct ndcg@100:±.3f}",
    "Top-rated, NDCG@10": "{top-rated ndcg@10:±.3f}",
}
# The rows of README: our presets and, of each kind of baseline, the strongest somewhere.
HEADLINE = {
    "taste": "tastevec",
    "lagged item regression": "lagged item regression",
    "SASRec": "SASRec",
    "EASE (graded)": "EASE (graded)",
    "EASE (all ratings)": "EASE (all ratings)",
    "EASE (all ratings), last 5 items": "EASE (all ratings), last 5 items",
    "iALS (graded)": "iALS (graded)",
    "Mult-VAE": "Mult-VAE",
    "item-kNN": "item-kNN",
    "popularity": "popularity",
    "bert-cosine": "BERT-cosine (research note)",
}
# The rows of the research note's question, all in the space of its item vectors.
NOTE_QUESTION = {
    "global mean vector (bert-cosine)": "one vector for all (mean of all positives)",
    "mean of positives (bert-cosine)": "mean of a user's positives",
    "bert-cosine": "BERT-cosine (research note)",
    "direction": "tastevec, preset `direction`",
}
DISPLAYED = {
    "taste": "tastevec",
    "bert-cosine": "BERT-cosine (research note)",
    "direction": "direction (top-rated, corrected)",
}
_TRIVIAL = ("global mean vector", "mean of positives", "rating-weighted mean")


# ---- evaluations ----


def _name(system: str) -> str:
    """Return a system as the tables name it; presets also in parentheses, as the space of a baseline."""
    for preset, name in DISPLAYED.items():
        system = name if system == preset else system.replace(f"({preset})", f"({name.split(' (')[0]})")
    return system


def _systems(results: Results) -> list[Row]:
    """One row for each system: its metrics by task and name, the best ones marked, and its seeds."""
    evaluation = results.get("evaluation", results)
    better = {
        (skill["system"], skill["task"], skill["metric"])
        for skill in evaluation.get("skill", ())
        if skill["ci_low"] > 0
    }
    rows = [
        row | {"significant": (row["system"], row["task"], row["metric"]) in better}
        for row in (*evaluation["rows"], *evaluation.get("system_metrics", ()))
    ]
    facts = {system["system"]: system for system in evaluation.get("systems", ())}
    found = pivoted(rows, ("system",), "{task} {metric}")
    return [
        row | {"name": _name(row["system"]), "runs": facts.get(row["system"], {}).get("runs", 1)}
        for row in found
    ]


def _main_systems(results: Results) -> list[Row]:
    return [row for row in _systems(results) if not row["system"].startswith(_TRIVIAL)]


def _headline(results: Results) -> list[Row]:
    """The rows of README; bold is the best of a column and what its paired interval does not separate from it."""
    by_name = {row["system"]: row for row in _systems(results)}
    rows = [by_name[system] | {"name": name} for system, name in HEADLINE.items() if system in by_name]
    for column in (cell[1:].partition(":")[0] for cell in TASKS.values()):
        there = [row for row in rows if row.get(column) and row[column]["mean"] is not None]
        if not there:
            continue
        best = max(there, key=lambda row: float(row[column]["mean"]))[column]
        level = {best["system"]} | {
            name
            for pair in results["evaluation"]["paired_differences"]
            if (pair["task"], pair["metric"]) == (best["task"], best["metric"])
            and best["system"] in (pair["a"], pair["b"])
            and pair["ci_low"] <= 0 <= pair["ci_high"]
            for name in (pair["a"], pair["b"])
        }
        for row in there:
            row[column] = row[column] | {"significant": False, "bold": row["system"] in level}
    return rows


def _across(results: Results) -> list[Row]:
    """One row for each data set: by task the model and the best baseline; bold where the difference is significant."""
    found: dict[str, Row] = {}
    for row in results["rows"]:
        ours, best = (f"{row['systems'][name]['mean']:.3f}" for name in ("taste", row["best"]))
        low, high = row["difference"]["ci_low"], row["difference"]["ci_high"]
        ours, best = (f"**{ours}**" if low > 0 else ours, f"**{best}**" if high < 0 else best)
        cell = f"{ours} / {best} {row['best']}"
        found.setdefault(row["data"], {"data": row["data"]})[row["task"]] = cell
    return list(found.values())


def _paired_differences(results: Results, system: str = "taste") -> list[Row]:
    """The system minus the best baseline and minus every other model, on the same users."""
    evaluation = results["evaluation"]
    models = [entry["system"] for entry in evaluation["systems"] if not entry["is_baseline"]]
    pairs = [
        _oriented(pair, system)
        for pair in evaluation["paired_differences"]
        if system in (pair["a"], pair["b"])
    ]
    shown = {(pair["task"], pair["metric"]) for pair in pairs}
    best = [
        skill | {"other": f"{skill['baseline']} (best baseline)"}
        for skill in evaluation["skill"]
        if skill["system"] == system and (skill["task"], skill["metric"]) in shown
    ]
    others = [pair | {"other": _name(pair["other"])} for pair in pairs if pair["other"] in models]
    order = list(dict.fromkeys(row["task"] for row in best))
    return sorted([*best, *others], key=lambda row: order.index(row["task"]))


def _oriented(pair: Row, system: str) -> Row:
    """A pair of systems as this system minus the other one."""
    sign, other = (1, pair["b"]) if pair["a"] == system else (-1, pair["a"])
    low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
    return pair | {"other": other, "difference": sign * pair["difference"], "ci_low": low, "ci_high": high}


def _same_space(results: Results) -> list[Row]:
    """The systems that share an embedding space with a model: their cosine distances compare."""
    spaces = {
        system["system"]: system["space"] for system in results["evaluation"]["systems"] if system["space"]
    }
    rows = [row for row in _systems(results) if row["system"] in spaces]
    return [
        row | {"model": _name(model)}
        for model in results["settings"]
        for row in rows
        if spaces[row["system"]] == spaces[model]
    ]


SYSTEM = {"system": "{name} ({runs})"}
EVALUATION = (
    "Users: {evaluation[tasks][0][n_users]}. In parentheses: training seeds. "
    + CI
    + " `*`: significantly above the best baseline of the column (the paired 95 % CI excludes 0).",
    Table(
        SYSTEM
        | {
            "Next item, NDCG@10": "{next-item ndcg@10:±.3f}",
            "sessions shuffled": "{next-item ndcg@10_shuffled:±.3f}",
            "Last 20 %, NDCG@100": "{last-20pct ndcg@100:±.3f}",
            "sessions shuffled ": "{last-20pct ndcg@100_shuffled:±.3f}",
            "Random 20 %, Recall@20 (capped)": "{random-20pct recall@20:±.3f}",
            "Random 20 %, NDCG@100": "{random-20pct ndcg@100:±.3f}",
            "Top-rated, NDCG@10": "{top-rated ndcg@10:±.3f}",
        },
        _main_systems,
    ),
    Table(
        {
            "tastevec minus": "{other}",
            "task": "{task}",
            "metric": "{metric}",
            "paired difference [95 % CI]": "{row:[+.3f]}",
        },
        _paired_differences,
    ),
    Table(
        SYSTEM
        | {
            "effective rank": "{random-20pct effective_rank[mean]:.3g}",
            "top-direction share": "{random-20pct top_direction[mean]:.3g}",
            "hubness@10": "{random-20pct hubness@10[mean]:.3g}",
            "catalog coverage@10": "{random-20pct coverage@10[mean]:.3g}",
            "exposure Gini@10": "{random-20pct gini@10[mean]:.3g}",
            "split-half cosine": "{random-20pct split_half_cosine:±.3f}",
            "between-user cosine": "{random-20pct between_user_cosine:±.3f}",
            "split-half accuracy": "{random-20pct split_half_accuracy:±.3f}",
            "novelty@10": "{random-20pct novelty@10:±.3f}",
            "intra-list similarity@10": "{random-20pct intra_list_similarity@10:±.3f}",
        },
        lambda results: [row for row in _systems(results) if "random-20pct coverage@10" in row],
        "Embeddings and lists, task Random 20 %:",
    ),
    Table(
        {
            "item embeddings of": "{model}",
            "system": "{name} ({runs})",
            "cosine distance": "{top-rated cosine_distance:±.3f}",
            "centered": "{top-rated cosine_distance_centred:±.3f}",
        },
        _same_space,
        "Cosine distance to the top-rated items, within one embedding space:",
    ),
    Table({"step": "{stage}"} | SECONDS, "stages"),
)


def _placements(results: Results) -> list[Row]:
    return [{"name": name} | values for name, values in results["ways"].items()]


# ---- cold items ----


def _cold(results: Results) -> list[Row]:
    rows = pivoted(results["cold"], ("system", "horizon"), "{candidates} {metric}")
    return [
        row | {"name": f"{row['system']}: {row['horizon']}" if row["horizon"] else row["system"]}
        for row in rows
    ]


def _cold_columns(spec: str) -> dict[str, str]:
    metrics = {
        "recall@20": "Recall@20 (capped)",
        "recall@50": "Recall@50 (capped)",
        "ndcg@100": "NDCG@100",
    }
    return {
        f"among {candidates}, {title}": f"{{{candidates} {metric}:{spec}}}"
        for candidates in ("all items", "cold items")
        for metric, title in metrics.items()
    }


# ---- explanations ----


def _doses(rows: str) -> Callable[[Results], list[Row]]:
    return lambda results: [
        row | {f"{one['dose']:+d}": one for one in row["doses"]} for row in results.get(rows, ())
    ]


def _dose_columns(doses: Iterable[int], spec: str) -> dict[str, str]:
    return {f"amount {dose:+d}": f"{{{dose:+d}[mean]:{spec}}}" for dose in doses}


# ---- speed ----


def _small_run(results: Results) -> str:
    """Render the first table of every part of a small run."""
    found = []
    for name, part in results["parts"].items():
        table = next(one for one in REGIONS[f"bench-{name}"] if isinstance(one, Table))
        found.append(f"**{name}**\n\n{table.render(part)}")
    return "\n\n".join(found)


def _training_memory(results: Results) -> list[Row]:
    return [*results.get("memory", ()), *([results["release"]] if "release" in results else ())]


def _training_speed(results: Results) -> list[Row]:
    rows = [row | {"sequence_packing": row.get("sequence_packing", False)} for row in results["speed"]]
    return grouped(
        [*rows, *results.get("packed", ())], "preset", "sequence_packing", "batch_size", "max_history"
    )


def _faults(results: Results) -> list[Row]:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for fault in results["faults"]:
        kind, where = fault["kind"], fault["where"]
        if kind == "a bit turned":  # one line for each folder; the saved file names every file
            where = f"each file of a {'prepared dataset' if where.startswith('data') else 'model'}"
        counts.setdefault((kind, where), Counter())[fault["came"]] += 1
    return [
        {"kind": kind, "where": where, "tried": sum(found.values()) - found["not tried"]}
        | {came: found[came] for came in ("same", "sentence", "wrong")}
        for (kind, where), found in counts.items()
    ]


def _alignment_items(results: Results) -> list[Row]:
    return [{"name": name} | results["alignment"][fit] for fit, name in ALIGNED_ITEMS.items()]


def _aligned_users(results: Results) -> list[Row]:
    keys = {
        "aligned": "",
        "not aligned": ", not turned",
        "all encoded with the new model": ", each in its own space",
    }
    users = results["people"]
    return [
        {"name": name, "cosine": users.get(f"cosine{key}"), "shared": users[f"shared{key}"]}
        for name, key in keys.items()
    ]


ALIGNED_ITEMS = {
    "in_sample": "all items (in-sample)",
    "held_out": "held-out fifth",
    "unaligned": "held-out fifth, not aligned",
    "shuffled": "held-out fifth, items paired at random",
}
_HIDDEN_CODE = {"drawing", "setup"}  # cells that import or draw are in the notebook alone


def _notebook(results: Results) -> str:
    """Return the text and the code of the notebook, each picture with its caption, and the saved tables."""
    parts: list[str] = []
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source, name = "".join(cell["source"]), cell["id"]
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif _HIDDEN_CODE.isdisjoint(cell["metadata"].get("tags", ())):
            parts.append(f"```python\n{source}\n```")
        if caption := results["captions"].get(name):
            parts.append(f"![{caption}](../pictures/note-{name}.svg)\n\n*{caption}*")
        if table := results["tables"].get(name):
            parts.append(table)
    executed = "*Pictures and tables come from one execution: {notebook[DATA]}, {notebook[EPOCHS]} epochs, histories of at most {notebook[MAX_HISTORY]}, tastevec {versions[tastevec]}, commit {commit:.12}; they are saved in results/notebook.json. The code that draws, and tables of ratings, are in the notebook: [the-note.ipynb](the-note.ipynb).*"
    return "\n\n".join([parts[0], render_cell(executed, results), *parts[1:]])


LIMITS = {
    "step": "{stage}",
    "limited by": "{limit}",
    "reached": "{reached:,.1f} {unit}",
    "machine limit": "{roof:,.1f} {unit}",
    "share": "{share:.0%}",
}


# ---- downstream ----


_READ = {
    "gender, AUC": "{gender:±.3f}",
    "age group, AUC": "{age group:±.3f}",
    "occupation, AUC": "{occupation:±.3f}",
    "activity, R²": "{activity:±.3f}",
    "later activity, R²": "{later activity:±.3f}",
    "later genres, R²": "{later genres:±.3f}",
}
_FITTED = {"train": "training users", "validation": "validation users"}


def _probes(results: Results, *, first: bool) -> list[Row]:
    """The probes of standardized vectors and training users, or all others of embeddings."""
    return [
        row | {"fitted": _FITTED[row["fitted"]]}
        for row in results["probes"]
        if first == ((row["vectors"], row["fitted"]) == ("standardized", "train"))
        and (first or row["of embedding"])
    ]


# Each region of the pages: a file in `results`, and texts (format strings), tables and functions of its content.
def _reports(results: Results) -> str:
    """Return the command and the report of each data set."""
    return "\n\n".join(
        f"## {one['name']}\n\n```text\n$ {one['command']}\n{one['report']}\n```"
        for one in results["data_sets"]
    )


REGIONS: dict[str, tuple[Any, ...]] = {
    "bench-roofs": (
        "bench-roofs",
        MACHINE + " Disk: {disk_mb_per_second:,.0f} MB/s.",
        Table(
            {
                "threads": "{threads}",
                "memory copy, GB/s": "{copy_gb_per_second:,.1f}",
                "float32 matrix product, GFLOP/s": "{product_gflops:,.1f}",
                "CSV parsing, MB/s": "{csv_mb_per_second:,.1f}",
            },
            lambda results: [{"threads": name} | roof for name, roof in results["roofs"].items()],
        ),
    ),
    "bench-limits": ("bench-limits", Table(LIMITS, "limits")),
    "bench-preparation": (
        "bench-preparation",
        MACHINE
        + " Generated: {data[films]:,} items, {data[genome_films]:,} of them with a tag genome, {data[tags]:,} tags.",
        Table(
            {
                "ratings": "{ratings:,}",
                "users": "{people:,}",
                "system": "{system}",
                "runs": "{runs}",
                "seconds": "{seconds:~,.1f}",
                "peak memory, MB": "{peak_memory_mb:~,}",
            }
            | BUSY,
            lambda results: grouped(results["preparations"], "ratings", "people", "system"),
        ),
        Table(
            {
                "ratings": "{ratings:,}",
                "`prepare` without content vectors, multiple of plain SQL": "{same_work:~.2f}",
                "with content vectors": "{whole:~.2f}",
            },
            "times_plain",
        ),
    ),
    "bench-encoding": (
        "bench-encoding",
        MACHINE + " Data: {data}.",
        Table(
            {
                "system": "{system}",
                "runs": "{runs}",
                "users": "{people:~,}",
                "users/s": "{users_per_second:~,.1f}",
            }
            | BUSY,
            lambda results: grouped(results["encodings"], "system"),
            "From histories in memory to vectors:",
        ),
        Table(
            {"ONNX, multiple of": "{name}", "users/s": "{row:~,.2f}"},
            lambda results: [{"name": name} | times for name, times in results["times"].items()],
        ),
        Table(
            {"command": "`tastevec {name}`", "users": "{people:,}", "interactions": "{films:,}"} | SECONDS,
            lambda results: [
                results["command"] | results["command"][name] | {"name": name}
                for name in ("encode", "encode on Spark")
                if name in results["command"]
            ],
            "From file to file:",
        ),
        Table(
            {"users": "{users:,}", "interactions": "{interactions:,}"} | SECONDS,
            "growth",
            "`tastevec encode`, generated users:",
        ),
    ),
    "bench-training": (
        "bench-training",
        MACHINE + " Data: {data}; backbone of the preset bert-cosine: {checkpoint}.",
        Table(
            {
                "preset": "{preset}",
                "packed": "{sequence_packing}",
                "users per step": "{batch_size}",
                "history, at most": "{max_history}",
                "runs": "{runs}",
                "users/s": "{users_per_second:~,.1f}",
                "interactions/s": "{films_per_second:~,.1f}",
                "share of padding": "{padding:~.0%}",
            }
            | BUSY,
            _training_speed,
        ),
        Table(
            {"taste, multiple of seed": "{name}", "median (lowest to highest)": "{row:~.1f}"},
            lambda results: [{"name": name} | times for name, times in results["times_the_note"].items()],
        ),
        Table(
            {
                "users": "{users:,}",
                "training users": "{train_users:,}",
                "interactions": "{interactions:,}",
                "imports, MB": "{peak_memory_mb[imported]:,}",
                "before the first step, MB": "{peak_memory_mb[before_the_first_step]:,}",
                "after the steps, MB": "{peak_memory_mb[after_the_steps]:,}",
                "after validation, MB": "{peak_memory_mb[after_the_validation]:,}",
            },
            _training_memory,
            "Peak memory, preset taste, generated users:",
        ),
    ),
    "bench-catalog": (
        "bench-catalog",
        MACHINE + " A step of {people} users and {answers:,} positions, float32.",
        Table(
            {
                "items": "{films:,}",
                "softmax, s": "{loss_seconds:.3f}",
                "all scores at once, s": "{plain_seconds:.3f}",
                "softmax, MB": "{loss_grown_mb:,}",
                "all scores at once, MB": "{plain_grown_mb:,}",
                "largest tensor, elements": "{loss_largest:,}",
                "complete step, s": "{step_seconds:.3f}",
                "peak memory of its process, MB": "{step_peak_mb:,}",
            },
            "catalog",
        ),
    ),
    "bench-ranking": (
        "bench-ranking",
        MACHINE + " The {k} best of {films:,} items, input items excluded, {dim} dimensions, generated.",
        Table(
            {
                "system": "{system}",
                "users": "{people:,}",
                "index, s": "{build_seconds:,.1f}",
                "users/s": "{people_per_second:,.0f}",
                "recall@100": "{recall:.4f}",
                "peak memory, MB": "{peak_memory_mb:,}",
            },
            "rankings",
        ),
        Table(
            {
                "users": "{people:,}",
                "users/s": "{people_per_second:,.0f}",
                "index, s": "{build_seconds:,.1f}",
                "peak memory, MB": "{peak_memory_mb:,}",
            },
            "similar",
            "`similar`, the {nearest} most similar users of every user (faiss, exact):",
        ),
    ),
    "bench-evaluation": (
        "bench-evaluation",
        MACHINE,
        Table(
            {"users": "{users:,}", "items": "{films:,}"}
            | SECONDS
            | {"CPU seconds": "{cpu_seconds:,.1f}"}
            | BUSY,
            "rows",
        ),
    ),
    "headline": (
        "ml-1m-5k",
        CI + " Bold: no system is significantly better.",
        Table({"System": "{name}"} | TASKS, _headline),
    ),
    "note-question": (
        "ml-1m-5k",
        Table(
            {
                "System": "{name}",
                "cosine distance": "{top-rated cosine_distance:±.3f}",
                "without the mean direction": "{top-rated cosine_distance_centred:±.3f}",
            },
            lambda results: [
                {
                    key: one | {"significant": False} if isinstance(one, dict) else one
                    for key, one in row.items()
                }
                | {"name": name}
                for system, name in NOTE_QUESTION.items()
                for row in _systems(results)
                if row["system"] == system
            ],
        ),
    ),
    "ml-1m-5k": ("ml-1m-5k", *EVALUATION),
    "ml-100k": ("ml-100k", *EVALUATION),
    "demo": ("demo", "```\n{output}\n```"),
    "notebook": ("notebook", _notebook),
    "added-films": (
        "added-films",
        Table(
            {
                "method": "{name}",
                "cosine to the trained embedding": "{cosine:±.3f}",
                "shared of the 20 most similar items": "{shared of 20 nearest:±.3f}",
            },
            _placements,
        ),
    ),
    "item-content": (
        "item-content",
        Table(
            {
                "data": "{data}",
                "what is known of the items": "{kind}",
                "items with it": "{items_with_it:,} of {items:,}",
                "share explained": "{share:±.3f}",
                "difference": "{difference:±.3f}",
            },
            "kinds",
        ),
    ),
    "cold-films": (
        "cold-films",
        "{draw[films]:,} of {draw[catalog]:,} items of {data} removed (seed {draw[seed]}) with their {draw[held_back]:,} training and validation interactions. {asked[all items][n_users]:,} test users have {asked[all items][held_out_items]:,} positives among "
        "them: the held-out items. " + CI,
        Table({"system": "{name}"} | _cold_columns("±.3f"), _cold),
        Table(
            {"multiple of the best content baseline [95 % CI]": "{name}"} | _cold_columns("[.2f]"),
            lambda results: [row for row in _cold(results) if row["system"] != "random"],
        ),
        Table(
            {
                "other items, task": "{task}",
                "metric": "{metric}",
                "trained with all items": "{with_all:.3f}",
                "trained without the cold items": "{without:.3f}",
                "ratio [95 % CI]": "{row:[.3f]}",
            },
            "warm",
        ),
        Table(
            {
                "overall, vectors of cold items from": "{content}",
                "among all items, NDCG@100": "{all items:±.3f}",
                "minus that of all content": "{all items[difference]:[+.3f]}",
                "among cold items, NDCG@100": "{cold items:±.3f}",
                "minus that of all content ": "{cold items[difference]:[+.3f]}",
            },
            lambda results: pivoted(results.get("kinds", ()), ("content",), "{candidates}"),
        ),
    ),
    "explanations": (
        "explanations",
        "{people} {split} users of {data}, {tags[count]} tags (median reliability {tags[median_reliability]:.2f}). Mean and 95 % CI over users. Strengths are in standard deviations over users, relevances in standard deviations over items.",
        Table(
            {
                "deleted items": "{deleted}",
                "change of the tag strength": "{row:[.3f]}",
                "change by the named items, multiple": "{named_ratio:.1f} [{named_ratio_low:.1f}, {named_ratio_high:.1f}]",
            },
            "deletion",
        ),
        Table(
            {
                "tags": "{tags}",
                "relevance to held-out positives": "{relevance:[.2f]}",
                "beyond the average user's positives": "{beyond_average:[.2f]}",
                "named tags minus these": "{named_minus:[.2f]}",
            },
            "foretold",
        ),
        Table(
            {"hold": "{hold:g}"}
            | _dose_columns((-2, -1, 0, 1, 2), ".2f")
            | {
                "tags that rise with every amount": "{rising:.0%}",
                "change by an amount of 1": "{own_change:[.3f]}",
                "other tags": "{others_change:[.3f]}",
                "the 10 most similar tags": "{nearest_change:[.3f]}",
                "recommendations kept": "{kept[mean]:.0%}",
            },
            _doses("steering"),
            "Mean relevance of the tag among the first {tags[first]} items:",
        ),
        Table(
            {"horizon": "{horizon}", "latest items in the input": "{films}"}
            | _dose_columns((-4, -2, -1, 1, 2, 4), ".1f"),
            _doses("reach"),
            "Items among the first {reach[0][first]} that are not there without steering:",
        ),
    ),
    "service": (
        "bench-service",
        MACHINE
        + " `POST /v1/recommend`, ten items for histories of {films_of_a_person} ({data}), on loopback; clients and service share the cores. Ready {ready_after_s} seconds after the start. Memory is the resident memory of all processes of the service.",
        Table(
            {"what must hold": "{name}", "limit": "{limit}", "measured": "{value:,g}", "met": "{met}"},
            lambda results: [
                row | {"met": "yes" if row["met"] else "**no**"} for row in results.get("limits", ())
            ],
        ),
        Table(
            {
                "connections": "{connections}",
                "requests/s": "{requests_a_second:,.0f}",
                "p50, ms": "{p50_ms:.1f}",
                "p99, ms": "{p99_ms:.1f}",
                "requests": "{requests:,}",
                "errors": "{errors}",
            },
            "rates",
        ),
        Table(
            {"requests so far": "{requests:,}", "memory, MB": "{memory_mb:,.0f}"},
            lambda results: results["memory"][::5],
        ),
        Table(
            {
                "request of the others": "{name}",
                "p50 alone, ms": "{alone_p50_ms:.1f}",
                "p99 alone": "{alone_p99_ms:.1f}",
                "p50, ms": "{p50_ms:.1f}",
                "p99": "{p99_ms:.1f}",
                "p99, times that alone": "{p99_ratio:.1f}",
                "requests of the others served": "{served}",
                "longest `/healthz`, ms": "{healthz_ms:,.0f}",
                "peak memory, MB": "{memory_mb:,.0f}",
                "shared memory once": "{shared_once_mb:,.0f}",
            },
            lambda results: [
                row | {"served": row["sent"].get("200", 0)} for row in results.get("fairness", ())
            ],
            "The same request, one after another over one connection, alone and while {greedy_clients} clients send the largest legal requests without a pause:",
        ),
    ),
    "data-sets": (
        "inspections",
        MACHINE,
        Table(
            {
                "data set": "{name}",
                "feedback": "{kind}",
                "rows": "{rows}",
                "warnings": "{warnings}",
                "inspect, s": "{seconds:,.1f}",
                "peak memory, MB": "{peak_memory_mb:,}",
                **BUSY,
            },
            "data_sets",
        ),
        _reports,
    ),
    "across-headline": (
        "across",
        Table(
            {
                "Data": "{data}",
                "Random 20 %, NDCG@100": "{random-20pct}",
                "Next item, NDCG@10": "{next-item}",
                "Last 20 %, NDCG@100": "{last-20pct}",
            },
            _across,
            "tastevec / the best tuned baseline. Bold: significantly better (the paired 95 % CI excludes 0).",
        ),
    ),
    "across": (
        "across",
        MACHINE + " " + CI,
        Table(
            {
                "data set": "{data}",
                "task": "{task}, {metric}",
                "users": "{users:,}",
                "tastevec": "{systems[taste]:±.4f}",
                "best tuned baseline": "{best}",
                "its value": "{baseline:±.4f}",
                "ratio": "{ratio:.3f}",
                "difference": "{difference:[+.4f]}",
            },
            lambda results: [row | {"baseline": row["systems"][row["best"]]} for row in results["rows"]],
        ),
        Table(
            {
                "task": "{task}",
                "data sets": "{count}",
                "geometric mean of the ratios": "{mean:.3f}",
                "lowest": "{lowest:.3f}",
            },
            "ratio",
        ),
        Table(
            {
                "data set": "{data}",
                "task": "{task}",
                "part": "{part}",
                "weight": "{weight:g}",
                "all parts": "{all[mean]:.4f}",
                "without this part": "{without[mean]:.4f}",
                "it adds": "{difference:[+.4f]}",
                "this part alone": "{alone[mean]:.4f}",
            },
            lambda results: [
                row | {"part": COMPONENTS.get(row["part"], row["part"])} for row in results["parts"]
            ],
            "The 64 numbers of a user without each part of the weighted sum, and from each part alone:",
        ),
    ),
    "value-scale": (
        "value-scale",
        "Validation users, {seeds} splits and seeds, ± half of the 95 % CI (bootstrap over users); in brackets the paired difference from the logarithm.",
        Table(
            {
                "data": "{data}",
                "system": "{system}",
                "task": "{task}, {metric}",
                "0.75 to 1, by the logarithm": "{logarithm:±.3f}",
                "1 for every positive": "{flat:±.3f} ({flat[difference]:[+.3f]})",
                "0.5 to 1, by the logarithm": "{half:±.3f} ({half[difference]:[+.3f]})",
            },
            lambda results: [
                row | {"metric": results["metrics"][row["task"]]}
                for row in pivoted(results["rows"], ("data", "system", "task"), "{share}")
                if row["system"] != "popularity"
            ],
        ),
    ),
    "closed-form": (
        "closed-form",
        "Test users, nothing set by hand, one split, ± half of the 95 % CI (bootstrap over users). Best component: the best of item regression, lagged item regression, iALS and popularity, each with constants chosen on validation users.",
        Table(
            {
                "data": "{data}",
                "task": "{task}, {metric}",
                "users": "{users:,}",
                "best component": "{best}",
                "alone": "{component:±.4f}",
                "weighted sum": "{sum:±.4f}",
                "64 numbers": "{vectors:±.4f}",
                "ratio": "{ratio:.3f}",
                "difference": "{difference:[+.4f]}",
            },
            lambda results: [
                row
                | {
                    "component": row["systems"][row["best"]],
                    "sum": row["systems"]["sum"],
                    "vectors": row["systems"]["64"],
                    "best": COMPONENTS.get(row["best"], row["best"]),
                }
                for row in results["rows"]
            ],
        ),
    ),
    "direction": (
        "direction",
        "Test users, task Top-rated: mean cosine distance of a user to the items that they rate highest, lower is better, ± half of the 95 % CI (bootstrap over users).",
        Table(
            {
                "data": "{data}",
                "item vectors": "{vectors}",
                "users": "{users:,}",
                "system": "{system}",
                "cosine distance": "{cosine_distance:±.3f}",
                "without the mean direction": "{cosine_distance_centred:±.3f}",
                "fit, s": "{fit}",
            },
            lambda results: [
                row
                | {
                    "system": _name(row["system"]),
                    "fit": row["seconds"] if row["system"] == "direction" else "-",
                }
                for row in results["rows"]
            ],
        ),
    ),
    "downstream": (
        "downstream",
        "{data}: {users[train]:,} training, {users[validation]:,} validation and {users[test]:,} test users; one split, one seed. Embeddings have {dim} dimensions. Mean ± half of the 95 % CI (bootstrap over test users).",
        Table(
            {"what is known of a user": "{embedding}"}
            | _READ
            | {"minus genre shares": "{genres beyond shares:[+.3f]}"},
            lambda results: _probes(results, first=True),
            "Linear probes (ridge regression) of standardized coordinates, fitted on training users. Classes: {classes[gender]} genders, {classes[age group]} age groups, {classes[occupation]} occupations. `*`: the paired 95 % CI of the difference from tastevec, overall, excludes 0.",
        ),
        Table(
            {"embedding": "{embedding}", "coordinates": "{vectors}", "fitted on": "{fitted}"} | _READ,
            lambda results: _probes(results, first=False),
            "The same probes of vectors of unit length, and fitted on validation users, whom no embedding was fitted on:",
        ),
        Table(
            {
                "embedding": "{embedding}",
                "agreement, two halves of the training users": "{halves of users:±.3f}",
                "agreement, two halves of each history": "{halves of history:±.3f}",
                "variance of genre shares between clusters": "{genres:±.3f}",
            },
            "clusters",
            "{groups} clusters (k-means of unit vectors). Agreement: adjusted Rand index over test users, 0 by chance, 1 where equal.",
        ),
        Table(
            {
                "stored, tastevec overall": "{stored}",
                "bytes a user": "{bytes}",
                "Random 20 %, NDCG@100": "{ndcg:±.3f}",
                "minus float32": "{difference:[+.3f]}",
                "gender, AUC": "{gender:±.3f}",
                "age group, AUC": "{age group:±.3f}",
                "found by the other half": "{found again:±.3f}",
            },
            "sizes",
            "Smaller and noisy vectors. Found by the other half: of the vectors of one random half of each test user's history, the one nearest to the vector of the other half is the same user's. `*`: the paired 95 % CI of the difference from float32 excludes 0.",
        ),
        Table(
            {
                "positives added": "{after}",
                "vector": "{way}",
                "users": "{users:,}",
                "cosine to the vector encoded again": "{cosine:±.3f}",
                "NDCG@100": "{ndcg:±.3f}",
                "minus encoded again": "{difference:[+.3f]}",
            },
            "updates",
            "A stored vector u updated by one positive after the other, without the history: u + {rule[share]:.2f} n^{rule[power]:.2f} v, at unit length, with n interactions and v the unit direction of the item. NDCG of the positives that follow all updates.",
        ),
        Table(
            {
                "interactions": "{from:,} to {to:,}",
                "users": "{users:,}",
                "limits fitted on": "{fitted}",
                "1 - cosine": "{moved:±.3f}",
                "median limit, 50 %": "{limit 50:.3f}",
                "users within": "{within 50:±.3f}",
                "median limit, 90 %": "{limit 90:.3f}",
                "users within ": "{within 90:±.3f}",
            },
            lambda results: [row | {"fitted": _FITTED[row["fitted"]]} for row in results["movement"]],
            "Movement of tastevec overall by {more} more interactions, and how well its quantiles by history length are predicted:",
        ),
    ),
    "calibration": (
        "calibration",
        "{data}, test users: of each history the first 80 % is known, and the ratings of the rest are predicted. ± half of the 95 % CI (bootstrap over ratings).",
        Table(
            {
                "horizon": "{horizon}",
                "ratings": "{ratings:,} of {users:,} users",
                "positive": "{positive:.3f}",
                "calibration error": "{calibration_error:.3f}",
                "Brier score": "{brier:±.4f}",
                "of the share of positives alone": "{brier_of_rate:±.4f}",
            },
            "rows",
        ),
        Table(
            {
                "horizon": "{horizon}",
                **{f"tenth {number}": f"{{tenth{number}}}" for number in range(1, 11)},
            },
            lambda results: [
                {"horizon": row["horizon"]}
                | {
                    f"tenth{number}": f"{one['predicted']:.2f} / {one['observed']:.2f}"
                    for number, one in enumerate(
                        (one for one in results["bins"] if one["horizon"] == row["horizon"]), 1
                    )
                }
                for row in results["rows"]
            ],
            "Mean probability / share of positives, by tenths of the probability:",
        ),
    ),
    "alignment": (
        "alignment",
        "{data}, two trainings on training users drawn with two seeds; {alignment[films]:,} items rated in both, {people[unseen by both]:,} users in neither training, horizon overall.",
        Table(
            {"items": "{name}", "residual, relative": "{residual:.3f}", "mean cosine": "{cosine:+.3f}"},
            _alignment_items,
        ),
        Table(
            {
                "user vectors": "{name}",
                "mean cosine to the old vector": "{cosine:+.3f}",
                "share of the 10 most similar users of the old space": "{shared:.0%}",
            },
            _aligned_users,
        ),
    ),
    "faults": (
        "faults",
        MACHINE + " Seed {seed}.",
        Table(
            {
                "fault": "{kind}",
                "where": "{where}",
                "runs": "{tried}",
                "same bytes": "{same}",
                "one clear error": "{sentence}",
                "lost or silently wrong": "{wrong}",
            },
            _faults,
        ),
    ),
    "service-faults": (
        "service-faults",
        MACHINE + " Seed {seed}; {data}.",
        Table(
            {
                "attack": "{name}",
                "p99 of a small request, ms": "{p99_ms:,.0f}",
                "longest, s": "{longest_s:.1f}",
                "slow afterwards, s": "{slow_for_s:.1f}",
                "longest `/healthz`, ms": "{healthz_ms:,.0f}",
                "memory before, MB": "{memory_before_mb:,.0f}",
                "peak": "{memory_mb:,.0f}",
                "afterwards": "{memory_after_mb:,.0f}",
                "errors": "{errors}",
                "lines on stderr": "{lines:,}",
            },
            lambda results: [
                row | {"errors": row["bad"] + row["healthz_failed"]} for row in results["attacks"]
            ],
        ),
        Table(
            {"check": "{name}", "runs": "{runs:,}", "failed": "{failed:,}"},
            "checks",
        ),
        lambda results: f"Missed: {'; '.join(results['missed'])}." if results["missed"] else "",
    ),
    "bench": (
        "bench",
        "{machine[cpu]}, {machine[cores]} cores, {machine[memory_gib]} GiB, Python {machine[python]}; tastevec {versions[tastevec]}, torch {versions[torch]}, duckdb {versions[duckdb]}, onnxruntime {versions[onnxruntime]}; commit {commit:.7}.",
        _small_run,
        Table({"part": "{stage}"} | SECONDS | BUSY, "stages"),
        Table(LIMITS, lambda results: results.get("beside_roofs", {}).get("limits", ())),
    ),
}


def render(name: str, results: Results) -> str:
    """Return what the markers of this name enclose, for these results."""
    _, *parts = REGIONS[name]
    return "\n\n".join(filter(None, (_part(part, results) for part in parts)))


def show(name: str, text: str | None = None) -> str:
    """Replace what the markers of this name enclose on every page, by default with what the saved results give."""
    if text is None:
        text = render(name, json.loads((ROOT / "results" / f"{REGIONS[name][0]}.json").read_text()))
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", old)
        if new != old:
            page.write_text(new, encoding="utf-8")
    return text
