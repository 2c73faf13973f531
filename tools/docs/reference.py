"""Write the generated parts of docs/ anew: `python -m tools.docs.reference`. They stand between `<!-- generated: NAME -->` and
`<!-- end -->`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from extproc_filters import FILTERS
from tools.docs.codes import codes
from tools.docs.commands import commands
from tools.docs.markdown import REPOSITORY
from tools.docs.schemas import schema

DOCS: Final = REPOSITORY / "docs"
MARKED: Final = re.compile(
    r"(?<=<!-- generated: )(?P<name>\S+)(?P<begin> -->\n)(?P<text>.*?)(?=<!-- end -->)", re.DOTALL
)

PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "commands": commands,
    "codes": codes,
    **{type_: partial(schema, type_, kind) for type_, kind in FILTERS.items()},
}
"""What stands under which name."""


def written(page: str) -> str:
    """The text of a page with its generated parts as they are now."""
    return MARKED.sub(lambda part: f"{part['name']}{part['begin']}{PARTS[part['name']]()}", page)


def stale() -> Iterator[tuple[Path, str]]:
    """The pages that say something else than they should, and what they should say."""
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        if (new := written(text)) != text:
            yield page, new


def outdated() -> str | None:
    """A sentence, if some page is not as the program is now."""
    names = ", ".join(str(page.relative_to(REPOSITORY)) for page, _ in stale())
    return f"{names}: not as the program is now; run `make reference`" if names else None


def main() -> None:
    """Write them anew."""
    for page, text in list(stale()):
        page.write_text(text)


if __name__ == "__main__":
    main()
