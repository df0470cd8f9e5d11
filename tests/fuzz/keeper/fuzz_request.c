/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine and what a shim may send, on any bytes: what is taken keeps the promises that the keeper relies on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	abort();
}

static void check_request(const struct request *r)
{
	check(r->op < REQUEST_OPS && r->n <= KEEPER_PIDS_MAX, "operation and number of processes");
	for (size_t k = 0; k < r->n; k++) {
		check(r->pids[k] > 0, "pids are positive");
		check(r->op != REQUEST_LOAD || r->was[k] > 0, "load names the old pid of each");
		for (size_t j = 0; j < k; j++)
			check(r->pids[j] != r->pids[k], "no pid twice");
	}
	check(!r->base[0] || name_ok(r->base), "base is a name");
	check(!r->image[0] || name_ok(r->image), "image is a name");
	check(!r->hold[0] || name_ok(r->hold), "hold is a name");
	check(!r->store[0] || r->store[0] == '/', "store is an absolute path");
	check(r->zstd_level >= 0 && r->zstd_level <= 22, "level");
}

static void check_msg(const void *data, size_t len)
{
	struct shim_msg m;

	if (shim_msg_check(data, len, &m) < 0)
		return;
	check(len == sizeof(m) && memchr(m.text, '\0', sizeof(m.text)) != NULL, "size, and text that ends");
	check(m.op != SHIM_ALLOC || (m.id && m.bytes && m.bytes % (2u << 20) == 0), "a buffer is of whole pages");
	check(m.op != SHIM_HELLO || name_ok(m.text), "a program's name is a name");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	unsigned char packet[sizeof(struct shim_msg)] = { 0 };
	struct request *r = NULL;
	struct hearth_err err;

	if (request_parse((const char *)data, len, &r, &err) == 0)
		check_request(r);
	request_free(r);
	check_msg(data, len);
	memcpy(packet, data, len < sizeof(packet) ? len : sizeof(packet));
	check_msg(packet, sizeof(packet));
	return 0;
}
