"""YAML as plain values with the line of each, and without the parts of YAML that surprise.

A document is data of Kubernetes' kind: mappings with text keys, lists, and scalars that YAML 1.1 and 1.2 read alike. What
they read differently (`on`, `010`, `1:30`) is refused with the advice to quote it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from extproc.errors import ConfigError, Place
from extproc.policy.places import Steps, dotted

MOST_VALUES: Final = 50_000
"""Values in one document, each alias counted as all that it stands for."""

TOO_MANY: Final = f"there are more than {MOST_VALUES} values, aliases written out"
MOST_NODES: Final = 2 * MOST_VALUES
"""Keys and values in one file, as they are written."""

CROWDED: Final = f"the file has more than {MOST_NODES} keys and values: spread its documents over several files"
DEEPEST: Final = 64
TOO_DEEP: Final = f"values are nested deeper than {DEEPEST} levels"

CORE: Final = "tag:yaml.org,2002:"
SCALARS: Final = frozenset(f"{CORE}{kind}" for kind in ("str", "timestamp", "value", "null", "bool", "int", "float"))
BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
FLOAT: Final = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,18}(?:[eE][-+]?[0-9]{1,2})?")


@dataclass(slots=True)
class Tree:
    """One document: its value and the line (from 1) of each value in it."""

    value: Any
    lines: dict[Steps, int] = field(default_factory=dict)


def read_trees(text: str, file: str) -> Iterator[Tree | ConfigError]:
    """The documents of `text`, each a tree or what is wrong with it. After a syntax error there is no next one."""
    number = 0
    if refusal := _too_much(text, file):
        yield refusal
        return
    try:
        for node in yaml.compose_all(text, Loader=yaml.CSafeLoader):
            number += 1
            yield _tree(node, file, number)
    except yaml.YAMLError as error:
        yield _syntax_error(error, text, file, number + 1)


def _too_much(text: str, file: str) -> ConfigError | None:
    """Whether `text` is too deep or too large to be composed: the composer recurses in C and would end the process."""
    depth = nodes = document = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            document += isinstance(event, yaml.DocumentStartEvent)
            nodes += isinstance(event, yaml.NodeEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or nodes > MOST_NODES:
                what = TOO_DEEP if depth > DEEPEST else CROWDED
                return ConfigError(what, Place(file, _line_of(event), document))
    except yaml.YAMLError:
        return None  # the composer meets the same error, after the documents before it
    return None


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _tree(node: yaml.Node, file: str, number: int) -> Tree | ConfigError:
    tree = Tree(None)
    walk = _Walk(file, number, tree.lines)
    try:
        tree.value = walk.value(node, ())
    except ConfigError as error:
        return error
    return tree


@dataclass(slots=True)
class _Walk:
    file: str
    document: int
    lines: dict[Steps, int]

    def value(self, node: yaml.Node, steps: Steps, line: int = 0) -> Any:
        """The value of `node`, with all lines noted on the way. `line` is that of its key.

        Raises:
            ConfigError: it is not what a document may hold.
        """
        line = line or node.start_mark.line + 1
        self.lines[steps] = line
        if len(self.lines) > MOST_VALUES:
            raise self.error(TOO_MANY, node, steps)
        if len(steps) > DEEPEST:
            raise self.error(TOO_DEEP, node, steps[:4])
        if isinstance(node, yaml.MappingNode) and node.tag == f"{CORE}map":
            return self._mapping(node, steps)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{CORE}seq":
            return [self.value(item, (*steps, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in SCALARS:
            return self._scalar(node, steps)
        raise self.error(f"the tag {node.tag!r} is not read here: write plain values", node, steps)

    def _mapping(self, node: yaml.MappingNode, steps: Steps) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self._key(key, steps)
            if name in found:
                raise self.error(f"{name!r} is written twice: keep one", key, (*steps, name))
            found[name] = self.value(value, (*steps, name), key.start_mark.line + 1)
        return found

    def _key(self, node: yaml.Node, steps: Steps) -> str:
        if node.tag == f"{CORE}merge":
            raise self.error("the merge key `<<` is not read here: write the fields out", node, steps)
        if not isinstance(node, yaml.ScalarNode) or node.tag != f"{CORE}str":
            shown = f" {node.value!r}" if isinstance(node, yaml.ScalarNode) else ""
            raise self.error(f"the key{shown} is not text: put it in quotes", node, steps)
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, steps: Steps) -> object:
        text, kind = str(node.value), node.tag.removeprefix(CORE)
        if kind in ("str", "timestamp", "value"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text in BOOLEANS:
            return BOOLEANS[text]
        if kind == "int" and INTEGER.fullmatch(text):
            return int(text)
        if kind == "float" and FLOAT.fullmatch(text):
            return float(text)
        shown = f"{text!r} is" if len(text) <= 8 else "this is"
        plain = "true or false" if kind == "bool" else "a decimal number"
        raise self.error(
            f"YAML's versions differ on what {shown}: write {plain}, or put it in quotes if it is text", node, steps
        )

    def error(self, message: str, node: yaml.Node, steps: Steps) -> ConfigError:
        return ConfigError(message, Place(self.file, node.start_mark.line + 1, self.document, dotted(steps)))


def _syntax_error(error: yaml.YAMLError, text: str, file: str, document: int) -> ConfigError:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        return ConfigError("a character that YAML does not allow (a control character)", Place(file, line, document))
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    line = mark.line + 1 if mark else 0
    if mark and "cannot start any token" in problem and "\t" in _line(text, mark.line):
        return ConfigError("a tab cannot indent YAML: use spaces", Place(file, line, document))
    return ConfigError(f"this is not YAML: {problem}", Place(file, line, document))


def _line(text: str, index: int) -> str:
    lines = text.splitlines()
    return lines[index] if index < len(lines) else ""
