/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"

void machine_lock(pthread_mutex_t *lock)
{
	if (pthread_mutex_lock(lock) == EOWNERDEAD)
		pthread_mutex_consistent(lock);         /* every change under it is one store, or is set right by a sweep */
}

/* a process that CRIU restored has a time name space, in which all others began at another time */
static int64_t shift_ticks(void)
{
	FILE *f = fopen("/proc/self/timens_offsets", "re");
	char line[128];
	long long s, ns, ticks = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "boottime %lld %lld", &s, &ns) == 2)
			ticks = (s * 1000000000 + ns) / (1000000000 / sysconf(_SC_CLK_TCK));
	if (f)
		fclose(f);
	return ticks;
}

/* 0: it is not there */
static uint64_t start_time(pid_t pid)
{
	char path[64], text[1024], *p;
	unsigned long long start = 0;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	p = strrchr(text, ')');
	if (p && sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &start) != 1)
		start = 0;
	return start ? start - (uint64_t)shift_ticks() : 0;
}

/* shifting there and back rounds */
static bool same_time(uint64_t a, uint64_t b)
{
	return a && b && a + 1 >= b && b + 1 >= a;
}

static void entry_drop(struct fake_machine *m, struct fake_phys *e, uint64_t who)
{
	if (!e->used || !(e->holders & who))
		return;
	e->holders &= ~who;
	if (e->holders)
		return;
	m->used_bytes[e->device] -= e->bytes;
	e->used = 0;
}

/* what processes held that are gone */
static void sweep(struct fake_machine *m)
{
	for (int k = 0; k < FAKE_SLOTS; k++) {
		struct fake_slot *s = &m->slot[k];

		if (!s->pid || same_time(start_time(s->pid), s->start))
			continue;
		for (int e = 0; e < FAKE_PHYS_MAX; e++)
			entry_drop(m, &m->phys[e], 1ull << k);
		s->pid = 0;
	}
}

CUresult machine_join(void)
{
	struct fake_machine *m = fake.machine;
	CUresult r = CUDA_ERROR_SYSTEM_NOT_READY;

	machine_lock(&m->lock);
	sweep(m);
	for (int k = 0; r && k < FAKE_SLOTS; k++) {
		if (m->slot[k].pid)
			continue;
		m->slot[k].start = start_time(getpid());
		m->slot[k].pid = getpid();
		fake.slot = k;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

void machine_leave(void)
{
	struct fake_machine *m = fake.machine;

	machine_lock(&m->lock);
	if (fake.slot >= 0 && m->slot[fake.slot].pid == getpid()) {
		for (int e = 0; e < FAKE_PHYS_MAX; e++)
			entry_drop(m, &m->phys[e], 1ull << fake.slot);
		m->slot[fake.slot].pid = 0;
	}
	fake.slot = -1;
	pthread_mutex_unlock(&m->lock);
}

static int entry_take(struct fake_machine *m, unsigned device, uint64_t bytes)
{
	if (fake.slot < 0 || m->used_bytes[device] + bytes > m->device[device].bytes)
		return -1;
	for (int e = 0; e < FAKE_PHYS_MAX; e++) {
		if (m->phys[e].used)
			continue;
		m->phys[e] = (struct fake_phys){ .bytes = bytes, .holders = 1ull << fake.slot, .device = device, .used = 1 };
		m->used_bytes[device] += bytes;
		return e;
	}
	return -1;
}

CUresult machine_take(unsigned device, uint64_t bytes, int *ret)
{
	struct fake_machine *m = fake.machine;
	int e;

	machine_lock(&m->lock);
	e = entry_take(m, device, bytes);
	if (e < 0) {
		sweep(m);
		e = entry_take(m, device, bytes);
	}
	pthread_mutex_unlock(&m->lock);
	if (e < 0)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = e;
	return CUDA_SUCCESS;
}

void machine_hold(int entry)
{
	machine_lock(&fake.machine->lock);
	if (fake.machine->phys[entry].used)
		fake.machine->phys[entry].holders |= 1ull << fake.slot;
	pthread_mutex_unlock(&fake.machine->lock);
}

void machine_drop(int entry)
{
	machine_lock(&fake.machine->lock);
	entry_drop(fake.machine, &fake.machine->phys[entry], 1ull << fake.slot);
	pthread_mutex_unlock(&fake.machine->lock);
}

uint64_t machine_free_bytes(unsigned device)
{
	struct fake_machine *m = fake.machine;
	uint64_t n;

	machine_lock(&m->lock);
	sweep(m);
	n = m->device[device].bytes > m->used_bytes[device] ? m->device[device].bytes - m->used_bytes[device] : 0;
	pthread_mutex_unlock(&m->lock);
	return n;
}
