"""A file, or a directory of files, as documents: read strictly, and with the place of every value kept."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from extproc.errors import ConfigError, Place
from extproc.policy import documents, drafts, gateway_api
from extproc.policy.documents import BackendDocument, EgressPolicy, ExtProcConfiguration
from extproc.policy.drafts import PayloadProcessor, XBackendDestination
from extproc.policy.gateway_api import HTTPRoute, ReferenceGrant
from extproc.policy.places import Errors, Origin
from extproc.policy.sentences import config_errors
from extproc.policy.yaml_tree import Tree, read_trees
from extproc.schema import Model

M = TypeVar("M", bound=Model, covariant=True)

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of one file. A ConfigMap holds at most 1 MiB."""

MOST_FILES: Final = 1000
"""Files of one directory."""

LARGEST_ALL: Final = 64 * 1024 * 1024
"""Bytes of all its files together."""

SUFFIXES: Final = (".yaml", ".yml")

KINDS: Final[dict[tuple[str, str], type[Model]]] = {
    (documents.VERSION, "ExtProcConfiguration"): ExtProcConfiguration,
    (documents.VERSION, "Backend"): BackendDocument,
    (documents.VERSION, "EgressPolicy"): EgressPolicy,
    (f"{gateway_api.GROUP}/v1", "HTTPRoute"): HTTPRoute,
    (f"{gateway_api.GROUP}/v1", "ReferenceGrant"): ReferenceGrant,
    (f"{gateway_api.GROUP}/v1beta1", "ReferenceGrant"): ReferenceGrant,
    (drafts.PAYLOAD, "PayloadProcessor"): PayloadProcessor,
    (drafts.PROTOTYPE, "XBackendDestination"): XBackendDestination,
}


@dataclass(frozen=True, slots=True)
class Document(Generic[M]):
    """A document and where it was written."""

    model: M
    origin: Origin
    said: str = ""
    """The kind as it was written, if the document is one of another kind that became this one."""

    @property
    def kind(self) -> str:
        return self.said or getattr(self.model, "kind", "")


@dataclass(frozen=True, slots=True)
class Documents:
    """A whole configuration, each document valid by itself."""

    configuration: Document[ExtProcConfiguration]
    backends: tuple[Document[BackendDocument], ...] = ()
    policies: tuple[Document[EgressPolicy], ...] = ()
    routes: tuple[Document[HTTPRoute], ...] = ()
    grants: tuple[Document[ReferenceGrant], ...] = ()
    processors: tuple[Document[PayloadProcessor], ...] = ()
    destinations: tuple[Document[XBackendDestination], ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was read: its bytes, or what is wrong with it. `shown` is its path as people know it."""

    shown: Path
    content: bytes | ConfigError


def load(path: Path) -> Documents:
    """The documents of `path`: of the file, or of the directory's `*.yaml` and `*.yml` in the order of their names.

    Raises:
        Refused: with everything that is wrong with any of them.
    """
    return parse(path, files(path))


def files(path: Path) -> tuple[File, ...]:
    """The files of `path` as they are now. Nothing is waited for and nothing raised, whatever is there."""
    try:
        return tuple(_contents(_files(path)))
    except ConfigError as error:
        return (File(path, error),)
    except OSError as error:
        return (File(path, ConfigError(f"the directory cannot be read: {error.strerror}", Place(str(path)))),)


def parse(path: Path, found: Sequence[File]) -> Documents:
    """The documents of the files that were `found` at `path`.

    Raises:
        Refused: with everything that is wrong with any of them.
    """
    errors, read = Errors(), list[Document[Model]]()
    for file in found:
        for result in _read(file):
            if isinstance(result, Document):
                read.append(result)
            else:
                errors.extend([result])
    return _sorted_by_kind(path, read, errors)


def _files(path: Path) -> Iterator[tuple[Path, Path]]:
    """Each file as it is shown and as it is read. Hidden names are not ours: a mounted ConfigMap keeps its versions in them
    and swaps the link `..data`, which is followed once, so that all files are of one version.
    """
    if not path.is_dir():
        yield path, path
        return
    data = Path(os.path.realpath(path / "..data"))  # Path.resolve raises where links lead in a circle
    seen = set[str]()
    names = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
    if not names:
        raise ConfigError("the directory has no file *.yaml or *.yml", Place(str(path)))
    if len(names) > MOST_FILES:
        raise ConfigError(f"the directory has more than {MOST_FILES} files *.yaml and *.yml", Place(str(path)))
    for name in names:
        shown = path / name
        target = shown.readlink() if shown.is_symlink() else Path(name)
        real = data.joinpath(*target.parts[1:]) if target.parts[:1] == ("..data",) else shown
        if (place := os.path.realpath(real)) not in seen:
            seen.add(place)
            yield shown, real


def _contents(files: Iterator[tuple[Path, Path]]) -> Iterator[File]:
    room = LARGEST_ALL
    for shown, real in files:
        found = content(shown, real)
        room -= len(found) if isinstance(found, bytes) else 0
        if room < 0:
            found = ConfigError(
                f"with those before it the files are larger than {LARGEST_ALL} bytes", Place(str(shown))
            )
            room = 0
        yield File(shown, found)


def content(shown: Path, real: Path) -> bytes | ConfigError:
    """The bytes of a file, or what is wrong with it. A pipe in its place is not waited for, and no more is read than a file may
    have.
    """
    place = Place(str(shown))
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ConfigError("there is no such file", place)
    except OSError as error:
        return ConfigError(f"the file cannot be read: {error.strerror}", place)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ConfigError("this is not a regular file", place)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        return ConfigError(f"the file cannot be read: {error.strerror}", place)
    finally:
        os.close(descriptor)
    return raw if len(raw) <= LARGEST else ConfigError(f"the file is larger than {LARGEST} bytes", place)


def _read(file: File) -> Iterator[Document[Model] | ConfigError]:
    shown = file.shown
    try:
        text = _text(file)
    except ConfigError as error:
        yield error
        return
    number = 0
    for number, tree in enumerate(read_trees(text, str(shown)), 1):
        if isinstance(tree, ConfigError):
            yield tree
        else:
            yield from _document(tree, Origin(str(shown), number, shown.parent, tree.lines))
    if number == 0:
        yield ConfigError("the file holds no document", Place(str(shown)))


def _text(file: File) -> str:
    """Raises: ConfigError."""
    shown, raw = file.shown, file.content
    if isinstance(raw, ConfigError):
        raise raw
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 text", Place(str(shown), line)) from error


def _document(tree: Tree, origin: Origin) -> Iterator[Document[Model] | ConfigError]:
    if tree.value is None:
        yield ConfigError("the document is empty: remove it, or the `---` before it", origin.place())
        return
    if not isinstance(tree.value, dict):
        yield ConfigError("a document is a mapping with apiVersion and kind", origin.place())
        return
    model = _model(tree.value)
    if model is None:
        yield _unknown_kind(tree.value, origin)
        return
    try:
        yield Document(model.model_validate(tree.value), origin)
    except ValidationError as error:
        yield from config_errors(error, model, origin)


def _model(value: dict[str, Any]) -> type[Model] | None:
    version, kind = value.get("apiVersion"), value.get("kind")
    return KINDS.get((version, kind)) if isinstance(version, str) and isinstance(kind, str) else None


def _unknown_kind(value: dict[str, Any], origin: Origin) -> ConfigError:
    if "apiVersion" not in value and "kind" not in value:
        message = (
            "this is no document of a configuration (no apiVersion, no kind): keep other files in another directory"
        )
        return ConfigError(message, origin.place())
    for name in ("apiVersion", "kind"):
        if not isinstance(value.get(name), str):
            return ConfigError("this field is required, and is text", origin.place(name))
    versions = sorted(version for version, kind in KINDS if kind == value["kind"])
    if versions:
        return ConfigError(f"the kind {value['kind']} is read in {' or '.join(versions)}", origin.place("apiVersion"))
    known = sorted({kind for _, kind in KINDS})
    return ConfigError(f"the kind {value['kind']!r} is not known: {', '.join(known)} are", origin.place("kind"))


def _sorted_by_kind(path: Path, found: list[Document[Model]], errors: Errors) -> Documents:
    configurations = _of(found, ExtProcConfiguration)
    for extra in configurations[1:]:
        first = configurations[0].origin.place()
        errors.add(
            f"a second ExtProcConfiguration: the first is at {first}, and there is exactly one", extra.origin.place()
        )
    if not configurations and not errors.found:
        errors.add("there is no ExtProcConfiguration, and exactly one is needed", Place(str(path)))
    _refuse_twins(found, errors)
    errors.check()
    return Documents(
        configurations[0],
        _of(found, BackendDocument),
        _of(found, EgressPolicy),
        _of(found, HTTPRoute),
        _of(found, ReferenceGrant),
        _of(found, PayloadProcessor),
        _of(found, XBackendDestination),
    )


def _of(found: list[Document[Model]], kind: type[M]) -> tuple[Document[M], ...]:
    return tuple(Document(one.model, one.origin) for one in found if isinstance(one.model, kind))


def _refuse_twins(found: list[Document[Model]], errors: Errors) -> None:
    """An object is one document: with two of one name it would be chance which one counts."""
    seen: dict[tuple[str, str], Origin] = {}
    for document in found:
        metadata = getattr(document.model, "metadata", None)
        if metadata is None:
            continue
        kind = getattr(document.model, "kind", "")
        first = seen.setdefault((kind, str(metadata)), document.origin)
        if first is not document.origin:
            place = document.origin.place("metadata", "name")
            errors.add(f"{kind} {metadata} is defined twice: first at {first.place()}", place)
