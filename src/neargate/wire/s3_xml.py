"""What S3's answers are called in XML: traits of its model that botocore's copy of it leaves out.

Used by codec_rest.py.
"""

from collections.abc import Mapping

ROOTS: Mapping[str, str] = {
    "CompleteMultipartUploadOutput": "CompleteMultipartUploadResult",
    "CreateMultipartUploadOutput": "InitiateMultipartUploadResult",
    "DeleteObjectsOutput": "DeleteResult",
    "GetBucketVersioningOutput": "VersioningConfiguration",
    "ListBucketsOutput": "ListAllMyBucketsResult",
    "ListMultipartUploadsOutput": "ListMultipartUploadsResult",
    "ListObjectsOutput": "ListBucketResult",
    "ListObjectsV2Output": "ListBucketResult",
    "ListPartsOutput": "ListPartsResult",
}
"""Output shape -> root element."""
BARE: Mapping[str, str] = {"GetBucketLocationOutput": "LocationConstraint"}
"""Output shape -> its one member, which is the root element itself."""
