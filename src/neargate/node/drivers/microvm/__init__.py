"""microvm: the tier of virtual machines: QEMU's `microvm` machine, one per task, cloned from templates.

Start reading at driver.py; what owns a machine outside the daemon is in vmm/, what runs inside it in
node/guest. (Nothing is imported here: vmm/ pays for each import with every task.)
"""
