"""services/events: Amazon EventBridge on the store. Schedules of their own are in services/scheduler.

buses, rules, targets, put (PutEvents, TestEventPattern), connections and destinations (HTTP), tags; names
reads what callers give. Matching is in state/outbox, delivery in control/events; control/schedules waits for
what is due.
Archives, replays, endpoints and partners' event sources are not built.
"""
