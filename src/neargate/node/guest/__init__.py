"""guest: what runs inside a virtual machine: its init and the agent that keeps the containers there.

Packed into the guest image by drivers/microvm/guest_image.py; standard library only. The agent is the shim
of the process tier (node/shim) with a port of the machine in place of its socket: the same code makes,
signals and ends containers in every tier. Start reading at agent.py.

Why Python and not a small C program: see drivers/microvm/guest_image.py, where it was measured.
"""
