/* SPDX-License-Identifier: Apache-2.0 */
#include "refuse.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "link.h"
#include "shim.h"

static struct {
	unsigned count[REFUSE_KINDS];           /* things of kind 1 << i */
	const char *call[REFUSE_KINDS];         /* the first of them */
	bool told[REFUSE_KINDS];
	struct object { uint64_t address; unsigned kind; } *objects;
	size_t n, cap;
} refusals;

void refuse_note(unsigned kind, const char *call)
{
	unsigned i = (unsigned)__builtin_ctz(kind);

	if (refusals.count[i]++ == 0)
		refusals.call[i] = call;
}

void refuse(unsigned kind, const char *call)
{
	if (!shim_is_active())
		return;
	pthread_mutex_lock(&shim_lock);
	refuse_note(kind, call);
	link_changed();
	pthread_mutex_unlock(&shim_lock);
}

void refuse_object(unsigned kind, const char *call, uint64_t address)
{
	if (!shim_is_active())
		return;
	pthread_mutex_lock(&shim_lock);
	if (array_grow((void **)&refusals.objects, &refusals.cap, refusals.n + 1, sizeof *refusals.objects) == 0)
		refusals.objects[refusals.n++] = (struct object){ address, kind };
	refuse_note(kind, call);
	link_changed();
	pthread_mutex_unlock(&shim_lock);
}

void refuse_gone(uint64_t address)
{
	if (!shim_is_active())
		return;
	pthread_mutex_lock(&shim_lock);
	for (size_t i = 0; i < refusals.n; i++) {
		if (refusals.objects[i].address != address)
			continue;
		refusals.count[__builtin_ctz(refusals.objects[i].kind)]--;
		refusals.objects[i] = refusals.objects[--refusals.n];
		link_changed();
		break;
	}
	pthread_mutex_unlock(&shim_lock);
}

bool refuse_unsent(struct shim_msg *ret)
{
	for (unsigned i = 0; i < REFUSE_KINDS; i++) {
		if ((refusals.count[i] > 0) == refusals.told[i])
			continue;
		ret->op = refusals.count[i] > 0 ? SHIM_REFUSE : SHIM_UNREFUSE;
		ret->arg0 = 1u << i;
		snprintf(ret->text, sizeof ret->text, "%s", refusals.call[i]);
		return true;
	}
	return false;
}

void refuse_sent(const struct shim_msg *m)
{
	refusals.told[__builtin_ctzll(m->arg0)] = m->op == SHIM_REFUSE;
}

void refuse_all_unsent(void)
{
	memset(refusals.told, 0, sizeof refusals.told);
}

void refuse_fork_child(void)
{
	refusals.n = 0;
	memset(refusals.count, 0, sizeof refusals.count);
	refuse_all_unsent();
}
