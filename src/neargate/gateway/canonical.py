"""The canonical form of a request, as Signature Version 4 hashes it. Pure; called by sigv4.py.

Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from urllib.parse import quote, unquote_to_bytes

from neargate.wire.http import Request

_UNRESERVED = "-_.~"


def canonical_request(request: Request, signed: tuple[str, ...], payload_hash: str, *, s3: bool) -> str:
    headers = request.headers
    lines = "".join(f"{name}:{_trimmed(headers.get(name, ''))}\n" for name in signed)
    path = canonical_path(request.path, s3=s3)
    query = canonical_query(request.query) if request.query else ""
    return f"{request.method}\n{path}\n{query}\n{lines}\n{';'.join(signed)}\n{payload_hash}"


def _trimmed(value: str) -> str:
    """A header's value without outer white space and with inner runs of it made one space."""
    if "  " in value or "\t" in value or "\n" in value or value[:1] == " " or value[-1:] == " ":
        return " ".join(value.split())
    return value


def canonical_path(path: str, *, s3: bool) -> str:
    """The path, encoded once more than it was sent: every service but S3 hashes it doubly encoded.

    S3's keys may hold `//` and `..`, so its path is taken as sent; elsewhere those are resolved first.
    """
    if path in ("/", ""):
        return "/"
    if s3:
        # Part by part: a slash inside a key's name (%2F) is not one between names.
        return "/".join(quote(unquote_to_bytes(part), safe=_UNRESERVED) for part in path.split("/"))
    return quote(_normalized(path), safe="/" + _UNRESERVED)


def _normalized(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if kept:
                kept.pop()
        elif part and part != ".":
            kept.append(part)
    trailing = "/" if path.endswith("/") and kept else ""
    return "/" + "/".join(kept) + trailing


def canonical_query(query: str) -> str:
    """Parameters decoded, encoded AWS's way, sorted by name and value, without X-Amz-Signature."""
    pairs = []
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if name != "X-Amz-Signature":
            pairs.append((_encoded(name), _encoded(value)))
    pairs.sort()
    return "&".join(f"{name}={value}" for name, value in pairs)


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe=_UNRESERVED)


def query_pairs(query: str) -> list[tuple[str, str]]:
    """A query string's parameters, decoded; bytes that are no UTF-8 become the replacement character."""
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")
