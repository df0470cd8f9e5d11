// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings. mmap() makes an empty one; pages come by touching, under the object's gate, so that revoking it finds every PTE. A VMA holds its object, not the object's id,
 * which may be another's by the time it is touched; which page follows from its offset.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "p2p.h"

#define HP_PGOFF_BITS (HP_OBJECT_SHIFT - PAGE_SHIFT)
#define HP_FAULT_PAGES (SZ_2M / PAGE_SIZE)

/* hp_fill - as many pages as there are from here to the end of object, mapping or window; those that another thread was faster with stop it, which is fine */
static vm_fault_t hp_fill(struct hp_object *obj, struct vm_fault *vmf, unsigned long first)
{
	const unsigned long pages = obj->pin.bytes >> PAGE_SHIFT;
	unsigned long n, left, i;
	struct page **page;
	int err;

	if (first >= pages)
		return VM_FAULT_SIGBUS;
	n = min3(pages - first, (vmf->vma->vm_end - vmf->address) >> PAGE_SHIFT, (unsigned long)HP_FAULT_PAGES - first % HP_FAULT_PAGES);
	page = kmalloc_array(n, sizeof(*page), GFP_KERNEL);
	if (!page)
		return VM_FAULT_OOM;
	for (i = 0; i < n; i++)
		page[i] = hp_object_page(obj, first + i);
	left = n;
	err = vm_insert_pages(vmf->vma, vmf->address, page, &left);
	kfree(page);
	if (left < n || err == -EBUSY)
		return VM_FAULT_NOPAGE;
	return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
}

static vm_fault_t hp_fault(struct vm_fault *vmf)
{
	struct hp_object *obj = vmf->vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	down_read(&obj->gate);
	if (obj->live && ((obj->flags & HEARTH_P2P_WRITE) || !(vmf->vma->vm_flags & VM_WRITE)))
		ret = hp_fill(obj, vmf, vmf->pgoff & (BIT(HP_PGOFF_BITS) - 1));
	up_read(&obj->gate);
	return ret;
}

/* Splitting, moving, and fork() where the process insists on it. */
static void hp_vm_open(struct vm_area_struct *vma)
{
	struct hp_object *obj = vma->vm_private_data;

	kref_get(&obj->ref);
}

static void hp_vm_close(struct vm_area_struct *vma)
{
	hp_object_put(vma->vm_private_data);
}

static const struct vm_operations_struct hp_vm_ops = {
	.open = hp_vm_open,
	.close = hp_vm_close,
	.fault = hp_fault,
};

static void hp_vm_flags(struct vm_area_struct *vma, unsigned long set, unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/*
 * hp_map - a mapping of one object, or of a part of it
 * Return: 0, -EINVAL (private; beyond the object), -ENOENT (no object is there), -EACCES (writable, of an object that is not).
 */
int hp_map(struct hp_ctx *ctx, struct vm_area_struct *vma)
{
	const unsigned long first = vma->vm_pgoff & (BIT(HP_PGOFF_BITS) - 1);
	struct hp_object *obj;
	unsigned long pages;
	bool writable;
	int err;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff >> HP_PGOFF_BITS > HP_OBJECTS_MAX)
		return -ENOENT;
	obj = hp_object_get(ctx, vma->vm_pgoff >> HP_PGOFF_BITS);
	if (!obj)
		return -ENOENT;
	pages = obj->pin.bytes >> PAGE_SHIFT;
	writable = obj->flags & HEARTH_P2P_WRITE;
	err = -EINVAL;
	if (first >= pages || vma_pages(vma) > pages - first)
		goto put;
	err = -EACCES;
	if (!writable && (vma->vm_flags & VM_WRITE))
		goto put;
	/* no VM_IO, no VM_PFNMAP: pages of it are to be pinned for I/O */
	hp_vm_flags(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTCOPY | VM_DONTDUMP, writable ? 0 : VM_MAYWRITE);
	vma->vm_page_prot = pgprot_writecombine(vma->vm_page_prot);
	vma->vm_private_data = obj;     /* the reference */
	vma->vm_ops = &hp_vm_ops;
	return 0;
put:
	hp_object_put(obj);
	return err;
}
