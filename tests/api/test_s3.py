"""S3 through boto3: buckets and objects, conditions and ranges, lists, copies; refused in S3's words."""

import hashlib
import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from neargate.services.s3 import sweep
from neargate.state.catalog import OBJECT
from tests.support.door import Door


@pytest.fixture
def s3(door: Door) -> Any:
    client = door.client("s3")
    client.create_bucket(Bucket="bucket")
    return client


def refused(code: str, status: int, call: Any, **params: Any) -> str:
    """The message of a refusal with this code and HTTP status."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer: dict[str, Any] = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), answer
    return str(answer["Error"].get("Message", ""))


def put(s3: Any, key: str, data: bytes = b"data", **more: Any) -> Any:
    return s3.put_object(Bucket="bucket", Key=key, Body=data, **more)


def body(s3: Any, key: str, **more: Any) -> bytes:
    data: bytes = s3.get_object(Bucket="bucket", Key=key, **more)["Body"].read()
    return data


def files(door: Door) -> list[Path]:
    return [p for p in (Path(door.settings.data_dir) / "objects").rglob("*") if p.is_file()]


# --- buckets


def test_a_bucket_from_birth_to_death(s3: Any) -> None:
    s3.create_bucket(Bucket="other.one", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bucket", "other.one"]
    assert [b["Name"] for b in s3.list_buckets(Prefix="oth")["Buckets"]] == ["other.one"]
    first = s3.list_buckets(MaxBuckets=1)
    second = s3.list_buckets(MaxBuckets=1, ContinuationToken=first["ContinuationToken"])
    assert [b["Name"] for b in second["Buckets"]] == ["other.one"] and "ContinuationToken" not in second
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    assert s3.get_bucket_location(Bucket="other.one")["LocationConstraint"] == "eu-central-1"
    assert s3.head_bucket(Bucket="other.one")["BucketRegion"] == "eu-central-1"
    assert "Status" not in s3.get_bucket_versioning(Bucket="bucket")
    put(s3, "k")
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket="bucket")
    s3.delete_object(Bucket="bucket", Key="k")
    s3.delete_bucket(Bucket="bucket")
    refused("NoSuchBucket", 404, s3.delete_bucket, Bucket="bucket")
    refused("404", 404, s3.head_bucket, Bucket="bucket")
    text = refused("NoSuchBucket", 404, put, s3=s3, key="k")
    assert text == "The specified bucket does not exist"


def test_names_that_are_taken_or_none(s3: Any, door: Door) -> None:
    s3.create_bucket(Bucket="bucket")  # in us-east-1 no error, as on AWS
    west = door.client("s3", region_name="us-west-2")
    here = {"CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}
    west.create_bucket(Bucket="western", **here)
    refused("BucketAlreadyOwnedByYou", 409, west.create_bucket, Bucket="western", **here)
    refused("IllegalLocationConstraintException", 400, west.create_bucket, Bucket="another")
    for name in ("Upper", "a..b", "-ab", "192.168.1.1", "under_score", "a" * 64):
        assert _raw(door, "PUT", f"/{name}")[0] == 400, name
        assert b"<Code>InvalidBucketName</Code>" in _raw(door, "PUT", f"/{name}")[1]


def _raw(door: Door, method: str, path: str, data: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """A request signed by botocore, whatever botocore thinks of it."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    keys = door.daemon.credential
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, door.endpoint + path, headers=given, data=data)
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(keys.access_key_id, keys.secret_access_key), "s3", door.settings.region).add_auth(
        request
    )
    place = urlsplit(door.endpoint)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
    connection.request(method, path, data, dict(request.prepare().headers.items()))
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


# --- objects


def test_an_object_is_what_was_put(s3: Any, door: Door) -> None:
    described = {
        "ContentType": "text/plain", "CacheControl": "no-cache", "ContentDisposition": "inline",
        "ContentEncoding": "identity", "ContentLanguage": "de", "Metadata": {"one": "1", "two": "x y"},
        "StorageClass": "STANDARD_IA",
    }  # fmt: skip
    made = put(s3, "a/b c+é?&=%/..//x", b"hello", **described)
    assert made["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    for got in (
        s3.get_object(Bucket="bucket", Key="a/b c+é?&=%/..//x", ChecksumMode="ENABLED"),
        s3.head_object(Bucket="bucket", Key="a/b c+é?&=%/..//x", ChecksumMode="ENABLED"),
    ):
        assert {name: got[name] for name in described} == described
        assert (got["ContentLength"], got["ETag"]) == (5, made["ETag"])
        assert got["ChecksumCRC32"] == made["ChecksumCRC32"] == "NhCmhg=="
    assert body(s3, "a/b c+é?&=%/..//x") == b"hello"
    put(s3, "empty", b"")
    assert body(s3, "empty") == b""
    put(s3, "a/b c+é?&=%/..//x", b"again")
    assert body(s3, "a/b c+é?&=%/..//x") == b"again"
    assert len(files(door)) == 2
    for key in ("a/b c+é?&=%/..//x", "empty", "never"):
        s3.delete_object(Bucket="bucket", Key=key)
    assert files(door) == []
    text = refused("NoSuchKey", 404, s3.get_object, Bucket="bucket", Key="empty")
    assert text == "The specified key does not exist."
    refused("404", 404, s3.head_object, Bucket="bucket", Key="empty")


def test_large_ones_are_streamed(s3: Any) -> None:
    data = bytes(range(251)) * 40_000
    put(s3, "large", data)
    assert body(s3, "large") == data
    assert body(s3, "large", Range="bytes=7-5000006") == data[7:5_000_007]
    stream = s3.get_object(Bucket="bucket", Key="large")["Body"]
    assert stream.read(10) == data[:10]
    s3.delete_object(Bucket="bucket", Key="large")
    assert stream.read() == data[10:]


@pytest.mark.parametrize(
    ("wanted", "expected", "shown"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=7-100", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-30", b"0123456789", "bytes 0-9/10"),
        ("bytes=4-2", b"0123456789", None),
        ("bytes=0-1,3-4", b"0123456789", None),
        ("lines=1-2", b"0123456789", None),
    ],
)
def test_ranges(s3: Any, wanted: str, expected: bytes, shown: str | None) -> None:
    put(s3, "k", b"0123456789")
    got = s3.get_object(Bucket="bucket", Key="k", Range=wanted)
    assert (got["Body"].read(), got.get("ContentRange")) == (expected, shown)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == (206 if shown else 200)
    assert s3.head_object(Bucket="bucket", Key="k", Range=wanted)["ContentLength"] == len(expected)


def test_ranges_beyond_the_end(s3: Any) -> None:
    put(s3, "k", b"0123456789")
    put(s3, "empty", b"")
    for key, wanted in (("k", "bytes=10-"), ("k", "bytes=-0"), ("empty", "bytes=0-0"), ("empty", "bytes=-5")):
        refused("InvalidRange", 416, s3.get_object, Bucket="bucket", Key=key, Range=wanted)


def test_conditions_on_reads(s3: Any) -> None:
    tag = put(s3, "k")["ETag"]
    at = s3.head_object(Bucket="bucket", Key="k")["LastModified"]
    before, after = at.replace(year=2001), at.replace(year=at.year + 1)
    whole: dict[str, Any] = {"Bucket": "bucket", "Key": "k"}
    for good in (
        {"IfMatch": tag}, {"IfMatch": "*"}, {"IfMatch": f'"other", {tag}'}, {"IfNoneMatch": '"other"'},
        {"IfModifiedSince": before}, {"IfUnmodifiedSince": after}, {"IfUnmodifiedSince": at},
        {"IfMatch": tag, "IfUnmodifiedSince": before}, {"IfNoneMatch": '"o"', "IfModifiedSince": after},
    ):  # fmt: skip
        assert s3.get_object(**whole, **good)["Body"].read() == b"data", good
    for stale in (
        {"IfNoneMatch": tag},
        {"IfNoneMatch": "*"},
        {"IfModifiedSince": at},
        {"IfModifiedSince": after},
    ):
        refused("304", 304, s3.get_object, **whole, **stale)
        refused("304", 304, s3.head_object, **whole, **stale)
    for failing in ({"IfMatch": '"other"'}, {"IfUnmodifiedSince": before}):
        refused("PreconditionFailed", 412, s3.get_object, **whole, **failing)


def test_conditions_on_writes(s3: Any, door: Door) -> None:
    tag = put(s3, "k", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", 412, put, s3=s3, key="k", IfNoneMatch="*")
    refused("PreconditionFailed", 412, put, s3=s3, key="k", IfMatch='"other"')
    refused("NoSuchKey", 404, put, s3=s3, key="none", IfMatch=tag)
    put(s3, "k", b"new", IfMatch=tag)
    refused("PreconditionFailed", 412, s3.delete_object, Bucket="bucket", Key="k", IfMatch=tag)
    assert body(s3, "k") == b"new"
    assert len(files(door)) == 1


def test_headers_of_an_answer_can_be_chosen(s3: Any) -> None:
    put(s3, "k", ContentType="text/plain")
    got = s3.get_object(
        Bucket="bucket", Key="k", ResponseContentType="text/html", ResponseContentDisposition="attachment"
    )
    assert (got["ContentType"], got["ContentDisposition"]) == ("text/html", "attachment")


def test_digests_are_checked(s3: Any, door: Door) -> None:
    put(s3, "k", b"abc", ContentMD5="kAFQmDzST7DWlj99KOF/cg==")
    refused("BadDigest", 400, put, s3=s3, key="k", data=b"abd", ContentMD5="kAFQmDzST7DWlj99KOF/cg==")
    refused("InvalidDigest", 400, put, s3=s3, key="k", ContentMD5="x")
    for name, value in (
        ("CRC32", "NSRBwg=="), ("CRC32C", "Nks/tw=="), ("CRC64NVME", "BeXKuz/B+us="),
        ("SHA1", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="), ("SHA256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
    ):  # fmt: skip
        header = {f"x-amz-checksum-{name.lower()}": value}
        assert _raw(door, "PUT", "/bucket/k", b"abc", **header)[0] == 200, name
        status, text = _raw(door, "PUT", "/bucket/k", b"abd", **header)
        assert status == 400 and b"<Code>BadDigest</Code>" in text, name
        got = s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
        assert got[f"Checksum{name}"] == value
    assert b"InvalidRequest" in _raw(door, "PUT", "/bucket/k", b"abc", **{"x-amz-checksum-crc32": "x"})[1]
    status, text = _raw(door, "PUT", "/bucket/k", b"abc", **{"x-amz-checksum-xxhash64": "AAAA"})
    assert status == 501 and b"XXHASH64" in text


@pytest.mark.parametrize(
    ("params", "code", "status"),
    [
        ({"ServerSideEncryption": "AES256"}, "NotImplemented", 501),
        ({"Tagging": "a=b"}, "NotImplemented", 501),
        ({"ACL": "public-read"}, "AccessControlListNotSupported", 400),
        ({"GrantRead": "id=x"}, "AccessControlListNotSupported", 400),
        ({"StorageClass": "GLACIER"}, "InvalidStorageClass", 400),
        ({"Metadata": {"k": "v" * 2048}}, "MetadataTooLarge", 400),
        ({"Key": "é" * 513}, "KeyTooLongError", 400),
        ({"ExpectedBucketOwner": "999999999999"}, "AccessDenied", 403),
    ],
)
def test_what_put_object_refuses(s3: Any, params: dict[str, Any], code: str, status: int) -> None:
    refused(code, status, s3.put_object, **{"Bucket": "bucket", "Key": "k", "Body": b"x", **params})
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


def test_operations_that_are_not_built_say_so(s3: Any) -> None:
    text = refused("NotImplementedException", 501, s3.get_bucket_acl, Bucket="bucket")
    assert "GetBucketAcl is not built into neargate" in text


def test_many_are_deleted_at_once(s3: Any, door: Door) -> None:
    for key in ("a", "b", "c"):
        put(s3, key)
    tag = '"other"'
    answer = s3.delete_objects(
        Bucket="bucket", Delete={"Objects": [{"Key": "a"}, {"Key": "none"}, {"Key": "b", "ETag": tag}]}
    )
    assert [d["Key"] for d in answer["Deleted"]] == ["a", "none"]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [("b", "PreconditionFailed")]
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "b"}], "Quiet": True})
    assert "Deleted" not in answer
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["c"]
    xml = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>c</Key></Object></Delete>'
    status, text = _raw(door, "POST", "/bucket?delete", xml)
    assert status == 400 and b"Content-MD5 OR x-amz-checksum-*" in text
    assert len(files(door)) == 1


# --- lists


def keys(page: Any) -> tuple[list[str], list[str]]:
    found = [o["Key"] for o in page.get("Contents", ())]
    return found, [p["Prefix"] for p in page.get("CommonPrefixes", ())]


def test_lists_by_prefix_and_delimiter(s3: Any) -> None:
    for key in ("a", "a/1", "a/2/x", "a/2/y", "a/3", "b/1", "é/1", "z\x01"):
        put(s3, key)
    listed = s3.list_objects_v2
    assert keys(listed(Bucket="bucket", Delimiter="/")) == (["a", "z\x01"], ["a/", "b/", "é/"])
    assert keys(listed(Bucket="bucket", Prefix="a/", Delimiter="/")) == (["a/1", "a/3"], ["a/2/"])
    assert keys(listed(Bucket="bucket", Prefix="a")) == (["a", "a/1", "a/2/x", "a/2/y", "a/3"], [])
    assert keys(listed(Bucket="bucket", Prefix="a/2/")) == (["a/2/x", "a/2/y"], [])
    assert keys(listed(Bucket="bucket", StartAfter="a/2/x", Prefix="a")) == (["a/2/y", "a/3"], [])
    assert keys(listed(Bucket="bucket", Prefix="none")) == ([], [])
    assert keys(listed(Bucket="bucket", MaxKeys=0)) == ([], [])
    (first, *_) = listed(Bucket="bucket", FetchOwner=True)["Contents"]
    assert first["Owner"]["DisplayName"] == "000000000000" and first["Size"] == 4
    refused("InvalidArgument", 400, listed, Bucket="bucket", MaxKeys=-1)
    refused("InvalidArgument", 400, listed, Bucket="bucket", ContinuationToken="!")
    refused("NoSuchBucket", 404, listed, Bucket="none")


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
def test_lists_in_pages(s3: Any, operation: str) -> None:
    names = [f"{group}/{number:02d}" for group in ("a", "b", "c") for number in range(9)] + ["d", "e"]
    for name in names:
        put(s3, name, b"")
    for size in (1, 2, 5, 100):
        pages = s3.get_paginator(operation).paginate(Bucket="bucket", PaginationConfig={"PageSize": size})
        assert [key for page in pages for key in keys(page)[0]] == names
        pages = list(
            s3.get_paginator(operation).paginate(
                Bucket="bucket", Delimiter="/", PaginationConfig={"PageSize": size}
            )
        )
        assert [key for page in pages for key in keys(page)[0]] == ["d", "e"]
        assert [prefix for page in pages for prefix in keys(page)[1]] == ["a/", "b/", "c/"]


# --- copies


def test_copies(s3: Any, door: Door) -> None:
    put(s3, "from a+b/é", b"hello", ContentType="text/plain", Metadata={"m": "1"})
    source = {"Bucket": "bucket", "Key": "from a+b/é"}
    answer = s3.copy_object(Bucket="bucket", Key="to", CopySource=source)["CopyObjectResult"]
    got = s3.get_object(Bucket="bucket", Key="to")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"hello", "text/plain", {"m": "1"})
    assert got["ETag"] == answer["ETag"]
    s3.delete_object(Bucket="bucket", Key="from a+b/é")
    assert body(s3, "to") == b"hello"
    own = {"Bucket": "bucket", "Key": "to"}
    text = refused("InvalidRequest", 400, s3.copy_object, Bucket="bucket", Key="to", CopySource=own)
    assert text.startswith("This copy request is illegal because it is trying to copy an object to itself")
    s3.copy_object(
        Bucket="bucket", Key="to", CopySource=own, MetadataDirective="REPLACE", Metadata={"m": "2"}
    )
    assert s3.head_object(Bucket="bucket", Key="to")["Metadata"] == {"m": "2"}
    assert body(s3, "to") == b"hello"
    refused("NoSuchKey", 404, s3.copy_object, Bucket="bucket", Key="x", CopySource="bucket/none")
    refused("NoSuchBucket", 404, s3.copy_object, Bucket="bucket", Key="x", CopySource="none-such/none")
    refused(
        "PreconditionFailed", 412, s3.copy_object, Bucket="bucket", Key="x", CopySource=own,
        CopySourceIfMatch='"other"',
    )  # fmt: skip
    assert len(files(door)) == 1


# --- what stays


def test_files_without_a_record_are_swept(s3: Any, door: Door) -> None:
    put(s3, "k")
    (kept,) = files(door)
    for name in ("0" * 32, f"{'1' * 32}.new"):
        stray = kept.parents[1] / name[:2] / name
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"half")
    house = door.daemon.house
    assert door.call(house.objects.sweep(house.store, house.clock.now() + 1)) == 2
    assert files(door) == [kept]
    assert body(s3, "k") == b"data"


def test_what_is_being_written_when_the_sweep_begins_stays(s3: Any, door: Door) -> None:
    put(s3, "k")
    (kept,) = files(door)
    os.utime(kept, (1, 1))
    house = door.daemon.house
    opened_at = house.clock.now()
    for name in ("0" * 32, f"{'1' * 32}.new"):
        unrecorded = kept.parents[1] / name[:2] / name
        unrecorded.parent.mkdir(exist_ok=True)
        unrecorded.write_bytes(b"half")
        os.utime(unrecorded, (opened_at + 1, opened_at + 1))
    door.call(sweep(house, opened_at))
    assert len(files(door)) == 3
    door.call(sweep(house, opened_at + 2))
    assert files(door) == [kept]


def test_records_name_files_that_are_there(s3: Any, door: Door) -> None:
    for number in range(20):
        put(s3, f"k{number % 5}", str(number).encode())
    records = door.call(door.daemon.house.store.read(lambda tx: tx.all(OBJECT)))
    assert sorted(record.file for record in records) == sorted(path.name for path in files(door))
    assert json.loads(body(s3, "k4")) == 19
