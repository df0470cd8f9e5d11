/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a configuration: refused with a message, or what comes out is within its limits and the policy core and the classifier say yes or say why not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	abort();
}

static uint32_t any(uint32_t wire_type, const uint8_t *payload, size_t len)
{
	return wire_type;
}

static void use(const struct serve_config *c)
{
	struct classify_config classify_cfg;
	struct classifier *classifier = NULL;
	struct hearth_err err = { 0 };
	struct sched_config sched;
	struct sched *core = NULL;
	uint32_t buffers = config_buffers(c);

	check(c->workers >= 1 && c->workers <= SCHED_WORKERS_MAX && c->types_n >= 1 && c->types_n <= SCHED_TYPES_MAX, "limits");
	check(buffers >= 64 && (buffers & (buffers - 1)) == 0, "buffers are a power of two");
	check(config_frozen(c, c, 0) == NULL, "a configuration differs from itself in nothing");
	(void)config_machine(c, &err);
	config_classify(c, any, &classify_cfg);
	if (classifier_new(&classify_cfg, &classifier, &err) == 0)
		(void)classify(classifier, 1, (const uint8_t *)"GET / HTTP/1.1", 14);
	else
		check(err.code < 0 && err.msg[0] != '\0', "refused with a message");
	classifier_free(classifier);
	config_sched(c, &sched);
	/* memory for millions of waiting requests is no finding */
	if (sched.queue_max > 4096)
		sched.queue_max = 4096;
	for (uint32_t t = 0; t < sched.types_n; t++)
		if (sched.types[t].queue_max > 4096)
			sched.types[t].queue_max = 4096;
	if (sched_new(&sched, &core, &err) < 0)
		check(err.code < 0 && err.msg[0] != '\0', "refused with a message");
	sched_free(core);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct serve_config *c = NULL;
	struct hearth_err err = { 0 };

	if (config_parse((const char *)data, len, "fuzz", &c, &err) == 0)
		use(c);
	else
		check(c == NULL && err.code < 0 && err.msg[0] != '\0', "refused with a message");
	serve_config_free(c);
	return 0;
}
