// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "cli.h"

static int exchange(int fd, json_t *request, struct buf *answer, struct hearth_err *err)
{
	char *text = json_dumps(request, JSON_COMPACT);
	uint8_t *tail;
	ssize_t n;
	int r;

	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	r = fd_write_full(fd, text, strlen(text));
	if (r == 0)
		r = fd_write_full(fd, "\n", 1);
	free(text);
	if (r < 0)
		return err_set(err, r, "hearthd hung up: %s", strerror(-r));
	while (answer->len == 0 || buf_head(answer)[answer->len - 1] != '\n') {
		if (buf_reserve(answer, 65536, &tail) < 0)
			return err_set(err, -ENOMEM, "out of memory");
		n = read(fd, tail, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(err, -ECONNRESET, "hearthd ended before it answered; its log says why");
		buf_commit(answer, (size_t)n);
	}
	return 0;
}

int ctl_call(const struct cli *cli, json_t *request, json_t **ret, struct hearth_err *err)
{
	struct buf answer = { 0 };
	char path[4096];
	json_t *o = NULL;
	int FD_AUTO fd = -1;
	int r;

	snprintf(path, sizeof(path), "%s/hearthd.sock", cli->run_dir);
	fd = sock_unix_connect(path);
	if (fd == -EACCES || fd == -EPERM)
		return err_set(err, fd, "you may not control the hearthd at %s; it is its owner's and root's (try sudo)", path);
	if (fd < 0)
		return err_set(err, fd, "no hearthd answers at %s (%s); `hearth up -d` starts one, --run names another folder", path, strerror(-fd));
	r = exchange(fd, request, &answer, err);
	if (r == 0) {
		o = json_loadb((const char *)buf_head(&answer), answer.len, 0, NULL);
		if (!json_is_object(o))
			r = err_set(err, -EPROTO, "hearthd answered what is no JSON object");
	}
	buf_done(&answer);
	if (r == 0 && !json_is_true(json_object_get(o, "ok"))) {
		const char *why = json_string_value(json_object_get(o, "error"));
		int code = (int)json_integer_value(json_object_get(o, "code"));

		r = err_set(err, code < 0 ? code : -EIO, "%s", why ? why : "hearthd refused without a reason");
	}
	if (r < 0) {
		json_decref(o);
		return r;
	}
	*ret = o;
	return 0;
}

int cli_fail(const struct cli *cli, const struct hearth_err *err)
{
	if (cli->json) {
		json_t *o = json_pack("{s:b,s:s,s:i}", "ok", 0, "error", err->msg, "code", err->code);

		json_dumpf(o, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(o);
	} else {
		fprintf(stderr, "hearth: %s\n", err->msg);
	}
	return CLI_FAILED;
}

int cli_print_json(const json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}
