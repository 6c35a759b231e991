"""services/secretsmanager: AWS Secrets Manager, as far as registry credentials and tasks' secrets need it.

secrets (create, describe, list, delete), values (get, put), tags; names reads what callers give. Values are
sealed by model/secret; the node reads them through services/cell. No rotation, replication or policies yet.
"""
