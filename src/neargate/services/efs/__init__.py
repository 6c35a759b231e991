"""services/efs: Amazon EFS on the store; the data are directories of this machine (state/file_trees.py).

file_systems, mount_targets, access_points, policies (file system, lifecycle, backup) and tags; names reads
what callers give. services/cell reads the records for tasks' volumes; `sweep_forever` is a task of main.
"""

from neargate.services.efs.file_systems import sweep_forever

__all__ = ["sweep_forever"]
