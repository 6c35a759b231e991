"""Access logs: what a real Envoy notes becomes entries in AWS's format, and none is lost on its way."""

import gzip
import shlex
import socket
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from neargate.kit.clock import SystemClock
from neargate.kit.errors import CellError
from neargate.model.balancing import KeyPair, View
from neargate.node.balancer.access_logs import AccessLogs
from neargate.node.balancer.base import BalancerCell
from tests.support.certificates import made
from tests.support.envoy_rig import BALANCER, Rig, forward, group, listener, rule, target
from tests.support.real import eventually

pytestmark = pytest.mark.root
ONE = group("one")
LOGGED = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "logs", "access_logs.s3.prefix": "mine"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


class Kept:
    def __init__(self) -> None:
        self.objects: dict[str, str] = {}
        self.refuse = False

    async def put_access_log(self, balancer_arn: str, key: str, data: bytes, attributes: str) -> None:
        if self.refuse:
            raise CellError("NoSuchBucket")
        assert balancer_arn == BALANCER
        assert attributes == ("connection_logs" if "/conn_log." in key else "access_logs")
        self.objects[key] = gzip.decompress(data).decode()

    @property
    def lines(self) -> list[str]:
        return [line for text in self.objects.values() for line in text.splitlines()]


def collected(rig: Rig, view: View, kept: Kept) -> AccessLogs:
    logs = AccessLogs(cast(BalancerCell, kept), rig.envoy, SystemClock())
    logs.view = view
    return logs


def entries(rig: Rig, logs: AccessLogs, kept: Kept, count: int) -> Sequence[list[str]]:
    """Envoy writes a moment later."""

    def all_there() -> bool:
        rig.do(logs.collect())
        return len(kept.lines) >= count

    eventually(all_there, f"{count} entries")
    return [shlex.split(line) for line in kept.lines]


def test_entries(rig: Rig) -> None:
    front = listener(forward((ONE, 1)), 8080)
    config = {"StatusCode": "HTTP_302", "Host": "other.example"}
    away = {"Type": "redirect", "RedirectConfig": config}
    there = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/away"]}}
    _, port = rig.web("it")
    view = rig.view([front], [ONE], [target(ONE, port)], [rule(front, 7, away, there)], attributes=LOGGED)
    rig.publish(view)
    rig.get("/status?404", "-H", "Host: a.example", "-A", 'a "b" c', port=8080)
    rig.get("/away", port=8080)
    kept = Kept()
    first, second = entries(rig, collected(rig, view, kept), kept, 2)
    assert len(first) == len(second) == 29
    assert [first[at] for at in (0, 2, 4, 8, 9)] == [
        "http",
        "app/web/50dc6c495c0c9188",
        f"127.0.0.1:{port}",
        "404",
        "404",
    ]
    assert first[12] == "GET http://a.example:8080/status?404 HTTP/1.1"
    assert first[13] == r"a \x22b\x22 c"
    assert first[16] == ONE.arn
    assert first[17].startswith("Root=1-")
    assert [first[20], first[22]] == ["0", "forward"]
    assert all(float(part) >= 0 for part in first[5:8])
    assert [second[at] for at in (4, 5, 8, 9, 16, 20, 22)] == ["-", "-1", "302", "-", "-", "7", "redirect"]
    assert second[23] == "http://other.example:8080/away"
    name = next(iter(kept.objects))
    assert name.startswith("mine/AWSLogs/000000000000/elasticloadbalancing/us-east-1/")
    assert "/000000000000_elasticloadbalancing_us-east-1_app.web.50dc6c495c0c9188_" in name
    assert name.endswith(".log.gz")


def test_what_is_not_taken_is_tried_again(rig: Rig) -> None:
    view = rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.web("it")[1])], attributes=LOGGED)
    rig.publish(view)
    kept = Kept()
    logs = collected(rig, view, kept)
    kept.refuse = True
    rig.get("/first")
    eventually(lambda: rig.do(logs.collect()) or list(rig.envoy.logs.glob("*.taken-*")), "it was taken away")
    kept.refuse = False
    rig.get("/second")
    seen = entries(rig, logs, kept, 2)
    assert {entry[12].split(" ")[1].rpartition("/")[2] for entry in seen} == {"first", "second"}
    assert not list(rig.envoy.logs.glob("*.taken-*"))


def test_without_the_attribute_nothing_is_noted(rig: Rig) -> None:
    rig.publish(rig.view([listener(forward((ONE, 1)), 8081)], [ONE], [target(ONE, rig.web("it")[1])]))
    kept = Kept()
    rig.get("/", port=8081)
    rig.do(collected(rig, rig.view([]), kept).collect())
    assert kept.objects == {}


def test_entries_of_connections(rig: Rig) -> None:
    """One that speaks TLS, one that does not where it should, one that need not."""
    attributes = {
        "connection_logs.s3.enabled": "true",
        "connection_logs.s3.bucket": "logs",
        "connection_logs.s3.prefix": "mine",
    }
    own = made("a.example")
    pairs = {"arn:a": KeyPair(own.pem.decode(), own.key_pem.decode())}
    secure = listener(forward((ONE, 1)), 8443, "HTTPS", certificates=("arn:a",))
    view = rig.view(
        [secure, listener(forward((ONE, 1)), 8082)],
        [ONE],
        [target(ONE, rig.web("it")[1])],
        attributes=attributes,
        certificates=pairs,
    )
    rig.publish(view)
    kept = Kept()
    logs = collected(rig, view, kept)
    assert rig.get("/", port=8443, scheme="https").status == 200
    with socket.create_connection((rig.address, 8443), timeout=20) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while plain.recv(4096):
            continue
    assert rig.get("/", port=8082).status == 200
    seen = entries(rig, logs, kept, 3)
    assert {entry[1] for entry in seen} == {"127.0.0.1"}
    spoken, unspoken, unneeded = sorted(seen, key=lambda entry: (entry[3] == "8082", entry[10] != "Success"))
    assert spoken[3:6] == ["8443", "TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"]
    assert float(spoken[6]) > 0
    assert spoken[7:11] == ["-", "-", "-", "Success"]
    assert unspoken[3:7] == ["8443", "-", "-", "-"]
    assert unspoken[10] == "Failed:UnmappedConnectionError"
    assert unneeded[3:7] == ["8082", "-", "-", "-"]
    assert unneeded[10] == "Success"
    assert len({entry[11] for entry in seen}) == 3
    name = next(iter(kept.objects))
    assert name.startswith("mine/AWSLogs/000000000000/elasticloadbalancing/us-east-1/")
    assert "/conn_log.000000000000_elasticloadbalancing_us-east-1_app.web.50dc6c495c0c9188_" in name


def test_long_words_are_cut(rig: Rig) -> None:
    view = rig.view(
        [listener(forward((ONE, 1)), 8082)], [ONE], [target(ONE, rig.web("it")[1])], attributes=LOGGED
    )
    rig.publish(view)
    rig.get("/" + "p" * 20_000, "-A", "a" * 20_000, "-H", "X-Amzn-Trace-Id: " + "t" * 10_000, port=8082)
    kept = Kept()
    entry = entries(rig, collected(rig, view, kept), kept, 1)[0]
    assert len(entry) == 29
    assert entry[13] == "a" * 1024
    assert len(" ".join(entry)) < 10_500
