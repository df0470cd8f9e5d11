// SPDX-License-Identifier: GPL-2.0-only
/*
 * Objects: pinned ranges. They end in steps, each of which may come from several sides at a time (RELEASE, the descriptor's end, the device's, the provider's revoke):
 *
 *	revoke   no PTE of it is left, and none comes any more
 *	drain    nothing uses its pages: I/O that began through a mapping has ended
 *	end      the provider has its memory back
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "p2p.h"

#define HP_POLL_MIN_US 20
#define HP_POLL_MAX_US 10000

static struct workqueue_struct *hp_reaper;
static atomic_t hp_reaping;

static void hp_object_free(struct kref *ref)
{
	struct hp_object *obj = container_of(ref, struct hp_object, ref);

	iput(obj->inode);
	hp_device_put(obj->dev);
	kvfree(obj->pin.granule);
	kfree(obj);
}

void hp_object_put(struct hp_object *obj)
{
	kref_put(&obj->ref, hp_object_free);
}

/* hp_object_get - by its id, with a reference; NULL if there is none */
struct hp_object *hp_object_get(struct hp_ctx *ctx, u32 id)
{
	struct hp_object *obj;

	xa_lock(&ctx->objects);
	obj = xa_load(&ctx->objects, id);
	if (obj)
		kref_get(&obj->ref);
	xa_unlock(&ctx->objects);
	return obj;
}

/* The provider's call: its memory goes away under the object. */
static void hp_object_lost(struct hp_pin *pin)
{
	struct hp_object *obj = container_of(pin, struct hp_object, pin);

	hp_object_revoke(obj);
	hp_object_drain(obj, false);
}

static void hp_object_reap(struct work_struct *work);

static struct hp_object *hp_object_alloc(struct hp_ctx *ctx, struct hp_device *dev, u64 at, u64 end, u32 flags)
{
	struct hp_object *obj = kzalloc(sizeof(*obj), GFP_KERNEL_ACCOUNT);

	if (!obj)
		return NULL;
	obj->pin.n = (end - at) / dev->provider->granule;
	obj->pin.granule = kvcalloc(obj->pin.n, sizeof(*obj->pin.granule), GFP_KERNEL_ACCOUNT);
	if (!obj->pin.granule) {
		kfree(obj);
		return NULL;
	}
	kref_init(&obj->ref);
	kref_get(&dev->ref);
	obj->dev = dev;
	ihold(ctx->inode);
	obj->inode = ctx->inode;
	obj->flags = flags;
	obj->pin.at = at;
	obj->pin.bytes = end - at;
	obj->pin.revoke = hp_object_lost;
	init_rwsem(&obj->gate);
	obj->live = true;
	atomic_set(&obj->users, 1);
	mutex_init(&obj->end);
	INIT_LIST_HEAD(&obj->on_device);
	INIT_DELAYED_WORK(&obj->reap, hp_object_reap);
	return obj;
}

/*
 * hp_object_new - pin a range
 * Return: the object, live, its reference the caller's, to be ended by hp_object_end() or hp_object_abandon(); ERR_PTR: as REGISTER.
 */
struct hp_object *hp_object_new(struct hp_ctx *ctx, struct hp_device *dev, u64 at, u64 bytes, u32 flags)
{
	const u64 mask = dev->provider->granule - 1;
	struct hp_object *obj;
	u64 end;
	int err;

	if (check_add_overflow(at, bytes, &end) || check_add_overflow(end, mask, &end))
		return ERR_PTR(-ERANGE);
	at &= ~mask;
	end &= ~mask;
	if (end - at > dev->bytes || end - at > 1ULL << HP_OBJECT_SHIFT)
		return ERR_PTR(-ERANGE);
	obj = hp_object_alloc(ctx, dev, at, end, flags);
	if (!obj)
		return ERR_PTR(-ENOMEM);
	err = dev->provider->pin(dev, &obj->pin);
	if (err)
		goto put;
	obj->pinned = true;
	err = hp_device_attach(dev, obj);
	if (err)
		goto unpin;
	return obj;
unpin:
	dev->provider->unpin(dev, &obj->pin);
put:
	hp_object_put(obj);
	return ERR_PTR(err);
}

/* hp_object_use - its pages stay where they are until hp_object_unuse(). Return: false if it is not live any more. */
bool hp_object_use(struct hp_object *obj)
{
	return atomic_inc_not_zero(&obj->users);
}

void hp_object_unuse(struct hp_object *obj)
{
	atomic_dec(&obj->users);
}

/* hp_object_page - a page of an object in use or being mapped */
struct page *hp_object_page(struct hp_object *obj, unsigned long index)
{
	const unsigned long per = obj->dev->provider->granule / PAGE_SIZE;

	return pfn_to_page(PHYS_PFN(obj->pin.granule[index / per]) + index % per);
}

/* Any number of times, from any side; at its end no PTE is left whoever else is at it. Context: may sleep; not under mmap_lock. */
void hp_object_revoke(struct hp_object *obj)
{
	bool was;

	down_write(&obj->gate);
	was = obj->live;
	obj->live = false;
	up_write(&obj->gate);
	if (was)
		atomic_dec(&obj->users);
	/* VMAs are linked before they are first touched, and PTEs only come by touching: this finds all */
	unmap_mapping_range(obj->inode->i_mapping, (loff_t)obj->id << HP_OBJECT_SHIFT, obj->pin.bytes, 1);
	hp_device_retire(obj->dev, obj);
}

static bool hp_object_drained(struct hp_object *obj)
{
	return !atomic_read(&obj->users) && hp_device_quiet(obj->dev, obj);
}

/*
 * hp_object_drain - wait for what uses a revoked object's pages
 * The last reference of a GENERIC page to go tells nobody on the kernels that there are: this looks, at growing intervals.
 * Return: 0, -ERESTARTSYS (a signal, with @interruptible).
 */
int hp_object_drain(struct hp_object *obj, bool interruptible)
{
	unsigned int us = HP_POLL_MIN_US;

	while (!hp_object_drained(obj)) {
		if (interruptible && signal_pending(current))
			return -ERESTARTSYS;
		usleep_range(us, us * 2);
		us = min_t(unsigned int, us * 2, HP_POLL_MAX_US);
	}
	return 0;
}

/* hp_object_end - give a drained object's memory back; any number of times */
void hp_object_end(struct hp_object *obj)
{
	mutex_lock(&obj->end);
	if (obj->pinned) {
		obj->dev->provider->unpin(obj->dev, &obj->pin);
		hp_device_detach(obj->dev, obj);
		obj->pinned = false;
	}
	mutex_unlock(&obj->end);
}

static void hp_object_reap(struct work_struct *work)
{
	struct hp_object *obj = container_of(to_delayed_work(work), struct hp_object, reap);

	if (!hp_object_drained(obj)) {
		queue_delayed_work(hp_reaper, &obj->reap, usecs_to_jiffies(HP_POLL_MAX_US));
		return;
	}
	hp_object_end(obj);
	hp_object_put(obj);
	if (atomic_dec_and_test(&hp_reaping))
		wake_up_var(&hp_reaping);
}

/* hp_object_abandon - end an object without waiting for what uses its pages. Takes the caller's reference. */
void hp_object_abandon(struct hp_object *obj)
{
	hp_object_revoke(obj);
	if (hp_object_drained(obj)) {
		hp_object_end(obj);
		hp_object_put(obj);
		return;
	}
	atomic_inc(&hp_reaping);
	queue_delayed_work(hp_reaper, &obj->reap, usecs_to_jiffies(HP_POLL_MAX_US));
}

int hp_objects_init(void)
{
	hp_reaper = alloc_workqueue("hearth_p2p", WQ_UNBOUND, 0);
	return hp_reaper ? 0 : -ENOMEM;
}

/* No device is left, so that all objects are drained, and no descriptor, so that no reaping begins. */
void hp_objects_done(void)
{
	wait_var_event(&hp_reaping, !atomic_read(&hp_reaping));
	destroy_workqueue(hp_reaper);
}
