"""`PIIDetector:v1`: personal data and secrets are found in requests and answers, and do not leave (DESIGN section 7)."""

import re
from collections import Counter
from typing import ClassVar, Final

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.filter import BodyTransformer, Reading
from extproc.core.headers import Headers
from extproc.core.verdict import deny
from extproc.errors import ConfigError, Malformed
from extproc.ports import FilterContext
from extproc_filters.pii.answers import Assigned, Restoration, Return
from extproc_filters.pii.config import PIIDetectorConfig, check_style, paths_of, scanned, scanner_of
from extproc_filters.pii.documents import Text
from extproc_filters.pii.edits import Mac, Writer, delete, hashing, mask, splice
from extproc_filters.pii.findings import Finding, merge
from extproc_filters.pii.hash_keys import HashKeys
from extproc_filters.pii.media import Media, is_event_stream, read_coding, read_media
from extproc_filters.pii.placeholders import Placeholders, present
from extproc_filters.pii.redaction import Redaction, Task
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.screening import Screening
from extproc_filters.pii.streamed import Streamed
from extproc_filters.pii.target import outside_body
from extproc_filters.pii.work import done
from extproc_filters.usage.accepted import accepted

EMBEDDINGS: Final = re.compile(r"(?i)/embeddings/?\Z|:(?:batch)?embedcontents?\Z")
"""Answers to these are large, and have no text (OpenAI, Gemini)."""


class PIIDetector:
    """Finds entities in the body, edits or blocks it, and denies a request that has one outside its body. What it replaced
    with placeholders it puts back into the answer, if `restore` says so.
    """

    Config = PIIDetectorConfig
    default_phase: ClassVar[Phase] = Phase.REQUEST_BODY
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.RESPONSE_BODY})

    def __init__(self, config: PIIDetectorConfig, context: FilterContext) -> None:
        check_style(config, context.phase)
        self.max_body_bytes = config.max_body_bytes
        self.follow_ups = frozenset({Phase.RESPONSE_BODY}) if config.restore else frozenset()
        self._config = config
        self._outside = scanned(config, context.phase) - {"body"}
        self._scanner = scanner_of(config)
        self._fields = paths_of(config)
        self._deny_unknown = (config.unknown_body or ("pass" if context.fail_open else "deny")) == "deny"
        self._keys = HashKeys(config.hash_key, context.outside) if config.redaction_style == "hash" else None

    def reading(self, phase: Phase, exchange: Exchange) -> Reading:
        """How much of the body is needed: nothing of one that nobody reads, an event stream as it comes, others whole.

        Raises:
            Malformed: the content type cannot be understood.
        """
        if phase is Phase.REQUEST_BODY:
            if read_media(exchange.request.headers) is not None or self._deny_unknown:
                return Reading.WHOLE
            return Reading.WATCH if outside_body(exchange.request, self._outside) else Reading.NOTHING
        if self._config.restore:
            return reading_to_restore(exchange)
        if exchange.response is None:
            return Reading.WHOLE
        if is_event_stream(exchange.response.headers):
            return Reading.STREAM
        known = read_media(exchange.response.headers) is not None
        return Reading.WHOLE if known or self._deny_unknown else Reading.NOTHING

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        """Judge by everything but the body.

        Raises:
            Malformed: the content type or the content encoding cannot be understood.
            Unavailable: the key for hashing cannot be had.
        """
        if phase is Phase.RESPONSE_BODY:
            return await self._decide_answer(exchange)
        found = self._found_outside(exchange)
        if found and self._config.mode == "enforce":
            return deny("pii_blocked", f"path, query or headers hold {', '.join(sorted(found))}")
        report = {f"target.{entity}": number for entity, number in sorted(found.items())}
        request = exchange.request
        if phase is Phase.REQUEST_HEADERS or not request.body:
            return Continue(report=report)
        if read_media(request.headers) is None:
            if self._deny_unknown:
                return deny("body_unsupported", "the media type is not JSON, text or a form")
            return Continue(report=report)
        asked = accepted(request.headers.get("accept-encoding")) if self._config.restore else None
        if self._keys is not None:
            await self._keys.fetch(_namespace(exchange))
        return Continue(
            set_headers={} if asked is None else {"accept-encoding": asked},
            remove_headers=_undone(request.headers),
            report=report,
        )

    async def _decide_answer(self, exchange: Exchange) -> Verdict:
        response = exchange.response
        if response is None or response.body == b"" or self.reading(Phase.RESPONSE_BODY, exchange) is Reading.NOTHING:
            return Continue()
        if not is_event_stream(response.headers) and read_media(response.headers) is None:
            return deny("response_unprocessable", "the media type of the answer is not JSON, text or a form")
        if self._keys is not None:
            await self._keys.fetch(_namespace(exchange))
        return Continue(remove_headers=_undone(response.headers))

    def transformer(self, phase: Phase, exchange: Exchange) -> BodyTransformer | None:
        """None leaves the body alone: it is empty, or of a kind that nobody reads and the configuration lets pass."""
        if phase is Phase.RESPONSE_BODY:
            return self._answering(exchange)
        request = exchange.request
        media = read_media(request.headers) if request.body else None
        if media is None:
            return None
        target = outside_body(request, ("path", "query"))
        return Redaction(self._task(exchange), media, read_coding(request.headers), self.max_body_bytes, target)

    def _answering(self, exchange: Exchange) -> BodyTransformer | None:
        response = exchange.response
        if response is None or response.body == b"" or self.reading(Phase.RESPONSE_BODY, exchange) is Reading.NOTHING:
            return None
        streamed, coding = is_event_stream(response.headers), read_coding(response.headers)
        limit = self.max_body_bytes
        if self._config.restore and isinstance(exchange.state, Assigned):
            if streamed:
                return Streamed(Return(exchange.state, limit), coding, limit)
            media = read_media(response.headers)
            return None if media is None else Restoration(exchange.state, media, coding, limit)
        task = self._task(exchange, answer=True)
        if streamed:
            return Streamed(Screening(task, limit), coding, limit)
        media = read_media(response.headers)
        return None if media is None else Redaction(task, media, coding, limit)

    def _task(self, exchange: Exchange, *, answer: bool = False) -> Task:
        enforce, block = self._config.mode == "enforce", self._config.redaction_style == "block"
        return Task(
            self._scanner,
            self._writer(_namespace(exchange)),
            self._fields,
            edit=enforce and not block,
            block=enforce and block,
            restore=self._config.restore,
            answer=answer,
        )

    def _writer(self, namespace: str) -> Writer | None:
        """None for placeholders, which each body has of its own."""
        if self._keys is not None:
            return self._keys.writer(namespace)
        match self._config.redaction_style:
            case "placeholder":
                return None
            case "delete":
                return delete
            case _:
                return mask

    def _found_outside(self, exchange: Exchange) -> Counter[str]:
        """Entities in what `scan` names besides the body."""
        text = outside_body(exchange.request, self._outside)
        return Counter(finding.entity for finding in find(self._scanner, text)) if text else Counter()


def reading_to_restore(exchange: Exchange) -> Reading:
    """How much of an answer is needed to put values back: nothing where there are none, or nobody knows how. Before there is
    an answer: all of it, if the request has a body in which values may be.

    Raises:
        Malformed: the content type of the request cannot be understood.
    """
    request, response = exchange.request, exchange.response
    if read_media(request.headers) is None or EMBEDDINGS.search(request.path_only):
        return Reading.NOTHING
    if response is None:
        return Reading.WHOLE
    if not isinstance(exchange.state, Assigned):
        return Reading.NOTHING
    if is_event_stream(response.headers):
        return Reading.STREAM
    try:
        media = read_media(response.headers)
    except Malformed:
        return Reading.NOTHING
    return Reading.WHOLE if media in (Media.JSON, Media.TEXT) else Reading.NOTHING


def _undone(headers: Headers) -> tuple[str, ...]:
    """The headers that are wrong once the encoding is undone. Raises: Malformed."""
    read_coding(headers)
    return tuple({"content-encoding"}.intersection(headers.names()))


def _namespace(exchange: Exchange) -> str:
    return exchange.peer.namespace if exchange.peer else ""


def find(scanner: Scanner, text: str) -> list[Finding]:
    """What `scanner` finds in `text`, in order, none overlapping."""
    return done(merge(done(scanner.find(text))))


def scan_text(text: str, config: PIIDetectorConfig | None = None) -> list[Finding]:
    """What the detector finds in a plain text; positions are characters.

    Raises:
        ConfigError: `config` cannot be used.
    """
    return find(scanner_of(config or PIIDetectorConfig()), text)


def redact_text(text: str, style: str = "mask", config: PIIDetectorConfig | None = None, mac: Mac | None = None) -> str:
    """A plain text with everything that is found in it replaced. The style `hash` needs `mac` (HMAC-SHA-256).

    Raises:
        ConfigError: `config` or `style` cannot be used.
    """
    placeholders = Placeholders(done(present(text, escaped=False)))
    writers: dict[str, Writer] = {"mask": mask, "delete": delete, "placeholder": placeholders.write}
    if mac is not None:
        writers["hash"] = hashing(mac)
    if style not in writers:
        raise ConfigError(f"a text cannot be redacted with the style {style!r}: choose one of {', '.join(writers)}")
    return splice(text, done(Text(text).edits(scan_text(text, config), writers[style])))
