"""shares: the files of volumes that outlive a task, served by a FUSE server of ours to other kernels' users.

Two ways to it: serial.py answers a virtual machine (drivers/microvm), mounted.py this machine's own kernel,
for volumes with a user of their own (node/shim). Both are processes that see nothing but those volumes.
Standard library only: it is forked from shims. Start reading at files.py.
"""
