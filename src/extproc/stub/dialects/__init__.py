"""The APIs that the stub speaks, one file for each operation."""

from typing import Final

from extproc.stub.dialects.anthropic import MESSAGES
from extproc.stub.dialects.chat import CHAT
from extproc.stub.dialects.completions import COMPLETIONS
from extproc.stub.dialects.dialect import Asked, Dialect
from extproc.stub.dialects.embeddings import EMBEDDINGS, models
from extproc.stub.dialects.gemini import GENERATE, STREAM_GENERATE
from extproc.stub.dialects.responses import RESPONSES

DIALECTS: Final = (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, MESSAGES, GENERATE, STREAM_GENERATE)

__all__ = ["DIALECTS", "Asked", "Dialect", "models"]
