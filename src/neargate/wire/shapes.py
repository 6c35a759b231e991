"""The records of a service model as botocore keeps it, without documentation and examples.

Decoded by models.py; read by everything that makes readers and writers of shapes. What is not declared here
is skipped while decoding, so that a model costs little memory.
"""

import msgspec


class XmlNamespace(msgspec.Struct, frozen=True, gc=False):
    uri: str = ""
    prefix: str = ""


class Ref(msgspec.Struct, rename="camel", frozen=True):
    """A use of a shape: a member of a structure, the items of a list, an operation's input."""

    shape: str
    location: str = ""
    location_name: str = ""
    query_name: str = ""
    timestamp_format: str = ""
    result_wrapper: str = ""
    xml_namespace: XmlNamespace | str | None = None
    xml_attribute: bool = False
    flattened: bool = False
    streaming: bool = False
    jsonvalue: bool = False
    eventpayload: bool = False


class ErrorTrait(msgspec.Struct, rename="camel", frozen=True, gc=False):
    code: str = ""
    http_status_code: int | None = None
    sender_fault: bool | None = None


class Shape(msgspec.Struct, rename="camel", frozen=True):
    type: str
    members: dict[str, Ref] = {}
    required: tuple[str, ...] = ()
    payload: str = ""
    member: Ref | None = None
    key: Ref | None = None
    value: Ref | None = None
    enum: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    pattern: str = ""
    location_name: str = ""
    timestamp_format: str = ""
    xml_namespace: XmlNamespace | str | None = None
    flattened: bool = False
    streaming: bool = False
    jsonvalue: bool = False
    document: bool = False
    union: bool = False
    eventstream: bool = False
    sensitive: bool = False
    exception: bool = False
    fault: bool = False
    error: ErrorTrait | None = None


class Http(msgspec.Struct, rename="camel", frozen=True, gc=False):
    method: str = "POST"
    request_uri: str = "/"
    response_code: int = 200


class OperationModel(msgspec.Struct, rename="camel", frozen=True):
    name: str
    http: Http = Http()
    input: Ref | None = None
    output: Ref | None = None
    deprecated: bool = False
    requestcompression: dict[str, tuple[str, ...]] | None = None


class Metadata(msgspec.Struct, rename="camel", frozen=True):
    endpoint_prefix: str = ""
    protocol: str = "json"
    protocols: tuple[str, ...] = ()
    api_version: str = ""
    json_version: str = "1.0"
    signing_name: str = ""
    target_prefix: str = ""
    xml_namespace: XmlNamespace | str | None = None
    aws_query_compatible: dict[str, str] | None = None


class ServiceModel(msgspec.Struct, frozen=True):
    metadata: Metadata
    operations: dict[str, OperationModel] = {}
    shapes: dict[str, Shape] = {}


def namespace_of(value: XmlNamespace | str | None) -> XmlNamespace:
    return XmlNamespace(value) if isinstance(value, str) else value or XmlNamespace()
