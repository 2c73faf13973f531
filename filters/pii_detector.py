"""`PIIDetector:v1`: personal data and secrets are found in requests and answers, and do not leave (DESIGN section 7)."""

from collections import Counter
from typing import ClassVar, Final

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.filter import BodyTransformer, Reading
from extproc.core.headers import Headers
from extproc.core.verdict import deny
from extproc.errors import ConfigError, Malformed
from extproc.ports import FilterContext
from extproc_filters.pii.answers import Assigned, Restoration, Return, reading_to_restore
from extproc_filters.pii.config import PIIDetectorConfig, check_style, paths_of, scanned, scanner_of
from extproc_filters.pii.detecting import Detecting, detected_media
from extproc_filters.pii.documents import Text
from extproc_filters.pii.edits import Mac, Writer, delete, hashing, mask, splice
from extproc_filters.pii.findings import Finding, merge
from extproc_filters.pii.hash_keys import HashKeys
from extproc_filters.pii.media import is_event_stream, read_coding, read_media
from extproc_filters.pii.placeholders import Placeholders, present
from extproc_filters.pii.redaction import Redaction
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.screening import Screening
from extproc_filters.pii.streamed import Streamed
from extproc_filters.pii.target import outside_body
from extproc_filters.pii.task import Task
from extproc_filters.pii.work import done
from extproc_filters.usage.accepted import accepted

PARTIAL: Final = 206
"""The status of an answer to `range`: whoever asks for one part after the other puts a value together again."""

UNREAD: Final = "the media type is not JSON, text or a form"


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
        self._detects = config.mode == "detect"
        self._restores = config.restore and not self._detects
        self.follow_ups = frozenset({Phase.RESPONSE_BODY}) if self._restores else frozenset()
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
        if self._detects:
            return self._reading_to_detect(phase, exchange)
        if phase is Phase.REQUEST_BODY:
            if read_media(exchange.request.headers) is not None or self._deny_unknown:
                return Reading.WHOLE
            return Reading.WATCH if outside_body(exchange.request, self._outside) else Reading.NOTHING
        if self._restores:
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
        if self._detects:
            return Continue(report=self._reported(exchange, phase))
        if phase is Phase.RESPONSE_BODY:
            return await self._decide_answer(exchange)
        if found := self._found_outside(exchange):
            return deny("pii_blocked", f"path, query or headers hold {', '.join(sorted(found))}")
        request = exchange.request
        if phase is Phase.REQUEST_HEADERS or not request.body:
            return Continue()
        if read_media(request.headers) is None:
            return deny("body_unsupported", UNREAD) if self._deny_unknown else Continue()
        asked = accepted(request.headers.get("accept-encoding")) if self._restores else None
        if self._keys is not None:
            await self._keys.fetch(_namespace(exchange))
        return Continue(
            set_headers={} if asked is None else {"accept-encoding": asked}, remove_headers=_undone(request.headers)
        )

    async def _decide_answer(self, exchange: Exchange) -> Verdict:
        response = exchange.response
        if response is None or response.body == b"" or self.reading(Phase.RESPONSE_BODY, exchange) is Reading.NOTHING:
            return Continue()
        if response.status == PARTIAL and not self._restores:
            raise Malformed("of a part of an answer nobody can say what it holds")
        if not is_event_stream(response.headers) and read_media(response.headers) is None:
            return deny("response_unprocessable", f"of the answer {UNREAD}")
        if self._keys is not None:
            await self._keys.fetch(_namespace(exchange))
        return Continue(remove_headers=_undone(response.headers))

    def transformer(self, phase: Phase, exchange: Exchange) -> BodyTransformer | None:
        """None leaves the body alone: it is empty, or of a kind that nobody reads and the configuration lets pass."""
        if self._detects:
            return self._detecting(phase, exchange)
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
        if self._restores and isinstance(exchange.state, Assigned):
            if streamed:
                return Streamed(Return(exchange.state, limit), coding, limit)
            media = read_media(response.headers)
            return None if media is None else Restoration(exchange.state, media, coding, limit)
        task = self._task(exchange, answer=True)
        if streamed:
            return Streamed(Screening(task, limit), coding, limit)
        media = read_media(response.headers)
        return None if media is None else Redaction(task, media, coding, limit)

    def _reading_to_detect(self, phase: Phase, exchange: Exchange) -> Reading:
        """It looks on where there is something to see."""
        request, response = exchange.request, exchange.response
        if phase is Phase.RESPONSE_BODY:
            return Reading.WATCH if response is None or detected_media(response.headers) else Reading.NOTHING
        seen = detected_media(request.headers) or outside_body(request, self._outside)
        return Reading.WATCH if seen else Reading.NOTHING

    def _detecting(self, phase: Phase, exchange: Exchange) -> BodyTransformer | None:
        answer = phase is Phase.RESPONSE_BODY
        message = exchange.response if answer else exchange.request
        media = detected_media(message.headers) if message and message.body != b"" else None
        if message is None or media is None:
            return None
        task, limit = self._task(exchange, answer=answer), self.max_body_bytes
        try:
            coding = read_coding(message.headers)
        except Malformed:
            return Detecting(None, self._reported(exchange, phase))
        if answer and is_event_stream(message.headers):
            return Detecting(Streamed(Screening(task, limit), coding, limit), {})
        return Detecting(Redaction(task, media, coding, limit), self._reported(exchange, phase))

    def _task(self, exchange: Exchange, *, answer: bool = False) -> Task:
        block = self._config.redaction_style == "block"
        return Task(
            self._scanner,
            mask if self._detects else self._writer(_namespace(exchange)),
            self._fields,
            edit=not (block or self._detects),
            block=block and not self._detects,
            restore=self._restores,
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

    def _reported(self, exchange: Exchange, phase: Phase) -> dict[str, int]:
        """The same as a report; of an answer there is nothing but its body."""
        found = Counter[str]() if phase is Phase.RESPONSE_BODY else self._found_outside(exchange)
        return {f"target.{entity}": number for entity, number in sorted(found.items())}


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
