"""The loop that brings events to their targets: at least once, in order for each target as long as nothing
fails, again and again with growing pauses, and at last to the dead letter queue.

Woken by the change feed (state/outbox writes deliveries) and by the moment at which one is due again. There
is a worker for each target for which anything waits; it ends when nothing does. event_targets.py makes the
attempts.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterable, Sequence

import httpx
from msgspec.structs import replace

from neargate.control.event_targets import HTTP_SECONDS, Later, Refused, RunTask, Sender, Sources, defect
from neargate.control.parts import Watch
from neargate.kit.clock import Clock
from neargate.model.event import Delivery
from neargate.model.event_input import json_text
from neargate.state import queues
from neargate.state.catalog_events import EVENT_DELIVERY, QUEUE
from neargate.state.store import Change, StoreError, Tx

log = logging.getLogger(__name__)
_BATCH = 50
_TOO_OLD = "MaximumEventAgeInSeconds"
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 300.0
_LAST = "\U0010ffff"  # after every value of an index
_MOST_TARGETS = 1_000_000


def pause_of(attempts: int, asked: float) -> float:
    """Seconds until the next attempt, after so many that failed."""
    return max(asked, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempts - 1, 30)))


def plan(delivery: Delivery, refusal: Refused, now: float) -> Delivery | str:
    """What becomes of a delivery whose attempt failed: when it is due again, or why it is given up."""
    if not isinstance(refusal, Later):
        return "NonRetryableError"
    attempts = delivery.attempts + 1
    if attempts > delivery.target.max_attempts:
        return "MaximumRetryAttempts"
    due = now + pause_of(attempts, refusal.after)
    if due > delivery.created_at + delivery.target.max_age:
        return _TOO_OLD
    return replace(
        delivery,
        attempts=attempts,
        due_at=due,
        done=delivery.done + refusal.done,
        error=str(refusal)[:1000],
    )


class Events:
    """run_task -- ECS's RunTask, in the name of the daemon itself."""

    name = "events"

    def __init__(self, parts: Sources, run_task: RunTask) -> None:
        self._parts = parts
        self._run_task = run_task
        self._workers: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        watch = Watch(self._parts.store, EVENT_DELIVERY)
        self._workers.clear()
        async with (
            httpx.AsyncClient(timeout=HTTP_SECONDS, follow_redirects=False, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            sender = Sender(self._parts, client, self._run_task)
            while True:
                for queue in await self._waiting(await watch.changed()):
                    poked = self._workers.get(queue)
                    if poked is not None:
                        poked.set()
                        continue
                    poked = self._workers[queue] = asyncio.Event()
                    group.create_task(self._serve(sender, queue, poked), name=f"event-target {queue}")

    async def _waiting(self, changes: Sequence[Change] | None) -> list[str]:
        """Targets for which there is something new."""
        if changes is None:
            return await self._parts.store.scan(
                lambda tx: tx.values(EVENT_DELIVERY, "queue", until=_LAST, limit=_MOST_TARGETS)
            )
        return list(dict.fromkeys(change.id.rsplit("/", 2)[0] for change in changes if not change.deleted))

    async def _serve(self, sender: Sender, queue: str, poked: asyncio.Event) -> None:
        """Bring all that waits for one target there; end when nothing does."""
        store, clock = self._parts.store, self._parts.clock
        while True:
            poked.clear()
            waiting = await store.read(lambda tx: tx.find(EVENT_DELIVERY, "queue", queue, limit=_BATCH))
            if not waiting and not poked.is_set():
                del self._workers[queue]
                return
            now = clock.now()
            due = [delivery for delivery in waiting if not delivery.attempts or delivery.due_at <= now]
            for batch in _by_target(await self._without_late(due, now)):
                await self._attempt(sender, batch)
            if not due and waiting:
                await _until(poked, clock, waiting[0].due_at - now)

    async def _without_late(self, due: Sequence[Delivery], now: float) -> list[Delivery]:
        """Those young enough; the others, which waited for a daemon too long, are given up."""
        for delivery in due:
            if now > delivery.created_at + delivery.target.max_age:
                await self._end(delivery, Refused("EVENT_EXPIRED", "The event is too old."), _TOO_OLD, now)
        return [each for each in due if now <= each.created_at + each.target.max_age]

    async def _attempt(self, sender: Sender, batch: Sequence[Delivery]) -> None:
        outcomes: Sequence[Refused | None]
        try:
            outcomes = await sender.send(batch)
        except StoreError:
            raise
        except Exception as error:
            if len(batch) > 1:  # it may be one of them only
                for delivery in batch:
                    await self._attempt(sender, [delivery])
                return
            outcomes = [defect(batch[0], error)]
        for delivery, refusal in zip(batch, outcomes, strict=True):
            if refusal is not None:
                await self._failed(delivery, refusal)

    async def _failed(self, delivery: Delivery, refusal: Refused) -> None:
        now = self._parts.clock.now()
        after = plan(delivery, refusal, now)
        if isinstance(after, Delivery):
            await self._parts.store.write(lambda tx: _postpone(tx, delivery, after))
            return
        await self._end(delivery, refusal, after, now)

    async def _end(self, delivery: Delivery, refusal: Refused, condition: str, now: float) -> None:
        buried = await self._parts.store.write(lambda tx: _give_up(tx, delivery, refusal, condition, now))
        if not buried:
            log.warning(
                "an event was given up",
                extra={"target": delivery.target.arn, "rule": delivery.rule_arn, "error": str(refusal)},
            )


def _by_target(due: Iterable[Delivery]) -> list[list[Delivery]]:
    """Runs of deliveries to the same ARN: that of a rule's target may have been changed meanwhile."""
    return [list(run) for _, run in itertools.groupby(due, key=lambda delivery: delivery.target.arn)]


def _postpone(tx: Tx, delivery: Delivery, after: Delivery) -> None:
    """Under another id, which says when it is due; none if it was removed meanwhile."""
    if tx.delete(EVENT_DELIVERY, delivery.id):
        tx.insert(EVENT_DELIVERY, after)


def _give_up(tx: Tx, delivery: Delivery, refusal: Refused, condition: str, now: float) -> bool:
    """End it; whether its dead letter queue has it."""
    tx.delete(EVENT_DELIVERY, delivery.id)
    queue = tx.get(QUEUE, delivery.target.dead_letter_arn) if delivery.target.dead_letter_arn else None
    if queue is None:
        return False
    told = {
        "RULE_ARN": delivery.rule_arn,
        "TARGET_ARN": delivery.target.arn,
        "ERROR_CODE": refusal.code,
        "ERROR_MESSAGE": str(refusal)[:1000] or refusal.code,
        "RETRY_ATTEMPTS": str(delivery.attempts),
    }
    if condition != "NonRetryableError":
        told["EXHAUSTED_RETRY_CONDITION"] = condition
    out = queues.Outgoing(
        body=json_text(delivery.event),
        attributes={name: {"DataType": "String", "StringValue": value} for name, value in told.items()},
        group=delivery.target.message_group or "events",
        sender="events.amazonaws.com",
    )
    queues.send(tx, queue, out, delivery.event.get("id") or f"{delivery.sequence}", now)
    return True


async def _until(poked: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Until something new has come, or some time has passed."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(clock.sleep(seconds)), group.create_task(poked.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
