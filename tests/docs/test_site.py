"""The documentation as a site: no link leads nowhere, nothing is fetched from elsewhere, and no page is left out."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, relative
from tools.docs.markdown import REPOSITORY, anchors, links

DOCS = REPOSITORY / "docs"


@pytest.mark.parametrize("page", [pytest.param(page, id=relative(page)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    """In the repository too: to a file that is there, and a heading that it has."""
    wrong = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def build(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs."""
    if not importlib.util.find_spec("material"):
        pytest.skip("mkdocs-material is not installed; `make docs` installs it")
    argv = [sys.executable, *arguments]
    return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    ran = build("-m", "tools.docs.build", str(folder))
    assert ran.returncode == 0, ran.stderr
    return folder


PLAIN = "theme: {name: mkdocs, palette: null}\nextra_css: []\nplugins: []\nhooks: []\nnav: [index.md]\n"


def test_links_that_lead_nowhere_end_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    links = "[page](page.md), [heading](index.md#no-such-heading), [file](../no-such-file.yaml)"
    (tmp_path / "docs" / "index.md").write_text(f"# Title\n\n{links}\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {REPOSITORY}/mkdocs.yml\n{PLAIN}")
    ran = build("-c", f"import sys; from tools.docs.build import site; sys.exit(site({str(config)!r}))")
    assert ran.returncode == 1
    assert "Aborted with 3 warnings" in ran.stderr


def test_the_site_is_built(site: Path) -> None:
    """Strictly: a link or an anchor that leads nowhere ends it."""
    made = {str(page.parent.relative_to(site)) for page in site.rglob("index.html")}
    assert {"start", "concepts", "reference/cli", "troubleshooting", "security"} <= made
    assert {"repository/CHANGELOG", "repository/bench/results", "repository/deploy/prometheus/rules.yaml"} <= made


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = [f"{page.relative_to(site)}: {url}" for page in site.rglob("*.html") for url in loaded(page.read_text())]
    assert fetched == []


def loaded(html: str) -> Iterator[str]:
    """What a browser gets by itself: scripts, styles, pictures, fonts; links that a reader may click are none."""
    for tag in re.findall(r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*>", html):
        if 'rel="canonical"' not in tag:
            yield from re.findall(r"""(?:src|href)=["']?((?:https?:)?//[^"'> ]+)""", tag)


@pytest.mark.parametrize("page", [pytest.param(page, id=relative(page)) for page in PAGES])
def test_no_status_begins_a_list(page: Path) -> None:
    """`403. It may not` is the first entry of a numbered list, and is shown as `1.`."""
    assert re.findall(r"^[1-5]\d\d\. .*", page.read_text(), re.MULTILINE) == []


def test_every_page_is_in_the_navigation_once() -> None:
    nav = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), yaml.CSafeLoader)["nav"]
    assert sorted(named(nav)) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def named(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for each in nav if isinstance(nav, list) else nav.values():
            yield from named(each)
