"""Requests as botocore's serializers make them, and answers as its parsers take them."""

from typing import Any
from urllib.parse import urlencode, urlsplit

from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel

from neargate.wire.http import Request, Response


def request_by_client(serializer: Any, operation: OperationModel, params: dict[str, Any]) -> Request:
    made = serializer.serialize_to_request(params, operation)
    body = made["body"]
    raw = urlencode(body, doseq=True).encode() if isinstance(body, dict) else body
    headers = {name.lower(): str(value) for name, value in made["headers"].items()}
    parts = urlsplit(made["url_path"])
    query = made["query_string"]
    encoded = urlencode(query, doseq=True) if isinstance(query, dict) else query
    joined = "&".join(part for part in (parts.query, encoded) if part)
    return Request(made["method"], parts.path, joined, headers, raw)


def response_for_client(response: Response) -> dict[str, Any]:
    return {
        "status_code": response.status,
        "headers": HeadersDict(response.headers),
        "body": response.body,
        "context": {"operation_name": "Operation"},
    }
