"""ModelRouter:v1: the name of the model becomes a header, by which routes are chosen.

As the body-based router of the Gateway API Inference Extension does it: the header is `X-Gateway-Model-Name`, and Envoy
chooses its route anew.
"""

import re
from itertools import product
from typing import Annotated, ClassVar, Final
from urllib.parse import unquote

from pydantic import AfterValidator, Field

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.headers import check_name
from extproc.errors import Defect, Malformed
from extproc.ports import FilterContext
from extproc.schema import Model
from extproc_filters.payload import Scalar, read

SPELLINGS: Final = tuple(("".join(letters),) for letters in product(*((c, c.upper()) for c in "model")))
"""`model`, whatever its letter case: a server in Go would take any of them, and the last one for right."""

IN_PATH: Final = re.compile(r"/models/([^/:]+):[A-Za-z]+")
"""Gemini's methods, `/v1beta/models/NAME:generateContent`, and Vertex AI's."""

NAME: Final = re.compile(r"[!-~]{1,256}")
"""What can be a header's value, and be compared byte for byte."""


def header_name(value: str) -> str:
    """In lower case. Raises: ValueError, if no filter may set it."""
    try:
        name = check_name(value.lower())
    except Defect as error:
        raise ValueError(str(error)) from None
    if name.startswith("x-extproc-"):
        raise ValueError("x-extproc-* headers are the gateway's own")
    return name


HeaderName = Annotated[str, AfterValidator(header_name)]


class ModelRouterConfig(Model):
    """`clear_route_cache`: Envoy chooses its route anew by the header. Else it only goes along."""

    header: HeaderName = "x-gateway-model-name"
    clear_route_cache: bool = True
    max_body_bytes: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024


class ModelRouter:
    """Reads `model` of a JSON body (OpenAI, Anthropic), or the path of a Gemini call, which decides where both are there. A
    request that names no model has no such header, whatever its caller sent.
    """

    Config = ModelRouterConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY})

    def __init__(self, config: ModelRouterConfig, context: FilterContext) -> None:  # noqa: ARG002 - the protocol's signature
        self.max_body_bytes = config.max_body_bytes
        self._header = config.header
        self.reroutes = frozenset({config.header} if config.clear_route_cache else ())

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - it has one phase
        request = exchange.request
        in_path = IN_PATH.search(request.path_only)
        if in_path:
            return self._named(unquote(in_path[1]))
        said = await read(request, SPELLINGS, self.max_body_bytes)
        if len(said) > 1:
            raise Malformed("the model is named twice")
        return self._named(next(iter(said.values()), None))

    def _named(self, model: Scalar) -> Verdict:
        """Raises: Malformed."""
        if model is None:
            return Continue(remove_headers=(self._header,))
        if not isinstance(model, str) or not NAME.fullmatch(model):
            raise Malformed("the name of the model cannot be a header's value")
        return Continue(set_headers={self._header: model})
