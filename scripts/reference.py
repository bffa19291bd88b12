"""The generated pages of the reference: the help of every command, and every path of the service.

They go into docs/reference, which git ignores, each time the site is built. The site reads the Python API from docstrings.
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
    "Generated from the schema that the service returns at `/openapi.json`. Endpoints, security settings and deployment: "
    "[HTTP service](../service.md)."
)
_ONE_SHAPE = "All errors have one schema, [ErrorResponse](#errorresponse): a code, a message, the location in the request."


def main() -> None:
    """Write both pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=HERE, help="output folder")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    (out / "commands.md").write_text(commands(), encoding="utf-8")
    (out / "http.md").write_text(http(create_app(_nothing, ServiceSettings()).openapi()), encoding="utf-8")


def _nothing() -> Any:  # noqa: ANN401  never called: the schema needs no model
    raise AssertionError


def commands() -> str:
    """Return the help of each command."""
    names = [
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    ]
    parts = [
        "# Commands",
        "Generated from `tastevec COMMAND --help`. Every command takes `--json`, can be interrupted, and leaves a complete result or none.",
        f"```text\n{_help()}\n```",
    ]
    for name in names:
        parts += [f"## tastevec {name}", f"```text\n{_help(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="tastevec", env={"COLUMNS": _COLUMNS})
    return result.stdout.strip()


def http(schema: Mapping[str, Any]) -> str:
    """Return every path of an OpenAPI schema with its request, response and errors; then every schema."""
    parts = [
        "# HTTP",
        _HTTP,
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts += [f"## {method.upper()} {path}", *_operation(operation)]
    parts += ["## Errors", _ONE_SHAPE, _errors(schema), "## Schemas"]
    for name, shape in schema["components"]["schemas"].items():
        parts += [f"### {name}", shape.get("description", ""), *_fields(shape)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield operation["summary"] if "description" not in operation else operation["description"]
    if parameters := operation.get("parameters"):
        rows = [
            (
                f"`{one['name']}`",
                _kind(one["schema"]),
                _about({**one["schema"], "description": one.get("description", "")}, needed=one["required"]),
            )
            for one in parameters
        ]
        yield _table(("parameter", "type", "description"), rows)
    if body := operation.get("requestBody"):
        yield f"Request: {_kind(_json(body))}."
    if shape := _json(operation["responses"]["200"]):
        yield f"Response: {_kind(shape)}."
    if codes := sorted(operation["responses"].keys() - {"200"}):
        yield f"[Errors](#errors): {', '.join(codes)}."


def _errors(schema: Mapping[str, Any]) -> str:
    """Return a table of the error statuses and their causes."""
    causes: dict[str, set[str]] = {}
    for operations in schema["paths"].values():
        for operation in operations.values():
            for code, response in operation["responses"].items():
                causes.setdefault(code, set()).add(response["description"])
    return _table(
        ("status", "cause"),
        [(code, " ".join(sorted(causes[code]))) for code in sorted(causes.keys() - {"200"})],
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
        yield _table(("field", "type", "description"), rows)


def _kind(field: Mapping[str, Any]) -> str:
    """Return the type of a field."""
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
    """Return the description of a field, its limits and whether it is required."""
    limits = (
        ("minItems", "at least {} items"),
        ("maxItems", "at most {} items"),
        ("minimum", "from {:g}"),
        ("maximum", "to {:g}"),
    )
    parts = [field.get("description", "").rstrip(".")]
    parts += [words.format(field[key]) for key, words in limits if key in field]
    if needed:
        parts.append("required")
    elif field.get("default") is not None:
        parts.append(f"`{field['default']}` by default")
    return "; ".join(part for part in parts if part)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    main()
