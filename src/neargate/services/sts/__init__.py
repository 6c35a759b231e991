"""services/sts: the AWS Security Token Service. It says who calls, and mints temporary credentials.

Operations are found by name by gateway/dispatch. There is no IAM yet: any role of the account can be assumed.
"""

SERVICE = "sts"
