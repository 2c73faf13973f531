"""Until when the certificates of listeners are good: nothing else tells of it before the night in which one ends."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from extproc.errors import ConfigError
from extproc.policy.read import content


class Validity(NamedTuple):
    """From when to when."""

    begins: datetime
    ends: datetime


class Certificates(Collector):
    """Those of the `files`, by the address of their listener. A file is read whenever somebody asks, since certificates are
    renewed while the server runs; one that cannot be read has no number.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def collect(self) -> Iterator[GaugeMetricFamily]:
        begins = GaugeMetricFamily(
            "extproc_certificate_not_before_timestamp_seconds",
            "From when on the certificate of a listener is good.",
            labels=["listener"],
        )
        ends = GaugeMetricFamily(
            "extproc_certificate_not_after_timestamp_seconds",
            "Until when the certificate of a listener is good.",
            labels=["listener"],
        )
        for listener, found in self._read():
            if found:
                begins.add_metric([listener], found.begins.timestamp())
                ends.add_metric([listener], found.ends.timestamp())
        yield from (begins, ends)

    def status(self) -> dict[str, dict[str, str] | None]:
        """Of each listener; null where there is nothing to be read."""
        return {listener: _written(found) if found else None for listener, found in self._read()}

    def _read(self) -> Iterator[tuple[str, Validity | None]]:
        return ((listener, validity(path)) for listener, path in self._files.items())


def validity(path: Path) -> Validity | None:
    """Of the certificates in a file all together: a chain is as good as its worst part."""
    read = content(path, path)
    if isinstance(read, ConfigError):
        return None
    try:
        found = x509.load_pem_x509_certificates(read)
    except ValueError:
        return None
    return Validity(max(one.not_valid_before_utc for one in found), min(one.not_valid_after_utc for one in found))


def _written(found: Validity) -> dict[str, str]:
    begins, ends = (at.astimezone(UTC).isoformat().replace("+00:00", "Z") for at in found)
    return {"notBefore": begins, "notAfter": ends}
