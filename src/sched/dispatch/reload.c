/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "serve_private.h"

/* Going on with another configuration: all that can change does so between two rounds of the dispatcher, or nothing does. */
struct change {
	struct serve *s;
	const struct serve_config *next;
	struct classifier *classifier;          /* in: the new one; out: the old one */
	struct sched_config sched;
	struct hearth_err *err;
	int result;
};

static void apply(struct sched *core, uint64_t now, void *arg)
{
	struct change *c = arg;
	struct front *f = &c->s->front;
	struct classifier *old = f->classifier;

	c->result = sched_switch(core, now, &c->sched, c->err);
	if (c->result < 0)
		return;
	f->classifier = c->classifier;
	c->classifier = old;
	f->reject_unknown = c->next->unknown == UNKNOWN_REJECT;
	f->drop_silently = c->next->overload == OVERLOAD_DROP;
	disp_set_hang(c->s->disp, c->next->hang_timeout);
}

static int report(const struct serve *s, const struct serve_config *next, struct buf *out)
{
	const struct serve_config *now = s->live != NULL ? s->live : s->cfg;
	const char *key;
	int r = buf_printf(out, "policy %s, was %s; types, classifier, limits and timeouts as in %s\n", sched_policy_names[next->policy],
			   sched_policy_names[now->policy], next->path);

	for (size_t i = 0; r == 0 && (key = config_frozen(s->cfg, next, i)) != NULL; i++)
		r = buf_printf(out, "unchanged: %s: takes effect when the server is started again\n", key);
	return r;
}

/* A type more or less would change what numbers mean; everything else that is frozen is reported and stays. */
static int check_types(const struct serve_config *now, const struct serve_config *next, struct hearth_err *err)
{
	if (now->types_n != next->types_n)
		return err_set(err, -EINVAL, "%s: %zu types instead of %zu: their number cannot change while the server runs; start it again", next->path,
			       next->types_n, now->types_n);
	return 0;
}

int serve_reload(struct serve *s, struct serve_config *next, struct buf *out, struct hearth_err *err)
{
	struct change c = { .s = s, .next = next, .err = err };
	struct classify_config classify;
	int r = check_types(s->cfg, next, err);

	if (r < 0)
		return r;
	config_classify(next, s->app.classify, &classify);
	r = classifier_new(&classify, &c.classifier, err);
	if (r < 0)
		return err_prefix(err, "%s", next->path);
	config_sched(next, &c.sched);
	c.sched.workers = (uint32_t)s->cfg->workers;
	for (uint32_t t = 0; t < c.sched.types_n; t++)
		snprintf(c.sched.types[t].name, SCHED_NAME_MAX, "%s", s->type_names[t]);
	disp_call(s->disp, apply, &c);
	classifier_free(c.classifier);
	if (c.result < 0)
		return c.result;
	r = report(s, next, out);
	serve_config_free(s->live);
	s->live = next;
	return r < 0 ? err_set(err, r, "out of memory; the configuration is in use all the same") : 0;
}

int serve_reread(struct serve *s, struct buf *out, struct hearth_err *err)
{
	struct serve_config *next = NULL;
	int r = serve_config_load(s->cfg->path, &next, err);

	if (r < 0)
		return r;
	r = serve_reload(s, next, out, err);
	if (s->live != next)
		serve_config_free(next);
	return r;
}
