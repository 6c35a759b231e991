"""One attempt to bring an event to its target: a queue or a bus of ours, a log group, an ECS cluster, a URL.

Called by control/events, which tries again. Queues and buses are in the same store: what they are sent and
the end of the delivery are one write, so that it happens once.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from neargate.control.parts import Parts
from neargate.kit import inner_json
from neargate.kit.errors import ApiError
from neargate.model import event_http, event_input, event_target
from neargate.model.event import Delivery, Event, bus_id, second
from neargate.model.logs import group_id
from neargate.model.queue import MAX_BYTES
from neargate.model.record import Scope
from neargate.model.sealed import SealError
from neargate.state import log_events, outbox, queues
from neargate.state.catalog import LOG_GROUP
from neargate.state.catalog_events import (
    EVENT_API_DESTINATION,
    EVENT_BUS,
    EVENT_CONNECTION,
    EVENT_DELIVERY,
    QUEUE,
)
from neargate.state.store import Store, StoreError, Tx

log = logging.getLogger(__name__)
RunTask = Callable[[Scope, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
HTTP_SECONDS = 5.0
"""As long as EventBridge waits for an answer."""
_HTTP_LATER = frozenset((401, 407, 409, 429))
_LATER = frozenset(("ServiceUnavailable", "ServerException", "InternalFailure", "ThrottlingException"))


class Sources(Parts, Protocol):
    """What the loop is handed besides what all loops are (services.call.House fits by shape)."""

    @property
    def logs(self) -> Store: ...
    @property
    def signing_key(self) -> bytes: ...


class Refused(Exception):
    """The target will not have it, now or later."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Later(Refused):
    """Not this time. after -- seconds that the target asked for."""

    def __init__(self, code: str, message: str, after: float = 0.0, done: int = 0) -> None:
        super().__init__(code, message)
        self.after = after
        self.done = done
        """Tasks that were started all the same."""


Outcome = Refused | None


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends by target. Deliveries of events that are there are ended, in the same write where that can be."""

    parts: Sources
    client: httpx.AsyncClient
    run_task: RunTask

    async def send(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Attempts, in order, to one target; what became of each."""
        first = deliveries[0]
        try:
            sort = event_target.sort_of(first.target.arn, Scope(first.account, first.region))
        except event_target.TargetError as error:
            return [Refused("INVALID_PARAMETER", str(error))] * len(deliveries)
        if sort in ("sqs", "bus"):
            one = self._queue if sort == "sqs" else self._bus
            return await self.parts.store.write(lambda tx: _each(tx, one, deliveries))
        if sort == "logs":
            return await self._logged(deliveries)
        sending = self._ecs if sort == "ecs" else self._http
        return [await self._alone(sending, delivery) for delivery in deliveries]

    async def _alone(self, sending: Callable[[Delivery, str], Awaitable[None]], one: Delivery) -> Outcome:
        try:
            await sending(one, self._text(one))
        except Refused as refusal:
            return refusal
        except StoreError:
            raise
        except Exception as error:
            return defect(one, error)
        await self.parts.store.write(lambda tx: _end(tx, one))
        return None

    async def _logged(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Events have a store of their own: a daemon that dies between the two writes sends them again."""
        outcomes = await self.parts.logs.write(
            lambda tx: _each(tx, self._log, deliveries, end=lambda tx, done: None)
        )
        done = [d for d, outcome in zip(deliveries, outcomes, strict=True) if outcome is None]
        await self.parts.store.write(lambda tx: _end(tx, *done))
        return outcomes

    def _text(self, delivery: Delivery) -> str:
        ingested = second(delivery.created_at)
        try:
            return event_input.payload(delivery.target, delivery.event, delivery.rule_arn, ingested)
        except event_input.InputError as error:
            raise Refused("INVALID_PARAMETER", str(error)) from None

    def _queue(self, tx: Tx, delivery: Delivery) -> None:
        text = self._text(delivery)
        queue = tx.get(QUEUE, delivery.target.arn)
        if queue is None:
            raise Refused("RESOURCE_NOT_FOUND", "The specified queue does not exist.")
        if len(text.encode()) > min(MAX_BYTES, queue.seconds("MaximumMessageSize")):
            raise Refused("INVALID_PARAMETER", "The event is longer than messages of the queue may be.")
        token = _token(delivery)
        out = queues.Outgoing(
            body=text,
            group=delivery.target.message_group,
            deduplication=token if queue.fifo else "",
            sender="events.amazonaws.com",
        )
        queues.send(tx, queue, out, token, self.parts.clock.now())

    def _bus(self, tx: Tx, delivery: Delivery) -> None:
        """From a rule the event as it is, to the rules of another bus; from a schedule a new one."""
        text = self._text(delivery)
        name = event_target.bus_of(delivery.target.arn)
        if name != "default" and tx.get(EVENT_BUS, bus_id(delivery.account, delivery.region, name)) is None:
            raise Refused("RESOURCE_NOT_FOUND", f"Event bus {name} does not exist.")
        put, given = delivery.target.event_bridge, delivery.event
        detail = _map(text) if put else given.get("detail") or {}
        event = Event(
            account=delivery.account,
            region=delivery.region,
            source=put["Source"] if put else given["source"],
            detail_type=put["DetailType"] if put else given["detail-type"],
            time=self.parts.clock.now(),
            detail=lambda: detail,
            resources=tuple(given.get("resources") or ()),
            bus=name,
        )
        # A rule of a bus that sends to its own bus would never end: what was passed on is not passed again.
        if delivery.hops >= outbox.MOST_HOPS:
            raise Refused("INVALID_PARAMETER", "The event was passed on from bus to bus too often.")
        outbox.accept(tx, event, self.parts.clock.now(), hops=delivery.hops + 1)

    def _log(self, tx: Tx, delivery: Delivery) -> None:
        """As a log line: what a template comes to may be `{"timestamp": …, "message": …}`."""
        now = int(self.parts.clock.now() * 1000)
        stamp, message = _line(self._text(delivery), now)
        name = event_target.log_group_of(delivery.target.arn)
        stream = str(uuid.uuid5(uuid.NAMESPACE_URL, delivery.queue))
        group = tx.get(LOG_GROUP, group_id(delivery.account, delivery.region, name))
        if group is None:
            raise Refused("RESOURCE_NOT_FOUND", "The specified log group does not exist.")
        found = log_events.get_stream(tx, group.number, stream)
        found = found or log_events.create_stream(tx, group.number, stream, now)
        assert found is not None
        log_events.append(tx, found.number, [(stamp, message.encode("utf-8", "replace"))], now)

    async def _ecs(self, delivery: Delivery, text: str) -> None:
        count = delivery.target.ecs.get("TaskCount", 1) - delivery.done
        token = _token(delivery)
        request = event_target.run_task_request(delivery.target, text, delivery.rule_arn, token, count)
        try:
            answer = await self.run_task(Scope(delivery.account, delivery.region), request)
        except ApiError as error:
            kind = Later if error.code in _LATER or (error.status or 400) >= 500 else Refused
            raise kind(error.code, error.message) from None
        if failures := answer["failures"]:
            told = f"{failures[0].get('reason')}: {failures[0].get('detail', '')}"
            raise Later("TASK_FAILED", told, done=len(answer["tasks"]))

    async def _http(self, delivery: Delivery, text: str) -> None:
        sent, rate = await self.parts.store.read(lambda tx: self._request(tx, delivery, text))
        if not event_http.is_allowed(sent.url, self.parts.settings.event_http_hosts):
            raise Refused("NO_PERMISSIONS", "The host is none of those in NEARGATE_EVENT_HTTP_HOSTS.")
        answer = await self._asked(sent)
        await self.parts.clock.sleep(1 / rate)
        if answer.is_success:
            return
        told = f"HTTP {answer.status_code}"
        if answer.status_code in _HTTP_LATER or answer.status_code >= 500:
            raise Later("SDK_CLIENT_ERROR", told, after=_seconds(answer.headers.get("retry-after")))
        raise Refused("SDK_CLIENT_ERROR", told)

    async def _asked(self, sent: event_http.Sent) -> httpx.Response:
        """The head of the answer; nobody reads the rest."""
        body = sent.body.encode()
        try:
            async with asyncio.timeout(HTTP_SECONDS):
                async with self.client.stream(
                    sent.method, sent.url, headers=sent.headers, content=body
                ) as answer:
                    return answer
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeEncodeError):
            # Their texts show the value of a header or the URL, which may be secret; this one goes into logs.
            raise Refused("INVALID_PARAMETER", "The request would not be valid HTTP.") from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise Later("SDK_CLIENT_ERROR", str(error) or type(error).__name__) from None

    def _request(self, tx: Tx, delivery: Delivery, text: str) -> tuple[event_http.Sent, int]:
        destination = tx.get(EVENT_API_DESTINATION, delivery.target.arn)
        connection = tx.get(EVENT_CONNECTION, destination.connection_arn) if destination else None
        if destination is None or connection is None:
            raise Refused("NO_RESOURCE", "The API destination or its connection does not exist.")
        try:
            secrets = event_http.opened(self.parts.signing_key, connection)
        except SealError as error:
            raise Refused("NO_PERMISSIONS", str(error)) from None
        sent = event_http.request_of(
            destination, connection.authorization, secrets, delivery.target.http, text
        )
        return sent, destination.rate


def defect(delivery: Delivery, error: Exception) -> Later:
    """One of ours, met by one event: the others must reach their targets all the same."""
    log.exception("an event could not be sent", extra={"target": delivery.target.arn})
    return Later("INTERNAL_ERROR", f"{type(error).__name__}: {error}")


def _end(tx: Tx, *deliveries: Delivery) -> None:
    for delivery in deliveries:
        tx.delete(EVENT_DELIVERY, delivery.id)


def _each(
    tx: Tx,
    one: Callable[[Tx, Delivery], None],
    deliveries: Sequence[Delivery],
    *,
    end: Callable[[Tx, Delivery], None] = _end,
) -> list[Outcome]:
    """Many in one write. Whoever refuses does so before anything is written."""
    outcomes: list[Outcome] = []
    for delivery in deliveries:
        try:
            one(tx, delivery)
        except Refused as refusal:
            outcomes.append(refusal)
        else:
            end(tx, delivery)
            outcomes.append(None)
    return outcomes


def _token(delivery: Delivery) -> str:
    """Of one attempt: what it did is not done again if the daemon dies before it is written down."""
    told = f"{delivery.queue}/{delivery.sequence}/{delivery.created_at!r}/{delivery.done}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, told))


def _map(text: str) -> dict[str, Any]:
    try:
        value = inner_json.read(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refused("INVALID_PARAMETER", "The detail of an event must be a JSON object.")
    return value


def _line(text: str, now: int) -> tuple[int, str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return now, text
    if isinstance(value, dict) and set(value) == {"timestamp", "message"}:
        stamp = value["timestamp"]
        is_stamp = isinstance(stamp, int) and not isinstance(stamp, bool) and 0 <= stamp < 1 << 53
        message = value["message"]
        return stamp if is_stamp else now, message if isinstance(message, str) else json.dumps(message)
    return now, text


def _seconds(text: str | None) -> float:
    """Of a Retry-After header that is a number."""
    return min(float(text), 3600.0) if text and text.isascii() and text.isdigit() else 0.0
