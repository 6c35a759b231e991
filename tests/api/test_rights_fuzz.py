"""Every operation, asked in odd ways by a role that may nothing: none answers, breaks or changes anything."""

import collections
import http.client
import random
from urllib.parse import urlsplit

import pytest
from botocore import auth, loaders, model
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from neargate.gateway.dispatch import build_rooms
from neargate.wire.models import Catalogue
from tests.api.test_fuzz import Maker, changed_kinds, request_of
from tests.support import roles
from tests.support.door import Door

ROUNDS = 8
FOR_ANYBODY = {"GetCallerIdentity", "DeleteObjects"}
"""The second tells of each key that it was refused."""


def test_who_may_nothing_gets_nothing_however_it_asks(door: Door) -> None:
    seed = random.SystemRandom().randrange(2**32)
    maker = Maker(random.Random(seed))
    role = roles.make(door.client("iam"), "nobody")
    held = door.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    keys = Credentials(held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"])
    loader = loaders.Loader()
    place = urlsplit(door.endpoint)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
    denied: collections.Counter[str] = collections.Counter()
    with pytest.raises(ClientError):  # by which the role's use is noted
        door.client(
            "ecs",
            aws_access_key_id=held["AccessKeyId"],
            aws_secret_access_key=held["SecretAccessKey"],
            aws_session_token=held["SessionToken"],
        ).list_clusters()
    head = door.daemon.house.store.head()
    for name, room in build_rooms(Catalogue()).items():
        service = model.ServiceModel(loader.load_service_model(name, "service-2"), name)
        for operation in sorted(room.functions) * ROUNDS:
            made = request_of(service, operation, maker.make(service.operation_model(operation).input_shape))
            request = AWSRequest(
                made.method, door.endpoint + made.target, headers=made.headers, data=made.body
            )
            signer = auth.S3SigV4Auth if name == "s3" else auth.SigV4Auth
            signer(keys, service.signing_name, door.settings.region).add_auth(request)
            connection.request(made.method, made.target, made.body, dict(request.prepare().headers.items()))
            answer = connection.getresponse()
            text = answer.read()
            about = (
                f"seed {seed}, {name} {operation} {made.target[:500]} {made.body[:2000]!r}:"
                f" {answer.status} {text[:500]!r}"
            )
            refused = 400 <= answer.status < 500 or (answer.status == 501 and name == "s3")
            assert operation in FOR_ANYBODY or refused, about
            denied[name] += b"is not authorized to perform" in text
    connection.close()
    assert not changed_kinds(door, head), seed
    assert denied.total() > 500, denied
