// SPDX-License-Identifier: GPL-2.0-only
/* Half of the test double of a GPU's driver: a driver named "nvidia", bound to the ivshmem device that the parameter names. */
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/pci.h>

static char *bdf = "";
module_param(bdf, charp, 0444);

/* make struct pages of the device's memory, as the vendor's driver does for P2PDMA */
static bool own_pages;
module_param(own_pages, bool, 0644);

static int nd_pages(struct pci_dev *pdev)
{
	struct dev_pagemap *pgmap = devm_kzalloc(&pdev->dev, sizeof(*pgmap), GFP_KERNEL);

	if (!pgmap)
		return -ENOMEM;
	pgmap->type = MEMORY_DEVICE_GENERIC;
	pgmap->range.start = pci_resource_start(pdev, 2);
	pgmap->range.end = pci_resource_end(pdev, 2);
	pgmap->nr_range = 1;
	return PTR_ERR_OR_ZERO(devm_memremap_pages(&pdev->dev, pgmap));
}

static int nd_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int err = strcmp(pci_name(pdev), bdf) ? -ENODEV : pcim_enable_device(pdev);

	return err || !own_pages ? err : nd_pages(pdev);
}

static void nd_remove(struct pci_dev *pdev)
{
}

static const struct pci_device_id nd_ids[] = { { PCI_DEVICE(0x1af4, 0x1110) }, { } };
static struct pci_driver nd_driver = { .name = "nvidia", .id_table = nd_ids, .probe = nd_probe, .remove = nd_remove };
module_pci_driver(nd_driver);
MODULE_DESCRIPTION("Test double of a GPU's driver");
MODULE_LICENSE("GPL");
