"""acme.example.com/ModelAllowList:v1."""

from typing import Annotated, ClassVar

from extproc import ConfigError, Continue, Exchange, FilterContext, Model, Phase, Place, Respond, TooLarge, Verdict
from pydantic import Field

from acme_models.asked import read

EVERYBODY = "*"


class ModelAllowListConfig(Model):
    """`models` by namespace; a name that ends with `*` stands for all that begin so."""

    models: Annotated[dict[str, list[str]], Field(min_length=1)]
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None


class ModelAllowList:
    """Denies by a value; what it cannot read is a failure, and the operator's `failOpen` says what follows."""

    Config = ModelAllowListConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY})
    max_body_bytes = 1024 * 1024

    def __init__(self, config: ModelAllowListConfig, context: FilterContext) -> None:
        """Raises: ConfigError, with its place in the configuration."""
        for namespace, models in config.models.items():
            for index, model in enumerate(models):
                if not model or "*" in model[:-1]:
                    message = f"{model!r} is no model: a star stands at the end, or nowhere"
                    raise ConfigError(message, Place(field=f'models["{namespace}"][{index}]'))
        self._models = config.models
        self._most = config.max_output_tokens

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        body = exchange.request.body or b""
        if len(body) > self.max_body_bytes:
            raise TooLarge("the body is larger than is read")
        asked = read(body)
        if not any(_matches(asked.model, model) for model in self._of(exchange)):
            return Respond(403, "model_forbidden", "This model may not be used here.", reason="the model is not listed")
        if self._most is not None and (asked.tokens is None or asked.tokens > self._most):
            message = f"Ask for an answer of at most {self._most} tokens."
            return Respond(403, "answer_too_long", message)
        return Continue(report={"allowed": 1})

    def _of(self, exchange: Exchange) -> list[str]:
        namespace = exchange.peer.namespace if exchange.peer else ""
        return self._models.get(namespace, self._models.get(EVERYBODY, []))


def _matches(model: str, listed: str) -> bool:
    return model.startswith(listed[:-1]) if listed.endswith("*") else model == listed
