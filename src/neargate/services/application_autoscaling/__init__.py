"""services/application_autoscaling: Application Auto Scaling, of the desired count of ECS services.

targets (register, describe, deregister), policies, scheduled_actions, activities, tags; names reads what
callers give. This room only keeps what is asked for: control/autoscaling scales, woken by these records.
"""

SERVICE = "application-autoscaling"
