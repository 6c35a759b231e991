"""services/elbv2: load balancers, listeners, rules, target groups and targets, as records in the store.

load_balancers, zones (subnets, addresses, groups), listeners, rules, target_groups, targets, attributes,
certificates, policies and tags; names reads what callers give, links keeps target groups' balancers right.
The traffic is the node's: its data plane follows the records (through services/cell) and writes health.
"""

SERVICE = "elbv2"
