"""The older completions of OpenAI: /v1/completions."""

from collections.abc import Iterator
from typing import Final

from extproc.stub.dialects import openai
from extproc.stub.dialects.chat import END
from extproc.stub.dialects.dialect import Asked, Dialect
from extproc.stub.events import Event
from extproc.stub.said import Json, Question, Said, text_of


def read(asked: Asked) -> Question:
    prompt = text_of(asked.body.get("prompt"))
    return Question(str(asked.body.get("model") or ""), prompt, prompt, (), openai.choices(asked.body))


def whole(said: Said, _: Asked) -> Json:
    spent = openai.usage(said)
    choices = [_choice(index, said.text, "stop") for index in range(said.choices)]
    return {**openai.head(said, "text_completion"), "choices": choices, **({"usage": spent} if spent else {})}


def events(said: Said, asked: Asked) -> Iterator[Event]:
    wanted = openai.wants_usage(asked.body)
    base = {**openai.head(said, "text_completion"), **({"usage": None} if wanted else {})}
    for piece in said.pieces(said.text):
        for index in range(said.choices):
            yield Event({**base, "choices": [_choice(index, piece, None)]})
    for index in range(said.choices):
        yield Event({**base, "choices": [_choice(index, "", "stop")]})
    spent = openai.usage(said)
    if wanted and spent:
        yield Event({**base, "choices": [], "usage": spent})
    yield END


def _choice(index: int, text: str, reason: str | None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


COMPLETIONS: Final = Dialect("/v1/completions", read, whole, openai.error, events)
