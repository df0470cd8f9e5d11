/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "private.h"

void text_add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->at, t->room, fmt, ap);
	va_end(ap);
	if (n < 0 || t->room == 0)
		return;
	if ((size_t)n >= t->room)
		n = (int)t->room - 1;
	t->at += n;
	t->room -= (size_t)n;
}

void text_ns(struct text *t, double ns)
{
	if (ns < 1e3)
		text_add(t, "%.3g ns", ns);
	else if (ns < 1e6)
		text_add(t, "%.3g us", ns / 1e3);
	else if (ns < 1e9)
		text_add(t, "%.3g ms", ns / 1e6);
	else
		text_add(t, "%.3g s", ns / 1e9);
}

void text_type(struct text *t, const struct sched *s, uint32_t type)
{
	if (type == s->types_n)
		text_add(t, "unknown");
	else if (s->cfg.types[type].name[0] != '\0')
		text_add(t, "%s", s->cfg.types[type].name);
	else
		text_add(t, "%u", type);
}

void text_workers(struct text *t, const uint64_t *map)
{
	const char *comma = "";

	for (uint32_t w = 0; w < SCHED_WORKERS_MAX; w++) {
		uint32_t end = w;

		if (!bit_get(map, w))
			continue;
		while (end + 1 < SCHED_WORKERS_MAX && bit_get(map, end + 1))
			end++;
		text_add(t, end > w ? "%s%u-%u" : "%s%u", comma, w, end);
		comma = ",";
		w = end;
	}
	if (*comma == '\0')
		text_add(t, "none");
}

static void explain_type(const struct sched *s, uint32_t t, struct text *out)
{
	struct sched_type_stats y;

	sched_stats(s, t, &y);
	if (type_is_spare(s, t) || (t == s->types_n && y.enqueued + y.dropped == 0))
		return;
	text_add(out, "type ");
	text_type(out, s, t);
	if (y.mean_ns > 0) {
		text_add(out, ": mean ");
		text_ns(out, s->est.of[t].mean_ns);
	} else {
		text_add(out, ": mean not known yet");
	}
	text_add(out, ", %.4g/s, %u waiting, %llu started", y.rate_hz, y.depth, (unsigned long long)y.started);
	if (y.dropped > 0)
		text_add(out, ", %llu dropped (queue of %u full)", (unsigned long long)y.dropped, s->types[t].max);
	if (y.lost > 0)
		text_add(out, ", %llu lost with their workers", (unsigned long long)y.lost);
	if (y.cancelled > 0)
		text_add(out, ", %llu cancelled", (unsigned long long)y.cancelled);
	text_add(out, "\n");
}

void sched_explain(const struct sched *s, uint64_t now_ns, char *out, size_t n)
{
	struct text t = { out, n };
	bool down = false;

	if (n == 0)
		return;
	out[0] = '\0';
	text_add(&t, "policy %s: %u workers, %u idle, %u requests waiting\n", sched_policy_names[s->cfg.policy], s->workers_n,
		sched_idle(s), s->waiting);
	for (uint32_t i = 0; i < WORDS; i++)
		down |= s->down[i] != 0;
	if (down) {
		text_add(&t, "workers down: ");
		text_workers(&t, s->down);
		text_add(&t, "\n");
	}
	s->ops->explain(s, now_ns, &t);
	for (uint32_t i = 0; i <= s->types_n; i++)
		explain_type(s, i, &t);
}
