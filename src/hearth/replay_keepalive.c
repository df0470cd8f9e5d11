/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "replay.h"

struct live {                   /* an instance that may still be used */
	size_t instance;        /* index into the result */
	uint64_t *slot_end;     /* when each of its slots is free again */
	uint64_t last_ns;       /* when its last request ends */
};

struct sim {
	struct live *live;
	size_t n, cap;
	uint64_t keepalive_ns;
	struct ka_result out;
	size_t out_cap;
};

static void forget_gone(struct sim *s, uint64_t now_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (s->live[i].last_ns + s->keepalive_ns < now_ns)
			free(s->live[i].slot_end);
		else
			s->live[kept++] = s->live[i];
	}
	s->n = kept;
}

static uint64_t *free_slot(struct live *l, unsigned concurrency, uint64_t now_ns)
{
	for (unsigned i = 0; i < concurrency; i++)
		if (l->slot_end[i] <= now_ns)
			return &l->slot_end[i];
	return NULL;
}

static int add_instance(struct sim *s, const struct ka_request *r, unsigned concurrency, struct live **ret)
{
	int rc = array_grow((void **)&s->live, &s->cap, s->n + 1, sizeof(*s->live));

	if (rc == 0)
		rc = array_grow((void **)&s->out.instances, &s->out_cap, s->out.n + 1, sizeof(*s->out.instances));
	if (rc < 0)
		return rc;
	s->live[s->n] = (struct live){ s->out.n, calloc(concurrency, sizeof(uint64_t)), 0 };
	if (!s->live[s->n].slot_end)
		return -ENOMEM;
	s->out.instances[s->out.n++] = (struct ka_instance){ r->func, r->start_ns, 0 };
	*ret = &s->live[s->n++];
	return 0;
}

static int serve(struct sim *s, const struct ka_request *r, unsigned concurrency)
{
	struct live *best = NULL;
	int rc;

	forget_gone(s, r->start_ns);
	for (size_t i = 0; i < s->n; i++) {
		struct live *l = &s->live[i];

		if (s->out.instances[l->instance].func == r->func && free_slot(l, concurrency, r->start_ns) && (!best || l->last_ns > best->last_ns))
			best = l;
	}
	if (!best) {
		rc = add_instance(s, r, concurrency, &best);
		if (rc < 0)
			return rc;
	}
	*free_slot(best, concurrency, r->start_ns) = r->end_ns;
	if (r->end_ns > best->last_ns)
		best->last_ns = r->end_ns;
	s->out.instances[best->instance].gone_ns = best->last_ns + s->keepalive_ns;
	return 0;
}

int keepalive_simulate(const struct ka_request *reqs, size_t n, const unsigned *concurrency, uint64_t keepalive_ns, struct ka_result *ret)
{
	struct sim s = { .keepalive_ns = keepalive_ns };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = serve(&s, &reqs[i], concurrency[reqs[i].func]);
	for (size_t i = 0; i < s.n; i++)
		free(s.live[i].slot_end);
	free(s.live);
	if (rc < 0)
		keepalive_done(&s.out);
	else
		*ret = s.out;
	return rc;
}

uint64_t keepalive_bytes_at(const struct ka_result *r, const uint64_t *func_bytes, uint64_t t_ns)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < r->n; i++)
		if (r->instances[i].born_ns <= t_ns && t_ns < r->instances[i].gone_ns)
			sum += func_bytes[r->instances[i].func];
	return sum;
}

double keepalive_byte_s(const struct ka_result *r, const uint64_t *func_bytes, uint64_t horizon_ns)
{
	double sum = 0;

	for (size_t i = 0; i < r->n; i++) {
		const struct ka_instance *k = &r->instances[i];
		uint64_t gone_ns = k->gone_ns < horizon_ns ? k->gone_ns : horizon_ns;

		if (gone_ns > k->born_ns)
			sum += (double)func_bytes[k->func] * ((double)(gone_ns - k->born_ns) / 1e9);
	}
	return sum;
}

void keepalive_done(struct ka_result *r)
{
	free(r->instances);
	*r = (struct ka_result){ 0 };
}
