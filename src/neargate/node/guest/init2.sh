# Second half of init, with a root that can be left.
mount() { /bin/busybox mount "$@"; }
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o size=16m run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
for module in $(/bin/busybox cat /modules/order); do
    /bin/busybox insmod "/modules/$module"
done
exec /usr/bin/python3 -I -S -B -c 'import sys; sys.path.append("/agent"); from neargate.node.guest.agent import run; run()'
