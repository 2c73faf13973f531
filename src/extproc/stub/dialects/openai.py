"""What the operations of OpenAI's API share (platform.openai.com/docs/api-reference)."""

from typing import Any, Final

from extproc.stub.said import CREATED, Json, Said, Tool, mapping, mappings

TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error(status: int) -> Json:
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": "on demand", "type": kind, "param": None, "code": f"stub_{status}"}}


def head(said: Said, kind: str) -> dict[str, Any]:
    """The members with which each object begins."""
    return {"id": "chatcmpl-stub", "object": kind, "created": CREATED, "model": said.model}


def usage(said: Said) -> dict[str, Any] | None:
    if said.usage is None:
        return None
    return {"prompt_tokens": said.usage[0], "completion_tokens": said.usage[1], "total_tokens": said.total}


def wants_usage(body: Json) -> bool:
    return mapping(body.get("stream_options")).get("include_usage") is True


def choices(body: Json) -> int:
    """How many answers are asked for: at most 8."""
    count = body.get("n")
    return min(count, 8) if isinstance(count, int) and count > 1 else 1


def tools(body: Json) -> tuple[Tool, ...]:
    """The functions offered: chat wraps them in `function`, responses do not."""
    functions = [mapping(tool.get("function", tool)) for tool in mappings(body.get("tools"))]
    return tuple(Tool(str(one.get("name")), mapping(one.get("parameters"))) for one in functions)
