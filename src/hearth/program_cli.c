// SPDX-License-Identifier: Apache-2.0
#include "program_cli.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define BAR 30
#define SHOW_NS (100 * NS_PER_MS)

void memory_store_dir(char ret[PATH_MAX])
{
	if (geteuid() == 0)
		snprintf(ret, PATH_MAX, "/dev/shm/hearth/store");
	else
		snprintf(ret, PATH_MAX, "/dev/shm/hearth-%u/store", geteuid());
}

int program_cli_init(struct program_cli *p, struct cli *cli, const char *store, struct hearth_err *err)
{
	int r;

	*p = (struct program_cli){ .cli = cli, .t0_ns = clock_mono_ns() };
	r = node_config_init(&p->cfg, err);
	if (r < 0)
		return r;
	if (store && !strcmp(store, "memory"))
		memory_store_dir(p->store);
	else if (store)
		snprintf(p->store, sizeof(p->store), "%s", store);
	else
		snprintf(p->store, sizeof(p->store), "%s/store", p->cfg.state_dir);
	snprintf(p->keeper, sizeof(p->keeper), "%s/keeper.sock", cli->run_dir);
	return 0;
}

void program_cli_done(struct program_cli *p)
{
	program_cli_clear(p);
	node_config_done(&p->cfg);
}

const char *program_cli_criu(const struct program_cli *p)
{
	return p->cfg.criu ? p->cfg.criu : "criu";
}

void program_cli_clear(struct program_cli *p)
{
	if (p->phase && !p->cli->json)
		fputs("\r\033[K", stderr);
	p->phase = NULL;
}

void program_cli_progress(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	static atomic_flag drawing = ATOMIC_FLAG_INIT;
	struct program_cli *p = ctx;
	uint64_t now = clock_mono_ns();
	int share = total ? (int)(done * BAR / total) : 0;

	/* the engine's threads call; one of them draws */
	if (now - p->t0_ns < NS_PER_S || atomic_flag_test_and_set(&drawing))
		return;
	if (now - p->shown_ns < SHOW_NS) {
		atomic_flag_clear(&drawing);
		return;
	}
	p->shown_ns = now;
	p->phase = phase;
	if (p->cli->json) {
		printf("{\"progress\": \"%s\", \"done\": %llu, \"total\": %llu}\n", phase, (unsigned long long)done, (unsigned long long)total);
		fflush(stdout);
	} else if (isatty(STDERR_FILENO)) {
		char text[32];

		fprintf(stderr, "\r\033[K%-9s [%.*s%*s] %s", phase, share, "##############################", BAR - share, "", cli_bytes(text, sizeof(text), (double)done));
		fflush(stderr);
	}
	atomic_flag_clear(&drawing);
}
