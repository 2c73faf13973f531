"""The table of a filter's fields, and its JSON Schema, as Markdown."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from extproc.policy.describe import schema as schema_of
from tools.docs.markdown import REPOSITORY

Schema = Mapping[str, Any]

CONFIGURATION: Final = REPOSITORY / "docs" / "configuration.md"
BOUNDS: Final = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
DURATION: Final = "(ms|s|m|h)$"

FOLDED: Final = """\
<details markdown>
<summary>JSON Schema</summary>

```json
{}
```

</details>
"""


@dataclass(frozen=True, slots=True)
class Field:
    """One row: a path such as `limits[].window`, and what may be written there."""

    path: str
    kind: str
    default: str

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2].removesuffix("[]")


def schema(type_: str, kind: Any) -> str:
    """The table, then the JSON Schema of the type, folded. What a field means is taken from docs/configuration.md."""
    found = schema_of(type_, kind)
    said = _said(type_)
    rows = [_row(one, *said.get(one.name, ("", ""))) for one in fields(found)]
    table = "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])
    return f"{table}\n\n{FOLDED.format(json.dumps(found, indent=2))}"


def _row(field: Field, default: str, meaning: str) -> str:
    """Where the schema has no default, what is said there instead."""
    return f"| `{field.path}` | {field.kind} | {field.default or default} | {meaning} |"


def fields(root: Schema) -> Iterator[Field]:
    """The fields of a schema in their order, those of the objects in it too."""
    yield from _fields(root, root, "")


def _fields(root: Schema, node: Schema, before: str) -> Iterator[Field]:
    for name, value in node.get("properties", {}).items():
        inner = _plain(root, value)
        is_list = inner.get("type") == "array"
        item = _plain(root, inner["items"]) if is_list else inner
        path = f"{before}{name}"
        yield Field(path, _kind(root, inner), _default(value, inner, required=name in node.get("required", ())))
        yield from _fields(root, item, f"{path}[]." if is_list else f"{path}.")


def _plain(root: Schema, node: Schema) -> Schema:
    """What a reference leads to; of a choice with null the other one."""
    for one in node.get("anyOf", ()):
        if one.get("type") != "null":
            return _plain(root, one)
    if "$ref" in node:
        return _plain(root, root["$defs"][node["$ref"].rpartition("/")[2]])
    return node


def _kind(root: Schema, node: Schema) -> str:
    if "enum" in node or "const" in node:
        return " or ".join(f"`{each}`" for each in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {_kind(root, _plain(root, node['items']))}"
    if str(node.get("pattern", "")).endswith(DURATION):
        return "duration"
    if isinstance(node.get("additionalProperties"), dict):
        return "object of text"
    words = {"string": "text", "boolean": "true or false"}.get(str(node.get("type")), str(node.get("type")))
    bounds = [f"{sign} {node[name]:,}" for name, sign in BOUNDS.items() if name in node]
    return f"{words} {', '.join(bounds)}".strip()


def _default(value: Schema, inner: Schema, *, required: bool) -> str:
    if required:
        return "required"
    default = value.get("default")
    if default is None or default == [] or isinstance(default, dict):
        return ""
    if str(inner.get("pattern", "")).endswith(DURATION) and isinstance(default, float):
        return f"`{default:g}s`"
    return f"`{json.dumps(default) if isinstance(default, bool | float | int) else default}`"


def _said(type_: str) -> dict[str, tuple[str, str]]:
    """By field: the default (of a row about it alone) and the meaning, from that type's section of docs/configuration.md."""
    _, _, section = CONFIGURATION.read_text().partition(f"\n## {type_}\n")
    found: dict[str, tuple[str, str]] = {}
    for line in section.partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            cells = [one.strip() for one in line.strip("| ").split("|")]
            names = re.findall(r"`(\w+)`", cells[0])
            default = cells[1] if len(names) == 1 and len(cells) == 3 else ""
            meaning = re.sub(r"\]\((?=[\w-]+\.md)", "](../", cells[-1])
            for name in names:
                found.setdefault(name, (default, meaning))
    return found
