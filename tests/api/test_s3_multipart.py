"""Multipart uploads: parts in any order, ETags and checksums of the whole, ends that are refused."""

import hashlib
import io
from typing import Any

import pytest

from tests.api.test_s3 import _raw, body, files, put, refused, s3
from tests.support.door import Door

__all__ = ["s3"]
MIB = 1024**2
BIG, SMALL = b"a" * 5 * MIB, b"tail"
WHERE = {"Bucket": "bucket", "Key": "k"}


def begun(s3: Any, **more: Any) -> dict[str, Any]:
    return {**WHERE, "UploadId": s3.create_multipart_upload(**WHERE, **more)["UploadId"]}


def sent(s3: Any, upload: dict[str, Any], number: int, data: bytes, **more: Any) -> dict[str, Any]:
    answer = s3.upload_part(**upload, PartNumber=number, Body=data, **more)
    sums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
    return {"PartNumber": number, "ETag": answer["ETag"], **sums}


def test_an_object_of_parts(s3: Any, door: Door) -> None:
    upload = begun(s3, ContentType="text/plain", Metadata={"m": "1"})
    last = sent(s3, upload, 7, SMALL)
    sent(s3, upload, 2, b"replaced")
    first = sent(s3, upload, 2, BIG)
    listed = s3.list_parts(**upload)
    assert [(p["PartNumber"], p["Size"]) for p in listed["Parts"]] == [(2, len(BIG)), (7, len(SMALL))]
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket="bucket")["Uploads"]] == [
        upload["UploadId"]
    ]
    refused("NoSuchKey", 404, s3.get_object, **WHERE)
    made = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [first, last]})
    digests = hashlib.md5(BIG).digest() + hashlib.md5(SMALL).digest()
    assert made["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
    again = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [first, last]})
    assert again["ETag"] == made["ETag"]
    got = s3.get_object(**WHERE)
    assert got["Body"].read() == BIG + SMALL
    assert (got["ContentType"], got["Metadata"]) == ("text/plain", {"m": "1"})
    part = s3.get_object(**WHERE, PartNumber=2)
    assert (part["Body"].read(), part["PartsCount"]) == (SMALL, 2)
    assert part["ContentRange"] == f"bytes {len(BIG)}-{len(BIG) + 3}/{len(BIG) + 4}"
    refused("InvalidPartNumber", 416, s3.get_object, **WHERE, PartNumber=3)
    assert len(files(door)) == 1
    refused("NoSuchUpload", 404, s3.list_parts, **upload)
    copy = s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/k")["CopyObjectResult"]
    assert copy["ETag"] == f'"{hashlib.md5(BIG + SMALL).hexdigest()}"'


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256", "CRC32C"])
def test_checksums_of_parts_make_one_of_the_whole(s3: Any, door: Door, algorithm: str) -> None:
    upload = begun(s3, ChecksumAlgorithm=algorithm)
    if algorithm == "CRC32C":  # botocore has no code for it here: the value goes as it is
        value = "Nks/tw=="
        path = f"/bucket/k?partNumber=1&uploadId={upload['UploadId']}"
        assert _raw(door, "PUT", path, b"abc", **{"x-amz-checksum-crc32c": value})[0] == 200
        parts = [{"PartNumber": 1, "ETag": hashlib.md5(b"abc").hexdigest(), "ChecksumCRC32C": value}]
    else:
        parts = [sent(s3, upload, 1, b"abc", ChecksumAlgorithm=algorithm)]
    refused(
        "InvalidPart", 400, s3.complete_multipart_upload, **upload,
        MultipartUpload={"Parts": [{**parts[0], f"Checksum{algorithm}": "AAAAAA=="}]},
    )  # fmt: skip
    made = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert made[f"Checksum{algorithm}"].endswith("-1") and made["ChecksumType"] == "COMPOSITE"
    got = s3.head_object(**WHERE, ChecksumMode="ENABLED")
    assert got[f"Checksum{algorithm}"] == made[f"Checksum{algorithm}"]


def test_a_checksum_of_the_whole_object(s3: Any) -> None:
    upload = begun(s3, ChecksumAlgorithm="CRC64NVME")
    part = {"PartNumber": 1, "ETag": s3.upload_part(**upload, PartNumber=1, Body=b"abc")["ETag"]}
    listed = {"MultipartUpload": {"Parts": [part]}}
    refused(
        "BadDigest", 400, s3.complete_multipart_upload, **upload, **listed, ChecksumCRC64NVME="AAAAAAAAAAA="
    )
    made = s3.complete_multipart_upload(**upload, **listed, ChecksumCRC64NVME="BeXKuz/B+us=")
    assert (made["ChecksumCRC64NVME"], made["ChecksumType"]) == ("BeXKuz/B+us=", "FULL_OBJECT")
    refused("InvalidRequest", 400, begun, s3=s3, ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")
    refused("InvalidRequest", 400, begun, s3=s3, ChecksumAlgorithm="CRC64NVME", ChecksumType="COMPOSITE")


def test_ends_that_are_refused(s3: Any, door: Door) -> None:
    upload = begun(s3)
    one, two = sent(s3, upload, 1, SMALL), sent(s3, upload, 2, SMALL)
    complete = s3.complete_multipart_upload
    for parts, code in (
        ([one, two], "EntityTooSmall"),
        ([two, one], "InvalidPartOrder"),
        ([one, one], "InvalidPartOrder"),
        ([{**one, "ETag": '"other"'}], "InvalidPart"),
        ([{**one, "PartNumber": 3}], "InvalidPart"),
        ([], "MalformedXML"),
        ([{"PartNumber": 1}], "MalformedXML"),
    ):
        refused(code, 400, complete, **upload, MultipartUpload={"Parts": parts})
    refused("InvalidRequest", 400, complete, **upload, MultipartUpload={"Parts": [one]}, MpuObjectSize=9)
    assert [p["PartNumber"] for p in s3.list_parts(**upload)["Parts"]] == [1, 2]
    refused("NoSuchUpload", 404, s3.list_parts, **WHERE, **{"UploadId": "none"})
    refused("NoSuchUpload", 404, s3.list_parts, **{**upload, "Key": "other"})
    refused("InvalidArgument", 400, s3.upload_part, **upload, PartNumber=0, Body=b"")
    refused("InvalidArgument", 400, s3.upload_part, **upload, PartNumber=10_001, Body=b"")
    s3.abort_multipart_upload(**upload)
    refused("NoSuchUpload", 404, s3.upload_part, **upload, PartNumber=1, Body=b"x")
    refused("NoSuchUpload", 404, s3.abort_multipart_upload, **upload)
    assert files(door) == []


def test_parts_copied_from_objects(s3: Any) -> None:
    put(s3, "source", b"0123456789")
    upload = begun(s3)
    part = s3.upload_part_copy(
        **upload, PartNumber=1, CopySource="bucket/source", CopySourceRange="bytes=2-5"
    )["CopyPartResult"]
    refused(
        "InvalidArgument", 400, s3.upload_part_copy, **upload, PartNumber=2, CopySource="bucket/source",
        CopySourceRange="bytes=5-10",
    )  # fmt: skip
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert body(s3, "k") == b"2345"


def test_lists_of_uploads_and_parts_in_pages(s3: Any) -> None:
    made = []
    for key in ("a/1", "a/2", "b", "b", "c/1"):
        made.append((key, s3.create_multipart_upload(Bucket="bucket", Key=key)["UploadId"]))
    for size in (1, 2, 10):
        pages = s3.get_paginator("list_multipart_uploads").paginate(
            Bucket="bucket", PaginationConfig={"PageSize": size}
        )
        assert [(u["Key"], u["UploadId"]) for page in pages for u in page.get("Uploads", ())] == made
    rolled = s3.list_multipart_uploads(Bucket="bucket", Delimiter="/")
    assert [p["Prefix"] for p in rolled["CommonPrefixes"]] == ["a/", "c/"]
    assert [u["Key"] for u in rolled["Uploads"]] == ["b", "b"]
    upload = begun(s3)
    for number in range(1, 6):
        sent(s3, upload, number, b"x")
    pages = s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2})
    assert [[p["PartNumber"] for p in page["Parts"]] for page in pages] == [[1, 2], [3, 4], [5]]


def test_boto3s_own_transfers(s3: Any, door: Door) -> None:
    data = bytes(range(256)) * 70_000
    s3.upload_fileobj(io.BytesIO(data), "bucket", "k")
    assert s3.head_object(**WHERE)["ETag"].endswith('-3"')
    found = io.BytesIO()
    s3.download_fileobj("bucket", "k", found)
    assert found.getvalue() == data
    assert len(files(door)) == 1
