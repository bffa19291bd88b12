"""An example of every command, for the end of its help; a test parses each."""

from typing import Final

__all__ = ["EXAMPLES", "example_of"]

EXAMPLES: Final = {
    "fetch": "tastevec fetch ml-100k --to data",
    "prepare": "tastevec prepare ratings.csv --items films.csv --out prepared",
    "describe": "tastevec describe prepared --out pictures",
    "train": "tastevec train prepared --out model --set epochs=10 --set seed=7",
    "evaluate": "tastevec evaluate model --data prepared --out results",
    "compare": "tastevec compare results earlier-results --out comparison",
    "align": "tastevec align retrained model --vectors vectors.parquet --out aligned",
    "encode": "tastevec encode model histories.csv --horizon overall --out vectors.parquet",
    "recommend": "tastevec recommend model histories.csv --k 20 --out films.parquet",
    "similar": "tastevec similar model --user histories.csv --people vectors.parquet",
    "explain": "tastevec explain model histories.csv --tags 5",
    "serve": "tastevec serve model --people vectors.parquet --port 8080",
    "add-items": "tastevec add-items model new-films.csv --tags tags.csv --out model2",
    "push": "tastevec push model org/taste --private",
    "doctor": "tastevec doctor --json",
}


def example_of(command: str) -> str:
    """The last lines of a command's help, which stay as they are at any width.

    Args:
        command: As it is typed, such as ``add-items``.
    """
    return f"\b\nExample: {EXAMPLES[command]}"
