"""services/servicediscovery: AWS Cloud Map on the store. Operations are over when they are answered.

namespaces, services, attributes (of services), instances, health, discover, operations and tags; names reads
what callers give. services/cell/names makes DNS of the records; control/discovery registers ECS tasks.
"""
