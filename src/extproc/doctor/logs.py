"""Does an access log write the credential that a destination got? It is written when all is over, of the request as it left."""

import re
from collections.abc import Iterator
from typing import Final

from extproc.doctor.finding import Code, Finding
from extproc.doctor.headers import CREDENTIALS
from extproc.doctor.needs import Needs
from extproc.doctor.roads import Manager
from extproc.doctor.tree import Json, kind, node, nodes, texts

HEADERS: Final = re.compile(
    rf"(?:^(?=[\w-]+$)|%(?:REQ|REQUEST_HEADER|REQ_WITHOUT_QUERY|CEL)\([^%]*?(?<![\w-]))({'|'.join(CREDENTIALS)})(?![\w-])",
    re.IGNORECASE,
)
"""A command operator that writes a header with a credential, first or as the second choice; or its name in a list of them."""

PATHS: Final = re.compile(
    r"%(?:(?:REQ|REQUEST_HEADER)\([^%)]*:path|CEL\([^%]*request\.(?:path|query|headers\W+:path)|PATH(?!\w|\(NQ)|QUERY_PARAM)",
    re.IGNORECASE,
)
"""One that writes the path with its query, or a part of that."""

FORMATS: Final = ("log_format", "format", "json_format", "typed_json_format")
ALWAYS: Final = frozenset({"HttpGrpcAccessLogConfig"})
BY_DEFAULT: Final = frozenset({"FileAccessLog", "StdoutAccessLog", "StderrAccessLog"})
"""Loggers that write the path whatever they are told, and those that do where no format is said."""


def of_logs(manager: Manager, needs: Needs | None) -> Iterator[Finding]:
    """Of the connection manager, and of its router."""
    places = [(manager.config, "access_log"), *((one.config, "upstream_log") for one in manager.filters)]
    written = texts([place.get(name) for place, name in places])
    if logged := sorted({found.lower() for text in written for found in HEADERS.findall(text)}):
        problem = f"its access log has {', '.join(logged)}: the credential that the destination got"
        yield Finding(Code.MANAGER_LOG, manager.where, problem, "remove it from the format")
    loggers = (node(log, "typed_config") for place, name in places for log in nodes(place, name))
    if needs and needs.injects_query and any(map(_has_path, loggers)):
        problem = "its access log has the path, and in it the credential that is set as a query parameter"
        yield Finding(Code.MANAGER_LOG, manager.where, problem, "give it a format without the path")


def _has_path(logger: Json) -> bool:
    formatted = any(name in logger for name in FORMATS)
    if kind(logger) in ALWAYS or (kind(logger) in BY_DEFAULT and not formatted):
        return True
    return any(PATHS.search(text) for text in texts(logger))
