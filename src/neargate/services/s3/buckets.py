"""Buckets: create, head, delete, list. Called by gateway/dispatch."""

from neargate.kit.errors import ApiError
from neargate.model import bucket as model
from neargate.model.bucket import Bucket
from neargate.services.call import Call, Params, Result
from neargate.services.s3 import names
from neargate.state import objects
from neargate.state.catalog import BUCKET
from neargate.state.store import Tx

_HOME = "us-east-1"
_MAX_BUCKETS = 10_000


async def create_bucket(call: Call, params: Params) -> Result:
    names.refuse_not_built(params)
    name = params["Bucket"]
    if not model.is_bucket_name(name):
        raise ApiError("InvalidBucketName", "The specified bucket is not valid.", status=400)
    region = _region(call, params)
    record = Bucket(account=call.scope.account, region=region, name=name, created_at=call.now())

    def body(tx: Tx) -> None:
        old = tx.get(BUCKET, name)
        if old is None:
            tx.put(BUCKET, record)
        elif old.account != call.scope.account:
            message = (
                "The requested bucket name is not available. The bucket namespace is shared by all users of "
                "the system. Please select a different name and try again."
            )
            raise ApiError("BucketAlreadyExists", message, status=409)
        elif not old.region == region == _HOME:  # there, and only there, it is no error
            message = "Your previous request to create the named bucket succeeded and you already own it."
            raise ApiError("BucketAlreadyOwnedByYou", message, status=409)

    await call.store.write(body)
    return {"Location": f"/{name}"}


def _region(call: Call, params: Params) -> str:
    """Where the bucket is to be: what the request says, else us-east-1, as on AWS."""
    configuration = params.get("CreateBucketConfiguration") or {}
    if configuration.get("Location") or configuration.get("Bucket") or configuration.get("Tags"):
        message = "Directory buckets and tags of buckets are not built into neargate."
        raise ApiError("NotImplemented", message, status=501)
    wanted = configuration.get("LocationConstraint") or ""
    here = call.scope.region
    if here != _HOME and wanted != here:
        what = f"The {wanted}" if wanted else "The unspecified"
        message = (
            f"{what} location constraint is incompatible for the region specific endpoint this request was "
            "sent to."
        )
        raise ApiError("IllegalLocationConstraintException", message, status=400)
    return "eu-west-1" if wanted == "EU" else wanted or _HOME


async def head_bucket(call: Call, params: Params) -> Result:
    bucket = await call.store.read(lambda tx: names.need_bucket(tx, call, params))
    return {"BucketRegion": bucket.region}


async def delete_bucket(call: Call, params: Params) -> Result:
    def body(tx: Tx) -> list[str]:
        bucket = names.need_bucket(tx, call, params)
        if not objects.is_empty(tx, bucket.name):
            message = "The bucket you tried to delete is not empty"
            raise ApiError("BucketNotEmpty", message, status=409)
        gone = [
            file for upload in objects.uploads(tx, bucket.name) for file in objects.delete_upload(tx, upload)
        ]
        tx.delete(BUCKET, bucket.name)
        return gone

    await call.house.objects.delete(await call.store.write(body))
    return {}


async def list_buckets(call: Call, params: Params) -> Result:
    prefix, region = params.get("Prefix") or "", params.get("BucketRegion")
    limit, after = params.get("MaxBuckets") or _MAX_BUCKETS, params.get("ContinuationToken") or ""
    account = call.scope.account

    def body(tx: Tx) -> list[Bucket]:
        found = [bucket for bucket in tx.all(BUCKET, after=after) if bucket.account == account]
        return [b for b in found if b.name.startswith(prefix) and region in (None, b.region)]

    rows = await call.store.read(body)
    page = rows[:limit]
    result: Result = {
        "Buckets": [{"Name": b.name, "CreationDate": b.created_at, "BucketRegion": b.region} for b in page],
        "Owner": names.owner(account),
    }
    if prefix:
        result["Prefix"] = prefix
    return result | ({"ContinuationToken": page[-1].name} if len(rows) > limit else {})


async def get_bucket_location(call: Call, params: Params) -> Result:
    bucket = await call.store.read(lambda tx: names.need_bucket(tx, call, params))
    return {} if bucket.region == _HOME else {"LocationConstraint": bucket.region}


async def get_bucket_versioning(call: Call, params: Params) -> Result:
    """Never enabled: an object is replaced for good."""
    await call.store.read(lambda tx: names.need_bucket(tx, call, params))
    return {}
