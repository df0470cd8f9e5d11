/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger, or a client gone mad, says to a pool, and a pool to a client: frames as they come, and the same after a proper greeting. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "conn.h"
#include "farmem/pool_server.h"
#include "seal.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pool_server *server;
static char place[64];

static void decode(const uint8_t *data, size_t size)
{
	struct wire_frame f;

	while (wire_decode(data, size, &f) == 1) {
		uint64_t sum = 0;

		for (unsigned k = 0; f.head.kind >= WIRE_PUT && k < f.head.n; k++)
			sum += wire_item(&f, k).len;
		if (f.bytes > size || (f.head.n && f.head.kind >= WIRE_PUT && sum != f.head.data_bytes))
			abort();
		data += f.bytes;
		size -= f.bytes;
	}
}

static void open_sealed(const uint8_t *data, size_t size)
{
	static struct sealer sealer;
	struct farmem_object o = { 7, 1, 1 };
	struct key k = { .tenant = 7 };
	uint8_t page[POOL_PAGE_BYTES];

	if (!sealer.cipher && sealer_init(&sealer) < 0)
		abort();
	if (size < 8192 && seal_open(&sealer, &k, &o, (struct pool_ref){ 1, 1 }, data, (uint32_t)size, page) == 0)
		abort();
}

static void work(unsigned times)
{
	for (unsigned k = 0; k < times; k++)
		pool_server_work(server);
}

/* @joined: after a greeting as it should be */
static void talk(const uint8_t *data, size_t size, bool joined)
{
	struct wire_session none = { 0 };
	struct wire_join j = { .node = 5 };
	struct buf hello = { 0 };
	int fd = sock_unix_connect(place + strlen("unix:"));
	uint8_t reply[65536];

	if (fd < 0)
		abort();
	fd_set_nonblock(fd, true);
	if (joined && wire_small(&none, &hello, WIRE_JOIN, 0, &j, sizeof(j)) == 0)
		(void)!send(fd, buf_head(&hello), hello.len, MSG_NOSIGNAL);
	(void)!send(fd, data, size, MSG_NOSIGNAL);
	work(3);
	while (recv(fd, reply, sizeof(reply), 0) > 0)
		work(1);
	fd_close(&fd);
	buf_done(&hello);
	work(3);
}

static void begin(void)
{
	struct pool_server_options o = { .listen = { place }, .n_listen = 1, .memory_bytes = 1u << 20 };
	struct hearth_err err;

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(place, sizeof(place), "unix:@fuzz-pool-%d", (int)getpid());
	if (pool_server_open(&o, &server, &err) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!server)
		begin();
	decode(data, size);
	open_sealed(data, size);
	talk(data, size, false);
	talk(data, size, true);
	return 0;
}
