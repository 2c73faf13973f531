"""ModelRouter:v1: the name of the model becomes a header, by which routes are chosen.

As the body-based router of the Gateway API Inference Extension does it: the header is `X-Gateway-Model-Name`, and Envoy
chooses its route anew.
"""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final
from urllib.parse import unquote

from pydantic import Field

from extproc import Continue, Exchange, Phase, Verdict
from extproc.errors import Malformed
from extproc.ports import FilterContext
from extproc.schema import Model
from extproc_filters.header_name import HeaderName
from extproc_filters.payload import Scalar, read

MODEL: Final = ("model",)
IN_PATH: Final = re.compile(r"/models/([^/]+)")
"""Where Gemini's methods stand, `/v1beta/models/NAME:generateContent`, and Vertex AI's."""

DEPLOYED: Final = re.compile(r"(?:(?i:/deployments/)|/model/(?=[^/]+/(?:invoke|converse)))([^/]+)/")
"""Where Azure OpenAI's stand, `/openai/deployments/NAME/chat/completions`, which reads no other, and no letter case; and Amazon
Bedrock's, `/model/NAME/invoke`.
"""

PREFIX: Final = "models/"
"""Gemini's own name of a model, where its body says it once more, begins with it."""

NAME: Final = re.compile(r"[!-~]{1,256}")
"""What can be a header's value, and be compared byte for byte."""


class ModelRouterConfig(Model):
    """`clear_route_cache`: Envoy chooses its route anew by the header. Else it only goes along."""

    header: HeaderName = "x-gateway-model-name"
    clear_route_cache: bool = True
    max_body_bytes: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 1024 * 1024


class ModelRouter:
    """Reads `model` of a JSON body (OpenAI, Anthropic), and the path of a call of Gemini, Azure OpenAI or Bedrock: where both
    are there they must agree. A request that names no model has no such header, whatever its caller sent.
    """

    Config = ModelRouterConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY})

    def __init__(self, config: ModelRouterConfig, context: FilterContext) -> None:  # noqa: ARG002 - the protocol's signature
        self.max_body_bytes = config.max_body_bytes
        self._header = config.header
        self.reroutes = frozenset({config.header} if config.clear_route_cache else ())

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - it has one phase
        request = exchange.request
        said = (await read(request, (MODEL,), self.max_body_bytes)).get(MODEL)
        in_path = {*_called(request.path_only)}
        if not in_path:
            return self._named(said)
        if len(in_path) > 1 or not (said is None or {str(said), str(said).removeprefix(PREFIX)} & in_path):
            raise Malformed("the model is named twice, and differently")
        return self._named(in_path.pop())

    def _named(self, model: Scalar) -> Verdict:
        """Raises: Malformed."""
        if model is None:
            return Continue(remove_headers=(self._header,))
        if not isinstance(model, str) or not NAME.fullmatch(model):
            raise Malformed("the name of the model cannot be a header's value")
        return Continue(set_headers={self._header: model})


def _called(path: str) -> Iterator[str]:
    """The models whose methods `path` names; a colon may be an escape."""
    for segment in IN_PATH.findall(path):
        name, colon, method = unquote(segment).rpartition(":")
        if colon and method.isalpha():
            yield name
    yield from map(unquote, DEPLOYED.findall(path))
