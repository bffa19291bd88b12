"""Saved results as the Markdown that the pages show."""

from __future__ import annotations

import re
from typing import Any

from ablation_rendering import rendered_ablations
from alignment_rendering import rendered_alignment
from bench_rendering import rendered_bench
from catalogue_rendering import rendered_catalogue
from cold_rendering import rendered_cold
from encoding_rendering import rendered_encoding
from epoch_rendering import rendered_epochs
from explanation_rendering import rendered_explanations
from fault_rendering import rendered_faults
from genome_rendering import rendered_genome
from gpu_rendering import rendered_gpu
from markdown_table import markdown_table
from note_rendering import rendered_note
from packing_rendering import rendered_packing
from preparation_rendering import rendered_preparation
from provenance import ROOT
from ranking_rendering import rendered_ranking
from roof_rendering import rendered_limits, rendered_roofs
from service_rendering import rendered_service
from training_rendering import rendered_training
from width_rendering import rendered_widths

__all__ = ["PAGES", "put", "rendered"]

PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "measured.md",
    ROOT / "docs" / "explanations.md",
    ROOT / "docs" / "service.md",
    ROOT / "docs" / "speed.md",
    ROOT / "docs" / "faults.md",
    ROOT / "docs" / "training.md",
    ROOT / "docs" / "demo.md",
    ROOT / "docs" / "how-to" / "compare.md",
    ROOT / "docs" / "notebook" / "index.md",
)

# Of each question: what is shown, and what it is called.
_COLUMNS = (
    ("next-liked", "ndcg@10", "next-liked NDCG@10"),
    ("next-liked", "ndcg@10_shuffled", "the same, sessions shuffled"),
    ("last-20%", "ndcg@100", "last-20% NDCG@100"),
    ("last-20%", "ndcg@100_shuffled", "the same, sessions shuffled"),
    ("fold-in", "recall@20", "fold-in R@20"),
    ("fold-in", "ndcg@100", "fold-in NDCG@100"),
    ("best-rated", "ndcg@10", "best-rated NDCG@10"),
)


def rendered(results: dict[str, Any]) -> str:
    """The tables of one saved file, or the demo's output; what only one kind of file holds says which it is."""
    kinds = {
        "alignment": rendered_alignment,
        "packing": rendered_packing,
        "notebook": rendered_note,
        "gpu": rendered_gpu,
        "epochs": rendered_epochs,
        "faults": rendered_faults,
        "output": lambda demo: f"```\n{demo['output']}\n```",
        "by_evidence": rendered_genome,
        "ways": _placed,
        "ablations": rendered_ablations,
        "rates": rendered_service,
        "preparations": rendered_preparation,
        "encodings": rendered_encoding,
        "rankings": rendered_ranking,
        "roofs": rendered_roofs,
        "limits": rendered_limits,
        "parts": rendered_bench,
        "catalogue": rendered_catalogue,
        "memory": rendered_training,
        "warm": rendered_cold,
        "beside_first": rendered_widths,
        "deletion": rendered_explanations,
        "growth": _speed,
    }
    for key, kind in kinds.items():
        if key in results:
            return kind(results)
    parts = (_asked, _accuracy, _beside, _vectors, _distances, _stages)
    return "\n\n".join(part(results) for part in parts)


def put(name: str, text: str) -> None:
    """Replace what stands between the markers of this name, wherever they are."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    for page in PAGES:
        page.write_text(pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page.read_text()))


def _asked(results: dict[str, Any]) -> str:
    asked = ", ".join(f"{task['task']} {task['users']}" for task in results["evaluation"]["tasks"])
    cautions = (
        "Mean ± half of the 95 % interval over people; where runs are named, the mean of so many seeds. A star: above the best "
        "floor or tuned baseline of the column, by a paired interval that excludes 0."
    )
    return f"Test people asked: {asked}. {cautions}"


def _accuracy(results: dict[str, Any]) -> str:
    evaluation = results["evaluation"]
    rows = {(row["system"], row["task"], row["metric"]): row for row in evaluation["rows"]}
    stars = {
        (skill["system"], skill["task"], skill["metric"]) for skill in evaluation["skill"] if skill["low"] > 0
    }
    lines = [["system", *(name for _, _, name in _COLUMNS)]]
    for system in evaluation["systems"]:
        name = system["system"]
        if name.startswith(("constant", "mean of liked", "rating-weighted mean")):
            continue
        cells = [
            _cell(rows.get((name, task, metric))) + ("*" if (name, task, metric) in stars else "")
            for task, metric, _ in _COLUMNS
        ]
        lines.append([_named(system, results), *cells])
    return markdown_table(lines)


def _beside(results: dict[str, Any]) -> str:
    """Taste beside the best floor or baseline, and beside what else was judged, on the same people."""
    evaluation = results["evaluation"]
    others = [
        system["system"]
        for system in evaluation["systems"]
        if not system["floor"] and system["system"] != "taste"
    ]
    lines = [["taste minus", "question", "metric", "difference, with its paired 95 % interval"]]
    pairs = {(pair["task"], frozenset((pair["a"], pair["b"]))): pair for pair in evaluation["paired"]}
    for skill in evaluation["skill"]:
        task, metric = skill["task"], skill["metric"]
        if skill["system"] != "taste" or not any(
            pair["task"] == task and pair["metric"] == metric for pair in evaluation["paired"]
        ):
            continue
        lines.append([f"{skill['floor']} (the best)", task, metric, _difference(skill, 1)])
        for other in others:
            pair = pairs[task, frozenset(("taste", other))]
            lines.append([other, task, metric, _difference(pair, 1 if pair["a"] == "taste" else -1)])
    return markdown_table(lines)


def _difference(found: dict[str, Any], sign: int) -> str:
    low, high = sorted((sign * found["low"], sign * found["high"]))
    return f"{sign * found['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _vectors(results: dict[str, Any]) -> str:
    """What the vectors are like, and what the lists are like, as *overall* is asked."""
    shown = ("effective_rank", "top_direction", "hubness@10", "coverage@10", "gini@10")
    wholes = {
        (whole["system"], whole["metric"]): whole
        for whole in results["evaluation"]["wholes"]
        if whole["task"] == "fold-in"
    }
    rows = {
        (row["system"], row["metric"]): row
        for row in results["evaluation"]["rows"]
        if row["task"] == "fold-in"
    }
    per_person = [
        metric
        for metric in (
            *("halves_cosine", "strangers_cosine", "halves_closer"),
            *("novelty@10", "intra_list_similarity@10"),
        )
        if any(measured == metric for _, measured in rows)
    ]
    lines = [["fold-in, vectors and first 10", *(name.replace("_", " ") for name in (*shown, *per_person))]]
    for system in results["evaluation"]["systems"]:
        name = system["system"]
        if (name, "coverage@10") not in wholes:
            continue
        cells = [_plain(wholes.get((name, metric))) for metric in shown]
        cells += [_cell(rows.get((name, metric))) for metric in per_person]
        lines.append([_named(system, results), *cells])
    return markdown_table(lines)


def _distances(results: dict[str, Any]) -> str:
    """Cosine distance to the best-rated film, each model beside the floors in its own space."""
    evaluation = results["evaluation"]
    means = {(row["system"], row["metric"]): row for row in evaluation["rows"] if row["task"] == "best-rated"}
    lines = [["film vectors of", "system", "cosine distance", "after removing the mean direction"]]
    for model in results["settings"]:
        [space] = [system["space"] for system in evaluation["systems"] if system["system"] == model]
        for system in evaluation["systems"]:
            if system["space"] == space:
                cells = [
                    _cell(means.get((system["system"], metric)))
                    for metric in ("cosine_distance", "cosine_distance_centred")
                ]
                lines.append([model, _named(system, results), *cells])
    return markdown_table(lines)


def _stages(results: dict[str, Any]) -> str:
    lines = [["stage", "seconds", "peak memory, MB"]]
    for stage in results["stages"]:
        memory = stage["peak_memory_mb"]  # unknown where a stage was stopped and resumed
        lines.append([stage["stage"], f"{stage['seconds']:,.1f}", f"{memory:,}" if memory else "-"])
    return markdown_table(lines)


def _speed(results: dict[str, Any]) -> str:
    """Time and memory of evaluating more and more people."""
    names = ("users", "films", "seconds", "cpu_seconds", "peak_memory_mb", "busy")
    lines = [
        [
            "people",
            "films",
            "seconds",
            "processor seconds",
            "peak memory, MB",
            "processes waiting at the start",
        ]
    ]
    lines += [[f"{row[name]:,}" for name in names] for row in results["rows"]]
    return markdown_table(lines)


def _placed(results: dict[str, Any]) -> str:
    """How near films that the training did not see are placed."""
    seen = ("cosine", "shared of 20 nearest")
    lines = [["placed by", "cosine to the learned vector", "shared of the 20 nearest films"]]
    for way, row in results["ways"].items():
        lines.append([way, *(f"{row[name]['mean']:.3f} ±{row[name]['deviation']:.3f}" for name in seen)])
    return markdown_table(lines)


def _named(system: dict[str, Any], results: dict[str, Any]) -> str:
    name = f"**{system['system']}**" if system["system"] in results["settings"] else system["system"]
    return f"{name} ({system['runs']} runs)" if system["runs"] > 1 else name


def _cell(row: dict[str, Any] | None) -> str:
    """A mean and half of its interval."""
    if row is None or row["mean"] is None:
        return "-"
    return f"{row['mean']:.3f} ±{(row['high'] - row['low']) / 2:.3f}"


def _plain(whole: dict[str, Any] | None) -> str:
    return "-" if whole is None or whole["mean"] is None else f"{whole['mean']:.3g}"
