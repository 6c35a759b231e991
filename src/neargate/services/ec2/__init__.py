"""services/ec2: the part of the Amazon EC2 API that shows the network tasks live in, and its tags.

vpcs, subnets, security_groups, interfaces, routes, zones, tags: one module per thing; listing holds what all
Describe operations share. The records are made by control/bootstrap and control/placement.
"""

SERVICE = "ec2"
