/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open loop: one thread, libcurl's multi interface for the answers, a timerfd for the next request's time. A slow answer holds nothing up, since every
 * request that is due is started at once on a connection of its own if need be.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "replay.h"

#define BODY_KEPT 200                           /* bytes of an answer, for its error message */
#define TTY_EVERY_NS (200 * NS_PER_MS)
#define PLAIN_EVERY_NS (5 * NS_PER_S)

const char *const start_names[START_KINDS] = { "cold", "wake", "warm", "hot" };

struct run {
	const struct run_spec *spec;
	CURLM *multi;
	struct curl_slist *headers;
	struct flight *flying;
	int timer_fd;
	size_t next, done, errors;
	bool tty;
	uint64_t shown_ns;
};

struct flight {                                 /* one request under way */
	struct flight *prev, *next;             /* in run.flying */
	struct request *request;
	CURL *easy;
	char *event;
	char body[BODY_KEPT + 1];
	size_t body_len;
	bool function_error;
	char why[CURL_ERROR_SIZE];
};

static struct flight *flight_free(struct flight *f)
{
	if (!f)
		return NULL;
	curl_easy_cleanup(f->easy);
	free(f->event);
	free(f);
	return NULL;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct flight *f = arg;
	size_t room = BODY_KEPT - f->body_len, take = size * n < room ? size * n : room;

	memcpy(f->body + f->body_len, data, take);
	f->body_len += take;
	return size * n;
}

/* The value of a header line if its name is the given one. */
static bool header_value(const char *line, size_t len, const char *name, const char **ret, size_t *ret_len)
{
	size_t n = strlen(name);

	if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
		return false;
	for (line += n + 1, len -= n + 1; len > 0 && (*line == ' ' || *line == '\t'); line++)
		len--;
	while (len > 0 && (unsigned char)line[len - 1] <= ' ')
		len--;
	*ret = line;
	*ret_len = len;
	return true;
}

/* milliseconds as text; what is no number is no wait */
static uint64_t wait_of(const char *value, size_t len)
{
	char text[32] = "";
	double ms;

	memcpy(text, value, len < sizeof(text) ? len : sizeof(text) - 1);
	ms = strtod(text, NULL);
	return ms > 0 && ms < 1e9 ? (uint64_t)(ms * 1e6) : 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct flight *f = arg;
	const char *value;
	size_t len;

	if (header_value(data, size * n, "X-Amz-Function-Error", &value, &len))
		f->function_error = true;
	if (header_value(data, size * n, "X-Hearth-Wait-Ms", &value, &len))
		f->request->wait_ns = wait_of(value, len);
	if (header_value(data, size * n, "X-Hearth-Start", &value, &len))
		for (int k = 0; k < START_KINDS; k++)
			if (len == strlen(start_names[k]) && strncasecmp(value, start_names[k], len) == 0)
				f->request->start = (enum start_kind)k;
	return size * n;
}

static int set_url(struct run *r, struct flight *f)
{
	const struct target *t = &r->spec->targets->v[f->request->target];
	char *name = curl_easy_escape(f->easy, t->name, 0), *url = NULL;
	int rc = name ? asprintf(&url, t->http ? "%s/function/%s/" : "%s/2015-03-31/functions/%s/invocations", r->spec->gateway, name) : -1;

	curl_free(name);
	if (rc < 0)
		return -ENOMEM;
	rc = curl_easy_setopt(f->easy, CURLOPT_URL, url) == CURLE_OK ? 0 : -ENOMEM;
	free(url);
	if (rc == 0 && !t->http) {
		if (asprintf(&f->event, "{\"replay\":%zu}", (size_t)(f->request - r->spec->requests)) < 0) {
			f->event = NULL;
			return -ENOMEM;
		}
		curl_easy_setopt(f->easy, CURLOPT_POSTFIELDS, f->event);
		curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, r->headers);
	}
	return rc;
}

static int flight_start(struct run *r, struct request *request)
{
	struct flight *f = calloc(1, sizeof(*f));
	int rc;

	if (!f)
		return -ENOMEM;
	f->request = request;
	f->easy = curl_easy_init();
	rc = f->easy ? set_url(r, f) : -ENOMEM;
	if (rc < 0) {
		flight_free(f);
		return rc;
	}
	curl_easy_setopt(f->easy, CURLOPT_PRIVATE, f);
	curl_easy_setopt(f->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(f->easy, CURLOPT_PROXY, "");           /* straight to the gateway, whatever the environment says */
	curl_easy_setopt(f->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(f->easy, CURLOPT_TIMEOUT_MS, (long)(r->spec->timeout_ns / NS_PER_MS));
	curl_easy_setopt(f->easy, CURLOPT_ERRORBUFFER, f->why);
	curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(f->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(f->easy, CURLOPT_HEADERDATA, f);
	request->sent_ns = clock_mono_ns() - r->spec->origin_ns;
	if (curl_multi_add_handle(r->multi, f->easy) != CURLM_OK) {
		flight_free(f);
		return -EIO;
	}
	f->next = r->flying;
	if (f->next)
		f->next->prev = f;
	r->flying = f;
	return 0;
}

static void flight_end(struct run *r, struct flight *f)
{
	if (f->next)
		f->next->prev = f->prev;
	if (f->prev)
		f->prev->next = f->next;
	else
		r->flying = f->next;
	curl_multi_remove_handle(r->multi, f->easy);
	flight_free(f);
}

/* What was wrong with an answer, or NULL. Return: 0, -ENOMEM. */
static int judge(struct flight *f, CURLcode code, char **ret)
{
	long status = 0;
	int rc = 0;

	for (size_t i = 0; i < f->body_len; i++)
		if ((unsigned char)f->body[i] < ' ' || (unsigned char)f->body[i] > '~')
			f->body[i] = ' ';
	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK)
		rc = asprintf(ret, "%s", f->why[0] ? f->why : curl_easy_strerror(code));
	else if (status < 200 || status > 299)
		rc = asprintf(ret, "HTTP %ld: %s", status, f->body);
	else if (f->function_error)
		rc = asprintf(ret, "the function failed: %s", f->body);
	else if (f->request->start == START_KINDS)
		rc = asprintf(ret, "the answer has no X-Hearth-Start header: is this a Hearth gateway?");
	else
		*ret = NULL;
	return rc < 0 ? -ENOMEM : 0;
}

static int collect(struct run *r)
{
	CURLMsg *m;
	int left, rc = 0;

	while ((m = curl_multi_info_read(r->multi, &left))) {
		struct flight *f;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&f);
		f->request->end_ns = clock_mono_ns() - r->spec->origin_ns;
		if (judge(f, m->data.result, &f->request->error) < 0)
			rc = -ENOMEM;
		r->errors += f->request->error != NULL;
		r->done++;
		flight_end(r, f);
	}
	return rc;
}

static void show_progress(struct run *r, bool last)
{
	uint64_t now_ns = clock_mono_ns();
	size_t n = r->spec->n, flying = r->next - r->done;
	char bar[31];
	struct sample s;
	double mib;

	if (!last && now_ns - r->shown_ns < (r->tty ? TTY_EVERY_NS : PLAIN_EVERY_NS))
		return;
	r->shown_ns = now_ns;
	s = sampler_last(r->spec->sampler);
	mib = (double)(s.instances_bytes + s.pool_bytes + s.node_bytes) / (1 << 20);
	if (!r->tty) {
		fprintf(stderr, "replay: %zu of %zu answered, %zu errors, %zu in flight, memory %.0f MiB, %u running, %u parked\n", r->done, n, r->errors, flying, mib,
			s.live, s.parked);
		return;
	}
	for (size_t i = 0; i < sizeof(bar) - 1; i++)
		bar[i] = i * n < r->done * (sizeof(bar) - 1) ? '#' : '.';
	bar[sizeof(bar) - 1] = '\0';
	fprintf(stderr, "\r\033[K[%s] %zu/%zu  errors %zu  in flight %zu  memory %.0f MiB  running %u  parked %u%s", bar, r->done, n, r->errors, flying, mib, s.live,
		s.parked, last ? "\n" : "");
}

/* Start what is due and set the timer for the next. */
static int send_due(struct run *r)
{
	const struct run_spec *spec = r->spec;
	struct itimerspec at = { 0 };
	uint64_t due_ns;

	while (r->next < spec->n && clock_mono_ns() >= spec->origin_ns + spec->requests[r->next].at_ns) {
		int rc = flight_start(r, &spec->requests[r->next]);

		if (rc < 0)
			return rc;
		r->next++;
	}
	if (r->next == spec->n)
		return 0;
	due_ns = spec->origin_ns + spec->requests[r->next].at_ns;
	at.it_value.tv_sec = (time_t)(due_ns / NS_PER_S);
	at.it_value.tv_nsec = (long)(due_ns % NS_PER_S);
	return timerfd_settime(r->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) < 0 ? -errno : 0;
}

static int loop(struct run *r)
{
	struct curl_waitfd timer = { .fd = r->timer_fd, .events = CURL_WAIT_POLLIN };
	int running, rc;

	while (r->done < r->spec->n) {
		if (*r->spec->stop)
			return -EINTR;
		rc = send_due(r);
		if (rc < 0)
			return rc;
		/* The timer is set again or past its time; it only ends the wait, and need not be read. */
		if (curl_multi_perform(r->multi, &running) != CURLM_OK)
			return -EIO;
		rc = collect(r);
		if (rc < 0)
			return rc;
		show_progress(r, r->done == r->spec->n);
		if (r->done == r->spec->n)
			break;
		timer.revents = 0;
		curl_multi_poll(r->multi, r->next < r->spec->n ? &timer : NULL, r->next < r->spec->n, r->tty ? 200 : 1000, NULL);
	}
	return 0;
}

int run_requests(const struct run_spec *spec, struct hearth_err *err)
{
	struct run r = { .spec = spec, .timer_fd = -1, .tty = isatty(STDERR_FILENO), .shown_ns = clock_mono_ns() };
	int rc = -ENOMEM;

	fd_raise_limit();
	r.multi = curl_multi_init();
	r.headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!r.multi || !r.headers)
		goto out;
	r.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	rc = r.timer_fd < 0 ? -errno : loop(&r);
out:
	if (rc == -EINTR)
		err_set(err, rc, "stopped by a signal after %zu of %zu answers", r.done, spec->n);
	else if (rc < 0)
		err_set(err, rc, "cannot go on with the replay after %zu of %zu answers: %s", r.done, spec->n, strerror(-rc));
	while (r.flying)
		flight_end(&r, r.flying);       /* NOLINT(clang-analyzer-unix.Malloc): takes it off the list */
	fd_close(&r.timer_fd);
	curl_slist_free_all(r.headers);
	curl_multi_cleanup(r.multi);
	return rc;
}
