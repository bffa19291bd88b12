"""The forbidden words of docs/vocabulary.md are neither identifiers nor in texts that users see."""

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
VOCABULARY = ROOT / "docs" / "vocabulary.md"
CODE = sorted(
    path for room in ("src", "tests", "benchmarks", "scripts") for path in (ROOT / room).rglob("*.py")
)
WEB = sorted(path for kind in ("*.js", "*.html") for path in (ROOT / "src").rglob(kind))
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page != VOCABULARY)]


@dataclass(frozen=True)
class Forbidden:
    """One entry of the list: the word, where it is checked, and the identifiers in which it is allowed."""

    word: str
    in_identifiers: bool
    in_texts: bool
    allowed: frozenset[str]


def _entry(line: str) -> Forbidden:
    found = re.fullmatch(r"([^()]+?)(?: \(([^()]*)\))?", line)
    parts = [part.strip() for part in (found[2] or "").split(";")]
    allowed = [part.removeprefix("name:") for part in parts if part.startswith("name:")]
    return Forbidden(
        word=found[1],
        in_identifiers="texts" not in parts,
        in_texts="identifiers" not in parts,
        allowed=frozenset(name.strip() for names in allowed for name in names.split(",")),
    )


def read_forbidden() -> list[Forbidden]:
    """Return the entries of the fenced list, in its order."""
    fenced = re.search(r"^```forbidden\n(.*?)^```$", VOCABULARY.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [_entry(line) for line in fenced[1].splitlines()]


FORBIDDEN = read_forbidden()
IDENTIFIER_WORDS = {
    tuple(re.split(r"[ -]", entry.word)): entry.allowed for entry in FORBIDDEN if entry.in_identifiers
}
TEXT = re.compile(
    r"(?<![\w.-])("
    + "|".join(re.escape(entry.word) for entry in FORBIDDEN if entry.in_texts)
    + r")(?![\w(-])(?!\.\w)",
    re.IGNORECASE,
)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def forbidden_in_identifier(name: str) -> list[str]:
    """Return the forbidden words of an identifier, split at ``_`` and at capitals."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")
    return [
        " ".join(bad)
        for bad, allowed in IDENTIFIER_WORDS.items()
        if name not in allowed and any(tuple(words[at : at + len(bad)]) == bad for at in range(len(words)))
    ]


def _identifiers(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.NAME]


def _strings(source: str) -> list[tuple[int, str]]:
    return [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def _prose(markdown: str) -> str:
    """Return the text without code, comments and link targets; line numbers stay."""
    pattern = r"^```.*?^```$|`[^`\n]*`|<!--.*?-->|\]\([^)\s]*\)"
    return re.sub(pattern, _newlines, markdown, flags=re.MULTILINE | re.DOTALL)


def _newlines(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def _without_comments(script: str) -> str:
    return re.sub(r"/\*.*?\*/|(?<![:\w])//[^\n]*|<!--.*?-->", _newlines, script, flags=re.DOTALL)


def violations(path: Path) -> list[str]:
    """Return ``line: word`` for each forbidden word of a file."""
    text = path.read_text("utf-8")
    found = [f"its name: {path.stem}"] if forbidden_in_identifier(path.stem) else []
    if path.suffix == ".py":
        found += [f"{line}: {name}" for line, name in _identifiers(text) if forbidden_in_identifier(name)]
        texts = _strings(text) if (ROOT / "src") in path.parents else []
    else:
        body = _prose(text) if path.suffix == ".md" else _without_comments(text)
        texts = list(enumerate(body.splitlines(), 1))
    for line, content in texts:
        found += [f"{line}: {hit[0]} in {' '.join(content.split())[:80]!r}" for hit in TEXT.finditer(content)]
    return found


def test_no_file_contains_a_forbidden_word():
    found = {_name(path): violations(path) for path in (*CODE, *WEB, *PAGES)}
    assert {name: words for name, words in found.items() if words} == {}


def test_the_list_names_words_and_where_they_are_checked():
    by_word = {entry.word: entry for entry in FORBIDDEN}
    assert len(by_word) == len(FORBIDDEN) > 50
    assert by_word["film"].in_identifiers
    assert not by_word["film"].in_texts
    assert not by_word["left out"].in_identifiers


def test_an_identifier_is_split_at_underscores_and_capitals():
    assert forbidden_in_identifier("rowsSetAside") == ["set aside"]
    assert forbidden_in_identifier("_FilmIndex") == ["film"]
    assert forbidden_in_identifier("floor") == []
    assert forbidden_in_identifier("movieId2_floors") == ["movie", "floors"]
    assert forbidden_in_identifier("toldest") == []
