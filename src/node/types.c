// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "types.h"

struct types *types_new(void)
{
	struct types *t = calloc(1, sizeof(*t));

	if (t)
		snprintf(t->type[TYPE_OTHER].name, TYPE_NAME_MAX, "_other");
	return t;
}

static void forget_figures(struct call_type *c)
{
	free(c->latency);
	free(c->slowdown);
	*c = (struct call_type){ 0 };
}

struct types *types_free(struct types *t)
{
	if (!t)
		return NULL;
	for (uint32_t i = 0; i <= TYPES_MAX; i++)
		forget_figures(&t->type[i]);
	free(t);
	return NULL;
}

/* a name is a label of metrics and a word of a CSV file */
static void plain_name(const char *name, char out[TYPE_NAME_MAX])
{
	size_t n = 0;

	for (; n < TYPE_NAME_MAX - 1 && name[n]; n++)
		out[n] = isalnum((unsigned char)name[n]) || name[n] == '-' ? name[n] : '_';
	out[n] = '\0';
}

static uint32_t find(const struct types *t, const char *name)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (!strcmp(t->type[i].name, name))
			return i;
	return TYPE_OTHER;
}

/* one never used, or else one that nobody has any more */
static uint32_t free_place(struct types *t)
{
	if (t->n < TYPES_MAX)
		return t->n++;
	for (uint32_t i = 0; i < TYPES_MAX; i++)
		if (t->type[i].functions == 0)
			return i;
	return TYPE_OTHER;
}

uint32_t types_take(struct types *t, const char *name)
{
	char plain[TYPE_NAME_MAX];
	uint32_t i;

	plain_name(name, plain);
	i = find(t, plain);
	if (i == TYPE_OTHER) {
		i = free_place(t);
		if (i == TYPE_OTHER) {
			t->left_out++;
		} else {
			forget_figures(&t->type[i]);
			memcpy(t->type[i].name, plain, sizeof(plain));
			t->generation++;
		}
	}
	t->type[i].functions++;
	return i;
}

void types_give(struct types *t, uint32_t type)
{
	t->type[type].functions--;
	if (type == TYPE_OTHER)
		t->left_out--;
}

void types_record(struct types *t, uint32_t type, uint64_t latency_ns, uint64_t service_ns)
{
	struct call_type *c = &t->type[type];

	c->completed++;
	c->service_ns = c->service_ns ? c->service_ns - c->service_ns / 4 + service_ns / 4 : service_ns;
	if (!c->latency)
		c->latency = calloc(1, sizeof(*c->latency));
	if (!c->slowdown)
		c->slowdown = calloc(1, sizeof(*c->slowdown));
	if (!c->latency || !c->slowdown)
		return;
	hist_record(c->latency, latency_ns);
	hist_record(c->slowdown, service_ns ? latency_ns * 1000 / service_ns : 1000);
}

int types_used(const struct types *t, uint32_t type)
{
	const struct call_type *c = &t->type[type];

	return c->functions > 0 || c->completed + c->lost + c->rejected > 0;
}
