"""services/sts: the AWS Security Token Service. It says who calls; credentials for roles are not made yet.

Operations are found by name by gateway/dispatch.
"""

SERVICE = "sts"
