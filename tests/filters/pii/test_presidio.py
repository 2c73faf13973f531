"""presidio-analyzer as a model, where it is installed."""

import logging

import pytest

from extproc.errors import ConfigError
from extproc_filters.pii.findings import merge
from extproc_filters.pii.models import NamedModel
from extproc_filters.pii.presidio import Presidio, patterns
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.work import done

pytest.importorskip("presidio_analyzer", reason="presidio-analyzer is not installed: pip install 'extproc[presidio]'")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TEXT = "The card 4111 1111 1111 1111 of jane.roe@example.org, UK NHS 943 476 5919."


@pytest.fixture(scope="module")
def model() -> Presidio:
    return patterns()


def test_its_findings_join_ours(model: Presidio) -> None:
    scanner = Scanner([], models=[NamedModel("presidio-patterns", model)])
    found = {each.entity: TEXT[each.start : each.end] for each in done(merge(done(scanner.find(TEXT))))}
    assert found["CREDIT_CARD"] == "4111 1111 1111 1111"
    assert found["EMAIL_ADDRESS"] == "jane.roe@example.org"
    assert found["UK_NHS"] == "943 476 5919"


def test_it_goes_nowhere_and_writes_nothing(model: Presidio, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        list(model.find(TEXT))
    assert not [record for record in caplog.records if "4111" in record.getMessage() or "jane" in record.getMessage()]
    assert not [record for record in caplog.records if record.name.startswith(("urllib3", "tldextract"))]


def test_a_pipeline_that_is_not_installed_is_not_fetched() -> None:
    with pytest.raises(ConfigError, match="python -m spacy download xx_none_sm, or say presidio-patterns"):
        Presidio(pipeline="xx_none_sm")
