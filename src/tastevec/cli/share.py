"""The command ``push``: a model to the Hugging Face hub."""

from typing import Annotated

import typer

from .answer import answering
from .flags import AsJson, ModelFolder
from .progress import bar

__all__ = ["push"]


def push(
    model: ModelFolder,
    repository: Annotated[
        str, typer.Argument(metavar="REPOSITORY", help="Where to: org/name; made if it is not there.")
    ],
    *,
    private: Annotated[bool, typer.Option("--private", help="Show a new repository to nobody else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model to the Hugging Face hub.

    From there every command takes it as org/name. The token that may write there is read from HF_TOKEN, or from where
    hf auth login keeps it. Read the model's card, README.md, first: it says under which terms the data may be used.
    """
    with answering(as_json=as_json) as answer:
        from tastevec.serving.recommender import load

        with bar("Pushing"):
            opened = load(model)
            address = opened.push_to_hub(repository, private=private or None)
        facts = {"repository": repository, "address": address, "space": opened.bundle.space}
        answer.give(
            facts,
            f"The model is at {address}.\nNext: tastevec recommend {repository} HISTORIES --out films.parquet",
        )
