"""presidio-analyzer as a model for `modelRef`: the extra `presidio` installs it.

`modelRef: presidio` uses a spaCy pipeline for names and places, which has to be installed (`python -m spacy download
en_core_web_lg`): nothing is fetched at run time. `modelRef: presidio-patterns` needs none: Presidio's pattern recognizers
run on a blank pipeline, which only splits a text into words. Another language or pipeline is an entry point of your own:

    def german() -> Presidio:
        return Presidio("de", "de_core_news_lg")
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

from extproc.errors import ConfigError
from extproc_filters.pii.findings import Finding

BLANK: Final = ""
"""No pipeline but a tokenizer."""


class Presidio:
    """Presidio's analyzer with the recognizers that it has for `language`; `pipeline` is an installed spaCy package.

    Raises:
        ConfigError: presidio-analyzer or the pipeline is not installed.
    """

    def __init__(self, language: str = "en", pipeline: str = "en_core_web_lg") -> None:
        engine = _engine(language, pipeline)
        analyzer = import_module("presidio_analyzer")
        registry = analyzer.RecognizerRegistry(supported_languages=[language])
        registry.load_predefined_recognizers(languages=[language], nlp_engine=engine)
        _keep_at_home(import_module("tldextract.tldextract"))
        self._language = language
        self._analyzer = analyzer.AnalyzerEngine(registry, engine, supported_languages=[language])
        list(self.find("jane.roe@example.org"))  # what is read when it is first needed, is read now

    def find(self, text: str) -> Iterable[Finding]:
        """What the analyzer tells, of whatever score."""
        for result in self._analyzer.analyze(text=text, language=self._language):
            yield Finding(result.entity_type, result.start, result.end, min(1.0, max(0.0, result.score)))


def patterns() -> Presidio:
    """Presidio's pattern recognizers for English alone."""
    return Presidio(pipeline=BLANK)


def _engine(language: str, pipeline: str) -> Any:
    """spaCy as Presidio sees it, with its pipeline already there: Presidio itself would download one. Raises: ConfigError."""
    try:
        spacy, engines = import_module("spacy"), import_module("presidio_analyzer.nlp_engine")
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'extproc[presidio]'") from None
    if pipeline != BLANK and not spacy.util.is_package(pipeline):
        raise ConfigError(
            f"the spaCy pipeline {pipeline} is not installed: python -m spacy download {pipeline}, or say presidio-patterns"
        )
    engine = engines.SpacyNlpEngine(models=[{"lang_code": language, "model_name": pipeline or "blank"}])
    engine.nlp = {language: spacy.load(pipeline) if pipeline != BLANK else spacy.blank(language)}
    return engine


def _keep_at_home(tldextract: Any) -> None:
    """The list of top-level domains that Presidio's e-mail recognizer uses is the one that came with it, not one that is
    fetched during a request.
    """
    tldextract.TLD_EXTRACTOR.suffix_list_urls = ()
