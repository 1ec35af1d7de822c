#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The guest's first process: mounts, modules, then the tests, then off.
/bin/busybox --install -s /bin
echo "VMTEST BOOTED"
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
mount -t bpf bpf /sys/fs/bpf
for module in /modules/*; do
	insmod "$module" 2>/dev/null || echo "cannot load ${module##*/}"
done
hostname guest
ip link set lo up
ulimit -n 65536
# Nothing here may print between a test's lines.
echo 1 > /proc/sys/kernel/printk
echo 120 > /proc/sys/net/ipv4/tcp_fin_timeout
sysctl -qw net.ipv4.ip_local_port_range="10000 65000" net.core.somaxconn=8192
cd /homing
uname -r
/bin/sh /guest-tests
echo "VMTEST END"
if grep -q homing.shell /proc/cmdline; then
	setsid cttyhack sh
fi
poweroff -f
