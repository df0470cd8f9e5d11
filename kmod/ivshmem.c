// SPDX-License-Identifier: GPL-2.0-only
/*
 * Provider "ivshmem": QEMU's shared-memory device, whose BAR 2 is a file of the host's. It stands in for a GPU in tests: it has the same granule, and who may use the node
 * may use all of it.
 */
#include <linux/module.h>

#include "p2p.h"

#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110
#define IVSHMEM_BAR 2

static bool ivshmem_match(struct pci_dev *pdev)
{
	return pdev->vendor == IVSHMEM_VENDOR && pdev->device == IVSHMEM_DEVICE;
}

static int ivshmem_bar_range(struct pci_dev *pdev, phys_addr_t *ret_base, u64 *ret_bytes)
{
	*ret_base = pci_resource_start(pdev, IVSHMEM_BAR);
	*ret_bytes = pci_resource_len(pdev, IVSHMEM_BAR);
	return *ret_base ? 0 : -ENODEV;
}

static u32 ivshmem_state(struct hp_device *dev)
{
	return HEARTH_P2P_READY;
}

static int ivshmem_pin(struct hp_device *dev, struct hp_pin *pin)
{
	unsigned long i;

	if (pin->at > dev->bytes || pin->bytes > dev->bytes - pin->at)
		return -ERANGE;
	for (i = 0; i < pin->n; i++)
		pin->granule[i] = dev->base + pin->at + i * dev->provider->granule;
	return 0;
}

/* Its memory stays where it is for as long as the device is there. */
static void ivshmem_unpin(struct hp_device *dev, struct hp_pin *pin)
{
}

static const struct hp_provider ivshmem_provider = {
	.name = "ivshmem",
	.granule = SZ_64K,
	.match = ivshmem_match,
	.bar_range = ivshmem_bar_range,
	.state = ivshmem_state,
	.pin = ivshmem_pin,
	.unpin = ivshmem_unpin,
};

static int ivshmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return err;
	err = pci_request_region(pdev, IVSHMEM_BAR, "hearth_p2p");
	if (err)
		return err;
	err = hp_device_add(pdev, &ivshmem_provider);
	if (err)
		pci_release_region(pdev, IVSHMEM_BAR);
	return err;
}

static void ivshmem_remove(struct pci_dev *pdev)
{
	hp_device_del(pdev);
	pci_release_region(pdev, IVSHMEM_BAR);
}

/* no MODULE_DEVICE_TABLE: a machine that happens to have such a device should not load this for it */
static const struct pci_device_id ivshmem_ids[] = { { PCI_DEVICE(IVSHMEM_VENDOR, IVSHMEM_DEVICE) }, { } };

static struct pci_driver ivshmem_driver = {
	.name = "hearth_p2p",
	.id_table = ivshmem_ids,
	.probe = ivshmem_probe,
	.remove = ivshmem_remove,
};

int hp_ivshmem_init(void)
{
	return pci_register_driver(&ivshmem_driver);
}

void hp_ivshmem_done(void)
{
	pci_unregister_driver(&ivshmem_driver);
}
