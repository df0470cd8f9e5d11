// SPDX-License-Identifier: Apache-2.0
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/file.h"
#include "cli.h"

#define EVENT_MAX (64u << 20)

struct call {
	const char *name, *data, *path, *method;
	bool event, headers;
	char *owned;
	size_t len;
	struct buf head, body;
};

static int parse(struct cli *cli, int argc, char **argv, struct call *c)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		bool more = i + 1 < argc;

		if (!strcmp(a, "--event"))
			c->event = true;
		else if (!strcmp(a, "-i"))
			c->headers = true;
		else if ((!strcmp(a, "-d") || !strcmp(a, "--data")) && more)
			c->data = argv[++i];
		else if (!strcmp(a, "--path") && more)
			c->path = argv[++i];
		else if (!strcmp(a, "-X") && more)
			c->method = argv[++i];
		else if (a[0] == '-' && a[1])
			return cli_usage(cli, more ? "unknown option" : "unknown option, or one that lacks its value");
		else if (!c->name)
			c->name = a;
		else
			return cli_usage(cli, "one function at a time");
	}
	if (!c->name)
		return cli_usage(cli, "which function?");
	if (c->event && c->path)
		return cli_usage(cli, "--event and --path exclude each other");
	return CLI_OK;
}

static int read_stdin(struct call *c, struct hearth_err *err)
{
	struct buf b = { 0 };
	uint8_t *tail;
	ssize_t n;

	do {
		if (b.len > EVENT_MAX || buf_reserve(&b, 65536, &tail) < 0) {
			buf_done(&b);
			return err_set(err, -EFBIG, "standard input: more than %u MiB", EVENT_MAX >> 20);
		}
		n = read(0, tail, 65536);
		if (n > 0)
			buf_commit(&b, (size_t)n);
	} while (n > 0 || (n < 0 && errno == EINTR));
	c->owned = (char *)b.data;
	c->len = b.len;
	c->data = b.len ? (const char *)buf_head(&b) : "";
	return 0;
}

static int read_data(struct call *c, struct hearth_err *err)
{
	int r;

	if (!c->data) {
		c->data = c->path ? "" : "{}";
		c->len = strlen(c->data);
		return 0;
	}
	if (!strcmp(c->data, "-"))
		return read_stdin(c, err);
	if (c->data[0] != '@') {
		c->len = strlen(c->data);
		return 0;
	}
	r = file_read(c->data + 1, EVENT_MAX, &c->owned, &c->len);
	if (r < 0)
		return err_set(err, r, "event %s: %s", c->data + 1, strerror(-r));
	c->data = c->owned;
	return 0;
}

static size_t collect(char *data, size_t size, size_t n, void *into)
{
	return buf_append(into, data, size * n) < 0 ? 0 : size * n;
}

static CURLcode perform(CURL *curl, const char *gateway, struct call *c, long *ret_status)
{
	struct curl_slist *headers = NULL;
	char *url = NULL;
	CURLcode code = CURLE_OUT_OF_MEMORY;

	if (c->path ? asprintf(&url, "%s/function/%s%s%s", gateway, c->name, c->path[0] == '/' ? "" : "/", c->path) < 0
		    : asprintf(&url, "%s/2015-03-31/functions/%s/invocations", gateway, c->name) < 0)
		return code;
	headers = curl_slist_append(headers, "Content-Type: application/json");
	if (c->event)
		headers = curl_slist_append(headers, "X-Amz-Invocation-Type: Event");
	headers = curl_slist_append(headers, "Expect:");
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &c->body);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &c->head);
	if (!c->path || c->len > 0) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, c->data);
	}
	if (c->path && c->method)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, c->method);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
	curl_slist_free_all(headers);
	free(url);
	return code;
}

static bool header_says(const struct call *c, const char *name)
{
	const char *text = (const char *)buf_head(&c->head);
	size_t n = strlen(name);

	for (size_t at = 0; at + n < c->head.len; at++)
		if ((at == 0 || text[at - 1] == '\n') && !strncasecmp(text + at, name, n))
			return true;
	return false;
}

static int show(struct cli *cli, struct call *c, long status)
{
	bool failed = status < 200 || status > 299, function_error = header_says(c, "X-Amz-Function-Error:");
	bool text = isatty(1) && c->body.len > 0 && buf_head(&c->body)[c->body.len - 1] != '\n';

	(void)cli;
	if (c->headers)
		fwrite(buf_head(&c->head), 1, c->head.len, stdout);
	fwrite(buf_head(&c->body), 1, c->body.len, failed && !c->headers ? stderr : stdout);
	if (text || failed)
		fputc('\n', failed && !c->headers ? stderr : stdout);
	if (failed)
		fprintf(stderr, "hearth: %s: HTTP status %ld\n", c->name, status);
	else if (function_error)
		fprintf(stderr, "hearth: %s: the function ended with an error\n", c->name);
	return failed || function_error ? CLI_FAILED : CLI_OK;
}

int cmd_invoke(struct cli *cli, int argc, char **argv)
{
	json_t *request, *info = NULL;
	struct call c = { 0 };
	struct hearth_err err;
	CURL *curl = NULL;
	CURLcode code;
	long status = 0;
	int r;

	r = parse(cli, argc, argv, &c);
	if (r != CLI_OK)
		return r;
	request = json_pack("{s:s}", "op", "info");
	r = ctl_call(cli, request, &info, &err);
	json_decref(request);
	if (r == 0)
		r = read_data(&c, &err);
	curl = curl_easy_init();
	if (r < 0 || !curl) {
		r = cli_fail(cli, &err);
		goto out;
	}
	code = perform(curl, json_string_value(json_object_get(json_object_get(info, "node"), "gateway")), &c, &status);
	if (code != CURLE_OK) {
		err_set(&err, -EIO, "the gateway does not answer: %s", curl_easy_strerror(code));
		r = cli_fail(cli, &err);
	} else {
		r = show(cli, &c, status);
	}
out:
	curl_easy_cleanup(curl);
	json_decref(info);
	free(c.owned);
	buf_done(&c.head);
	buf_done(&c.body);
	return r;
}
