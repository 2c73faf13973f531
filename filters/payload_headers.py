"""PayloadHeaders:v1: headers by what a request's body says. It is what an InProcess processor of the PayloadProcessor draft
becomes (docs/interop.md), and can be configured like any other.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.headers import FIELD_VALUE
from extproc.errors import ConfigError, ExpressionError, Malformed, Place
from extproc.ports import FilterContext
from extproc.schema import Model
from extproc_filters.header_name import HeaderName
from extproc_filters.payload import LONGEST as LONGEST_MEMBER
from extproc_filters.payload import Path, Scalar, read, tree_of

MEMBER: Final = re.compile(
    rf"\s*json\(\s*request\.body\s*\)((?:\.[A-Za-z_][A-Za-z0-9_]{{0,{LONGEST_MEMBER - 1}}})+)\s*"
)
BODY: Final = re.compile(r"request\s*\.\s*body|\bjson\s*\(")
LONGEST: Final = 4096

Said = Mapping[Path, Scalar]
Value = Callable[[Exchange, Said], object]
"""What a header is to be, of an exchange and of what its body says. Raises: ExpressionError, Malformed."""


class SetHeader(Model):
    """`value` is CEL: over the body `json(request.body).name`, also of a member of a member; else what `when` knows."""

    name: HeaderName
    value: Annotated[str, Field(min_length=1, max_length=LONGEST)]


class PayloadHeadersConfig(Model):
    """`clear_route_cache`: Envoy chooses its route anew by these headers; what a caller sent under them counts for nothing."""

    set_headers: Annotated[list[SetHeader], Field(max_length=16)] = Field(default_factory=list)
    remove_headers: Annotated[list[HeaderName], Field(max_length=16)] = Field(default_factory=list)
    clear_route_cache: bool = False
    max_body_bytes: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 2 * 1024 * 1024

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [*(each.name for each in self.set_headers), *self.remove_headers]
        if not names:
            raise ValueError("`setHeaders` and `removeHeaders` are both empty: name a header")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the header {twice!r} is named twice: keep one")
        return self


class PayloadHeaders:
    """An expression that has no value is a body that cannot be read: the extension's failOpen decides."""

    Config = PayloadHeadersConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY})

    def __init__(self, config: PayloadHeadersConfig, context: FilterContext) -> None:
        """Raises: ConfigError."""
        self.max_body_bytes = config.max_body_bytes
        self._removed = tuple(config.remove_headers)
        self._values: dict[str, Value] = {}
        self._wanted: list[Path] = []
        for index, each in enumerate(config.set_headers):
            self._values[each.name] = self._compiled(each.value, context, f"setHeaders[{index}].value")
        self.reroutes = frozenset([*self._values, *self._removed] if config.clear_route_cache else ())

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - it has one phase
        """Raises: Malformed, TooLarge."""
        said = await read(exchange.request, self._wanted, self.max_body_bytes) if self._wanted else {}
        try:
            values = {name: _text(name, value(exchange, said)) for name, value in self._values.items()}
        except ExpressionError as error:
            raise Malformed(str(error)) from None
        return Continue(set_headers=values, remove_headers=self._removed)

    def _compiled(self, source: str, context: FilterContext, field: str) -> Value:
        """Raises: ConfigError."""
        if member := MEMBER.fullmatch(source):
            path = tuple(member[1].lower().split(".")[1:])
            self._wanted.append(path)
            try:
                tree_of(self._wanted)
            except ValueError as error:
                raise ConfigError(str(error), Place(field=field)) from None
            return lambda _, said: _member(said, path)
        if BODY.search(source):
            raise ConfigError(
                "of expressions over the body only `json(request.body).name` is served, also of a member of a member; a name"
                f" has at most {LONGEST_MEMBER} characters",
                Place(field=field),
            )
        try:
            expression = context.outside.expression(source)
        except ConfigError as error:
            raise ConfigError(error.message, Place(field=field)) from error
        return lambda exchange, _: expression(exchange.variables)


def _member(said: Said, path: Path) -> object:
    if path not in said:
        raise Malformed(f"the body has no member {'.'.join(path)}")
    return said[path]


def _text(name: str, value: object) -> str:
    """Raises: Malformed, if `value` is nothing that a header can hold."""
    shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    if not isinstance(value, str | int | float) or not shown.isascii() or not FIELD_VALUE.fullmatch(shown.encode()):
        raise Malformed(f"what {name!r} is to be cannot be a header's value")
    return shown
