"""Somebody else's filter of the upstream pass: it sets a credential that is read anew at each try, and notes what it sees."""

from typing import ClassVar

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.secret import seal
from extproc.ports import FilterContext
from extproc.schema import Model


class TryingConfig(Model):
    """`key`: the file of the credential, which goes into `header`. Without one nothing is set."""

    key: str = ""
    header: str = "x-rotating"


class Trying:
    Config = TryingConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.CONNECT, Phase.BACKEND_REQUEST, Phase.BACKEND_RESPONSE})

    def __init__(self, config: TryingConfig, context: FilterContext) -> None:
        self.config, self.context = config, context
        self.sets_headers = frozenset({config.header} if config.key else ())

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        request, response = exchange.request, exchange.response
        seen = [phase, exchange.backend, exchange.peer and exchange.peer.namespace, response and response.status]
        credentials = [request.headers.get("authorization"), request.path, [str(v) for _, v in request.hidden_query]]
        with (self.context.directory / "seen").open("a") as notes:
            notes.write(f"{' '.join(map(str, seen))} {credentials}\n")
        if phase.is_response:
            return Continue(set_headers={"x-tried": f"{exchange.backend} {response and response.status}"})
        if not self.config.key:
            return Continue()
        value = (self.context.directory / self.config.key).read_bytes()
        return Continue(set_headers={self.config.header: seal(value)})
