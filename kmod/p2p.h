/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HP_P2P_H
#define HP_P2P_H

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/memremap.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "hearth_p2p.h"

/* GENERIC pages are in the kernel's own mapping as cached memory; on x86-64 the MTRRs make that harmless */
#ifndef CONFIG_X86_64
#error "hearth_p2p is for x86-64"
#endif

/*
 * hp_ctx     an open descriptor; owns an address space of its own, so that zapping it touches nobody else's mappings
 * hp_object  a pinned range; on its context's table by id, and on its device's list
 * hp_device  a PCI device whose memory a provider can pin; owns the struct pages of its BAR from the first REGISTER on
 *
 * Locks, outer first: mmap_lock, hp_object.gate, i_mmap_rwsem. hp_device.lock is taken under none of them, and nothing of the vendor's driver is called under it.
 */

struct hp_device;
struct hp_pin;

/*
 * struct hp_provider - what knows a kind of device
 * @granule:   what it pins in, in bytes; a power of two, at least a page
 * @match:     is this one of its devices?
 * @bar_range: where its memory is on the bus
 * @state:     HEARTH_P2P_READY or why not
 * @pin:       fills in @pin->granule. From its return until unpin, or until revoke was called and has returned, the memory stays where it is.
 * @unpin:     the other end of it; also when revoke has been called. When it returns, revoke is not running and is not called any more.
 */
struct hp_provider {
	const char *name;
	u32 granule;
	bool (*match)(struct pci_dev *pdev);
	int (*bar_range)(struct pci_dev *pdev, phys_addr_t *ret_base, u64 *ret_bytes);
	u32 (*state)(struct hp_device *dev);
	int (*pin)(struct hp_device *dev, struct hp_pin *pin);
	void (*unpin)(struct hp_device *dev, struct hp_pin *pin);
};

/*
 * struct hp_pin - a range of memory, from a provider
 * @at, @bytes: of the range, whole granules; provider's addresses
 * @granule:    bus address of each granule
 * @revoke:     for the provider to call when the memory goes away under it; when it returns, nothing uses the memory. May sleep.
 * @priv:       the provider's
 */
struct hp_pin {
	u64 at;
	u64 bytes;
	unsigned long n;
	phys_addr_t *granule;
	void (*revoke)(struct hp_pin *pin);
	void *priv;
};

struct hp_device {
	struct kref ref;
	struct pci_dev *pdev;
	const struct hp_provider *provider;
	u32 id;
	phys_addr_t base;
	u64 bytes;

	struct mutex lock;              /* all below */
	bool gone;
	bool mapped;                    /* pgmap is in use */
	struct dev_pagemap pgmap;
	u32 *owners;                    /* of each granule: objects that have it pinned and are not retired */
	struct list_head objects;
	struct xarray tested;           /* by the disk's sequence number: what passed */
};

struct hp_object {
	struct kref ref;
	struct hp_device *dev;          /* a reference */
	struct inode *inode;            /* a reference; of its context */
	u32 id;
	u32 flags;
	struct hp_pin pin;

	struct rw_semaphore gate;       /* @live: held for reading while PTEs are inserted */
	bool live;
	atomic_t users;                 /* of its pages in this module, and 1 while live */

	struct mutex end;               /* @pinned */
	bool pinned;
	bool retired;                   /* not counted in owners any more; hp_device.lock, as the next */
	struct list_head on_device;
	struct delayed_work reap;
};

struct hp_ctx {
	struct mm_struct *mm;           /* of the process that opened it; only compared */
	struct inode *inode;
	struct xarray objects;
	u32 next;                       /* id to try */
};

/* struct fd is a number since 6.12 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define hp_fd_file(f) fd_file(f)
#else
#define hp_fd_file(f) ((f).file)
#endif

/* Objects of a context are mapped at their id times this. */
#define HP_OBJECT_SHIFT 40
#define HP_OBJECTS_MAX 65535

/* device.c */
int hp_device_add(struct pci_dev *pdev, const struct hp_provider *provider);
void hp_device_del(struct pci_dev *pdev);
void hp_devices_del(const struct hp_provider *provider);
struct hp_device *hp_device_get(u32 id);
struct hp_device *hp_device_next(u32 from);
void hp_device_put(struct hp_device *dev);
u32 hp_device_state(struct hp_device *dev);
int hp_device_attach(struct hp_device *dev, struct hp_object *obj);
void hp_device_retire(struct hp_device *dev, struct hp_object *obj);
bool hp_device_quiet(struct hp_device *dev, struct hp_object *obj);
void hp_device_detach(struct hp_device *dev, struct hp_object *obj);

/* object.c */
int hp_objects_init(void);
void hp_objects_done(void);
struct hp_object *hp_object_new(struct hp_ctx *ctx, struct hp_device *dev, u64 at, u64 bytes, u32 flags);
struct hp_object *hp_object_get(struct hp_ctx *ctx, u32 id);
void hp_object_put(struct hp_object *obj);
bool hp_object_use(struct hp_object *obj);
void hp_object_unuse(struct hp_object *obj);
void hp_object_revoke(struct hp_object *obj);
int hp_object_drain(struct hp_object *obj, bool interruptible);
void hp_object_end(struct hp_object *obj);
void hp_object_abandon(struct hp_object *obj);
struct page *hp_object_page(struct hp_object *obj, unsigned long index);

/* map.c */
int hp_map(struct hp_ctx *ctx, struct vm_area_struct *vma);

/* check.c */
int hp_check(struct hp_object *obj, struct file *file, struct hearth_p2p_check *cmd);

/* ivshmem.c, nvidia.c */
int hp_ivshmem_init(void);
void hp_ivshmem_done(void);
int hp_nvidia_init(void);
void hp_nvidia_done(void);

#endif
