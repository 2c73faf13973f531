"""An upstream that speaks the APIs of LLM providers and shows what it received: for the quickstart and the tests alone."""

from extproc.stub.app import application
from extproc.stub.received import Received, Recorder

__all__ = ["Received", "Recorder", "application"]
