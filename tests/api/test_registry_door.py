"""The registry behind the real door: boto3, the stock aws CLI, curl and skopeo; large layers, refusals."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.exceptions
import httpx
import pytest

from neargate.oci import digest as digests
from tests.support.door import Door
from tests.support.images import busybox_layer, write_layout


def aws(door: Door, *arguments: str) -> str:
    credential = door.daemon.credential
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        "AWS_ENDPOINT_URL": door.endpoint,
        "AWS_ACCESS_KEY_ID": credential.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credential.secret_access_key,
        "AWS_DEFAULT_REGION": door.settings.region,
        "AWS_PAGER": "",
    }
    command = [str(Path(sys.executable).parent / "aws"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_push_pull_and_describe_with_stock_clients(door: Door, tmp_path: Path) -> None:
    made = json.loads(aws(door, "ecr", "create-repository", "--repository-name", "team/web"))
    account = door.settings.account_id
    uri = f"{account}.dkr.ecr.{door.settings.region}.amazonaws.com/team/web"
    assert made["repository"]["repositoryUri"] == uri
    password = aws(door, "ecr", "get-login-password")
    name = f"docker://{door.endpoint.removeprefix('http://')}/team/web:v1"
    layout = write_layout(tmp_path / "image", [busybox_layer(), os.urandom(40_000_000)], {}, level=0)
    creds = f"AWS:{password}"
    skopeo("copy", "--dest-tls-verify=false", "--dest-creds", creds, f"oci:{layout}:latest", name)
    skopeo("copy", "--src-tls-verify=false", "--src-creds", creds, name, f"dir:{tmp_path / 'out'}")
    pushed = {path.name: path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()}
    for path in (tmp_path / "out").iterdir():
        if len(path.name) == 64:
            assert pushed[path.name] == path.read_bytes()
    ecr = door.client("ecr")
    detail = ecr.describe_images(repositoryName="team/web")["imageDetails"][0]
    assert detail["imageTags"] == ["v1"]
    assert detail["imageSizeInBytes"] > 40_000_000
    got = ecr.batch_get_image(repositoryName="team/web", imageIds=[{"imageTag": "v1"}])["images"][0]
    assert digests.of(got["imageManifest"].encode()) == detail["imageDigest"]
    layer = json.loads(got["imageManifest"])["layers"][0]
    url = ecr.get_download_url_for_layer(repositoryName="team/web", layerDigest=layer["digest"])[
        "downloadUrl"
    ]
    with httpx.Client(trust_env=False) as nobody:
        assert digests.of(nobody.get(url).content) == layer["digest"]
    with pytest.raises(ecr.exceptions.RepositoryNotEmptyException):
        ecr.delete_repository(repositoryName="team/web")
    ecr.delete_repository(repositoryName="team/web", force=True)


def test_errors_reach_boto3_as_its_own_exceptions(door: Door) -> None:
    ecr = door.client("ecr")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException) as caught:
        ecr.list_images(repositoryName="none")
    assert caught.value.response["Error"]["Message"] == (
        f"The repository with name 'none' does not exist in the registry with id '{door.settings.account_id}'"
    )
    ecr.create_repository(repositoryName="web")
    with pytest.raises(ecr.exceptions.ImageNotFoundException):
        ecr.describe_images(repositoryName="web", imageIds=[{"imageTag": "v1"}])
    upload = ecr.initiate_layer_upload(repositoryName="web")["uploadId"]
    with pytest.raises(ecr.exceptions.InvalidLayerPartException) as part:
        ecr.upload_layer_part(
            repositoryName="web", uploadId=upload, partFirstByte=5, partLastByte=5, layerPartBlob=b"x"
        )
    assert part.value.response["lastValidByteReceived"] == 0
    with pytest.raises(botocore.exceptions.ClientError, match="StartImageScan"):
        ecr.start_image_scan(repositoryName="web", imageId={"imageTag": "v1"})


def test_a_large_body_with_a_client_that_asks_first(door: Door) -> None:
    """curl sends `Expect: 100-continue`, and a refusal reaches it before it sends."""
    data = base64.b64encode(os.urandom(6_000_000))
    door.client("ecr").create_repository(repositoryName="web")
    password = aws(door, "ecr", "get-login-password")
    for repository, status in (("web", "201"), ("none", "404")):
        url = f"{door.endpoint}/v2/{repository}/blobs/uploads/?digest={digests.of(data)}"
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}",
             "-H", "Expect: 100-continue", "-u", f"AWS:{password}",
             "--data-binary", "@-", url],
            input=data, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.stdout.decode() == status, done.stderr


def test_answered_before_the_body_was_read_the_door_stays_in_order(door: Door) -> None:
    door.client("ecr").create_repository(repositoryName="web")
    password = aws(door, "ecr", "get-login-password")
    with httpx.Client(base_url=door.endpoint, auth=("AWS", password), trust_env=False) as http:
        for _ in range(3):
            refused = http.patch(
                "/v2/web/blobs/uploads/00000000-0000-0000-0000-000000000000", content=b"x" * 3_000_000
            )
            assert refused.json()["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
            assert http.get("/v2/").json() == {}


def test_secrets_with_stock_clients(door: Door) -> None:
    made = json.loads(
        aws(door, "secretsmanager", "create-secret", "--name", "hub", "--secret-string", '{"username":"me"}')
    )
    client: Any = door.client("secretsmanager")
    assert client.get_secret_value(SecretId=made["ARN"])["SecretString"] == '{"username":"me"}'
    client.put_secret_value(SecretId="hub", SecretBinary=b"\x00\x01")
    assert client.get_secret_value(SecretId="hub")["SecretBinary"] == b"\x00\x01"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_secret(SecretId="none")
    names = [
        s["Name"] for page in client.get_paginator("list_secrets").paginate() for s in page["SecretList"]
    ]
    assert names == ["hub"]
