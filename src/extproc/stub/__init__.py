"""A small OpenAI-compatible upstream that shows what it received: for the quickstart and the tests, never for anything else."""

from extproc.stub.app import application
from extproc.stub.received import Received, Recorder

__all__ = ["Received", "Recorder", "application"]
