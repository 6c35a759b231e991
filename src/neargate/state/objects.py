"""Buckets, objects and uploads: look-ups and changes that services/s3 and services/cell share.

Each function takes a transaction. Errors are S3's own ApiErrors. Names of files that are returned are
those that no record has any more: they are deleted once the transaction is done.
"""

from collections.abc import Iterator

from neargate.kit.errors import ApiError
from neargate.model.bucket import Bucket, Object, Part, Upload, object_id
from neargate.model.record import Scope
from neargate.state.catalog import BUCKET, OBJECT, PART, UPLOAD
from neargate.state.store import Tx

_SLICE = 500
_LAST = "\U0010ffff"


def no_key(key: str) -> ApiError:
    return ApiError("NoSuchKey", "The specified key does not exist.", status=404, fields={"Key": key})


def need_bucket(tx: Tx, scope: Scope, name: str) -> Bucket:
    """Raise NoSuchBucket, AccessDenied (another account's)."""
    bucket = tx.get(BUCKET, name)
    if bucket is None:
        message = "The specified bucket does not exist"
        raise ApiError("NoSuchBucket", message, status=404, fields={"BucketName": name})
    if bucket.account != scope.account:
        raise ApiError("AccessDenied", "Access Denied", status=403)
    return bucket


def find(tx: Tx, bucket: str, key: str) -> Object | None:
    return tx.get(OBJECT, object_id(bucket, key))


def need(tx: Tx, scope: Scope, bucket: str, key: str) -> Object:
    """Raise NoSuchBucket, NoSuchKey."""
    need_bucket(tx, scope, bucket)
    found = find(tx, bucket, key)
    if found is None:
        raise no_key(key)
    return found


def put(tx: Tx, made: Object) -> list[str]:
    old = find(tx, made.bucket, made.key)
    tx.put(OBJECT, made)
    return [old.file] if old is not None and old.file != made.file else []


def delete(tx: Tx, bucket: str, key: str) -> list[str]:
    old = find(tx, bucket, key)
    if old is None:
        return []
    tx.delete(OBJECT, OBJECT.id(old))
    return [old.file]


def is_empty(tx: Tx, bucket: str) -> bool:
    return next(keys(tx, bucket, "", ""), None) is None


def keys(tx: Tx, bucket: str, prefix: str, after: str) -> "Walk":
    """Objects whose keys begin with `prefix`, in order, behind `after`."""
    return Walk(tx, bucket, prefix, after)


class Walk(Iterator[Object]):
    """Goes through keys in order; `skip` passes over all that begin with a prefix."""

    def __init__(self, tx: Tx, bucket: str, prefix: str, after: str) -> None:
        self._tx = tx
        self._bucket = bucket
        self._prefix = object_id(bucket, prefix)
        self._place = max(object_id(bucket, after), self._prefix)
        self._rows: list[Object] = []
        self._ended = False
        if prefix and after < prefix and (first := find(tx, bucket, prefix)) is not None:
            self._rows = [first]  # the only key that begins with it and does not stand behind it

    def __next__(self) -> Object:
        if not self._rows and not self._ended:
            self._rows = self._tx.all(OBJECT, after=self._place, limit=_SLICE)[::-1]
            self._ended = len(self._rows) < _SLICE
            if self._rows:
                self._place = OBJECT.id(self._rows[0])
        if not self._rows:
            raise StopIteration
        row = self._rows.pop()
        if not OBJECT.id(row).startswith(self._prefix):
            self._rows, self._ended = [], True
            raise StopIteration
        return row

    def skip(self, prefix: str) -> None:
        beyond = object_id(self._bucket, prefix) + _LAST
        self._rows = [row for row in self._rows if OBJECT.id(row) > beyond]
        if not self._rows:
            self._place = max(self._place, beyond)


# --- multipart uploads


def need_upload(tx: Tx, scope: Scope, bucket: str, key: str, id: str) -> Upload:
    """Raise NoSuchBucket, NoSuchUpload."""
    need_bucket(tx, scope, bucket)
    upload = tx.get(UPLOAD, id)
    if upload is None or (upload.bucket, upload.key) != (bucket, key):
        raise ApiError(
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been "
            "aborted or completed.",
            status=404,
        )
    return upload


def uploads(tx: Tx, bucket: str) -> list[Upload]:
    """By key, then by their beginnings."""
    found = tx.find(UPLOAD, "bucket", bucket)
    return sorted(found, key=lambda upload: (upload.key, upload.started_at, upload.id))


def parts(tx: Tx, upload: str) -> list[Part]:
    """In the order of their numbers."""
    return tx.find(PART, "upload", upload)


def delete_upload(tx: Tx, upload: Upload) -> list[str]:
    gone = [part.file for part in parts(tx, upload.id)]
    for id in tx.ids(PART, "upload", upload.id):
        tx.delete(PART, id)
    tx.delete(UPLOAD, upload.id)
    return gone


# --- files


def has_file(tx: Tx, name: str) -> bool:
    return bool(tx.count(OBJECT, "file", name) or tx.count(PART, "file", name))
