"""Events to API destinations, over HTTP to a server of the test: what it is sent, what it answers."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import pytest

from tests.support.door import Door
from tests.support.events import ROLE, put, queue, received, rule

SECONDS = 60


@dataclass
class Web:
    """A server that answers as it is told, and tells what it was asked."""

    statuses: list[int] = field(default_factory=list)
    asked: "Queue[dict[str, Any]]" = field(default_factory=Queue)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next(self) -> dict[str, Any]:
        return self.asked.get(timeout=SECONDS)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[ThreadingHTTPServer, list[Web]]]:
    current: list[Web] = [Web()]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            web = current[0]
            web.asked.put(
                {"method": self.command, "path": self.path, "headers": self.headers, "body": body.decode()}
            )
            status = web.statuses.pop(0) if web.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server, current
        server.shutdown()
        thread.join()


@pytest.fixture
def web(server: tuple[ThreadingHTTPServer, list[Web]]) -> Web:
    listening, current = server
    current[0] = Web(port=listening.server_port)
    return current[0]


@pytest.fixture(scope="module")
def open_door(server: tuple[ThreadingHTTPServer, list[Web]]) -> Iterator[Door]:
    """A daemon that may call the server."""
    door = Door(event_http_hosts=f"example.com, 127.0.0.1:{server[0].server_port}").start()
    yield door
    door.stop()


@pytest.fixture
def events(open_door: Door) -> Iterator[Any]:
    yield open_door.client("events")
    open_door.forget()


BASIC = {"BasicAuthParameters": {"Username": "ann", "Password": "hunter2"}}
KEY = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "hunter3"}}


def destination(events: Any, url: str, auth: dict[str, Any] = KEY, method: str = "POST", **more: Any) -> str:
    kind = "BASIC" if "BasicAuthParameters" in auth else "API_KEY"
    connection = events.create_connection(Name="c", AuthorizationType=kind, AuthParameters=auth)[
        "ConnectionArn"
    ]
    made = events.create_api_destination(
        Name="d", ConnectionArn=connection, InvocationEndpoint=url, HttpMethod=method, **more
    )
    arn: str = made["ApiDestinationArn"]
    return arn


def target(arn: str, **more: Any) -> dict[str, Any]:
    return {"Id": "1", "Arn": arn, "RoleArn": ROLE, **more}


def test_an_event_is_posted_with_all_that_was_said(events: Any, web: Web) -> None:
    http = {
        "HeaderParameters": [{"Key": "X-Fixed", "Value": "1"}],
        "QueryStringParameters": [{"Key": "q", "Value": "a b"}],
        "BodyParameters": [{"Key": "extra", "Value": "2"}],
    }
    arn = destination(events, f"{web.url}/orders/*", {**BASIC, "InvocationHttpParameters": http})
    parameters = {
        "PathParameterValues": ["a/../b"],
        "HeaderParameters": {"X-Own": "3", "Host": "example.com"},
        "QueryStringParameters": {"own": "4"},
    }
    rule(events, {"source": ["my.app"]}, target(arn, HttpParameters=parameters))
    id = put(events, {"n": 1})
    asked = web.next()
    assert asked["method"] == "POST" and asked["path"] == "/orders/a%2F..%2Fb?own=4&q=a+b"
    headers = asked["headers"]
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"ann:hunter2").decode()
    assert headers["X-Fixed"] == "1" and headers["X-Own"] == "3"
    assert headers["Host"] == f"127.0.0.1:{web.port}"
    assert headers["User-Agent"] == "Amazon/EventBridge/ApiDestinations"
    body = json.loads(asked["body"])
    assert body["id"] == id and body["extra"] == "2"


def test_get_has_no_body_and_a_key_stands_in_its_header(events: Any, web: Web) -> None:
    arn = destination(events, f"{web.url}/", method="GET")
    rule(events, {"source": ["my.app"]}, target(arn))
    put(events)
    asked = web.next()
    assert asked["method"] == "GET" and asked["body"] == "" and asked["headers"]["X-Key"] == "hunter3"


def test_a_key_with_blanks_around_it_is_sent_without(events: Any, web: Web) -> None:
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": " hunter3 "}}
    rule(events, {"source": ["my.app"]}, target(destination(events, web.url, key)))
    put(events)
    assert web.next()["headers"]["X-Key"] == "hunter3"


def test_a_key_that_no_request_can_carry_is_told_of_but_not_shown(
    events: Any, web: Web, open_door: Door
) -> None:
    sqs = open_door.client("sqs")
    url, dead = queue(sqs, "dead")
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "X-Key", "ApiKeyValue": "hünter3"}}
    arn = destination(events, web.url, key)
    rule(events, {"source": ["my.app"]}, target(arn, DeadLetterConfig={"Arn": dead}))
    put(events)
    (message,) = received(sqs, url)
    told = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert told["ERROR_CODE"] == "INVALID_PARAMETER"
    assert told["ERROR_MESSAGE"] == "The request would not be valid HTTP."


def test_it_is_tried_again_until_the_server_can(events: Any, web: Web) -> None:
    web.statuses = [503, 429]
    rule(events, {"source": ["my.app"]}, target(destination(events, web.url)))
    put(events, {"n": 1})
    bodies = [web.next()["body"] for _ in range(3)]
    assert len(set(bodies)) == 1


@pytest.mark.parametrize("status", [400, 302])
def test_what_the_server_will_not_have_is_a_dead_letter(
    events: Any, web: Web, open_door: Door, status: int
) -> None:
    sqs = open_door.client("sqs")
    url, dead = queue(sqs, "dead")
    web.statuses = [status]
    rule(events, {"source": ["my.app"]}, target(destination(events, web.url), DeadLetterConfig={"Arn": dead}))
    put(events)
    (message,) = received(sqs, url)
    assert message["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"] == f"HTTP {status}"
    assert web.next() and web.asked.empty()  # it was not followed anywhere


def test_only_hosts_that_the_operator_named_are_called(events: Any, web: Web) -> None:
    arn = destination(events, web.url, InvocationRateLimitPerSecond=5)
    for url in (
        "http://localhost:80/",
        f"http://127.0.0.1:{web.port + 1}/",
        f"http://127.0.0.1:{web.port}@evil.test/",
        "ftp://example.com/",
    ):
        with pytest.raises(events.exceptions.ClientError) as caught:
            events.update_api_destination(Name="d", InvocationEndpoint=url)
        assert "NEARGATE_EVENT_HTTP_HOSTS" in str(caught.value), url
    shown = events.describe_api_destination(Name="d")
    assert shown["InvocationEndpoint"] == web.url and shown["InvocationRateLimitPerSecond"] == 5
    events.update_api_destination(Name="d", InvocationEndpoint="https://example.com/x")
    assert [d["Name"] for d in events.list_api_destinations()["ApiDestinations"]] == ["d"]
    with pytest.raises(events.exceptions.ResourceNotFoundException):
        rule(events, {"source": ["x"]}, target(arn + "0"))
    events.delete_api_destination(Name="d")
    with pytest.raises(events.exceptions.ResourceNotFoundException):
        events.describe_api_destination(Name="d")
