// SPDX-License-Identifier: GPL-2.0-only
/* Half of the test double of a GPU's driver: a driver named "nvidia", bound to the ivshmem device that the parameter names. */
#include <linux/module.h>
#include <linux/pci.h>

static char *bdf = "";
module_param(bdf, charp, 0444);

static int nd_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return strcmp(pci_name(pdev), bdf) ? -ENODEV : pcim_enable_device(pdev);
}

static void nd_remove(struct pci_dev *pdev)
{
}

static const struct pci_device_id nd_ids[] = { { PCI_DEVICE(0x1af4, 0x1110) }, { } };
static struct pci_driver nd_driver = { .name = "nvidia", .id_table = nd_ids, .probe = nd_probe, .remove = nd_remove };
module_pci_driver(nd_driver);
MODULE_DESCRIPTION("Test double of a GPU's driver");
MODULE_LICENSE("GPL");
