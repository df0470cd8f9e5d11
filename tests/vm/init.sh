#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# The guest's initramfs: loads what the disks need, puts them together and hands over to systemd.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" || echo "initramfs: cannot load $module"; done </modules/order
tries=0
while [ ! -b /dev/vdc ] && [ $tries -lt 100 ]; do usleep 100000; tries=$((tries + 1)); done
if ! { mount -t ext4 /dev/vda /root && mount -t ext4 /dev/vdb /root/usr/local && mount -t ext4 -o ro /dev/vdc /root/usr/lib/modules; }; then
	echo 'initramfs: cannot mount the disks'
	poweroff -f
fi
exec switch_root /root /sbin/init
