"""The saved speed on a GPU as the Markdown that the page shows."""

from __future__ import annotations

from typing import Any

from markdown_table import markdown_table

__all__ = ["rendered_gpu"]


def rendered_gpu(results: dict[str, Any]) -> str:
    """Training by width, precision and people a step; encoding on the GPU and on the cores beside it."""
    machine, versions = results["machine"], results["versions"]
    cores, gpu = (row["users_per_second"] for row in results["encodings"])
    told = (
        f"One {results['gpu']}, and {machine['cores']} cores ({machine['cpu']}); torch {versions['torch']}; ml-1m-5k, the taste preset, 40 steps "
        "each, once."
    )
    encoded = f"Encoding everybody: {gpu:,.0f} people/s with torch on the GPU, {cores:,.0f} with ONNX on the {machine['cores']} cores."
    parts = [told, "", _table(results["trainings"]), "", encoded]
    if since := results.get("without_cudnn"):  # some of it measured again, on another day
        again = (
            f"Again, with attention kept from cuDNN, on one {since['gpu']} (commit {since['commit'][:7]}):"
        )
        parts += ["", again, "", _table(since["trainings"])]
    return "\n".join(parts)


def _table(trainings: list[dict[str, Any]]) -> str:
    lines = [
        ("hidden size", "people a step", "precision", "films read/s", "people/s", "reading, share of a step")
    ]
    lines += [
        (
            f"{row['hidden_size']}",
            f"{row['batch_size']}",
            row["precision"],
            f"{row['films_per_second']:,.0f}",
            f"{row['users_per_second']:,.0f}",
            f"{row['reading']:.1%}",
        )
        for row in trainings
    ]
    return markdown_table(lines)
