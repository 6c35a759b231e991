"""services/ecs: the Amazon ECS API on the store. Each operation is an async function found by its name.

clusters, capacity_providers, task_definitions (one revision), families (lists), run, tasks, tags,
account_settings, instances (an account without any), services and protection (none yet); render makes the
answers' shapes, names resolves what callers call things, pages cuts lists. A task written here PROVISIONING
goes on in control/placement.
"""

SERVICE = "ecs"
