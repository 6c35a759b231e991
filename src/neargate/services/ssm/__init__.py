"""services/ssm: AWS Systems Manager's Parameter Store. The rest of Systems Manager is not built.

parameters (put, get, delete), paths (by path, describe, history), labels and tags; names reads what
callers give, filters their filters. Values are sealed by model/parameter; the node reads them through
services/cell.
"""
