"""The command line as other tests run it, and their stub upstream."""

from tests.cli.conftest import extproc
from tests.e2e.conftest import stub

__all__ = ["extproc", "stub"]
