/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* how often a pool that did not answer is asked whether it is back */
#define PROBE_NS (500 * NS_PER_MS)

struct replica {
	struct pair *pair;
	struct remote *remote;
	bool down, probing;
	uint64_t probed_ns;
	struct pool_op probe;
	struct pool_stat stat;
};

struct pair {
	struct replica replica[2];
};

/* An operation at both, or at one and then the other. which: of the pages that are asked of the second, their numbers in op. */
struct both {
	struct pair *pair;
	struct pool_op *op;
	struct pool_op child[2];
	unsigned first, waiting;
	struct pool_ref *refs;
	void **pages;
	unsigned *which;
	int *status[2];
};

struct pair *pair_new(struct remote *pool[2])
{
	struct pair *p = calloc(1, sizeof(*p));

	for (unsigned k = 0; p && k < 2; k++)
		p->replica[k] = (struct replica){ .pair = p, .remote = pool[k] };
	return p;
}

struct pair *pair_free(struct pair *p)
{
	free(p);
	return NULL;
}

/* ---- which of them are there ---- */

static void seen(struct replica *r, int result)
{
	bool down = result == -ECONNREFUSED || result == -EACCES;

	if (result == -ECANCELED)
		return;
	if (down != r->down)
		log_warn("pool: replica %u %s", (unsigned)(r - r->pair->replica) + 1, down ? "does not answer: pages are put at the other one only" : "is back");
	r->down = down;
}

static void probed(struct pool_op *op)
{
	struct replica *r = op->ctx;

	r->probing = false;
	seen(r, op->result);
}

static void probe(struct replica *r)
{
	uint64_t now = clock_mono_ns();

	if (!r->down || r->probing || now - r->probed_ns < PROBE_NS)
		return;
	r->probing = true;
	r->probed_ns = now;
	r->probe = (struct pool_op){ .kind = POOL_STAT, .stat = &r->stat, .done = probed, .ctx = r };
	remote_submit(r->remote, &r->probe);
}

/* ---- operations ---- */

static struct both *both_new(struct pair *p, struct pool_op *op)
{
	size_t n = op->n ? op->n : 1, page = sizeof(struct pool_ref) + sizeof(void *) + sizeof(unsigned) + 2 * sizeof(int);
	struct both *b = calloc(1, sizeof(*b) + n * page);
	uint8_t *at;

	if (!b)
		return NULL;
	at = (uint8_t *)(b + 1);
	b->pair = p;
	b->op = op;
	b->refs = (struct pool_ref *)(void *)at;
	b->pages = (void **)(void *)(at += n * sizeof(struct pool_ref));
	b->which = (unsigned *)(void *)(at += n * sizeof(void *));
	b->status[0] = (int *)(void *)(at += n * sizeof(unsigned));
	b->status[1] = (int *)(void *)(at + n * sizeof(int));
	return b;
}

static void end(struct both *b, int result)
{
	struct pool_op *op = b->op;

	free(b);
	op->result = result;
	for (unsigned k = 0; k < op->n && op->status && !op->result; k++)
		op->result = op->status[k];
	op->done(op);
}

/* What is said of a page that neither gave: that one did not answer, if so, as it may have it; that one does not have it only if neither has. */
static int worse(int a, int b)
{
	if (a == -ECONNREFUSED || b == -ECONNREFUSED)
		return -ECONNREFUSED;
	return a == -ENOENT ? b : a;
}

static void wrote(struct pool_op *child)
{
	struct both *b = child->ctx;
	unsigned k = (unsigned)(child - b->child);
	const int *s = b->status[0], *t = b->status[1];

	seen(&b->pair->replica[k], child->result);
	if (--b->waiting)
		return;
	for (unsigned i = 0; i < b->op->n && b->op->status; i++)
		b->op->status[i] = s[i] && t[i] ? worse(s[i], t[i]) : 0;
	end(b, b->op->n ? 0 : b->child[0].result && b->child[1].result ? b->child[0].result : 0);
}

/* PUT, DEL: at all that are there; at both if none seems to be. */
static void write_both(struct both *b)
{
	struct replica *r = b->pair->replica;
	bool at[2] = { !r[0].down || r[1].down, !r[1].down || r[0].down };
	struct pool_op *op = b->op;

	b->waiting = at[0] + at[1];
	for (unsigned k = 0; k < 2; k++) {
		b->child[k] = (struct pool_op){ .kind = op->kind, .object = op->object, .refs = op->refs, .pages = op->pages, .status = b->status[k], .n = op->n, .done = wrote, .ctx = b };
		for (unsigned i = 0; i < op->n; i++)
			b->status[k][i] = -ECONNREFUSED;
		b->child[k].result = -ECONNREFUSED;
	}
	/* the first may be done at once, and with it all of b */
	if (at[0] && at[1]) {
		remote_submit(r[0].remote, &b->child[0]);
		remote_submit(r[1].remote, &b->child[1]);
	} else {
		remote_submit(r[at[1]].remote, &b->child[at[1]]);
	}
}

static void read_second(struct pool_op *child)
{
	struct both *b = child->ctx;
	struct pool_op *op = b->op;

	seen(&b->pair->replica[!b->first], child->result);
	for (unsigned k = 0; k < child->n; k++)
		op->status[b->which[k]] = child->status[k] ? worse(op->status[b->which[k]], child->status[k]) : 0;
	end(b, op->n ? 0 : child->result);
}

static void read_first(struct pool_op *child)
{
	struct both *b = child->ctx;
	struct pool_op *op = b->op, *second = &b->child[1];
	unsigned n = 0;

	seen(&b->pair->replica[b->first], child->result);
	for (unsigned k = 0; k < op->n; k++) {
		op->status[k] = b->status[0][k];
		if (!op->status[k])
			continue;
		b->refs[n] = op->refs[k];
		b->pages[n] = op->pages[k];
		b->which[n++] = k;
	}
	if (!child->result || child->result == -ECANCELED) {
		end(b, child->result);
		return;
	}
	*second = (struct pool_op){ .kind = op->kind, .object = op->object, .refs = b->refs, .pages = b->pages, .status = b->status[1], .n = n, .stat = op->stat, .done = read_second, .ctx = b };
	remote_submit(b->pair->replica[!b->first].remote, second);
}

void pair_submit(struct pair *p, struct pool_op *op)
{
	struct both *b = both_new(p, op);

	if (!b) {
		for (unsigned k = 0; k < op->n && op->status; k++)
			op->status[k] = -ENOMEM;
		op->result = -ENOMEM;
		op->done(op);
		return;
	}
	probe(&p->replica[0]);
	probe(&p->replica[1]);
	if (op->kind == POOL_PUT || op->kind == POOL_DEL) {
		write_both(b);
		return;
	}
	b->first = p->replica[0].down && !p->replica[1].down;
	b->child[0] = (struct pool_op){ .kind = op->kind, .object = op->object, .refs = op->refs, .pages = op->pages, .status = b->status[0], .n = op->n, .stat = op->stat, .done = read_first, .ctx = b };
	remote_submit(p->replica[b->first].remote, &b->child[0]);
}
