"""Embeddings of OpenAI: /v1/embeddings, and the list of models."""

import base64
import struct
from typing import Any, Final

from extproc.stub.dialects import openai
from extproc.stub.dialects.dialect import Asked, Dialect
from extproc.stub.said import CREATED, MODEL, Json, Question, Said, text_of

VECTOR: Final = (0.25, -0.5, 1.0)
ENCODED: Final = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
"""The same as the official clients ask for it: 32-bit floats, little-endian, in base64."""


def read(asked: Asked) -> Question:
    given = asked.body.get("input")
    count = len(given) if isinstance(given, list) else 1
    return Question(str(asked.body.get("model") or ""), "", text_of(given), (), count)


def whole(said: Said, asked: Asked) -> Json:
    """One vector for each input; no token is made."""
    vector: Any = ENCODED if asked.body.get("encoding_format") == "base64" else VECTOR
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(said.choices)]
    spent = {"prompt_tokens": said.usage[0], "total_tokens": said.usage[0]} if said.usage else None
    return {"object": "list", "data": data, "model": said.model, **({"usage": spent} if spent else {})}


def models() -> dict[str, Any]:
    """The list of models: one."""
    model = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "extproc"}
    return {"object": "list", "data": [model]}


EMBEDDINGS: Final = Dialect("/v1/embeddings", read, whole, openai.error)
