// SPDX-License-Identifier: GPL-2.0-only
/*
 * Provider "nvidia": device addresses of the calling process, pinned by the vendor's driver.
 *
 * The driver calls back when memory is freed while it is pinned. That call and unpin may come at the same time, and each must happen once: whoever takes the pin's token
 * out of the table of tokens does it, and unpin then waits for a call that has begun.
 */
#include <linux/completion.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "nvidia_p2p.h"
#include "p2p.h"

#define NV_DRIVER "nvidia"

struct nv_api {
	typeof(nvidia_p2p_get_pages) *get_pages;
	typeof(nvidia_p2p_put_pages) *put_pages;
	typeof(nvidia_p2p_free_page_table) *free_page_table;
};

struct nv_pin {
	u32 token;
	struct hp_pin *pin;
	struct nvidia_p2p_page_table *table;
	struct nv_api api;
	struct mutex lock;              /* @lost, and reading the table */
	bool lost;
	struct completion done;         /* the driver's call has returned */
};

static DEFINE_XARRAY_FLAGS(nv_tokens, XA_FLAGS_ALLOC1);
static u32 nv_next;

/* --- the driver's functions: each found one keeps its module --- */

static void nv_api_put(struct nv_api *api)
{
	if (api->get_pages)
		symbol_put(nvidia_p2p_get_pages);
	if (api->put_pages)
		symbol_put(nvidia_p2p_put_pages);
	if (api->free_page_table)
		symbol_put(nvidia_p2p_free_page_table);
}

/* Only what is exported to GPL modules is found: the vendor's open driver is. */
static int nv_api_get(struct nv_api *api)
{
	api->get_pages = symbol_get(nvidia_p2p_get_pages);
	api->put_pages = symbol_get(nvidia_p2p_put_pages);
	api->free_page_table = symbol_get(nvidia_p2p_free_page_table);
	if (api->get_pages && api->put_pages && api->free_page_table)
		return 0;
	nv_api_put(api);
	return -EOPNOTSUPP;
}

static u32 nv_state(struct hp_device *dev)
{
	struct nv_api api;

	if (nv_api_get(&api))
		return HEARTH_P2P_NO_DRIVER;
	nv_api_put(&api);
	return HEARTH_P2P_READY;
}

/* --- pins --- */

static void nv_freed(void *data)
{
	struct nv_pin *nv = xa_erase(&nv_tokens, (unsigned long)data);

	if (!nv)
		return;	/* being unpinned: nothing uses it, and put_pages finds it gone */
	mutex_lock(&nv->lock);
	nv->lost = true;
	mutex_unlock(&nv->lock);
	nv->pin->revoke(nv->pin);
	nv->api.free_page_table(nv->table);
	complete(&nv->done);
}

static void nv_unpin(struct hp_device *dev, struct hp_pin *pin)
{
	struct nv_pin *nv = pin->priv;

	if (xa_erase(&nv_tokens, nv->token) == nv) {
		if (nv->api.put_pages(0, 0, pin->at, nv->table))
			pci_err(dev->pdev, "hearth_p2p: the driver did not take back %llu bytes at %#llx\n", pin->bytes, pin->at);
	} else {
		wait_for_completion(&nv->done);
	}
	nv_api_put(&nv->api);
	kfree(nv);
}

/* nv_read_table - what the driver gave, if it is what was asked for and still there. Where its pages lie is checked by who takes them. */
static int nv_read_table(struct nv_pin *nv, struct hp_pin *pin)
{
	unsigned long i;
	int err = 0;

	mutex_lock(&nv->lock);
	if (nv->lost)
		err = -ESTALE;
	else if (nv->table->version >> 16 != NVIDIA_P2P_TABLE_MAJOR || (nv->table->version & 0xffff) < NVIDIA_P2P_TABLE_MINOR)
		err = -EOPNOTSUPP;
	else if (nv->table->page_size != NVIDIA_P2P_PAGE_64K)
		err = -EOPNOTSUPP;
	else if (nv->table->entries != pin->n)
		err = -ERANGE;
	for (i = 0; !err && i < pin->n; i++)
		pin->granule[i] = nv->table->pages[i]->physical_address;
	mutex_unlock(&nv->lock);
	return err;
}

static int nv_pin(struct hp_device *dev, struct hp_pin *pin)
{
	struct nv_pin *nv = kzalloc(sizeof(*nv), GFP_KERNEL_ACCOUNT);
	int err;

	if (!nv)
		return -ENOMEM;
	nv->pin = pin;
	mutex_init(&nv->lock);
	init_completion(&nv->done);
	err = nv_api_get(&nv->api);
	if (err)
		goto free;
	/* cyclic: a late call with an old token finds nothing */
	err = xa_alloc_cyclic(&nv_tokens, &nv->token, nv, xa_limit_31b, &nv_next, GFP_KERNEL_ACCOUNT);
	if (err < 0)
		goto api;
	err = nv->api.get_pages(0, 0, pin->at, pin->bytes, &nv->table, nv_freed, (void *)(unsigned long)nv->token);
	if (err) {
		err = err == -ENOTSUPP ? -EOPNOTSUPP : err;	/* which is not for user space */
		goto token;
	}
	pin->priv = nv;
	err = nv_read_table(nv, pin);
	if (err)
		nv_unpin(dev, pin);
	return err;
token:
	xa_erase(&nv_tokens, nv->token);
api:
	nv_api_put(&nv->api);
free:
	kfree(nv);
	return err;
}

/* --- devices: those that the vendor's driver is bound to --- */

static bool nv_match(struct pci_dev *pdev)
{
	return pdev->dev.driver && !strcmp(pdev->dev.driver->name, NV_DRIVER);
}

/* Device memory is behind the largest BAR. */
static int nv_bar_range(struct pci_dev *pdev, phys_addr_t *ret_base, u64 *ret_bytes)
{
	int bar, largest = 0;

	for (bar = 1; bar < PCI_STD_NUM_BARS; bar++)
		if (pci_resource_len(pdev, bar) > pci_resource_len(pdev, largest))
			largest = bar;
	if (!(pci_resource_flags(pdev, largest) & IORESOURCE_MEM))
		return -ENODEV;
	*ret_base = pci_resource_start(pdev, largest);
	*ret_bytes = pci_resource_len(pdev, largest);
	return 0;
}

static const struct hp_provider nv_provider = {
	.name = "nvidia",
	.granule = SZ_64K,
	.match = nv_match,
	.bar_range = nv_bar_range,
	.state = nv_state,
	.pin = nv_pin,
	.unpin = nv_unpin,
};

/* The driver comes to a device, or is about to leave it. */
static int nv_bus(struct notifier_block *block, unsigned long event, void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);

	if (event == BUS_NOTIFY_BOUND_DRIVER)
		hp_device_add(pdev, &nv_provider);
	else if (event == BUS_NOTIFY_UNBIND_DRIVER && nv_match(pdev))
		hp_device_del(pdev);
	return NOTIFY_DONE;
}

static struct notifier_block nv_notifier = { .notifier_call = nv_bus };

int hp_nvidia_init(void)
{
	struct pci_dev *pdev = NULL;
	int err;

	err = bus_register_notifier(&pci_bus_type, &nv_notifier);
	if (err)
		return err;
	for_each_pci_dev(pdev) {
		device_lock(&pdev->dev);
		hp_device_add(pdev, &nv_provider);
		device_unlock(&pdev->dev);
	}
	return 0;
}

void hp_nvidia_done(void)
{
	bus_unregister_notifier(&pci_bus_type, &nv_notifier);
	hp_devices_del(&nv_provider);
}
