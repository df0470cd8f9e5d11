#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# All that runs in the guest of pools over RDMA: a network device, soft RDMA on it, the tests.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /run
mount -t tmpfs tmp /tmp
echo 4 >/proc/sys/kernel/printk
while read -r module; do insmod "/modules/$module" || echo "vm-test: not ok insmod $module"; done </modules/order
ip link set lo up
ip addr add 10.9.0.1/24 dev dummy0
ip link set dummy0 up
rdma link add rxe0 type rxe netdev dummy0 || echo 'vm-test: not ok rdma link add'
echo "vm-test: Linux $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
only=$(sed -n 's/.*vm.only=\([^ ]*\).*/\1/p' /proc/cmdline)
# tests NAME PROGRAM... - one that says ok and not ok
tests() {
	name=$1
	shift
	case $name in *"$only"*) ;; *) return ;; esac
	CMOCKA_MESSAGE_OUTPUT=TAP "$@" 2>&1 | sed "s/^ok [0-9]* - /vm-test: ok $name: /; s/^not ok [0-9]* - /vm-test: not ok $name: /"
}
tests faults /bin/fault-farmem-pool rdma 10.9.0.1
tests programs /bin/pool-guest 10.9.0.1
dmesg | sed 's/^/dmesg: /'
echo "vm-test: up $(cut -d' ' -f1 /proc/uptime) s"
poweroff -f
