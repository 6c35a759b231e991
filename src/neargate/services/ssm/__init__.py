"""services/ssm: AWS Systems Manager's Parameter Store and Session Manager. The rest of it is not built.

parameters (put, get, delete), paths (by path, describe, history), labels and tags; names reads what
callers give, filters their filters. Values are sealed by model/parameter; the node reads them through
services/cell. sessions is Session Manager, for containers of tasks.
"""
