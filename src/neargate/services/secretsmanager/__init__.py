"""services/secretsmanager: AWS Secrets Manager, as far as registry credentials and tasks' secrets need it.

secrets (create, describe, delete, tags), lists, values (get, put), versions (stages), policies, rotation,
passwords; names reads what callers give. Values are sealed by model/secret; the node reads them through
services/cell. Nothing rotates or replicates, and policies are kept, not enforced.
"""
