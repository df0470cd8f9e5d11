/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main program for `hearth replay` and `hearth trace` alone, so that they can be tested against a fake node (replay.py) without the rest of the CLI. Its
 * control client is the smallest that speaks the protocol: one JSON object a line each way.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "cli.h"

static int exchange(int fd, const char *line, struct buf *answer)
{
	int rc = fd_write_full(fd, line, strlen(line));

	if (rc == 0)
		rc = fd_write_full(fd, "\n", 1);
	while (rc == 0 && (answer->len == 0 || buf_head(answer)[answer->len - 1] != '\n')) {
		uint8_t *tail;
		ssize_t n;

		rc = buf_reserve(answer, 65536, &tail);
		if (rc < 0)
			return rc;
		n = read(fd, tail, 65536);
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		buf_commit(answer, (size_t)n);
	}
	return rc;
}

int ctl_call(const struct cli *cli, json_t *request, json_t **ret, struct hearth_err *err)
{
	char path[256], *line = json_dumps(request, JSON_COMPACT);
	struct buf answer = { 0 };
	int fd = -1, rc = -ENOMEM;

	snprintf(path, sizeof(path), "%s/hearthd.sock", cli->run_dir);
	if (line)
		rc = fd = sock_unix_connect(path);
	if (rc >= 0)
		rc = exchange(fd, line, &answer);
	if (rc < 0)
		err_set(err, rc, "cannot ask %s: %s", path, strerror(-rc));
	else
		*ret = json_loadb((const char *)buf_head(&answer), answer.len, 0, NULL);
	if (rc == 0 && !*ret)
		rc = err_set(err, -EPROTO, "%s does not answer in JSON", path);
	fd_close(&fd);
	buf_done(&answer);
	free(line);
	return rc;
}

int cli_fail(const struct cli *cli, const struct hearth_err *err)
{
	fprintf(stderr, "hearth: %s\n", err->msg);
	return CLI_FAILED;
}

int main(int argc, char **argv)
{
	const char *run_dir = getenv("HEARTH_RUN_DIR");
	struct cli cli = { .run_dir = run_dir ? run_dir : "." };

	if (argc >= 2 && strcmp(argv[1], "replay") == 0)
		return cmd_replay(&cli, argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "trace") == 0)
		return cmd_trace(&cli, argc - 1, argv + 1);
	fprintf(stderr, "usage: %s replay|trace ...\n", argv[0]);
	return CLI_USAGE;
}
