"""Which headers does Envoy show the server, and which may the server change?"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import cel

from extproc.doctor.finding import Code, Finding
from extproc.doctor.tree import Json, nodes, word

CREDENTIALS: Final = (
    "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key", "cookie",
)  # fmt: skip
"""What callers send, and what is put in its place: those that CredentialInjector removes."""

CHANGED: Final = (
    *CREDENTIALS, "accept-encoding", "content-length", "content-encoding", ":path", "content-type", "www-authenticate",
    "retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit-requests", "x-extproc-peer",
)  # fmt: skip
"""What filters and denials set or remove; the last stands for all that callers may not say of themselves."""

SEEN: Final = (
    ":method", ":scheme", ":authority", ":path", ":status", *CREDENTIALS, "accept-encoding", "content-length",
    "content-encoding", "content-type", "transfer-encoding", "upgrade", "x-request-id", "x-extproc-peer",
)  # fmt: skip
"""What the server must see, to judge an exchange or to remove it: what it does not see stays."""

MATCHES: Final = cel.compile("name.matches(pattern)")
"""In linear time, and with a pattern of bounded size, whoever wrote it: RE2's syntax, as Envoy's own."""


def of_mutations(where: str, rules: Json) -> Iterator[Finding]:
    """HeaderMutationRules: `disallow_expression` counts before `allow_expression`, and that before all others."""
    refused = [name for name in CHANGED if not _may_change(rules, name)]
    if refused:
        effect = "is answered with an error" if rules.get("disallow_is_error") is True else "is left out in silence"
        problem = f"mutation_rules refuse {_shown(refused)}: such a change of the server's {effect}"
        yield Finding(Code.FILTER_MUTATIONS, where, problem, "remove the rule that refuses it")
    for name, what in (("allow_all_routing", "the host and the method"), ("allow_envoy", "x-envoy headers")):
        if rules.get(name) is True:
            problem = f"mutation_rules.{name} is true: a defect of the server could change {what}"
            yield Finding(Code.FILTER_MUTATIONS_OPEN, where, problem, "remove it, this server never asks for that")


def of_forwarding(where: str, rules: Json) -> Iterator[Finding]:
    """HeaderForwardingRules. A list of what is allowed cannot be right: the server removes what it has not heard of, too."""
    if "allowed_headers" in rules:
        problem = (
            "forward_rules hides all headers that it does not list, and what is hidden is neither judged nor removed"
        )
        yield Finding(Code.FILTER_FORWARD, where, problem, "remove it")
    hiding = nodes(rules, "disallowed_headers", "patterns")
    if hidden := [name for name in SEEN if any(_is_match(one, name) for one in hiding)]:
        problem = f"forward_rules hides {_shown(hidden)} from the server"
        yield Finding(Code.FILTER_FORWARD, where, problem, "remove it from disallowed_headers")


def _may_change(rules: Json, name: str) -> bool:
    if (barred := word(rules, "disallow_expression", "regex")) and matches(barred, name):
        return False
    if (allowed := word(rules, "allow_expression", "regex")) and matches(allowed, name):
        return True
    system = rules.get("disallow_system") is True and name.startswith(":")
    return not (rules.get("disallow_all") is True or system)


STRINGS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": lambda name, wanted: name == wanted,
    "prefix": lambda name, wanted: name.startswith(wanted),
    "suffix": lambda name, wanted: name.endswith(wanted),
    "contains": lambda name, wanted: wanted in name,
}
"""Envoy's StringMatcher, as far as it is one word."""


def _is_match(matcher: Json, name: str) -> bool:
    for how, holds in STRINGS.items():
        if wanted := word(matcher, how):
            return holds(name, wanted.lower() if matcher.get("ignore_case") is True else wanted)
    return matches(word(matcher, "safe_regex", "regex"), name)


def matches(pattern: str, name: str) -> bool:
    """Whether all of `name` is in `pattern`. One that cannot be read counts as if it were: better one finding too many."""
    try:
        return bool(MATCHES.execute({"name": name, "pattern": f"^(?:{pattern})$"}))
    except (RuntimeError, ValueError, TypeError):
        return True


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{', '.join(names[:4])}{more}"
