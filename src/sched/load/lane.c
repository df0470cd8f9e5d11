/* SPDX-License-Identifier: Apache-2.0 */
#include "lane.h"

#define WAIT_MAX_NS (100 * NS_PER_MS)           /* someone may have asked to stop */

void lane_advance(struct lane *l)
{
	l->more = !lane_stopped(l) && schedule_next(&l->schedule, &l->next);
}

void lane_due(struct lane *l, const struct arrival *a, uint64_t now_ns, bool sent)
{
	if (sent) {
		hist_record(&l->lag, now_ns > a->due_ns ? now_ns - a->due_ns : 0);
		l->last_sent_ns = now_ns;
		lane_count(&l->sent, 1);
	}
	if (lane_measured(l, a->due_ns)) {
		struct load_series *s = lane_series(l, a->phase, a->type);

		s->due++;
		s->unsent += !sent;
	} else {
		l->warmup_due++;
		l->warmup_lost += !sent;
	}
}

void lane_lost(struct lane *l, const struct flight *f)
{
	lane_count(&l->lost, 1);
	if (f->measured)
		lane_series(l, f->phase, f->type)->lost++;
	else
		l->warmup_lost++;
}

void lane_forget(struct lane *l, const struct flight *f)
{
	if (f->measured)
		lane_series(l, f->phase, f->type)->due--;
	else
		l->warmup_due--;
}

void lane_answered(struct lane *l, const struct flight *f, const struct answer *a)
{
	struct load_series *s = lane_series(l, f->phase, f->type);
	uint64_t latency_ns = a->now_ns > f->due_ns ? a->now_ns - f->due_ns : 0;

	lane_count(&l->answered, 1);
	/* Throughput is what comes back between warm-up and end, whenever it was due. */
	if (a->ok && a->now_ns >= l->run->warm_ns && a->now_ns < l->run->end_ns)
		s->in_window++;
	if (!f->measured)
		return;
	s->answered++;
	s->status[a->status < LOAD_STATUS_MAX ? a->status : 0]++;
	if (!a->ok)
		return;
	s->ok++;
	hist_record(&s->latency, latency_ns);
	if (a->slow_ns)
		hist_record(&s->slowdown, latency_ns > UINT64_MAX / LOAD_SLOWDOWN_UNIT ? UINT64_MAX : latency_ns * LOAD_SLOWDOWN_UNIT / a->slow_ns);
	if (a->queue_ns || a->service_ns) {
		hist_record(&s->queue, a->queue_ns);
		hist_record(&s->service, a->service_ns);
		if (a->service_ns)
			hist_record(&s->server_slowdown, (a->queue_ns + a->service_ns) * LOAD_SLOWDOWN_UNIT / a->service_ns);
	}
}

uint64_t lane_wait_ns(const struct lane *l, uint64_t now_ns, uint64_t at_ns)
{
	uint64_t spin_ns = l->cfg->spin_ns, gap_ns = at_ns > now_ns ? at_ns - now_ns : 0;

	if (gap_ns <= spin_ns)
		return 0;
	return gap_ns - spin_ns < WAIT_MAX_NS ? gap_ns - spin_ns : WAIT_MAX_NS;
}

void series_merge(struct load_series *into, const struct load_series *from)
{
	into->due += from->due;
	into->unsent += from->unsent;
	into->answered += from->answered;
	into->ok += from->ok;
	into->lost += from->lost;
	into->late += from->late;
	into->duplicates += from->duplicates;
	into->in_window += from->in_window;
	for (size_t i = 0; i < LOAD_STATUS_MAX; i++)
		into->status[i] += from->status[i];
	hist_merge(&into->latency, &from->latency);
	hist_merge(&into->slowdown, &from->slowdown);
	hist_merge(&into->queue, &from->queue);
	hist_merge(&into->service, &from->service);
	hist_merge(&into->server_slowdown, &from->server_slowdown);
}
