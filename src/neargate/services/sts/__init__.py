"""services/sts: the AWS Security Token Service. It says who calls, and mints temporary credentials.

Operations are found by name by gateway/dispatch. Roles that were created through IAM say who may assume them;
any other of the account can be assumed, unless NEARGATE_IAM is `strict`.
"""

SERVICE = "sts"
