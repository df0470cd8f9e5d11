// SPDX-License-Identifier: GPL-2.0-only
/*
 * The other half: what the vendor's driver exports for pinning device memory, with its rules (nvidia_p2p.h). Addresses are BASE + offset in the memory of the device that
 * the driver "nvidia" is bound to, whose granules lie there in reverse order.
 *
 * Tests speak to it by writing lines to /dev/nvidia_double and reading its counts back:
 *	free ADDRESS LENGTH     the owner frees memory: calls back for each pin that it touches
 *	fail ERRNO              the next get_pages fails
 *	table WHAT              the next get_pages gives a table that is wrong: version, size, entries, foreign
 * Reading: "get N put N freed N tables N bad N": pins, pins given back, pins called back for, free_page_table calls, calls that break the rules.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "../../../../kmod/nvidia_p2p.h"

#define ND_BASE 0x7f0000000000ULL
#define ND_GRANULE 0x10000ULL

struct nd_pin {
	struct list_head link;
	u64 at, bytes;
	struct nvidia_p2p_page_table table;
	struct nvidia_p2p_page *page;
	void (*freed)(void *data);
	void *data;
	bool calling;
};

static DEFINE_MUTEX(nd_lock);
static LIST_HEAD(nd_pins);
static struct task_struct *nd_caller;   /* is being called back from here */
static int nd_fail;
static char nd_wrong[16];
static unsigned long nd_gets, nd_puts, nd_frees, nd_tables, nd_bad;

static int nd_memory(phys_addr_t *base, u64 *bytes)
{
	struct pci_dev *pdev = NULL;
	int err = -ENODEV;

	for_each_pci_dev(pdev) {
		if (err && pdev->dev.driver && !strcmp(pdev->dev.driver->name, "nvidia")) {
			*base = pci_resource_start(pdev, 2);
			*bytes = pci_resource_len(pdev, 2);
			err = 0;
		}
	}
	return err;
}

static void nd_drop(struct nd_pin *pin)
{
	kfree(pin->table.pages);
	kfree(pin->page);
	kfree(pin);
}

static struct nd_pin *nd_new(u64 at, u64 bytes, phys_addr_t base, u64 all)
{
	const u32 n = bytes / ND_GRANULE;
	struct nd_pin *pin = kzalloc(sizeof(*pin), GFP_KERNEL);
	u32 i;

	if (!pin)
		return NULL;
	pin->at = at;
	pin->bytes = bytes;
	pin->page = kcalloc(n, sizeof(*pin->page), GFP_KERNEL);
	pin->table.pages = kcalloc(n, sizeof(*pin->table.pages), GFP_KERNEL);
	if (!pin->page || !pin->table.pages) {
		nd_drop(pin);
		return NULL;
	}
	for (i = 0; i < n; i++) {
		pin->page[i].physical_address = base + all - (at - ND_BASE) - (i + 1) * ND_GRANULE;
		pin->table.pages[i] = &pin->page[i];
	}
	pin->table.version = NVIDIA_P2P_TABLE_MAJOR << 16 | NVIDIA_P2P_TABLE_MINOR;
	pin->table.page_size = NVIDIA_P2P_PAGE_64K;
	pin->table.entries = n;
	return pin;
}

static void nd_spoil(struct nd_pin *pin)
{
	if (!strcmp(nd_wrong, "version"))
		pin->table.version += 1 << 16;
	else if (!strcmp(nd_wrong, "size"))
		pin->table.page_size = 0;
	else if (!strcmp(nd_wrong, "entries"))
		pin->table.entries--;
	else if (!strcmp(nd_wrong, "foreign"))
		pin->page[pin->table.entries - 1].physical_address = 0x100000;
	nd_wrong[0] = '\0';
}

int nvidia_p2p_get_pages(u64 token, u32 space, u64 address, u64 length, struct nvidia_p2p_page_table **table, void (*freed)(void *data), void *data)
{
	phys_addr_t base;
	struct nd_pin *pin;
	u64 all;
	int err;

	if (token || space || !freed || (address | length) & (ND_GRANULE - 1) || !length) {
		nd_bad++;
		return -EINVAL;
	}
	mutex_lock(&nd_lock);
	err = nd_memory(&base, &all);
	if (!err && nd_fail)
		err = nd_fail;
	nd_fail = 0;
	if (!err && (address < ND_BASE || address - ND_BASE > all || length > all - (address - ND_BASE)))
		err = -EINVAL;
	if (err)
		goto unlock;
	pin = nd_new(address, length, base, all);
	err = pin ? 0 : -ENOMEM;
	if (err)
		goto unlock;
	nd_spoil(pin);
	pin->freed = freed;
	pin->data = data;
	list_add(&pin->link, &nd_pins);
	*table = &pin->table;
	nd_gets++;
unlock:
	mutex_unlock(&nd_lock);
	return err;
}
EXPORT_SYMBOL_GPL(nvidia_p2p_get_pages);

int nvidia_p2p_put_pages(u64 token, u32 space, u64 address, struct nvidia_p2p_page_table *table)
{
	struct nd_pin *pin, *next;

	if (READ_ONCE(nd_caller) == current) {	/* from the callback: would wait for itself */
		nd_bad++;
		return -EINVAL;
	}
	mutex_lock(&nd_lock);
	list_for_each_entry_safe(pin, next, &nd_pins, link) {
		if (&pin->table != table)
			continue;
		if (pin->at != address)
			nd_bad++;
		list_del(&pin->link);
		nd_drop(pin);
		nd_puts++;
		break;
	}
	/* one that is gone was called back for at the same time: fine */
	mutex_unlock(&nd_lock);
	return 0;
}
EXPORT_SYMBOL_GPL(nvidia_p2p_put_pages);

int nvidia_p2p_free_page_table(struct nvidia_p2p_page_table *table)
{
	if (READ_ONCE(nd_caller) != current || !container_of(table, struct nd_pin, table)->calling)
		nd_bad++;
	nd_tables++;
	return 0;
}
EXPORT_SYMBOL_GPL(nvidia_p2p_free_page_table);

static void nd_free(u64 at, u64 bytes)
{
	struct nd_pin *pin, *next;

	mutex_lock(&nd_lock);
	list_for_each_entry_safe(pin, next, &nd_pins, link) {
		if (at >= pin->at + pin->bytes || pin->at >= at + bytes)
			continue;
		list_del(&pin->link);
		WRITE_ONCE(nd_caller, current);
		pin->calling = true;
		pin->freed(pin->data);
		WRITE_ONCE(nd_caller, NULL);
		nd_frees++;
		nd_drop(pin);
	}
	mutex_unlock(&nd_lock);
}

static ssize_t nd_write(struct file *file, const char __user *user, size_t n, loff_t *off)
{
	char line[64] = "";
	unsigned long long at, bytes;
	int err;

	if (n >= sizeof(line) || copy_from_user(line, user, n))
		return -EINVAL;
	if (sscanf(line, "free %llx %llx", &at, &bytes) == 2) {
		nd_free(at, bytes);
		return n;
	}
	mutex_lock(&nd_lock);
	if (sscanf(line, "fail %d", &err) == 1)
		nd_fail = -err;
	else if (sscanf(line, "table %15s", nd_wrong) != 1)
		n = -EINVAL;
	mutex_unlock(&nd_lock);
	return n;
}

static ssize_t nd_read(struct file *file, char __user *user, size_t n, loff_t *off)
{
	char line[128];
	int m;

	mutex_lock(&nd_lock);
	m = scnprintf(line, sizeof(line), "get %lu put %lu freed %lu tables %lu bad %lu\n", nd_gets, nd_puts, nd_frees, nd_tables, nd_bad);
	mutex_unlock(&nd_lock);
	return simple_read_from_buffer(user, n, off, line, m);
}

static const struct file_operations nd_fops = { .owner = THIS_MODULE, .read = nd_read, .write = nd_write };
static struct miscdevice nd_misc = { .minor = MISC_DYNAMIC_MINOR, .name = "nvidia_double", .fops = &nd_fops };

static int __init nd_init(void)
{
	return misc_register(&nd_misc);
}

static void __exit nd_exit(void)
{
	misc_deregister(&nd_misc);
}

module_init(nd_init);
module_exit(nd_exit);
MODULE_DESCRIPTION("Test double of a GPU driver's P2P interface");
MODULE_LICENSE("GPL");
