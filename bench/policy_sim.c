/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy_sim.h"

const struct mix mixes[] = {
	{ "HB", 2, { 1, 100 }, { .5, .5 } },
	{ "EB", 2, { .5, 500 }, { .995, .005 } },
	{ "TPCC", 5, { 5.7, 6, 20, 88, 100 }, { .44, .04, .44, .04, .04 } },
	{ "RDB", 2, { 1.5, 635 }, { .5, .5 } },
	{ "T3", 3, { 1, 10, 100 }, { .6, .3, .1 } },
	{ "LD", 2, { 10, 20 }, { .9, .1 } },
	{ "G8", 8, { 1, 2, 4, 8, 16, 32, 64, 128 }, { 128 / 255., 64 / 255., 32 / 255., 16 / 255., 8 / 255., 4 / 255., 2 / 255., 1 / 255. } },
	{ "G8F", 8, { 1, 2, 4, 8, 16, 32, 64, 128 }, { .125, .125, .125, .125, .125, .125, .125, .125 } },
	{ "FB", 2, { 1, 30 }, { .95, .05 } },
	{ NULL },
};

const struct mix *mix_find(const char *name)
{
	for (const struct mix *m = mixes; m->name != NULL; m++) {
		if (strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

/* ---- random numbers ---- */

static uint64_t rng[4];

static uint64_t rng_next(void)
{
	uint64_t r = rng[1] * 5, t = rng[1] << 17;

	r = (r << 7 | r >> 57) * 9;
	rng[2] ^= rng[0];
	rng[3] ^= rng[1];
	rng[1] ^= rng[2];
	rng[0] ^= rng[3];
	rng[2] ^= t;
	rng[3] = rng[3] << 45 | rng[3] >> 19;
	return r;
}

static double uniform(void) { return (double)(rng_next() >> 11) * 0x1p-53; }
static double exponential(void) { return -log(1 - uniform()); }

static void rng_seed(uint64_t x)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = x += 0x9e3779b97f4a7c15ull;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ z >> 27) * 0x94d049bb133111ebull;
		rng[i] = z ^ z >> 31;
	}
}

static double draw_service(const struct sim *sim, uint32_t type)
{
	double mean = sim->mix->mean_us[type] * 1e3, sigma, normal;

	if (sim->scv == 0)
		return mean;
	if (sim->scv == 1)
		return exponential() * mean;
	sigma = sqrt(log(1 + sim->scv));
	normal = sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
	return mean * exp(sigma * normal - sigma * sigma / 2);
}

static uint32_t draw_type(const struct mix *mix)
{
	double u = uniform();

	for (uint32_t t = 0; t + 1 < mix->types_n; t++) {
		if (u < mix->ratio[t])
			return t;
		u -= mix->ratio[t];
	}
	return mix->types_n - 1;
}

/* ---- what runs: a heap by end ---- */

struct running { uint64_t end_ns; uint32_t worker; };
static struct running heap[SCHED_WORKERS_MAX + 1];
static uint32_t heap_n;

static void heap_push(struct running r)
{
	uint32_t k = ++heap_n;

	for (; k > 1 && heap[k / 2].end_ns > r.end_ns; k /= 2)
		heap[k] = heap[k / 2];
	heap[k] = r;
}

static struct running heap_pop(void)
{
	struct running top = heap[1], last = heap[heap_n--];
	uint32_t k = 1;

	while (2 * k <= heap_n) {
		uint32_t child = 2 * k;

		child += child < heap_n && heap[child + 1].end_ns < heap[child].end_ns;
		if (heap[child].end_ns >= last.end_ns)
			break;
		heap[k] = heap[child];
		k = child;
	}
	heap[k] = last;
	return top;
}

/* ---- the simulation ---- */

#define QUEUE_MAX (1u << 18)

void sim_config(const struct sim *sim, enum sched_policy policy, bool given, struct sched_config *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->policy = policy;
	ret->workers = sim->workers;
	ret->types_n = sim->mix->types_n;
	ret->queue_max = QUEUE_MAX;
	ret->reserved = 1;
	for (uint32_t t = 0; t < ret->types_n; t++) {
		ret->types[t].mean_ns = given ? (uint64_t)(sim->mix->mean_us[t] * 1e3) : 0;
		ret->types[t].ratio = given ? sim->mix->ratio[t] : 0;
	}
}

static void record(struct sim *sim, uint64_t now_ns, enum tape_kind kind, uint32_t arg)
{
	if (sim->tape_n < sim->tape_max)
		sim->tape[sim->tape_n++] = (struct tape_event){ now_ns, kind, arg };
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

/* the k-th smallest, by partitioning */
static float select_kth(float *v, size_t n, size_t k)
{
	size_t lo = 0, hi = n;

	while (hi - lo > 64) {
		float pivot = v[lo + (size_t)(uniform() * (double)(hi - lo))];
		size_t less = lo, at = lo, more = hi;

		while (at < more) {
			float x = v[at];

			if (x < pivot) {
				v[at++] = v[less];
				v[less++] = x;
			} else if (x > pivot) {
				v[at] = v[--more];
				v[more] = x;
			} else {
				at++;
			}
		}
		if (k < less)
			hi = less;
		else if (k >= more)
			lo = more;
		else
			return pivot;
	}
	qsort(v + lo, hi - lo, sizeof(*v), by_value);
	return v[k];
}

struct samples { float *all; uint8_t *type; size_t n; };

static void evaluate(struct sim *sim, struct samples *d)
{
	float *some = malloc((d->n + 1) * sizeof(*some));

	if (some == NULL)
		return;
	for (uint32_t t = 0; t < sim->mix->types_n; t++) {
		size_t n = 0;

		for (size_t i = 0; i < d->n; i++) {
			if (d->type[i] == t)
				some[n++] = d->all[i];
		}
		sim->type_p999[t] = n > 0 ? select_kth(some, n, (size_t)((double)n * .999)) : 0;
	}
	sim->p999 = select_kth(d->all, d->n, (size_t)((double)d->n * .999));
	free(some);
}

int sim_run(struct sim *sim, struct sched *s)
{
	double mean = 0, next;
	uint64_t now = 0, done = 0, warm = sim->requests / 10;
	struct samples d = { malloc(sim->requests * sizeof(float)), malloc(sim->requests), 0 };
	struct sched_start start;

	if (d.all == NULL || d.type == NULL) {
		free(d.all);
		free(d.type);
		return -ENOMEM;
	}
	rng_seed(sim->seed);
	heap_n = 0;
	sim->timers = sim->tape_n = 0;
	sim->unstable = false;
	for (uint32_t t = 0; t < sim->mix->types_n; t++)
		mean += sim->mix->mean_us[t] * 1e3 * sim->mix->ratio[t];
	mean /= sim->load * sim->workers;
	next = exponential() * mean;
	while (done < sim->requests) {
		uint64_t arrival = (uint64_t)next, end = heap_n > 0 ? heap[1].end_ns : SCHED_NEVER, timer = sched_timer(s);

		if (timer < arrival && timer < end) {
			now = timer;
			sim->timers++;
			record(sim, now, TAPE_TIMER, 0);
		} else if (arrival <= end) {
			uint32_t t = draw_type(sim->mix);

			now = arrival;
			next += exponential() * mean;
			if (sched_enqueue(s, now, t, 0, 0) < 0) {
				sim->unstable = true;
				break;
			}
			record(sim, now, TAPE_ENQUEUE, t);
		} else {
			struct running r = heap_pop();

			now = r.end_ns;
			sched_complete(s, now, r.worker);
			record(sim, now, TAPE_COMPLETE, r.worker);
			done++;
		}
		while (sched_next(s, now, &start)) {
			heap_push((struct running){ now + (uint64_t)(draw_service(sim, start.type) + .5), start.worker });
			if (done >= warm && d.n < sim->requests) {
				d.all[d.n] = (float)(1 + (double)(now - start.arrival_ns) / (sim->mix->mean_us[start.type] * 1e3));
				d.type[d.n++] = (uint8_t)start.type;
			}
		}
	}
	if (sim->unstable)
		sim->p999 = 1e9;
	else
		evaluate(sim, &d);
	free(d.all);
	free(d.type);
	return 0;
}
