/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "payload.h"
#include "sched/wire.h"

#define KEY_BYTES_MAX 16
#define VALUE_BYTES 64

static enum wire_rocksdb_op op_of(const char *name)
{
	if (strncasecmp(name, "get", 3) == 0)
		return WIRE_ROCKSDB_GET;
	if (strncasecmp(name, "scan", 4) == 0)
		return WIRE_ROCKSDB_SCAN;
	return strncasecmp(name, "put", 3) == 0 ? WIRE_ROCKSDB_PUT : 0;
}

int payload_check(const struct load_config *cfg, struct hearth_err *err)
{
	if (cfg->app != LOAD_ROCKSDB)
		return 0;
	if (cfg->keys == 0)
		return err_set(err, -EINVAL, "the rocksdb application needs at least one key");
	for (uint32_t t = 0; t < cfg->workload->types_n; t++)
		if (!op_of(cfg->workload->types[t].name))
			return err_set(err, -EINVAL, "type %s is no operation of rocksdb: names must begin with get, scan or put", cfg->workload->types[t].name);
	return 0;
}

/* A scan is from the first key on, so that each reads as many keys as another. Keys are those that `hearth serve` fills a new database with. */
static size_t write_rocksdb(const struct load_config *cfg, const struct arrival *a, struct sched_random *r, uint8_t *out)
{
	enum wire_rocksdb_op op = op_of(cfg->workload->types[a->type].name);
	uint32_t limit = htole32(op == WIRE_ROCKSDB_SCAN ? cfg->scan_limit : 0);
	size_t n = 8;
	uint16_t len;

	out[0] = (uint8_t)op;
	out[1] = 0;
	memcpy(out + 4, &limit, sizeof(limit));
	if (op != WIRE_ROCKSDB_SCAN)
		n += (size_t)snprintf((char *)out + n, KEY_BYTES_MAX, "k%09llu", (unsigned long long)(sched_random_next(r) % cfg->keys));
	len = htole16((uint16_t)(n - 8));
	memcpy(out + 2, &len, sizeof(len));
	for (size_t i = 0; op == WIRE_ROCKSDB_PUT && i < VALUE_BYTES; i += 8, n += 8) {
		uint64_t word = sched_random_next(r);

		memcpy(out + n, &word, sizeof(word));
	}
	return n;
}

size_t payload_write(const struct load_config *cfg, const struct arrival *a, struct sched_random *r, uint8_t *out)
{
	uint64_t service_ns = htole64(a->service_ns);

	if (cfg->app == LOAD_ROCKSDB)
		return write_rocksdb(cfg, a, r, out);
	memcpy(out, &service_ns, WIRE_SPIN_BYTES);
	return WIRE_SPIN_BYTES;
}
