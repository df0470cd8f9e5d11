/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_P2P_H
#define DS_P2P_H

#include <base/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../kmod/hearth_p2p.h"

/*
 * The user side of hearth_p2p.ko: device memory at an address of this process, on which O_DIRECT reads and writes and io_uring work, so that storage and device exchange
 * bytes without a copy in memory.
 *
 * Thread-safe, but for ending. Not after fork(): the kernel refuses a descriptor in another process, and mappings are not inherited.
 */

/**
 * struct p2p_map - registered device memory
 * @addr:  where the range that was registered begins; valid until p2p_release. When the device or the memory goes away first, touching it is SIGBUS, and I/O on it is EFAULT.
 * @bytes: as registered
 */
struct p2p_map {
	void *addr;
	size_t bytes;
	bool writable;
	int node;
	uint32_t id;
	void *map;
	size_t mapped;
};

/**
 * p2p_open - the module
 * @ret_node: a descriptor, close-on-exec; close() it when all of its maps are released
 * Return: 0, -ENOENT (not loaded), -EACCES (may not be used by this user), -EPROTO (another version), -errno.
 */
int p2p_open(int *ret_node, struct hearth_err *err);

/**
 * p2p_next - devices, one by one
 * @at: 0 first, then what the last call left
 * Return: 1, 0 (no more), -errno.
 */
int p2p_next(int node, uint32_t *at, struct hearth_p2p_device *ret);

/**
 * p2p_find - a device by its PCI address
 * @pci:   "0000:00:04.0"; the domain may be left out
 * Return: 0, -ENODEV (none of that address is provided), -EBUSY (the vendor's driver owns its pages), -EOPNOTSUPP (its driver is not there or cannot do it), -errno.
 */
int p2p_find(int node, const char *pci, struct hearth_p2p_device *ret, struct hearth_err *err);

/**
 * p2p_register - pin and map a range
 * @at:       "nvidia": a device address (allocated with CU_POINTER_ATTRIBUTE_SYNC_MEMOPS set by the caller); "ivshmem": an offset
 * @bytes:    any, at least 1
 * @writable: files may be read into it, not only written from it
 * @ret:      the caller's to release
 * Return: 0, -ERANGE (not within the device's memory), -EINVAL, -EBUSY, -EOPNOTSUPP, -ENOMEM, -errno.
 */
int p2p_register(int node, const struct hearth_p2p_device *device, uint64_t at, size_t bytes, bool writable, struct p2p_map *ret, struct hearth_err *err);

/** p2p_release - unmap, wait for I/O that uses it, unpin. @map: zeroed; one that is zero is fine. */
void p2p_release(struct p2p_map *map);

/**
 * p2p_trust - find out whether bytes sent between a file's storage and the device arrive
 * @map:   of the device, writable, a page at least; its first page is used and put back: nothing else may be using it meanwhile
 * @fd:    a regular file or a block device
 * @write: from the device into the file too
 *
 * What is known already is answered at once. Otherwise bytes are sent through a nameless file beside @fd, or, where there can be none, @fd itself is read.
 * Return: 0, -EXDEV (no way between the two), -EREMOTEIO (tried: the bytes did not arrive), -ENODATA, -EACCES (it could not be tried), -errno.
 */
int p2p_trust(const struct p2p_map *map, int fd, bool write, struct hearth_err *err);

#endif
