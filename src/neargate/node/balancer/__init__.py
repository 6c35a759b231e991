"""balancer: the data plane of load balancing on this machine. Envoy carries the requests; this room starts
it, tells it what to do, checks the targets' health and counts.

main runs control.Balancing, which follows the control plane by base.BalancerCell and brings up the rest with
the first load balancer: envoy.py (the process, which outlives the daemon), ads.py (its configuration, by
gRPC), addresses.py (the balancers' addresses), checker.py (health).
"""
