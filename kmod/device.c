// SPDX-License-Identifier: GPL-2.0-only
/* Devices: the struct pages of their memory, who has which of them pinned, coming and going. */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "p2p.h"

static DEFINE_XARRAY_FLAGS(hp_devices, XA_FLAGS_ALLOC1);
static DEFINE_MUTEX(hp_adding);

static void hp_device_free(struct kref *ref)
{
	struct hp_device *dev = container_of(ref, struct hp_device, ref);

	xa_destroy(&dev->tested);
	pci_dev_put(dev->pdev);
	kfree(dev);
}

void hp_device_put(struct hp_device *dev)
{
	kref_put(&dev->ref, hp_device_free);
}

struct hp_device *hp_device_get(u32 id)
{
	struct hp_device *dev;

	xa_lock(&hp_devices);
	dev = xa_load(&hp_devices, id);
	if (dev)
		kref_get(&dev->ref);
	xa_unlock(&hp_devices);
	return dev;
}

struct hp_device *hp_device_next(u32 from)
{
	struct hp_device *dev;
	unsigned long id = from;

	/* the table has a reference to all that is in it */
	xa_lock(&hp_devices);
	dev = xa_find(&hp_devices, &id, U32_MAX, XA_PRESENT);
	if (dev)
		kref_get(&dev->ref);
	xa_unlock(&hp_devices);
	return dev;
}

static struct hp_device *hp_device_of(struct pci_dev *pdev)
{
	struct hp_device *dev;
	unsigned long id;

	xa_for_each(&hp_devices, id, dev)
		if (dev->pdev == pdev)
			return dev;
	return NULL;
}

static bool hp_device_has(struct hp_device *dev, phys_addr_t at, u64 bytes)
{
	return at >= dev->base && bytes <= dev->bytes && at - dev->base <= dev->bytes - bytes;
}

static u64 hp_granules(struct hp_device *dev)
{
	return dev->bytes / dev->provider->granule;
}

static u64 hp_granule(struct hp_device *dev, phys_addr_t at)
{
	return (at - dev->base) / dev->provider->granule;
}

static struct hp_device *hp_device_new(struct pci_dev *pdev, const struct hp_provider *provider)
{
	struct hp_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	kref_init(&dev->ref);
	mutex_init(&dev->lock);
	INIT_LIST_HEAD(&dev->objects);
	xa_init(&dev->tested);
	dev->pdev = pci_dev_get(pdev);
	dev->provider = provider;
	return dev;
}

static int hp_device_init(struct hp_device *dev)
{
	const int err = dev->provider->bar_range(dev->pdev, &dev->base, &dev->bytes);

	if (err)
		return err;
	/* memory is added in subsections, which BARs are aligned to where they are not smaller */
	if (!dev->bytes || !IS_ALIGNED(dev->base | dev->bytes, SUBSECTION_SIZE)) {
		pci_err(dev->pdev, "hearth_p2p: %llu bytes of memory: not a multiple of %lu\n", dev->bytes, SUBSECTION_SIZE);
		return -EINVAL;
	}
	return xa_alloc(&hp_devices, &dev->id, dev, xa_limit_31b, GFP_KERNEL);
}

/*
 * hp_device_add - a device, if it is one of the provider's
 * Nothing of its memory is touched before the first REGISTER: its struct pages cost 1/64 of it.
 * Return: 0, -ENODEV (not the provider's), -EEXIST (there already), -EINVAL, -ENOMEM.
 */
int hp_device_add(struct pci_dev *pdev, const struct hp_provider *provider)
{
	struct hp_device *dev;
	int err = 0;

	if (!provider->match(pdev))
		return -ENODEV;
	mutex_lock(&hp_adding);
	if (hp_device_of(pdev)) {
		err = -EEXIST;
		goto unlock;
	}
	dev = hp_device_new(pdev, provider);
	err = dev ? hp_device_init(dev) : -ENOMEM;
	if (err && dev)
		hp_device_put(dev);
unlock:
	mutex_unlock(&hp_adding);
	if (!err)
		pci_info(pdev, "hearth_p2p: %s, %llu MiB\n", provider->name, dev->bytes >> 20);
	return err;
}

static void hp_device_unmap(struct hp_device *dev)
{
	if (!dev->mapped)
		return;
	memunmap_pages(&dev->pgmap);
	kvfree(dev->owners);
	dev->mapped = false;
}

/* hp_device_end - end all objects of a device that nobody finds any more */
static void hp_device_end(struct hp_device *dev)
{
	struct hp_object *obj;

	mutex_lock(&dev->lock);
	dev->gone = true;
	while ((obj = list_first_entry_or_null(&dev->objects, struct hp_object, on_device))) {
		/* on the list it has a reference, which is dropped under this lock */
		kref_get(&obj->ref);
		mutex_unlock(&dev->lock);
		hp_object_revoke(obj);
		hp_object_drain(obj, false);
		hp_object_end(obj);
		hp_object_put(obj);
		mutex_lock(&dev->lock);
	}
	hp_device_unmap(dev);
	mutex_unlock(&dev->lock);
}

/*
 * hp_device_del - the device goes away, if it was added
 * Empties all mappings of its memory and waits for the last I/O that uses it.
 */
void hp_device_del(struct pci_dev *pdev)
{
	struct hp_device *dev;

	mutex_lock(&hp_adding);
	dev = hp_device_of(pdev);
	if (dev)
		xa_erase(&hp_devices, dev->id);
	mutex_unlock(&hp_adding);
	if (!dev)
		return;
	hp_device_end(dev);
	hp_device_put(dev);
}

/* hp_devices_del - the same for all of a provider */
void hp_devices_del(const struct hp_provider *provider)
{
	struct hp_device *dev;
	unsigned long id;

	xa_for_each(&hp_devices, id, dev)
		if (dev->provider == provider)
			hp_device_del(dev->pdev);
}

/* --- struct pages --- */

/* hp_owned - has somebody else, the vendor's driver, made struct pages of this memory? */
static bool hp_owned(struct hp_device *dev)
{
	const phys_addr_t at[] = { dev->base, dev->base + dev->bytes / 2, dev->base + dev->bytes - PAGE_SIZE };
	struct dev_pagemap *pgmap;
	int i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
		pgmap = get_dev_pagemap(PHYS_PFN(at[i]));
#else
		pgmap = get_dev_pagemap(PHYS_PFN(at[i]), NULL);
#endif
		if (pgmap)
			put_dev_pagemap(pgmap);
		if (pgmap && pgmap != &dev->pgmap)
			return true;
	}
	return false;
}

u32 hp_device_state(struct hp_device *dev)
{
	return hp_owned(dev) ? HEARTH_P2P_OWNED : dev->provider->state(dev);
}

static int hp_device_map(struct hp_device *dev)
{
	void *at;

	if (dev->mapped)
		return 0;
	if (hp_owned(dev)) {
		pci_err(dev->pdev, "hearth_p2p: its driver has made pages of its memory (P2PDMA): not touched\n");
		return -EBUSY;
	}
	dev->owners = kvcalloc(hp_granules(dev), sizeof(*dev->owners), GFP_KERNEL);
	if (!dev->owners)
		return -ENOMEM;
	/* GENERIC: one reference each from the beginning, which is ours, and none of P2PDMA's demands on the kernel's configuration */
	memset(&dev->pgmap, 0, sizeof(dev->pgmap));
	dev->pgmap.type = MEMORY_DEVICE_GENERIC;
	dev->pgmap.range.start = dev->base;
	dev->pgmap.range.end = dev->base + dev->bytes - 1;
	dev->pgmap.nr_range = 1;
	at = memremap_pages(&dev->pgmap, dev_to_node(&dev->pdev->dev));
	if (IS_ERR(at)) {
		kvfree(dev->owners);
		pci_err(dev->pdev, "hearth_p2p: no struct pages for its memory: %ld\n", PTR_ERR(at));
		return PTR_ERR(at);
	}
	dev->mapped = true;
	return 0;
}

/* --- objects --- */

/*
 * hp_device_attach - a pinned object joins: its granules are of this device, and are counted
 * Return: 0, -ENODEV (going away), -ESTALE (revoked meanwhile), -ERANGE (the provider gave memory that is not in the BAR), -EBUSY and -ENOMEM of making struct pages.
 */
int hp_device_attach(struct hp_device *dev, struct hp_object *obj)
{
	const u32 granule = dev->provider->granule;
	unsigned long i;
	int err;

	for (i = 0; i < obj->pin.n; i++)
		if (!hp_device_has(dev, obj->pin.granule[i], granule) || !IS_ALIGNED(obj->pin.granule[i], granule))
			return -ERANGE;
	mutex_lock(&dev->lock);
	err = dev->gone ? -ENODEV : obj->retired ? -ESTALE : hp_device_map(dev);
	if (err)
		goto unlock;
	for (i = 0; i < obj->pin.n; i++)
		dev->owners[hp_granule(dev, obj->pin.granule[i])]++;
	kref_get(&obj->ref);
	list_add_tail(&obj->on_device, &dev->objects);
unlock:
	mutex_unlock(&dev->lock);
	return err;
}

/*
 * hp_device_retire - an object does not count any more as one that has its granules pinned
 * I/O that came through it may go on in granules that another object has pinned as well: that one waits for it.
 */
void hp_device_retire(struct hp_device *dev, struct hp_object *obj)
{
	unsigned long i;

	mutex_lock(&dev->lock);
	if (!obj->retired && !list_empty(&obj->on_device))
		for (i = 0; i < obj->pin.n; i++)
			dev->owners[hp_granule(dev, obj->pin.granule[i])]--;
	obj->retired = true;
	mutex_unlock(&dev->lock);
}

static bool hp_granule_quiet(struct hp_device *dev, phys_addr_t at)
{
	unsigned long pfn = PHYS_PFN(at);
	const unsigned long end = pfn + dev->provider->granule / PAGE_SIZE;

	for (; pfn < end; pfn++)
		if (page_ref_count(pfn_to_page(pfn)) != 1)
			return false;
	return true;
}

/* hp_device_quiet - does nothing use a retired object's pages, but those that others have pinned? */
bool hp_device_quiet(struct hp_device *dev, struct hp_object *obj)
{
	unsigned long i;
	bool quiet = true;

	mutex_lock(&dev->lock);
	if (!list_empty(&obj->on_device))
		for (i = 0; quiet && i < obj->pin.n; i++)
			quiet = dev->owners[hp_granule(dev, obj->pin.granule[i])] || hp_granule_quiet(dev, obj->pin.granule[i]);
	mutex_unlock(&dev->lock);
	return quiet;
}

/* hp_device_detach - an unpinned object leaves; its pages may go after this */
void hp_device_detach(struct hp_device *dev, struct hp_object *obj)
{
	mutex_lock(&dev->lock);
	list_del_init(&obj->on_device);
	mutex_unlock(&dev->lock);
	hp_object_put(obj);
}
