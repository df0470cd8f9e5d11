/* SPDX-License-Identifier: Apache-2.0 */
/* store_put STORE NAME FILE... - an image of these files; "-" as a file: say "open" once the ones before it are in the draft, and commit after a line of input */
#include <stdio.h>
#include <string.h>

#include "ckpt/store.h"

static int wait_for_line(void)
{
	char line[16];

	puts("open");
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct store_options options = { 0 };
	struct store_draft *d = NULL;
	struct store_stats stats;
	struct store *s = NULL;
	struct hearth_err err = { .msg = "" };
	json_t *meta = json_pack("{s:s}", "program", argc > 2 ? argv[2] : "");
	int r = argc < 3 ? err_set(&err, -1, "usage: store_put STORE NAME FILE...") : store_open(argv[1], &s, &err);

	if (r == 0)
		r = store_begin(s, argv[2], &options, &d, &err);
	for (int i = 3; i < argc && r == 0; i++)
		r = strcmp(argv[i], "-") ? store_put_file(d, argv[i], argv[i], &err) : wait_for_line();
	if (r == 0) {
		r = store_commit(d, meta, &stats, &err);
		if (r == 0) {
			d = NULL;
			printf("{\"bytes\":%llu,\"new_bytes\":%llu,\"stored_bytes\":%llu}\n", (unsigned long long)stats.bytes, (unsigned long long)stats.new_bytes,
			       (unsigned long long)stats.stored_bytes);
		}
	}
	if (r < 0)
		fprintf(stderr, "%s\n", err.msg);
	store_abort(d);
	store_close(s);
	json_decref(meta);
	return r < 0;
}
