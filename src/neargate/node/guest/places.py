"""Where things are in a guest: for the agent, and for its supervisor, which says what is to be there.

Used by agent.py, plan.py and drivers/microvm. Constants only.
"""

from neargate.node import cgroup

DIRECTORY, IMAGES, ETC = "/task", "/images", "/etc-files"
"""The sandbox's directory, on the scratch disk; images by slot; its KEPT_OPEN, in memory."""
CGROUP = "neargate/task"
FIRST = ".first"
"""Group of the container that was made ahead: no container of ECS's has a dot."""
GROUP_DIRECTORY = f"{cgroup.MOUNT}/{CGROUP}"
KEPT_OPEN = ("hosts", "hostname", "resolv.conf")
"""Those of a sandbox's files that every sandbox has: there, empty and open, from the template on."""
INTERFACE, INDEX = "eth0", 2
"""A machine has no other but its loopback."""


def image(slot: int) -> str:
    """Where the image of a disk slot is mounted."""
    return f"{IMAGES}/{slot}"
