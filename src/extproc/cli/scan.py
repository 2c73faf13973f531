"""`extproc scan`: what PIIDetector finds in a text, or how well it finds what is in a corpus."""

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from extproc.compose import configure
from extproc.errors import ConfigError
from extproc_filters.pii.config import PIIDetectorConfig
from extproc_filters.pii.measure import compare, read_corpus, table
from extproc_filters.pii_detector import PIIDetector, redact_text, scan_text

NAME = "scan"
NEEDS_ARGUMENTS = False


def command(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="UTF-8 text; standard input by default.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="PATH", help="Use its PIIDetector's config.")
    ] = None,
    redact: Annotated[
        str | None, typer.Option(metavar="STYLE", help="Print the redacted text: mask, delete or placeholder.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="CORPUS", help="Print precision and recall on annotated JSON lines; - is standard input."),
    ] = None,
) -> None:
    """One JSON object a line for each finding: entity, start, end (characters), score. The text itself is not shown."""
    detector = _detector(config) if config else None
    if against is not None:
        if file is not None or redact is not None:
            raise ConfigError("--against reads its texts from the corpus: leave FILE and --redact out")
        _measure(None if str(against) == "-" else against, detector)
        return
    text = _read(file)
    if redact is not None:
        sys.stdout.write(redact_text(text, redact, detector))
        return
    for found in scan_text(text, detector):
        line = {"entity": found.entity, "start": found.start, "end": found.end, "score": found.score}
        typer.echo(orjson.dumps(line).decode())


def _measure(corpus: Path | None, config: PIIDetectorConfig | None) -> None:
    """The table of a corpus. Raises: ConfigError, with the line that cannot be read."""
    settings = config or PIIDetectorConfig()
    try:
        examples = read_corpus(_read(corpus).encode().splitlines())
        typer.echo(table(compare(examples, lambda text: scan_text(text, settings))))
    except ConfigError as error:
        raise ConfigError(f"{corpus or 'standard input'}: {error}") from None


def _detector(path: Path) -> PIIDetectorConfig:
    """The config of the one PIIDetector of a configuration. Raises: ConfigError, if there is none or several."""
    extensions = [each for each in configure(path).extensions if isinstance(each.link.filter, PIIDetector)]
    configs: list[Any] = [each.attachment.spec.config for each in extensions]
    if not configs or any(one != configs[0] for one in configs):
        names = ", ".join(each.name for each in extensions) or "none"
        raise ConfigError(f"{path}: a scan needs exactly one configuration of PIIDetector; here is {names}")
    return PIIDetectorConfig.model_validate(configs[0])


def _read(file: Path | None) -> str:
    try:
        return (sys.stdin.buffer.read() if file is None else file.read_bytes()).decode()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file or 'standard input'}: not UTF-8 at byte {error.start}") from error
