"""`PIIDetector:v1`: personal data and secrets are found in request bodies and queries, and do not leave (DESIGN section 7)."""

from collections import Counter, OrderedDict
from typing import ClassVar, Final
from urllib.parse import unquote, unquote_plus

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.filter import BodyTransformer
from extproc.core.secret import mac_key
from extproc.core.verdict import deny
from extproc.errors import ConfigError, Unavailable
from extproc.ports import FilterContext
from extproc_filters.pii.config import PIIDetectorConfig, check_served, paths_of, refuse, scanner_of
from extproc_filters.pii.documents import Text
from extproc_filters.pii.edits import Mac, Writer, delete, hashing, mask, splice
from extproc_filters.pii.findings import Finding, merge
from extproc_filters.pii.media import Media, read_coding, read_media
from extproc_filters.pii.redaction import Redaction, Task
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.work import done

NAMESPACES: Final = 1024
"""Keys for hashing that are kept at once, one for each namespace."""


class PIIDetector:
    """Finds entities in the body, edits or blocks it, and denies a request whose query or path has one."""

    Config = PIIDetectorConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY})

    def __init__(self, config: PIIDetectorConfig, context: FilterContext) -> None:
        check_served(config)
        self.max_body_bytes = config.max_body_bytes
        self._config = config
        self._scanner = scanner_of(config)
        self._fields = paths_of(config)
        self._deny_unknown = (config.unknown_body or ("pass" if context.fail_open else "deny")) == "deny"
        self._macs: OrderedDict[str, Mac] = OrderedDict()
        self._keys = None
        if config.redaction_style == "hash":
            if config.hash_key is None:
                raise refuse("hashKey", "redactionStyle hash needs a key: {source: ..., path: ..., field: ...}")
            self._keys = context.outside.secrets(config.hash_key.source)

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - there is only one phase
        """Judge by everything but the body.

        Raises:
            Malformed: the content type or the content encoding cannot be understood.
            Unavailable: the key for hashing cannot be had.
        """
        found = self._found_in_target(exchange)
        if found and self._config.mode == "enforce":
            return deny("pii_blocked", f"the target holds {', '.join(sorted(found))}")
        if exchange.request.body:
            if read_media(exchange.request.headers) is None:
                if self._deny_unknown:
                    return deny("body_unsupported", "the media type is not JSON, text or a form")
            else:
                read_coding(exchange.request.headers)
                await self._fetch_key(_namespace(exchange))
        return Continue(report={f"target.{entity}": number for entity, number in sorted(found.items())})

    def transformer(self, phase: Phase, exchange: Exchange) -> BodyTransformer | None:  # noqa: ARG002 - there is only one phase
        """None leaves the body alone: it is empty, or of a kind that nobody reads and the configuration lets pass."""
        headers = exchange.request.headers
        media = read_media(headers) if exchange.request.body else None
        if media is None:
            return None
        enforce, block = self._config.mode == "enforce", self._config.redaction_style == "block"
        writer = self._writer(media, _namespace(exchange))
        task = Task(self._scanner, writer, self._fields, edit=enforce and not block, block=enforce and block)
        return Redaction(task, media, read_coding(headers), self.max_body_bytes, headers.names())

    def _writer(self, media: Media, namespace: str) -> Writer:
        if self._config.redaction_style == "hash":
            return hashing(self._macs[namespace], escaped=media is Media.JSON)
        return delete if self._config.redaction_style == "delete" else mask

    async def _fetch_key(self, namespace: str) -> None:
        """The key for the namespace of this exchange, left for its transformer. The store caches; what is here is only the
        way from one to the other.
        """
        place = self._config.hash_key
        if self._keys is None or place is None:
            return
        key = await self._keys.read(place.path.split("/"), place.field)
        if key is None:
            raise Unavailable("there is no key for hashing at hashKey")
        self._macs[namespace] = mac_key(key, b"pii-hash:" + namespace.encode())
        self._macs.move_to_end(namespace)
        if len(self._macs) > NAMESPACES:
            self._macs.popitem(last=False)

    def _found_in_target(self, exchange: Exchange) -> Counter[str]:
        """Entities in the query, and in the path if that is asked for."""
        parts = []
        if "query" in self._config.scan:
            parts += [unquote_plus(exchange.request.query.replace("&", "\n"))]
        if "path" in self._config.scan:
            parts += [unquote(exchange.request.path_only)]
        return Counter(finding.entity for part in parts if part for finding in find(self._scanner, part))


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
    writers: dict[str, Writer] = {"mask": mask, "delete": delete}
    if mac is not None:
        writers["hash"] = hashing(mac, escaped=False)
    if style not in writers:
        raise ConfigError(f"a text cannot be redacted with the style {style!r}: choose one of {', '.join(writers)}")
    return splice(text, done(Text(text).edits(scan_text(text, config), writers[style])))
