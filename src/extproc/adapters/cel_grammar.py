"""What a CEL expression may say, checked before the library sees it: its size, its depth, its names.

The grammar is CEL's (https://github.com/google/cel-spec/blob/master/doc/langdef.md) without messages, bytes, triple quotes
and optionals. The reason for a reader of our own: the library's limits are not ours, and its parser recurses.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NoReturn

from extproc.adapters.cel_patterns import Patterns
from extproc.errors import ConfigError

MOST_BYTES: Final = 4096
MOST_NODES: Final = 200
"""Literals, names, selections, calls and operators (DESIGN section 3)."""
IN_A_MACRO: Final = 4
"""As so many counts each that is evaluated in every round, on values that a caller may make large."""
DEEPEST: Final = 32

MEMBERS: Final = {
    "request": frozenset({"method", "host", "path", "query", "scheme", "headers"}),
    "peer": frozenset({"username", "uid", "groups", "namespace", "serviceAccount", "pod"}),
    "route": frozenset({"name", "namespace"}),
    "backend": frozenset({"name", "namespace", "host", "port"}),
}
FUNCTIONS: Final = frozenset({"size", "int", "uint", "double", "string", "type", "has"})
METHODS: Final = frozenset({"size", "contains", "startsWith", "endsWith", "matches"})
MACROS: Final = frozenset({"all", "exists", "exists_one", "filter"})
"""Without `map`, whose values may be larger than what it is given, and larger again when they are mapped again."""
CONSTANTS: Final = frozenset({"true", "false", "null"})
BINARY: Final = {
    "||": 1, "&&": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "==": 3, "!=": 3, "in": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5,
}  # fmt: skip

TOKENS: Final = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<string>[rR]"[^"\n]*"|[rR]'[^'\n]*'|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][-+]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>\|\||&&|<=|>=|==|!=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str
    text: str


END: Final = Token("end", "the end")


@dataclass(slots=True)
class Reader:
    """One pass over an expression: counts its nodes, and notes which variables and which members of them it reads."""

    tokens: list[Token]
    index: int = 0
    nodes: int = 0
    depth: int = 0
    bound: tuple[str, ...] = ()
    all_bound: set[str] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)
    patterns: Patterns = field(default_factory=Patterns)

    def read(self) -> None:
        """Raises: ConfigError."""
        self._expression()
        if self._next != END:
            self._unexpected()

    def _expression(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ConfigError(f"the expression is nested deeper than {DEEPEST} levels")
        self._binary(1)
        if self._take("?"):
            self._node()
            self._binary(1)
            self._want(":")
            self._expression()
        self.depth -= 1

    def _binary(self, least: int) -> None:
        self._unary()
        while BINARY.get(self._next.text, 0) >= least:
            operator = self._advance().text
            self._node()
            self._binary(BINARY[operator] + 1)

    def _unary(self) -> None:
        while self._take("!") or self._take("-"):
            self._node()
        self._postfix(self._primary())

    def _primary(self) -> str:
        """What stands at the beginning of a chain of selections: the name of a variable, or nothing."""
        token = self._advance()
        if token.text == "(" and token.kind == "sign":
            self._expression()
            self._want(")")
            return ""
        self._node()
        if token.kind in ("string", "number") or (token.kind == "name" and token.text in CONSTANTS):
            return ""
        if token.kind == "name" and token.text != "in":
            return self._name(token.text)
        if token.text in ("[", "{"):
            self._entries({"[": "]", "{": "}"}[token.text], pairs=token.text == "{")
            return ""
        self.index -= token != END
        return self._unexpected()

    def _name(self, name: str) -> str:
        if self._take("("):
            if name not in FUNCTIONS:
                raise ConfigError(f"there is no function {name!r}: {', '.join(sorted(FUNCTIONS))} exist")
            self._entries(")")
        elif name in self.bound:
            return ""
        elif name not in MEMBERS:
            raise ConfigError(f"there is no variable {name!r}: {', '.join(MEMBERS)} exist")
        else:
            return name
        return ""

    def _postfix(self, variable: str) -> None:
        if variable:
            self._member(variable)
        while self._next.kind == "sign" and self._next.text in (".", "["):
            self._node()
            if self._advance().text == "[":
                self._expression()
                self._want("]")
                continue
            name = self._identifier()
            if self._take("("):
                self._method(name)

    def _member(self, variable: str) -> None:
        known = ", ".join(sorted(MEMBERS[variable]))
        if not self._take("."):
            raise ConfigError(
                f"{variable!r} is read by its members, such as {variable}.{min(MEMBERS[variable])}: {known}"
            )
        self._node()
        name = self._identifier()
        if name not in MEMBERS[variable]:
            raise ConfigError(f"{variable!r} has no member {name!r}: {known}")
        self.members.add((variable, name))
        if name == "headers":
            self._header_key()

    def _header_key(self) -> None:
        """A literal key in upper case would never be there."""
        key = self.tokens[self.index + 1] if self._next.text == "[" and self.index + 1 < len(self.tokens) else END
        if key.kind == "string" and key.text != key.text.lower():
            raise ConfigError(f"names of headers are lower case here: write {key.text.lower()}")

    def _method(self, name: str) -> None:
        if name in MACROS:
            self._macro(name)
        elif name not in METHODS:
            raise ConfigError(f"there is no method {name!r}: {', '.join(sorted(METHODS | MACROS))} exist")
        else:
            start = self.index
            self._entries(")")
            if name == "matches":
                self._pattern(self.tokens[start : self.index - 1])

    def _macro(self, name: str) -> None:
        if self.bound:
            raise ConfigError(f"the macro {name!r} is inside a macro: it may not be")
        variable = self._identifier()
        if variable in MEMBERS:
            raise ConfigError(f"the macro's variable cannot be called {variable!r}: that is a variable already")
        self.bound = (variable,)
        self.all_bound.add(variable)
        self._node()
        count = 1
        while self._take(","):
            self._expression()
            count += 1
        self._want(")")
        self.bound = ()
        if count != 2:
            raise ConfigError(f"the macro {name!r} has {count} arguments, and takes 2")

    def _entries(self, end: str, *, pairs: bool = False) -> None:
        while not self._take(end):
            self._expression()
            if pairs:
                self._want(":")
                self._expression()
            if not self._take(","):
                self._want(end)
                return

    def _pattern(self, tokens: list[Token]) -> None:
        if len(tokens) != 1 or tokens[0].kind != "string":
            raise ConfigError("the pattern of `matches` must be a literal: it could otherwise come from the caller")
        self.patterns.add(tokens[0].text, in_macro=bool(self.bound))

    @property
    def _next(self) -> Token:
        return self.tokens[self.index] if self.index < len(self.tokens) else END

    def _advance(self) -> Token:
        token = self._next
        self.index += token != END
        return token

    def _take(self, sign: str) -> bool:
        found = self._next == Token("sign", sign)
        self.index += found
        return found

    def _want(self, sign: str) -> None:
        if not self._take(sign):
            self._unexpected(f", where {sign!r} was expected")

    def _identifier(self) -> str:
        if self._next.kind != "name":
            self._unexpected(", where a name was expected")
        return self._advance().text

    def _node(self) -> None:
        self.nodes += IN_A_MACRO if self.bound else 1
        if self.nodes > MOST_NODES:
            raise ConfigError(
                f"the expression has more than {MOST_NODES} nodes, of which each in a macro counts as {IN_A_MACRO}"
            )

    def _unexpected(self, more: str = "") -> NoReturn:
        raise ConfigError(f"this is no CEL expression: unexpected {self._next.text!r}{more}")


def read(source: str) -> Reader:
    """`source`, read.

    Raises:
        ConfigError: it is no expression, or one that may not be; without a place.
    """
    if len(source.encode()) > MOST_BYTES:
        raise ConfigError(f"the expression has more than {MOST_BYTES} bytes")
    reader = Reader(_tokens(source))
    reader.read()
    return reader


def _tokens(source: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = TOKENS.match(source, position)
        if match is None:
            raise ConfigError(f"this is no CEL expression: unexpected {source[position]!r}")
        if match.lastgroup and match.lastgroup != "space":
            tokens.append(Token(match.lastgroup, match.group()))
        position = match.end()
    return tokens
