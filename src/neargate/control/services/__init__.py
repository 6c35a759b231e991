"""The loop that keeps services: as many tasks as were asked for, of the revision that was asked for, behind
their target groups.

loop.py is started by control/loops. For each service it reads snapshot.py, decides in plan.py (which goes
through the steps: ended.py, then rollout.py, then targets.py) and writes in apply.py. The rules are in
model/deployments.
"""
