"""Without presidio-analyzer its model says what is missing."""

import sys

import pytest

from extproc.errors import ConfigError
from extproc_filters.pii.presidio import Presidio


@pytest.mark.parametrize("missing", ["spacy", "presidio_analyzer.nlp_engine"])
def test_what_is_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'extproc\[presidio\]'"):
        Presidio()
