"""The catalogue of AWS services: each one's model, read from botocore's data when it is first needed.

Used by gateway/ to find services and operations. protocols.py reads and writes requests by these models.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import botocore
import msgspec

from neargate.wire.shapes import Metadata, OperationModel, Ref, ServiceModel, Shape

if TYPE_CHECKING:
    from neargate.wire.codec import Codec
    from neargate.wire.validate import Validator

_DATA = Path(botocore.__file__).parent / "data"
_MODEL = "service-2.json"
_HEAD_BYTES = 4096
_decoder = msgspec.json.Decoder(ServiceModel)


class UnknownService(LookupError):
    """botocore has no model by that name."""


class Operation:
    """One operation of a service. `python_name` is what its function is called here and in boto3."""

    __slots__ = ("model", "name", "python_name", "service", "validator")

    def __init__(self, service: "Service", name: str, model: OperationModel) -> None:
        self.service = service
        self.name = name
        self.python_name = botocore.xform_name(name)
        self.model = model
        self.validator: Validator | None = None
        """Checks parameters; made by validate.py for the operation's first request."""

    def __repr__(self) -> str:
        return f"<{self.service.name} {self.name}>"

    @property
    def input(self) -> Ref | None:
        return self.model.input

    @property
    def output(self) -> Ref | None:
        return self.model.output


class Service:
    """One AWS API. Its metadata is at hand; the model is read when an operation or a shape is asked for."""

    def __init__(self, name: str, metadata: Metadata, path: Path | None = None) -> None:
        self.name = name
        self.metadata = metadata
        self.protocols = metadata.protocols or (metadata.protocol,)
        self.codecs: dict[str, Codec] = {}
        """What reads and writes each protocol; filled by protocols.py."""
        self._path = path

    @classmethod
    def of_model(cls, name: str, model: ServiceModel) -> "Service":
        """A service that is not in botocore's data."""
        service = cls(name, model.metadata)
        service.__dict__["_model"] = model
        return service

    @property
    def signing_name(self) -> str:
        return self.metadata.signing_name or self.metadata.endpoint_prefix

    @property
    def api_version(self) -> str:
        return self.metadata.api_version

    @property
    def query_compatible(self) -> bool:
        """Whether its clients once spoke the query protocol, and still want that protocol's error codes."""
        return self.metadata.aws_query_compatible is not None

    @cached_property
    def _model(self) -> ServiceModel:
        assert self._path is not None
        return _decoder.decode(_read(self._path))

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return self._model.shapes

    @cached_property
    def operations(self) -> dict[str, Operation]:
        return {name: Operation(self, name, model) for name, model in self._model.operations.items()}

    @cached_property
    def _errors(self) -> dict[str, str]:
        """Names of error shapes, by their names and by their codes on the wire."""
        shapes = {name: shape for name, shape in self.shapes.items() if shape.exception or shape.error}
        by_code = {shape.error.code: name for name, shape in shapes.items() if shape.error}
        return {**by_code, **{name: name for name in shapes}}

    def error_shape(self, code: str) -> tuple[str, Shape] | None:
        """The error shape of this name, or of this code on the wire; None where none is modelled so."""
        name = self._errors.get(code)
        return None if name is None else (name, self.shapes[name])


class Catalogue:
    """Services by name, target prefix or signing name. Nothing is read before it is asked for."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def service(self, name: str) -> Service:
        """The service by botocore's name for it. Raises UnknownService."""
        service = self._services.get(name)
        if service is None:
            path = _model_path(name)
            if path is None:
                raise UnknownService(f"botocore has no service named {name!r}")
            service = self._services[name] = Service(name, _metadata(path), path)
        return service

    def by_target_prefix(self, prefix: str) -> str | None:
        for name, service in self._services.items():
            if service.metadata.target_prefix == prefix:
                return name
        return _index()[0].get(prefix)

    def by_signing_name(self, signing_name: str) -> list[str]:
        return list(_index()[1].get(signing_name, ()))


@cache
def _index() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Names of all services, by target prefix and by signing name."""
    by_prefix: dict[str, str] = {}
    by_signing: dict[str, list[str]] = {}
    for name in sorted(directory.name for directory in _DATA.iterdir()):
        path = _model_path(name)
        if path is None:
            continue
        metadata = _metadata(path)
        if metadata.target_prefix:
            by_prefix.setdefault(metadata.target_prefix, name)
        by_signing.setdefault(metadata.signing_name or metadata.endpoint_prefix, []).append(name)
    return by_prefix, by_signing


def _model_path(name: str) -> Path | None:
    """The newest version's model of a service; as botocore chooses, which sorts versions as text."""
    if not name or "/" in name or name.startswith("."):
        return None
    directory = _DATA / name
    versions = sorted(directory.iterdir(), reverse=True) if directory.is_dir() else ()
    for version in versions:
        for ending in (".gz", ""):
            path = version / (_MODEL + ending)
            if path.exists():
                return path
    return None


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _metadata(path: Path) -> Metadata:
    """The metadata alone, which stands at the head of a model: unpacking all models would take seconds."""
    if path.suffix == ".gz":
        with path.open("rb") as file:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(file.read(_HEAD_BYTES), _HEAD_BYTES)
        text = head.decode("utf-8", "ignore")
        start = text.find('"metadata"')
        if start >= 0:
            try:
                found, _ = json.JSONDecoder().raw_decode(text, text.index("{", start))
                return msgspec.convert(found, Metadata)
            except ValueError:
                pass  # It stands elsewhere, or is longer than the head.
    return _decoder.decode(_read(path)).metadata
