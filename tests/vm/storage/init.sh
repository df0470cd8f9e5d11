#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# All that runs in the storage guest: loads modules, mounts the NVMe disk, runs the tests, powers off.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /mnt
mount -t tmpfs tmp /tmp
# the console is the serial line: what the kernel has to say goes there at the end
echo 4 >/proc/sys/kernel/printk
while read -r module; do insmod "/modules/$module" || echo "vm-test: not ok insmod $module"; done </modules/order

# disk SERIAL - the device of the NVMe disk with that serial number
disk() {
	tries=0
	while [ $tries -lt 100 ]; do
		for c in /sys/class/nvme/nvme*; do
			[ "$(tr -d ' ' <"$c/serial" 2>/dev/null)" = "$1" ] || continue
			for d in "$c"/nvme*n1; do [ ! -b "/dev/${d##*/}" ] || { echo "/dev/${d##*/}" && return; }; done
		done
		usleep 50000
		tries=$((tries + 1))
	done
}

# ivshmem NUMBER - the PCI address of the first or second such device, on the bus numbers' order
ivshmem() {
	for d in /sys/bus/pci/devices/*; do
		[ "$(cat "$d/device")" != 0x1110 ] || echo "${d##*/}"
	done | sed -n "$1p"
}

near=$(disk near)
ln -s "$(disk far)" /dev/far
mount -t ext4 -o noatime,commit=600 "$near" /mnt || echo 'vm-test: not ok mount'
# the one on the root bus is the GPU's stand-in, the one behind the switch is hearth_p2p's own
insmod /modules/nvidia_double.ko bdf="$(ivshmem 1)" && insmod /modules/nvidia_double_p2p.ko && insmod /modules/hearth_p2p.ko || echo 'vm-test: not ok insmod'
sed -n '3s/^\([^ ]*\) \([^ ]*\) .*/vm-dma: bar \1 \2/p' "/sys/bus/pci/devices/$(ivshmem 2)/resource"
echo "vm-test: Linux $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
# shellcheck disable=SC2046 # a word, or none
/bin/guest "$near" $(sed -n 's/.*vm.only=\([^ ]*\).*/\1/p' /proc/cmdline)
umount /mnt
rmmod hearth_p2p || echo 'vm-test: not ok rmmod'
dmesg | sed 's/^/dmesg: /'
echo "vm-test: up $(cut -d' ' -f1 /proc/uptime) s"
poweroff -f
