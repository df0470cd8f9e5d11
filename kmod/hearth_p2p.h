/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_HEARTH_P2P_H
#define _UAPI_HEARTH_P2P_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * /dev/hearth_p2p: memory of a PCI device, mapped so that ordinary O_DIRECT and io_uring carry bytes between it and storage.
 *
 * A descriptor belongs to the process that opened it: another one gets EPERM, whatever way it came by it. Objects live on the descriptor and are named by ids.
 *
 * Every command is an ioctl with a structure whose first member is its size as the caller knows it. A longer one than the kernel knows is E2BIG unless the rest is zero;
 * a shorter one than the command's first version is EINVAL; an unknown command is ENOTTY; an unknown flag is EOPNOTSUPP. On failure nothing has changed, and the
 * structure is as it was.
 */
#define HEARTH_P2P_NODE "/dev/hearth_p2p"
#define HEARTH_P2P_TYPE 0xEA
#define HEARTH_P2P_ABI 1

enum {
	HEARTH_P2P_CMD_INFO = 0x80,
	HEARTH_P2P_CMD_DEVICE,
	HEARTH_P2P_CMD_REGISTER,
	HEARTH_P2P_CMD_RELEASE,
	HEARTH_P2P_CMD_CHECK,
};

/**
 * struct hearth_p2p_info - what the module is
 * @size:  sizeof(struct hearth_p2p_info)
 * @flags: must be 0
 * @abi:   out: HEARTH_P2P_ABI
 * @zero:  out: 0
 */
struct hearth_p2p_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 zero;
};
#define HEARTH_P2P_INFO _IO(HEARTH_P2P_TYPE, HEARTH_P2P_CMD_INFO)

/* hearth_p2p_device.state */
enum {
	HEARTH_P2P_READY,
	HEARTH_P2P_OWNED,               /* the vendor's driver made pages of this memory itself: REGISTER is EBUSY */
	HEARTH_P2P_NO_DRIVER,           /* the vendor's driver is not loaded or does not offer what it takes: REGISTER is EOPNOTSUPP */
};

/**
 * struct hearth_p2p_device - the next device
 * @size:     sizeof(struct hearth_p2p_device)
 * @flags:    must be 0
 * @device:   in: look from this id on, 0 first; out: id of the device found
 * @state:    out: HEARTH_P2P_READY...
 * @granule:  out: what registering rounds to, in bytes; a power of two
 * @zero:     out: 0
 * @bytes:    out: of device memory that the bus can reach
 * @provider: out: name of what knows this kind of device
 * @pci:      out: "0000:00:04.0"
 *
 * Errors: ENOENT (no more devices).
 */
struct hearth_p2p_device {
	__u32 size;
	__u32 flags;
	__u32 device;
	__u32 state;
	__u32 granule;
	__u32 zero;
	__aligned_u64 bytes;
	char provider[16];
	char pci[24];
};
#define HEARTH_P2P_DEVICE _IO(HEARTH_P2P_TYPE, HEARTH_P2P_CMD_DEVICE)

/* hearth_p2p_register.flags, hearth_p2p_check.flags and .tested */
#define HEARTH_P2P_WRITE (1u << 0)      /* REGISTER: storage may write into it, which takes a writable mapping. CHECK: device memory to storage */
#define HEARTH_P2P_READ (1u << 1)       /* CHECK: storage to device memory */

/**
 * struct hearth_p2p_register - pin a range of device memory, to be mapped
 * @size:   sizeof(struct hearth_p2p_register)
 * @flags:  0 or HEARTH_P2P_WRITE
 * @device: id
 * @id:     out: of the object
 * @at:     where it begins: of the provider "nvidia" a device address of this process, of "ivshmem" an offset in its memory
 * @bytes:  any, at least 1
 * @offset: out: for mmap() of this descriptor, MAP_SHARED
 * @mapped: out: bytes that can be mapped there; all granules that the range touches
 * @skew:   out: where in them @at is
 *
 * The object ends with RELEASE, with the descriptor and its last mapping, with the device, or when the memory's owner frees it: mappings are emptied then, and touching
 * them is SIGBUS. A writable mapping takes a descriptor that is open for writing and HEARTH_P2P_WRITE.
 *
 * Errors: ENODEV (no such device), EINVAL (an empty range; not memory of this device), ERANGE (outside of it), EACCES (WRITE with a descriptor open for reading), EBUSY
 * (the vendor's driver has made pages of this memory), EOPNOTSUPP (the vendor's driver cannot do it), ENOSPC (too many objects), ENOMEM, others of the vendor's driver.
 */
struct hearth_p2p_register {
	__u32 size;
	__u32 flags;
	__u32 device;
	__u32 id;
	__aligned_u64 at;
	__aligned_u64 bytes;
	__aligned_u64 offset;
	__aligned_u64 mapped;
	__aligned_u64 skew;
};
#define HEARTH_P2P_REGISTER _IO(HEARTH_P2P_TYPE, HEARTH_P2P_CMD_REGISTER)

/**
 * struct hearth_p2p_release - end an object
 * @size: sizeof(struct hearth_p2p_release)
 * @id:   of the object
 *
 * Empties its mappings, then waits for I/O that still uses its pages, then unpins them. A signal interrupts the wait: the mappings stay empty, and the call can be made
 * again.
 * Errors: ENOENT (no such object), EINTR.
 */
struct hearth_p2p_release {
	__u32 size;
	__u32 id;
};
#define HEARTH_P2P_RELEASE _IO(HEARTH_P2P_TYPE, HEARTH_P2P_CMD_RELEASE)

/* hearth_p2p_check.link */
enum {
	HEARTH_P2P_LINK_UNKNOWN,        /* what is below the file is not one PCI device */
	HEARTH_P2P_LINK_SWITCH,         /* a bridge below the root complex joins the two */
	HEARTH_P2P_LINK_ROOT,           /* packets go through the root complex: it may or may not pass them on */
};

/* hearth_p2p_check.path */
#define HEARTH_P2P_PATH_IOMMU (1u << 0)         /* an IOMMU translates what the storage device sends */
#define HEARTH_P2P_PATH_ACS (1u << 1)           /* a bridge between them redirects packets to the root complex */

/**
 * struct hearth_p2p_check - may storage and device memory be trusted to reach each other?
 * @size:   sizeof(struct hearth_p2p_check)
 * @flags:  what to test, if it is not known yet: HEARTH_P2P_READ, HEARTH_P2P_WRITE; 0: only say what is known
 * @id:     of an object of the device; its first page is used and put back
 * @fd:     a file on the storage, open with O_DIRECT (not needed with @flags 0), a page long or longer
 * @link:   out: HEARTH_P2P_LINK_...
 * @path:   out: HEARTH_P2P_PATH_...
 * @tested: out: what has passed, now or earlier; kept for as long as both devices are there
 * @hops:   out: bridges between them, with @link SWITCH
 *
 * READ reads the file's first page into host memory and by DMA into the object, and compares. WRITE overwrites the file's first page from the object and reads it back: give
 * it a file of your own. Nothing of the object may be in use by others meanwhile.
 *
 * Errors: ENOENT (no such object), EBADF, EINVAL (not a file that this can be done with, not O_DIRECT), ENODATA (shorter than a page), EACCES (not open for it, or the
 * object is not writable), EXDEV (the two are behind different host bridges), EREMOTEIO (tested, and the bytes were not right), ESTALE (the object's memory has gone),
 * others of the file.
 */
struct hearth_p2p_check {
	__u32 size;
	__u32 flags;
	__u32 id;
	__s32 fd;
	__u32 link;
	__u32 path;
	__u32 tested;
	__u32 hops;
};
#define HEARTH_P2P_CHECK _IO(HEARTH_P2P_TYPE, HEARTH_P2P_CMD_CHECK)

#endif
