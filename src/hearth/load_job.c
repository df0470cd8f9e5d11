/* SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "load_job.h"
#include "trace/trace.h"

#define BODY_BYTES_MAX (1 << 20)

int load_number(const char *text, double min, double max, double *ret)
{
	char *end;
	double v = strtod(text, &end), factor = *end == 'k' ? 1e3 : *end == 'M' ? 1e6 : 1;

	if (factor != 1)
		end++;
	if (end == text || *end != '\0' || !(v * factor >= min && v * factor <= max))
		return -EINVAL;
	*ret = v * factor;
	return 0;
}

static int azure_load(struct load_job *j, struct hearth_err *err)
{
	struct trace *t = NULL;
	struct recorded_request *items;
	const char **names;
	size_t names_n;
	int rc = trace_load(j->o.azure, &t, err);

	if (rc < 0)
		return rc;
	names_n = j->o.functions_n ? j->o.functions_n : t->n_funcs;
	items = calloc(t->n_calls, sizeof(*items));
	names = calloc(names_n, sizeof(*names));
	/* The trace's functions take turns on those that there are; names of the trace are digests, too long for a type. */
	for (size_t i = 0; items && i < t->n_calls; i++)
		items[i] = (struct recorded_request){ t->calls[i].start_ns, t->calls[i].duration_ns, t->calls[i].func % (uint32_t)names_n };
	for (size_t i = 0; names && i < names_n; i++) {
		if (j->o.functions_n)
			names[i] = j->names[i];
		else if (strlen(t->funcs[i].name) >= SCHED_NAME_MAX)
			t->funcs[i].name[SCHED_NAME_MAX - 1] = '\0';
		if (!j->o.functions_n)
			names[i] = t->funcs[i].name;
	}
	if (items && names) {
		rc = load_trace_new(j->o.azure, names, names_n, items, t->n_calls, &j->trace, err);
	} else {
		free(items);
		rc = err_set(err, -ENOMEM, "no memory for the trace");
	}
	free(names);
	trace_free(t);
	return rc;
}

/* "NAME" or "NAME=RATIO"; those without share what the others leave. */
static int functions_take(struct load_job *j, double *ratio, struct hearth_err *err)
{
	double sum = 0;
	size_t open = 0;

	for (size_t i = 0; i < j->o.functions_n; i++) {
		const char *eq = strchr(j->o.functions[i], '=');
		size_t len = eq ? (size_t)(eq - j->o.functions[i]) : strlen(j->o.functions[i]);

		ratio[i] = -1;
		if (len == 0 || (eq && load_number(eq + 1, 0, 1, &ratio[i]) < 0))
			return err_set(err, -EINVAL, "--function %s: it must be NAME or NAME=RATIO, the ratio 0..1", j->o.functions[i]);
		j->names[i] = strndup(j->o.functions[i], len);
		if (!j->names[i])
			return err_set(err, -ENOMEM, "no memory");
		if (eq)
			sum += ratio[i];
		else
			open++;
	}
	for (size_t i = 0; i < j->o.functions_n; i++)
		if (ratio[i] < 0)
			ratio[i] = (sum < 1 ? 1 - sum : 0) / (double)open;
	return 0;
}

/* Types that only have names: the functions, or the one URL. */
static int workload_of_names(struct load_job *j, const double *ratio, struct hearth_err *err)
{
	struct workload_type types[LOAD_FUNCTIONS_MAX] = { 0 };
	size_t n = j->o.functions_n ? j->o.functions_n : 1;

	types[0] = (struct workload_type){ .name = "requests", .mean_ns = 1, .ratio = 1 };
	for (size_t i = 0; i < j->o.functions_n; i++) {
		types[i] = (struct workload_type){ .mean_ns = 1, .ratio = ratio[i] };
		snprintf(types[i].name, sizeof(types[i].name), "%s", j->names[i]);
	}
	return workload_new(j->o.functions_n ? "functions" : "one URL", types, (uint32_t)n, &j->workload, err);
}

static int workload_find_out(struct load_job *j, struct hearth_err *err)
{
	struct load_config *cfg = &j->o.cfg;
	double ratio[LOAD_FUNCTIONS_MAX];
	int rc = functions_take(j, ratio, err);

	if (rc == 0 && j->o.trace)
		rc = load_trace_load(j->o.trace, &j->trace, err);
	else if (rc == 0 && j->o.azure)
		rc = azure_load(j, err);
	else if (rc == 0 && j->o.workload)
		rc = workload_load(j->o.workload, &j->workload, err);
	else if (rc == 0)
		rc = workload_of_names(j, ratio, err);
	if (rc < 0)
		return rc;
	cfg->has_service = j->o.workload || j->o.trace;
	if (j->trace) {
		load_trace_dilate(j->trace, j->o.dilate);
		cfg->trace = j->trace;
		cfg->workload = j->trace->workload;
		cfg->numbers = j->trace->numbers;
		cfg->arrivals = LOAD_TRACE;
	} else {
		workload_dilate(j->workload, j->o.dilate);
		cfg->rate_hz /= j->o.dilate;
		cfg->workload = j->workload;
	}
	return 0;
}

/* ---- HTTP ---- */

static int url_split(struct load_job *j, struct hearth_err *err)
{
	CURLU *u = curl_url();
	char *host = NULL, *port = NULL, *path = NULL, *query = NULL;
	int rc = 0;

	if (!u || curl_url_set(u, CURLUPART_URL, j->o.target, 0) != CURLUE_OK || curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK || curl_url_get(u, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		rc = err_set(err, -EINVAL, "\"%s\" is no URL: it must be like http://ADDRESS:PORT/PATH", j->o.target);
	else if (curl_url_get(u, CURLUPART_QUERY, &query, 0), asprintf(&j->path, "%s%s%s", path, query ? "?" : "", query ? query : "") < 0)
		j->path = NULL;
	if (rc == 0 && asprintf(&j->base, "%s:%s", host, port) < 0)
		j->base = NULL;
	if (rc == 0 && (!j->path || !j->base))
		rc = err_set(err, -ENOMEM, "no memory");
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_free(query);
	curl_url_cleanup(u);
	return rc;
}

static int body_take(struct load_job *j, struct hearth_err *err)
{
	const char *data = j->o.data ? j->o.data : j->o.functions_n ? "{}" : NULL;
	int rc = 0;

	if (!data)
		return 0;
	if (data[0] == '@')
		rc = file_read(data + 1, BODY_BYTES_MAX, &j->body, NULL);
	else
		j->body = strdup(data);
	if (rc < 0)
		return err_set(err, rc, "cannot read %s: %s", data + 1, strerror(-rc));
	return j->body ? 0 : err_set(err, -ENOMEM, "no memory");
}

/* Which function a type is for: the one of the same place, or the only one. */
static const char *function_of(const struct load_job *j, uint32_t type)
{
	return j->names[j->o.functions_n == 1 ? 0 : type];
}

static int path_of(struct load_job *j, uint32_t type, char **ret)
{
	char *name;
	int rc;

	if (j->o.functions_n == 0) {
		*ret = strdup(j->path);
		return *ret ? 0 : -ENOMEM;
	}
	name = curl_easy_escape(NULL, function_of(j, type), 0);
	rc = name ? asprintf(ret, "/2015-03-31/functions/%s/invocations", name) : -1;
	curl_free(name);
	return rc < 0 ? -ENOMEM : 0;
}

static int http_prepare(struct load_job *j, struct hearth_err *err)
{
	const struct workload *w = j->o.cfg.workload;
	int rc = url_split(j, err);

	if (rc == 0)
		rc = body_take(j, err);
	if (rc < 0)
		return rc;
	if (j->o.functions_n > 1 && j->o.functions_n != w->types_n)
		return err_set(err, -EINVAL, "%zu functions for %u types: give one function for each type of %s, or one for all", j->o.functions_n, w->types_n, w->name);
	if (j->body && !strcasestr(buf_head(&j->o.headers) ? (const char *)buf_head(&j->o.headers) : "", "content-type:") &&
	    buf_printf(&j->o.headers, "Content-Type: application/json\r\n") < 0)
		return err_set(err, -ENOMEM, "no memory");
	if (buf_append(&j->o.headers, "", 1) < 0)
		return err_set(err, -ENOMEM, "no memory");
	j->http = calloc(w->types_n, sizeof(*j->http));
	for (uint32_t t = 0; j->http && t < w->types_n; t++) {
		j->http[t] = (struct load_http){ .method = j->o.method ? j->o.method : j->body ? "POST" : "GET", .headers = (const char *)buf_head(&j->o.headers),
			.body = j->body };
		if (path_of(j, t, (char **)&j->http[t].path) < 0)
			return err_set(err, -ENOMEM, "no memory");
	}
	j->o.cfg.http = j->http;
	j->o.cfg.target = j->base;
	return j->http ? 0 : err_set(err, -ENOMEM, "no memory");
}

void load_job_done(struct load_job *j)
{
	for (uint32_t t = 0; j->http && t < j->o.cfg.workload->types_n; t++)
		free((char *)j->http[t].path);
	free(j->http);
	free(j->base);
	free(j->path);
	free(j->body);
	for (size_t i = 0; i < j->o.functions_n; i++)
		free(j->names[i]);
	buf_done(&j->o.headers);
	load_result_free(j->best);
	workload_free(j->workload);
	load_trace_free(j->trace);
	free(j->numbers);
}

/* --types: the server's order */
static int number_types(struct load_job *j, struct hearth_err *err)
{
	const struct workload *w = j->o.cfg.workload;
	uint16_t place = 0;

	j->numbers = malloc(w->types_n * sizeof(*j->numbers));
	if (!j->numbers)
		return err_set(err, -ENOMEM, "no memory");
	memset(j->numbers, 0xff, w->types_n * sizeof(*j->numbers));
	for (const char *at = j->o.types;; at++, place++) {
		size_t len = strcspn(at, ",");

		for (uint32_t t = 0; t < w->types_n; t++)
			if (strlen(w->types[t].name) == len && memcmp(w->types[t].name, at, len) == 0)
				j->numbers[t] = place;
		at += len;
		if (*at == '\0')
			break;
	}
	for (uint32_t t = 0; t < w->types_n; t++)
		if (j->numbers[t] == UINT16_MAX)
			return err_set(err, -EINVAL, "--types %s: it lacks %s, which %s has", j->o.types, w->types[t].name, w->name);
	j->o.cfg.numbers = j->numbers;
	return 0;
}

int load_job_prepare(struct load_job *j, struct hearth_err *err)
{
	int rc = workload_find_out(j, err);

	if (rc == 0 && j->o.types)
		rc = number_types(j, err);
	if (rc == 0 && strncmp(j->o.target, "http://", 7) == 0)
		rc = http_prepare(j, err);
	return rc;
}
