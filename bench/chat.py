"""A streamed chat as both sides of the bench speak it: the prompt has an address in it, and the answer what stands for it."""

import json
from collections.abc import Iterator

PROMPT = {
    "model": "gpt-4o-mini",
    "stream": True,
    "messages": [{"role": "user", "content": "Write to jane.doe@example.com that the report will come tomorrow."}],
}
REQUEST = json.dumps(PROMPT).encode()
DELTAS = (
    "Of",
    " course",
    ":",
    " I",
    " write",
    " to",
    " [EMAIL",
    "_ADDRESS",
    "_1]",
    " that",
    " the",
    " report",
    " will",
    " come",
)
"""The words of the answer, over and over; a placeholder comes in three pieces."""

DONE = b"data: [DONE]\n\n"


def event(number: int, created: int) -> bytes:
    """Event `number` of an answer. `created` is a time of any unit; it comes through as it is."""
    delta = DELTAS[number % len(DELTAS)]
    return (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":%d,"model":"gpt-4o-mini",'
        b'"choices":[{"index":0,"delta":{"content":%s},"finish_reason":null}]}\n\n'
        % (created, json.dumps(delta).encode())
    )


def usage(created: int, number: int) -> bytes:
    """What a provider says at the end where `include_usage` asks for it."""
    told = {"prompt_tokens": 30, "completion_tokens": number, "total_tokens": 30 + number}
    return (
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":%d,"model":"gpt-4o-mini",'
        b'"choices":[],"usage":%s}\n\n' % (created, json.dumps(told).encode())
    )


def answer(events: int) -> Iterator[bytes]:
    """All of an answer, piece by piece."""
    for number in range(events):
        yield event(number, number)
    yield usage(events, events)
    yield DONE
