"""A hook of MkDocs: what pages link to outside docs/ becomes part of the site, so that no link leads out of it.

On GitHub `[rules](../deploy/prometheus/rules.yaml)` leads to the file. Here it leads to a page under `repository/` that
shows the file; a folder is shown as the list of its files; a page of Markdown as itself.
"""

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.docs.markdown import LINK, REPOSITORY, links, outside_code

DOCS: Final = "docs"
UNDER: Final = "repository"
LANGUAGES: Final = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".sh": "sh",
    ".toml": "toml",
    ".lua": "lua",
}
HIDDEN: Final = frozenset({"__pycache__"})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file of the repository that is linked, and for those that these link to."""
    found: set[str] = set()
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for path in _linked(page):
            if path not in found and not path.startswith(f"{DOCS}/") and (REPOSITORY / path).exists():
                found.add(path)
                files.append(File.generated(config, _uri(path), content=_shown(path)))
                waiting += [path] if path.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs' signature
    """Point the links out of docs/ to the pages that show what they lead to."""
    here = page.file.src_uri
    source = _source(here)
    return outside_code(markdown, lambda line: LINK.sub(lambda link: _moved(link["target"], source, here), line))


def _source(uri: str) -> str:
    """The path in the repository of what the page `uri` shows."""
    path = uri.removeprefix(f"{UNDER}/")
    return f"{DOCS}/{uri}" if path == uri else path


def _linked(page: str) -> Iterator[str]:
    """The paths in the repository that a page links to."""
    for target in links(REPOSITORY / page):
        if path := _path(target, page):
            yield path


def _path(target: str, source: str) -> str:
    """Where a link of `source` leads to in the repository; nothing if it leads elsewhere."""
    path, _, _ = target.partition("#")
    if not path or ":" in path or path.startswith("/"):
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def _moved(target: str, source: str, here: str) -> str:
    path, anchor = _path(target, source), target.partition("#")[1] + target.partition("#")[2]
    if not path or (path.startswith(f"{DOCS}/") and here == path.removeprefix(f"{DOCS}/")):
        return target
    uri = path.removeprefix(f"{DOCS}/") if path.startswith(f"{DOCS}/") else _uri(path)
    if not (REPOSITORY / path).exists():
        return target  # MkDocs says that it leads nowhere
    return posixpath.relpath(uri, posixpath.dirname(here) or ".") + anchor


def _uri(path: str) -> str:
    return f"{UNDER}/{path}" if path.endswith((".md", ".png", ".svg")) else f"{UNDER}/{path}.md"


def _shown(path: str) -> str | bytes:
    """What the page of a file or folder holds."""
    file = REPOSITORY / path
    if file.is_dir():
        below = sorted(str(each.relative_to(REPOSITORY)) for each in file.rglob("*") if _is_shown(each))
        return "\n".join([f"# {path}", "", *(f"- `{each}`" for each in below)])
    if file.suffix in {".png", ".svg"}:
        return file.read_bytes()
    if file.suffix == ".md":
        return file.read_text()
    return f"# {path}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text()}\n````\n"


def _is_shown(file: Path) -> bool:
    return file.is_file() and not HIDDEN & set(file.parts)
