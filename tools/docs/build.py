"""Build the documentation: `python -m tools.docs.build [FOLDER]`. Any warning ends it.

MkDocs' own command, told to be quiet, counts no warnings, and then `--strict` lets everything pass.
"""

import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")  # the theme's word on its successor, at each start

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tools.docs.markdown import REPOSITORY
from tools.docs.reference import outdated


def site(configuration: str, **instead: str) -> str | None:
    """Build what a configuration says, but for what is said `instead`. What is wrong, if something is."""
    config = load_config(configuration, strict=True, **instead)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    except Abort as error:
        return error.message
    finally:
        config.plugins.on_shutdown()
    return None


def main(arguments: list[str]) -> str | None:
    """The exit code, or a sentence that goes with exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    into = {"site_dir": str(Path(arguments[0]).resolve())} if arguments else {}
    return outdated() or site(str(REPOSITORY / "mkdocs.yml"), **into)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
