/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a datagram: what wire_parse takes it writes again as it was, what may be answered is a request at least as long as the answer, and every
 * classifier gives a type that there is, or none, and reads nothing outside.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify.h"
#include "sched/wire.h"

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

static char *numbers[] = { "0", "3-9", "0x41", NULL }, *more[] = { "1-2", "65535", NULL }, *paths[] = { "/", "/a/", NULL }, *deeper[] = { "/a/b", NULL };

static struct classifier *make(enum classify_kind kind, uint32_t width, int big_endian)
{
	struct classify_config cfg = { .kind = kind, .offset = 3, .width = width, .big_endian = big_endian, .types_n = 2, .mask = 0xffff, .names = { "a", "b" }, .call = any };
	struct classifier *c = NULL;
	struct hearth_err err;

	if (kind != CLASSIFY_APP) {
		cfg.match[0] = kind == CLASSIFY_PATH ? paths : numbers;
		cfg.match[1] = kind == CLASSIFY_PATH ? deeper : more;
	}
	check(classifier_new(&cfg, &c, &err) == 0, "a classifier");
	return c;
}

static void check_message(const uint8_t *data, size_t len, const struct wire_header *h)
{
	uint8_t again[WIRE_HEADER_BYTES];

	check(len == WIRE_HEADER_BYTES + h->payload_len && h->payload_len <= WIRE_PAYLOAD_MAX && h->status < WIRE_STATUSES, "a header in its limits");
	wire_write(h, again);
	check(memcmp(again, data, sizeof(again)) == 0, "the header comes back");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct classifier *classifiers[8];
	struct wire_header h, answer;
	bool answerable = wire_answerable(data, len, &answer);

	if (classifiers[0] == NULL) {
		for (uint32_t i = 0; i < 8; i++)
			classifiers[i] = i < 4 ? make(CLASSIFY_FIELD, 1u << i, i & 1) : make((enum classify_kind[]){ CLASSIFY_TYPE, CLASSIFY_BYTE, CLASSIFY_PATH, CLASSIFY_APP }[i - 4], 1, 0);
	}
	if (wire_parse(data, len, &h) == 0) {
		check_message(data, len, &h);
		check(answerable == (h.kind == WIRE_REQUEST), "requests can be answered, replies not");
	}
	check(!answerable || (len >= WIRE_HEADER_BYTES && memcmp(data, "HRTH", 4) == 0 && data[5] == WIRE_REQUEST), "an answer is no longer than the question");
	for (size_t i = 0; i < 8; i++) {
		uint32_t type = classify(classifiers[i], len > 0 ? data[0] : 0, data, len);

		check(type < 2 || type == SCHED_UNKNOWN, "a type that there is");
	}
	return 0;
}
