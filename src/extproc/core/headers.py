"""Header fields as a value: ordered, repeatable, names in lower case, values as the bytes that arrived.

Envoy passes values verbatim, UTF-8 or not, and keeps order and duplicates (PROTOCOL 2.2), so this is no dict and no str.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from extproc.core.secret import Secret
from extproc.core.values import swift
from extproc.errors import Defect

Value = bytes | Secret
"""What a field holds: bytes, or a reference that only the codec resolves."""

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
"""RFC 9110 section 5.6.2, in lower case as HTTP/2 wants it."""

FIELD_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
"""RFC 9110 section 5.5: no control characters but tab, no white space at the ends. Envoy answers 500 to the first and
forwards the second (PROTOCOL 2.3), so both are settled before they are sent."""

FRAMING: Final = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
"""Fields by which a message is framed or a connection steered: a request could be smuggled with them (PROTOCOL 2.4)."""


class Headers:
    """An immutable list of (name, value). Every change is a new value."""

    __slots__ = ("_fields", "_last")

    def __init__(self, fields: Iterable[tuple[str, Value]] = ()) -> None:
        self._fields = tuple(fields)
        self._last: dict[str, Value] = dict(self._fields)
        """The last value of each name, in the order in which the names first came: an exchange looks for some thirty names,
        most of which are not there, so this is made once, and in C.
        """

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(self._fields)

    def __contains__(self, name: str) -> bool:
        return name in self._last

    def __repr__(self) -> str:
        return f"Headers({', '.join(key for key, _ in self._fields)})"

    def values(self, name: str) -> tuple[Value, ...]:
        """All values of `name` (lower case), in the order in which they came."""
        if name not in self._last:
            return ()
        if len(self._last) == len(self._fields):  # none of them came twice
            return (self._last[name],)
        return tuple(value for key, value in self._fields if key == name)

    def get(self, name: str) -> str | None:
        """All values of `name` joined with `, ` (RFC 9110 section 5.3), as Latin-1 text; a Secret reads `***`."""
        values = self.values(name)
        return ", ".join(map(text, values)) if values else None

    def names(self) -> frozenset[str]:
        return frozenset(self._last)

    def replaced(self, name: str, *values: Value) -> Self:
        """These headers with `values` in the place of all values of `name`."""
        return type(self)((*self.without((name,)), *((name, value) for value in values)))

    def without(self, names: Iterable[str]) -> Self:
        gone = frozenset(names)
        if gone.isdisjoint(self._last):
            return self
        return type(self)([field for field in self._fields if field[0] not in gone])


@swift
@dataclass(frozen=True, slots=True)
class HeaderChange:
    """What turns one `Headers` into another: names to remove, then whole lists of values to set, in that order."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def __len__(self) -> int:
        """Operations as Envoy counts them: it refuses more than 100 (PROTOCOL 2.3)."""
        return len(self.remove) + sum(len(values) for _, values in self.set)


NO_CHANGE: Final = HeaderChange()


def difference(before: Headers, after: Headers) -> HeaderChange:
    """The smallest change that leads from `before` to `after`. The order of different names is not kept: HTTP gives it
    no meaning, the order of the values of one name is.
    """
    if before is after:
        return NO_CHANGE
    old: dict[str, object] = dict(before)
    new: dict[str, object] = dict(after)
    if len(old) < len(before) or len(new) < len(after):  # a name comes twice, which is seldom
        old, new = _by_name(before), _by_name(after)
    return HeaderChange(
        remove=tuple(sorted(old.keys() - new.keys())),
        set=tuple([(name, after.values(name)) for name in sorted({name for name, _ in new.items() - old.items()})]),
    )


def _by_name(headers: Headers) -> dict[str, object]:
    """All values of each name."""
    found: dict[str, list[Value]] = {name: [] for name, _ in headers}
    for name, value in headers:
        found[name].append(value)
    return {name: tuple(values) for name, values in found.items()}


def apply(change: HeaderChange, headers: Headers) -> Headers:
    """What Envoy does with a change: removals first, then each name's values in the place of the old ones."""
    result = headers.without(change.remove)
    for name, values in change.set:
        result = result.replaced(name, *values)
    return result


def text(value: Value) -> str:
    """Latin-1 maps every byte to one character and back, so nothing is lost and nothing can fail."""
    return "***" if isinstance(value, Secret) else value.decode("latin-1")


def to_bytes(value: str | Value) -> Value:
    """What a filter wrote, as a field value. Text outside Latin-1 is sent as UTF-8."""
    if not isinstance(value, str):
        return value
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def check_name(name: str) -> str:
    """`name`, if a filter may change that field.

    Raises:
        Defect: it is no lower-case token, it frames the message, or it steers Envoy (`:pseudo`, `x-envoy-*`).
    """
    if not TOKEN.fullmatch(name):
        raise Defect(f"{name!r} is not a header name in lower case")
    if name in FRAMING or name.startswith("x-envoy-"):
        raise Defect(f"a filter cannot change {name!r}: it belongs to the connection or to Envoy")
    return name


def check_value(value: str | Value) -> Value:
    """`value` as the wire wants it.

    Raises:
        Defect: it has control characters, or white space at an end.
    """
    checked = to_bytes(value)
    if isinstance(checked, bytes) and not FIELD_VALUE.fullmatch(checked):
        raise Defect("a header value has a control character, or white space at an end")
    return checked
