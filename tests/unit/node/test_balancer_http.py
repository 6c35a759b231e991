"""What an application load balancer does with requests: a real Envoy, told by the daemon's own code."""

import contextlib
import re
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from neargate.model import envoy_clusters
from neargate.model.balancer import HealthCheck
from neargate.node.balancer.probes import probe
from tests.support.envoy_rig import Rig, forward, group, listener, rule, target

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        yield rig


ONE, TWO = group("one"), group("two")


def test_requests_go_round_the_healthy_targets(rig: Rig) -> None:
    ports = [rig.web(f"target-{n}")[1] for n in range(3)]
    states = ("healthy", "healthy", "unhealthy")
    targets = [target(ONE, port, state) for port, state in zip(ports, states, strict=True)]
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], targets))
    seen = Counter(rig.get().body for _ in range(12))
    assert seen.keys() == {"hello from target-0", "hello from target-1"}


def test_with_no_healthy_target_all_get_requests(rig: Rig) -> None:
    ports = [rig.web(f"target-{n}")[1] for n in range(2)]
    targets = [target(ONE, port, "unhealthy") for port in ports]
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], targets))
    assert {rig.get().body for _ in range(12)} == {"hello from target-0", "hello from target-1"}


@pytest.mark.parametrize("state", ["initial", "draining"])
def test_new_and_draining_targets_get_none(rig: Rig, state: str) -> None:
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.web("it")[1], state)]))
    answer = rig.get()
    assert answer.status == 503
    assert answer.headers["server"] == "awselb/2.0"
    assert answer.headers["content-type"] == "text/html"
    assert "<h1>503 Service Temporarily Unavailable</h1>" in answer.body


def test_what_a_target_is_told_of_its_client(rig: Rig) -> None:
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.web("it")[1])]))
    given = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "x-envoy-retry-on: 5xx")
    told = rig.get("/echo", *(word for header in given for word in ("-H", header)))
    headers = dict(line.split(": ", 1) for line in told.body.strip().split("\n")[1:] if line)
    assert headers["x-forwarded-for"].startswith("1.2.3.4,")
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-port"] == "80"
    assert re.fullmatch("Root=1-[0-9a-f]{8}-[0-9a-f]{24}", headers["x-amzn-trace-id"])
    assert not [name for name in headers if name.startswith("x-neargate")]
    assert not [name for name in headers if name.startswith("x-envoy") or name == "x-request-id"]
    assert told.headers["server"] == "web-target"


@pytest.mark.parametrize(("mode", "seen"), [("preserve", "1.2.3.4"), ("remove", None)])
def test_forwarded_for_as_the_attribute_says(rig: Rig, mode: str, seen: str | None) -> None:
    attributes = {"routing.http.xff_header_processing.mode": mode}
    view = rig.view(
        [listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.web("it")[1])], attributes=attributes
    )
    rig.publish(view)
    told = rig.get("/echo", "-H", "X-Forwarded-For: 1.2.3.4")
    headers = dict(line.split(": ", 1) for line in told.body.strip().split("\n")[1:] if line)
    assert headers.get("x-forwarded-for") == seen


def fixed(body: str, status: str = "200", kind: str = "text/plain") -> dict[str, object]:
    config = {"StatusCode": status, "MessageBody": body, "ContentType": kind}
    return {"Type": "fixed-response", "FixedResponseConfig": config}


def path(*values: str) -> dict[str, object]:
    return {"Field": "path-pattern", "PathPatternConfig": {"Values": list(values)}}


def host(*values: str) -> dict[str, object]:
    return {"Field": "host-header", "HostHeaderConfig": {"Values": list(values)}}


def header(name: str, *values: str) -> dict[str, object]:
    return {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": name, "Values": list(values)}}


def method(*values: str) -> dict[str, object]:
    return {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": list(values)}}


def query(*pairs: tuple[str, str]) -> dict[str, object]:
    values = [{"Key": key, "Value": value} if key else {"Value": value} for key, value in pairs]
    return {"Field": "query-string", "QueryStringConfig": {"Values": values}}


def source(*values: str) -> dict[str, object]:
    return {"Field": "source-ip", "SourceIpConfig": {"Values": list(values)}}


CONDITIONS = [
    (path("/a/*"), ("/a/b?x",), True),
    (path("/a/*"), ("/b",), False),
    (path("/x?z", "*.gif"), ("/q.gif",), True),
    (path("/x?z", "*.gif"), ("/xyyz",), False),
    (path("/Exact"), ("/Exact",), True),
    (path("/Exact"), ("/exact",), False),
    (host("*.example.com"), ("/", "-H", "Host: API.example.com:8080"), True),
    (host("*.example.com"), ("/", "-H", "Host: example.com"), False),
    (header("X-Kind", "b?ta*"), ("/", "-H", "x-kind: BETA-1"), True),
    (header("X-Kind", "b?ta*"), ("/", "-H", "x-kind: alpha"), False),
    (method("DELETE", "PUT"), ("/", "-X", "PUT"), True),
    (method("DELETE", "PUT"), ("/", "-X", "POST"), False),
    (query(("v", "1*"), ("", "on")), ("/?a=b&V=12&c",), True),
    (query(("v", "1*"), ("", "on")), ("/?z=on",), True),
    (query(("v", "1*"), ("", "on")), ("/?w=12&x=one",), False),
    (source("10.0.0.0/9", "127.0.0.0/8"), ("/",), True),
    (source("10.0.0.0/9"), ("/", "-H", "x-neargate-source: 10.1.1.1"), False),
]


@pytest.mark.parametrize(("condition", "asked", "holds"), CONDITIONS)
def test_conditions(rig: Rig, condition: dict[str, object], asked: tuple[str, ...], holds: bool) -> None:
    front = listener(fixed("default"))
    rig.publish(rig.view([front], rules=[rule(front, 10, fixed("ruled"), condition)]))
    assert rig.get(*asked).body == ("ruled" if holds else "default")


def test_all_conditions_of_a_rule_must_hold(rig: Rig) -> None:
    front = listener(fixed("default"))
    both = rule(front, 10, fixed("ruled"), path("/a"), header("x", "1"))
    rig.publish(rig.view([front], rules=[both]))
    assert rig.get("/a", "-H", "x: 1").body == "ruled"
    assert rig.get("/a").body == rig.get("/", "-H", "x: 1").body == "default"


def test_rules_are_tried_by_priority(rig: Rig) -> None:
    front = listener(fixed("default"))
    rules = [rule(front, 20, fixed("late"), path("*")), rule(front, 3, fixed("early"), path("/a"))]
    rig.publish(rig.view([front], rules=rules))
    assert [rig.get(asked).body for asked in ("/a", "/b")] == ["early", "late"]


def test_fixed_answers(rig: Rig) -> None:
    rig.publish(rig.view([listener(fixed("<b>no</b>", "503", "text/html"))]))
    answer = rig.get()
    assert (answer.status, answer.body) == (503, "<b>no</b>")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["server"] == "awselb/2.0"


REDIRECTS = [
    ({"Protocol": "HTTPS", "Port": "443"}, "https://a.example:443/p/q?x=1"),
    ({"Path": "/new", "Query": ""}, "http://a.example:80/new"),
    ({"Host": "b.example"}, "http://b.example:80/p/q?x=1"),
    ({"Path": "/old/#{path}", "Host": "www.#{host}"}, "http://www.a.example:80/old/p/q?x=1"),
    (
        {"Query": "from=#{host}&#{query}", "Protocol": "HTTPS", "Port": "8443"},
        "https://a.example:8443/p/q?from=a.example&x=1",
    ),
    ({"Path": '/"]]os.exit()--', "Query": "y=#{query}"}, 'http://a.example:80/"]]os.exit()--?y=x=1'),
]


@pytest.mark.parametrize(("config", "location"), REDIRECTS)
def test_redirects(rig: Rig, config: dict[str, str], location: str) -> None:
    action = {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", **config}}
    rig.publish(rig.view([listener(action)]))
    answer = rig.get("/p/q?x=1", "-H", "Host: a.example")
    assert (answer.status, answer.headers["location"]) == (301, location)
    assert answer.headers["server"] == "awselb/2.0"


@pytest.mark.parametrize(("matcher", "cause"), [("200", ""), ("404", "Target.ResponseCodeMismatch")])
def test_health_checks_over_http2(rig: Rig, matcher: str, cause: str) -> None:
    """Envoy is the target here: it speaks it without TLS."""
    rig.publish(rig.view([listener(fixed("fine"))]))
    check = HealthCheck(matcher=matcher)
    checked = group("behind", protocol_version="HTTP2", health_check=check)
    assert rig.do(probe(target(checked, 80, address=rig.address), checked)).cause == cause


def test_weights(rig: Rig) -> None:
    targets = [target(ONE, rig.web("one")[1]), target(TWO, rig.web("two")[1])]
    rig.publish(rig.view([listener(forward((ONE, 1), (TWO, 0)))], [ONE, TWO], targets))
    assert {rig.get().body for _ in range(6)} == {"hello from one"}
    rig.publish(rig.view([listener(forward((ONE, 1), (TWO, 1)))], [ONE, TWO], targets))
    assert len({rig.get().body for _ in range(40)}) == 2
    rig.publish(rig.view([listener(forward((ONE, 0), (TWO, 0)))], [ONE, TWO], targets))
    assert rig.get().status == 503


def test_a_client_stays_with_its_group(rig: Rig) -> None:
    targets = [target(ONE, rig.web("one")[1]), target(TWO, rig.web("two")[1])]
    rig.publish(rig.view([listener(forward((ONE, 1), (TWO, 1), sticky=60))], [ONE, TWO], targets))
    first = rig.get()
    cookie, cors = (cookie.partition(";")[0] for cookie in first.cookies)
    assert cookie.startswith("AWSALBTG=")
    assert cors == cookie.replace("=", "CORS=")
    assert first.cookies[1].endswith("; SameSite=None; Secure")
    assert {rig.get("/", "-H", f"Cookie: {cors}").body for _ in range(8)} == {first.body}
    assert {rig.get("/", "-H", f"Cookie: a=b; {cookie}; c=d").body for _ in range(8)} == {first.body}
    rig.publish(rig.view([listener(forward((ONE, 0), (TWO, 1), sticky=60))], [ONE, TWO], targets))
    assert {rig.get("/", "-H", f"Cookie: {cookie}").body for _ in range(4)} == {"hello from two"}


def test_a_client_stays_with_its_target(rig: Rig) -> None:
    sticky = group("sticky", attributes={"stickiness.enabled": "true"})
    ports = [rig.web(f"target-{n}")[1] for n in range(3)]
    targets = [target(sticky, port) for port in ports]
    rig.publish(rig.view([listener(forward((sticky, 1)))], [sticky], targets))
    first = rig.get()
    cookie = first.cookies[0].partition(";")[0]
    assert cookie.startswith("AWSALB=")
    cors = next(cookie for cookie in first.cookies if cookie.startswith("AWSALBCORS="))
    assert "; SameSite=None; Secure" in cors
    assert {rig.get("/", "-H", f"Cookie: {cors.partition(';')[0]}").body for _ in range(6)} == {first.body}
    assert {rig.get("/", "-H", f"Cookie: {cookie}").body for _ in range(6)} == {first.body}
    gone = int(first.body[-1])
    rig.publish(rig.view([listener(forward((sticky, 1)))], [sticky], targets[:gone] + targets[gone + 1 :]))
    assert rig.get("/", "-H", f"Cookie: {cookie}").status == 200


def test_a_client_stays_once_the_application_has_set_its_cookie(rig: Rig) -> None:
    attributes = {
        "stickiness.enabled": "true",
        "stickiness.type": "app_cookie",
        "stickiness.app_cookie.cookie_name": "session",
    }
    sticky = group("application", attributes=attributes)
    targets = [target(sticky, rig.web(f"target-{n}")[1]) for n in range(3)]
    rig.publish(rig.view([listener(forward((sticky, 1)))], [sticky], targets))
    assert rig.get().cookies == []
    assert [cookie.partition(";")[0] for cookie in rig.get("/cookie?sessions=1").cookies] == ["sessions=1"]
    told = {
        name: value for name, _, value in (c.partition("=") for c in rig.get("/cookie?session=1").cookies)
    }
    assert told.keys() == {"session", "AWSALBAPP-0", "AWSALBAPPCORS-0"}
    kept = f"Cookie: AWSALBAPP-0={told['AWSALBAPP-0'].partition(';')[0]}"
    assert len({rig.get("/", "-H", kept).body for _ in range(6)}) == 1
    assert len({rig.get().body for _ in range(12)}) == 3


def test_a_dead_target_costs_no_request(rig: Rig) -> None:
    """Nothing listens at one of two: whatever the method, the other answers."""
    _, port = rig.web("alive")
    dead = rig.free_port()
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, port), target(ONE, dead)]))
    assert {rig.get("/", "-X", method).status for method in ("GET", "POST", "PUT") for _ in range(4)} == {200}


def test_what_may_have_been_done_is_not_done_twice(rig: Rig) -> None:
    some = [rig.web(f"target-{n}") for n in range(2)]
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, port) for _, port in some]))
    assert rig.get("/break", "-X", "POST").status == 502
    assert sum(web.counted for web, _ in some) == 1
    assert rig.get("/break").status == 502
    assert sum(web.counted for web, _ in some) > 2


def test_only_dead_targets_are_a_bad_gateway(rig: Rig) -> None:
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.free_port())]))
    answer = rig.get()
    assert answer.status == 502
    assert "502 Bad Gateway" in answer.body


def test_a_target_that_takes_no_connection_in_time_is_a_gateway_timeout(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backlog is full: the kernel drops what would be another connection."""
    monkeypatch.setattr(envoy_clusters, "_CONNECT_SECONDS", 1)
    with contextlib.ExitStack() as held:
        full = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        slow = group("slow")
        to = target(slow, full.getsockname()[1])
        rig.publish(rig.view([listener(forward((slow, 1)))], [slow], [to]))
        answer = rig.get()
    assert answer.status == 504
    assert "504 Gateway Time-out" in answer.body


def test_a_silent_target_is_a_gateway_timeout(rig: Rig) -> None:
    attributes = {"idle_timeout.timeout_seconds": "1"}
    targets = [target(ONE, rig.web("it")[1])]
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], targets, attributes=attributes))
    answer = rig.get("/slow?5")
    assert answer.status == 504
    assert "504 Gateway Time-out" in answer.body


def test_websockets(rig: Rig) -> None:
    rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], [target(ONE, rig.web("it")[1])]))
    with connect(f"ws://{rig.address}/socket", proxy=None) as client:
        client.send("hello")
        assert client.recv(timeout=10) == "hello"
        rig.publish(rig.view([listener(forward((ONE, 1)))], [ONE], []))  # it drains: what is open lives on
        client.send("still")
        assert client.recv(timeout=10) == "still"
