"""services/ecs: the Amazon ECS API on the store. Each operation is an async function found by its name.

clusters, capacity_providers, task_definitions (one revision), families (lists), run, tasks, tags,
account_settings, instances (an account without any), protection; services (create, delete), service_update,
service_lists, service_deployments, task_sets; render and service_render make the answers' shapes, names and
service_names resolve what callers call things, pages cuts lists. A task written here PROVISIONING goes on in
control/placement; a service, in control/services.
"""

SERVICE = "ecs"
