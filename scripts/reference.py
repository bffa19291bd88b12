"""The pages of the reference that are made, not written: every command's help, and every path of the service.

They go into docs/reference, which git ignores, each time the site is built; what Python offers is read from its docstrings
by the site itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from tastevec.cli.app import app
from tastevec.serving.service.app import create_app
from tastevec.serving.service.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent.parent / "docs" / "reference"
_COLUMNS = "100"
_HTTP = (
    "Made from the schema that the service itself tells at `/openapi.json`. How it is asked, guarded and deployed: "
    "[The service](../service.md)."
)
_ONE_SHAPE = "All in one shape, [ErrorAnswer](#erroranswer): a code, a sentence, the place in the request."


def main() -> None:
    """Write both pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=HERE, help="the folder to write into")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    (out / "commands.md").write_text(commands(), encoding="utf-8")
    (out / "http.md").write_text(http(create_app(_nothing, ServiceSettings()).openapi()), encoding="utf-8")


def _nothing() -> Any:  # noqa: ANN401  never called: the schema needs no model
    raise AssertionError


def commands() -> str:
    """What ``--help`` says, command by command."""
    names = [
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    ]
    parts = [
        "# Commands",
        "Made from `tastevec COMMAND --help`. Every command takes `--json`, can be interrupted, and leaves a whole result or none.",
        f"```text\n{_help()}\n```",
    ]
    for name in names:
        parts += [f"## tastevec {name}", f"```text\n{_help(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(*command: str) -> str:
    told = CliRunner().invoke(app, [*command, "--help"], prog_name="tastevec", env={"COLUMNS": _COLUMNS})
    return told.stdout.strip()


def http(schema: Mapping[str, Any]) -> str:
    """Every path of an OpenAPI schema: what it takes, what it answers, how it refuses; then every shape."""
    parts = [
        "# HTTP",
        _HTTP,
    ]
    for path, operations in schema["paths"].items():
        for method, told in operations.items():
            parts += [f"## {method.upper()} {path}", *_operation(told)]
    parts += ["## Refusals", _ONE_SHAPE, _refusals(schema), "## Shapes"]
    for name, shape in schema["components"]["schemas"].items():
        parts += [f"### {name}", shape.get("description", ""), *_fields(shape)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _operation(told: Mapping[str, Any]) -> Iterator[str]:
    yield told["summary"] if "description" not in told else told["description"]
    if parameters := told.get("parameters"):
        rows = [
            (
                f"`{one['name']}`",
                _kind(one["schema"]),
                _about({**one["schema"], "description": one.get("description", "")}, needed=one["required"]),
            )
            for one in parameters
        ]
        yield _table(("in the address", "kind", "what"), rows)
    if body := told.get("requestBody"):
        yield f"Takes {_kind(_json(body))}."
    if shape := _json(told["responses"]["200"]):
        yield f"Answers {_kind(shape)}."
    if codes := sorted(told["responses"].keys() - {"200"}):
        yield f"[Refuses](#refusals) with {', '.join(codes)}."


def _refusals(schema: Mapping[str, Any]) -> str:
    """Every status that is no success, with all that it can mean."""
    meant: dict[str, set[str]] = {}
    for operations in schema["paths"].values():
        for told in operations.values():
            for code, answer in told["responses"].items():
                meant.setdefault(code, set()).add(answer["description"])
    return _table(
        ("status", "because"),
        [(code, " ".join(sorted(meant[code]))) for code in sorted(meant.keys() - {"200"})],
    )


def _json(part: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = part.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _fields(shape: Mapping[str, Any]) -> Iterator[str]:
    needed = shape.get("required", [])
    rows = [
        (f"`{name}`", _kind(field), _about(field, needed=name in needed))
        for name, field in shape.get("properties", {}).items()
    ]
    if rows:
        yield _table(("field", "kind", "what"), rows)


def _kind(field: Mapping[str, Any]) -> str:
    """A field's type, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    if values := field.get("enum", [field["const"]] if "const" in field else []):
        return " or ".join(f"`{value}`" for value in values)
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"object of {_kind(field['additionalProperties'])}"
    return str(field.get("type", "anything"))


def _about(field: Mapping[str, Any], *, needed: bool) -> str:
    """What a field means, what it may be, and whether it must be there."""
    limits = (
        ("minItems", "at least {} of them"),
        ("maxItems", "at most {} of them"),
        ("minimum", "from {:g}"),
        ("maximum", "to {:g}"),
    )
    parts = [field.get("description", "").rstrip(".")]
    parts += [words.format(field[key]) for key, words in limits if key in field]
    if needed:
        parts.append("must be there")
    elif field.get("default") is not None:
        parts.append(f"`{field['default']}` if not told")
    return "; ".join(part for part in parts if part)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    main()
