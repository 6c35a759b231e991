"""kill -9 while objects are written: what was acknowledged is there, and whole; nothing else is left."""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.support.real import RealDaemon, eventually

WRITERS, KEYS, SIZE = 4, 5, 400_000


class Writer(threading.Thread):
    """Writes the same few keys over and over until the daemon is gone; remembers what may be there."""

    def __init__(self, s3: Any, number: int) -> None:
        super().__init__()
        self._s3 = s3
        self._number = number
        self.acknowledged: dict[str, str] = {}
        self.tried: dict[str, str] = {}
        self.count = 0
        self.end = ""
        """Why it writes no more."""

    def run(self) -> None:
        while True:
            key = f"{self._number}/{self.count % KEYS}"
            data = os.urandom(SIZE)
            digest = hashlib.md5(data).hexdigest()
            self.tried[key] = digest
            try:
                if self.count % 3:
                    self._s3.put_object(Bucket="bucket", Key=key, Body=data)
                else:
                    self._multipart(key, data)
            except (BotoCoreError, ClientError) as error:
                self.end = repr(error)
                return
            self.acknowledged[key] = digest
            self.count += 1

    def _multipart(self, key: str, data: bytes) -> None:
        where = {"Bucket": "bucket", "Key": key}
        id = self._s3.create_multipart_upload(**where)["UploadId"]
        part = self._s3.upload_part(**where, UploadId=id, PartNumber=1, Body=data)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        self._s3.complete_multipart_upload(**where, UploadId=id, MultipartUpload=parts)


def test_objects_are_whole_after_kill_9(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with RealDaemon(data, NEARGATE_ISOLATION="fake") as daemon:
        daemon.client("s3").create_bucket(Bucket="bucket")
        for enough in (8, 20):
            writers = [Writer(daemon.client("s3"), number) for number in range(WRITERS)]
            for writer in writers:
                writer.start()
            eventually(lambda: written(writers, enough), "objects are written")  # noqa: B023
            daemon.kill()
            for writer in writers:
                writer.join(60)
            daemon.up()
            check(daemon.client("s3"), writers)
        eventually(lambda: len(files(data)) == named(daemon), "strays are swept")


def written(writers: list[Writer], enough: int) -> bool:
    """Whether so many objects are, and one of each at least; nobody has a reason to stop yet."""
    assert not (ends := [writer.end for writer in writers if writer.end]), ends
    return all(writer.count for writer in writers) and sum(writer.count for writer in writers) >= enough


def check(s3: Any, writers: list[Writer]) -> None:
    for writer in writers:
        assert writer.acknowledged
        for key, digest in writer.acknowledged.items():
            body = s3.get_object(Bucket="bucket", Key=key)["Body"].read()
            assert hashlib.md5(body).hexdigest() in (digest, writer.tried[key]), key


def files(data: Path) -> list[Path]:
    return [Path(top, name) for top, _, names in os.walk(data / "objects") for name in names]


def named(daemon: RealDaemon) -> int:
    """Objects, and parts of the uploads that the kill has left open: those are their owner's to abort."""
    s3 = daemon.client("s3")
    uploads = s3.list_multipart_uploads(Bucket="bucket").get("Uploads", [])
    parts = [s3.list_parts(Bucket="bucket", Key=u["Key"], UploadId=u["UploadId"]) for u in uploads]
    count: int = s3.list_objects_v2(Bucket="bucket")["KeyCount"]
    return count + sum(len(found.get("Parts", [])) for found in parts)
