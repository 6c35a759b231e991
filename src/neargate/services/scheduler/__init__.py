"""services/scheduler: EventBridge Scheduler on the store: schedules and their groups.

schedules, groups (with tags), target (what may be started); names reads what callers give. control/schedules
fires them. Universal targets (any operation of any API) are not built, and said to be so.
"""
