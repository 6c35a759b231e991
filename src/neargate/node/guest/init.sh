#!/bin/busybox sh
# The guest's first process: mounts, modules, then the agent in its place. Packed by drivers/microvm.
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
# A runtime cannot pivot_root out of the kernel's own rootfs, so a bind of it takes its place.
/bin/busybox mount --bind / /new
cd /new
/bin/busybox mount --move . /
exec /bin/busybox chroot . /bin/busybox sh /init2
