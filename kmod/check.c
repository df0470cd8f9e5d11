// SPDX-License-Identifier: GPL-2.0-only
/*
 * May two devices be trusted to reach each other? What the bridges between them say, and, because that does not settle it (a root complex may drop packets between its
 * ports, and tells nobody), whether bytes that are sent arrive.
 */
#include <linux/blkdev.h>
#include <linux/iommu.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/uio.h>

#include "p2p.h"

/* --- what is below a file --- */

static struct block_device *hp_disk_of(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (S_ISBLK(inode->i_mode))
		return I_BDEV(file->f_mapping->host);
	return S_ISREG(inode->i_mode) ? inode->i_sb->s_bdev : NULL;
}

/*
 * hp_pci_of - the PCI device that a disk is of; NULL where there is none, or it is several (device mapper, md, network)
 * The disk is open, and what its driver's open holds (NVMe: the controller, which holds the PCI device) keeps its parents.
 */
static struct pci_dev *hp_pci_of(struct block_device *disk)
{
	struct device *dev;

	for (dev = disk ? disk_to_dev(disk->bd_disk)->parent : NULL; dev; dev = dev->parent)
		if (dev_is_pci(dev))
			return to_pci_dev(dev);
	return NULL;
}

/* --- what is between two devices --- */

/* hp_redirects - does a port send packets between the devices below it to the root complex first? */
static bool hp_redirects(struct pci_dev *bridge)
{
	const int pos = pci_find_ext_capability(bridge, PCI_EXT_CAP_ID_ACS);
	u16 ctrl = 0;

	if (pos)
		pci_read_config_word(bridge, pos + PCI_ACS_CTRL, &ctrl);
	return ctrl & (PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_EC);
}

/* hp_climb - count the bridges from a device up to one, and look at them */
static u32 hp_climb(struct pci_dev *from, struct pci_dev *to, u32 *path)
{
	struct pci_dev *bridge;
	u32 hops = 0;

	for (bridge = pci_upstream_bridge(from); bridge != to; bridge = pci_upstream_bridge(bridge)) {
		if (hp_redirects(bridge))
			*path |= HEARTH_P2P_PATH_ACS;
		hops++;
	}
	return hops;
}

static struct pci_dev *hp_common_bridge(struct pci_dev *a, struct pci_dev *b)
{
	struct pci_dev *up, *other;

	for (up = pci_upstream_bridge(a); up; up = pci_upstream_bridge(up))
		for (other = pci_upstream_bridge(b); other; other = pci_upstream_bridge(other))
			if (up == other)
				return up;
	return NULL;
}

static int hp_topology(struct pci_dev *memory, struct pci_dev *storage, struct hearth_p2p_check *ret)
{
	struct iommu_domain *domain;
	struct pci_dev *common;

	if (pci_find_host_bridge(memory->bus) != pci_find_host_bridge(storage->bus))
		return -EXDEV;
	common = hp_common_bridge(memory, storage);
	if (common)
		ret->hops = hp_climb(memory, common, &ret->path) + hp_climb(storage, common, &ret->path) + 1;
	ret->link = common && !(ret->path & HEARTH_P2P_PATH_ACS) ? HEARTH_P2P_LINK_SWITCH : HEARTH_P2P_LINK_ROOT;
	domain = iommu_get_domain_for_dev(&storage->dev);
	if (domain && (domain->type & __IOMMU_DOMAIN_PAGING))
		ret->path |= HEARTH_P2P_PATH_IOMMU;
	return 0;
}

/* --- sending bytes --- */

struct hp_test {
	struct file *file;
	struct page *device;            /* the object's first */
	void __iomem *at;               /* the same, for the processor */
	struct page *host;
	u8 *mem;                        /* the same */
	u8 *keep;                       /* what was in the device's page */
};

static ssize_t hp_write(struct file *file, struct iov_iter *iter, loff_t *at)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	return vfs_iter_write(file, iter, at, 0);
#else
	ssize_t n;

	file_start_write(file);
	n = vfs_iter_write(file, iter, at, 0);
	file_end_write(file);
	return n;
#endif
}

/* hp_io - the file's first page, to or from a page */
static int hp_io(struct file *file, struct page *page, bool write)
{
	struct bio_vec vec = { .bv_page = page, .bv_len = PAGE_SIZE };
	struct iov_iter iter;
	loff_t at = 0;
	ssize_t n;

	iov_iter_bvec(&iter, write ? WRITE : READ, &vec, 1, PAGE_SIZE);
	n = write ? hp_write(file, &iter, &at) : vfs_iter_read(file, &iter, &at, 0);
	return n < 0 ? n : n == PAGE_SIZE ? 0 : -ENODATA;
}

static bool hp_same(struct hp_test *t, u8 *scratch)
{
	memcpy_fromio(scratch, t->at, PAGE_SIZE);
	return !memcmp(scratch, t->mem, PAGE_SIZE);
}

/* The device's page holds the complement of what is to come, so that nothing that stays away is taken for it. */
static int hp_test_read(struct hp_test *t, u8 *scratch)
{
	int err = hp_io(t->file, t->host, false);
	int i;

	if (err)
		return err;
	for (i = 0; i < PAGE_SIZE; i++)
		scratch[i] = ~t->mem[i];
	memcpy_toio(t->at, scratch, PAGE_SIZE);
	(void)ioread8(t->at);
	err = hp_io(t->file, t->device, false);
	if (err)
		return err;
	return hp_same(t, scratch) ? 0 : -EREMOTEIO;
}

static int hp_test_write(struct hp_test *t, u8 *scratch)
{
	int err;

	get_random_bytes(scratch, PAGE_SIZE);
	memcpy_toio(t->at, scratch, PAGE_SIZE);
	(void)ioread8(t->at);
	err = hp_io(t->file, t->device, true);
	if (!err)
		err = hp_io(t->file, t->host, false);
	if (err)
		return err;
	return memcmp(scratch, t->mem, PAGE_SIZE) ? -EREMOTEIO : 0;
}

static int hp_test_run(struct hp_test *t, u32 what)
{
	u8 *scratch = kmalloc(PAGE_SIZE, GFP_KERNEL);
	int err = 0;

	if (!scratch)
		return -ENOMEM;
	memcpy_fromio(t->keep, t->at, PAGE_SIZE);
	if (what & HEARTH_P2P_READ)
		err = hp_test_read(t, scratch);
	if (!err && (what & HEARTH_P2P_WRITE))
		err = hp_test_write(t, scratch);
	memcpy_toio(t->at, t->keep, PAGE_SIZE);
	kfree(scratch);
	/* a device that does not answer fails the I/O, a path that drops packets does not: to the caller both are the same */
	return err == -EIO ? -EREMOTEIO : err;
}

static int hp_test(struct hp_object *obj, struct file *file, u32 what)
{
	struct hp_test t = { .file = file, .device = hp_object_page(obj, 0) };
	int err = -ENOMEM;

	t.host = alloc_page(GFP_KERNEL);
	t.keep = kmalloc(PAGE_SIZE, GFP_KERNEL);
	t.at = ioremap_wc(page_to_phys(t.device), PAGE_SIZE);
	if (t.host && t.keep && t.at) {
		t.mem = page_address(t.host);
		err = hp_test_run(&t, what);
	}
	if (t.at)
		iounmap(t.at);
	kfree(t.keep);
	if (t.host)
		__free_page(t.host);
	return err;
}

/* --- both --- */

static int hp_can_test(struct hp_object *obj, struct file *file, u32 what)
{
	if (!S_ISREG(file_inode(file)->i_mode) && !S_ISBLK(file_inode(file)->i_mode))
		return -EINVAL;
	if (!what)
		return 0;
	if (!(file->f_flags & O_DIRECT) || !(file->f_mode & FMODE_CAN_READ))
		return -EINVAL;
	if (!(file->f_mode & FMODE_READ) || ((what & HEARTH_P2P_WRITE) && !(file->f_mode & FMODE_WRITE)))
		return -EACCES;
	/* the test writes into the object */
	if (!(obj->flags & HEARTH_P2P_WRITE))
		return -EACCES;
	return i_size_read(file->f_mapping->host) < PAGE_SIZE ? -ENODATA : 0;
}

/* What passed is kept by the disk's number, which no other disk gets, for as long as the device is there. Of files without a disk nothing is kept. */
static u32 hp_known(struct hp_device *dev, struct block_device *disk)
{
	void *entry = disk ? xa_load(&dev->tested, disk->bd_disk->diskseq) : NULL;

	return entry ? xa_to_value(entry) : 0;
}

static void hp_learn(struct hp_device *dev, struct block_device *disk, u32 what)
{
	mutex_lock(&dev->lock);
	/* without memory for it, it is tested again */
	if (disk)
		xa_store(&dev->tested, disk->bd_disk->diskseq, xa_mk_value(hp_known(dev, disk) | what), GFP_KERNEL);
	mutex_unlock(&dev->lock);
}

/* hp_check_used - the same, of an object that stays live meanwhile */
static int hp_check_used(struct hp_object *obj, struct file *file, struct hearth_p2p_check *cmd)
{
	struct block_device *disk = hp_disk_of(file);
	struct pci_dev *pci = hp_pci_of(disk);
	u32 missing;
	int err = 0;

	cmd->link = HEARTH_P2P_LINK_UNKNOWN;
	cmd->path = 0;
	cmd->hops = 0;
	if (pci)
		err = hp_topology(obj->dev->pdev, pci, cmd);
	if (err)
		return err;
	cmd->tested = hp_known(obj->dev, disk);
	missing = cmd->flags & ~cmd->tested;
	if (!missing)
		return 0;
	err = hp_can_test(obj, file, missing);
	if (!err)
		err = hp_test(obj, file, missing);
	if (err)
		return err;
	hp_learn(obj->dev, disk, missing);
	cmd->tested |= missing;
	return 0;
}

int hp_check(struct hp_object *obj, struct file *file, struct hearth_p2p_check *cmd)
{
	int err = hp_can_test(obj, file, 0);

	if (err)
		return err;
	if (!hp_object_use(obj))
		return -ESTALE;
	err = hp_check_used(obj, file, cmd);
	hp_object_unuse(obj);
	return err;
}
