/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "private.h"
#include "seed.h"

/*
 * Several processes on one store at once, without a word between them: each writes images of its own from contents that all share, reads back its own and those of others, removes its own, sweeps.
 * One of them is killed again and again in the middle of it, and begun anew. No image that is there may ever be damaged; at the end nothing is left over.
 */
#define C STORE_CHUNK_BYTES
#define PROCESSES 3
#define ROUNDS 120
#define KILLS 25
#define CHUNKS 12
#define CONTENTS 30
#define MINE 3

static uint8_t contents[CONTENTS][C];
static char dir[128];

static void die(const char *what, const struct hearth_err *err)
{
	fprintf(stderr, "# %s: %s\n", what, err->msg);
	_exit(1);
}

static void write_image(struct store *s, struct rng *g, const char *name)
{
	struct store_options o = { .zstd_level = rng_below(g, 4) == 0 };
	struct store_object *object;
	struct store_draft *d;
	struct hearth_err err;
	/* the first chunk of all says what the others are */
	uint64_t first = rng_below(g, CONTENTS), step = 1 + rng_below(g, CONTENTS - 1);
	int r = store_begin(s, name, &o, &d, &err);

	if (r == -EEXIST)
		return;
	if (r < 0)
		die("begin", &err);
	if (store_object_begin(d, "o", CHUNKS * C, json_pack("{s:I, s:I}", "first", (json_int_t)first, "step", (json_int_t)step), &object, &err) < 0)
		die("object", &err);
	for (uint64_t k = 0; k < CHUNKS; k++)
		if (store_put(object, k * C, contents[(first + k * step) % CONTENTS], C, NULL, &err) < 0)
			die("put", &err);
	if (rng_below(g, 5) == 0) {
		store_abort(d);
		return;
	}
	if (store_commit(d, NULL, NULL, &err) < 0)
		die("commit", &err);
}

static void read_image(struct store *s, const char *name)
{
	struct store_image *img;
	struct hearth_err err;
	uint8_t got[C];
	int r = store_image_open(s, name, &img, &err);
	uint64_t first, step;

	if (r == -ENOENT)
		return;
	if (r < 0)
		die("open", &err);
	first = (uint64_t)json_integer_value(json_object_get(store_image_object_meta(img, 0), "first"));
	step = (uint64_t)json_integer_value(json_object_get(store_image_object_meta(img, 0), "step"));
	for (uint64_t k = 0; k < CHUNKS; k++) {
		if (store_read(img, 0, k * C, got, C, &err) < 0)
			die("read", &err);
		if (memcmp(got, contents[(first + k * step) % CONTENTS], C)) {
			err_set(&err, -EIO, "image %s, chunk %llu has other contents", name, (unsigned long long)k);
			die("compare", &err);
		}
	}
	store_image_close(img);
}

static void process(unsigned who, uint64_t seed, unsigned rounds)
{
	struct rng g = { seed };
	struct hearth_err err;
	struct store *s;
	char name[16];
	int r;

	if (store_open(dir, &s, &err) < 0)
		die("store", &err);
	s->segment_bytes = 8 * C;
	for (unsigned n = 0; n < rounds; n++) {
		snprintf(name, sizeof(name), "p%u-%u", who, (unsigned)rng_below(&g, MINE));
		switch (rng_below(&g, 8)) {
		case 0: case 1: case 2:
			write_image(s, &g, name);
			break;
		case 3: case 4:
			r = store_rm(s, name, &err);
			if (r < 0 && r != -ENOENT)
				die("rm", &err);
			break;
		case 5:
			if (store_sweep(s, &err) < 0)
				die("sweep", &err);
			break;
		default:
			snprintf(name, sizeof(name), "p%u-%u", (unsigned)rng_below(&g, PROCESSES + 1), (unsigned)rng_below(&g, MINE));
			read_image(s, name);
		}
	}
	store_close(s);
	_exit(0);
}

static pid_t begin(unsigned who, uint64_t seed, unsigned rounds)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		process(who, seed, rounds);
	return pid;
}

static int count_pack(void *ctx, uint32_t id)
{
	(void)id;
	++*(unsigned *)ctx;
	return 0;
}

static void all_is_well(void)
{
	struct store_entry *list;
	struct hearth_err err;
	struct store *s;
	unsigned left = 0;
	size_t n;

	if (store_open(dir, &s, &err) < 0 || store_sweep(s, &err) < 0 || store_list(s, &list, &n, &err) < 0)
		fail_msg("%s", err.msg);
	for (size_t k = 0; k < n; k++) {
		assert_false(list[k].damaged);
		read_image(s, list[k].name);
		assert_int_equal(store_rm(s, list[k].name, &err), 0);
	}
	store_list_free(list, n);
	assert_int_equal(store_sweep(s, &err), 0);
	packs_each(s, count_pack, &left);
	assert_int_equal(left, 0);
	store_close(s);
}

static void together(const char *top)
{
	struct rng g = { prop_seed() };
	pid_t pids[PROCESSES];
	int status;

	snprintf(dir, sizeof(dir), "%s/hearth-prop-XXXXXX", top);
	assert_non_null(mkdtemp(dir));
	for (unsigned k = 0; k < PROCESSES; k++)
		pids[k] = begin(k, rng_next(&g), ROUNDS);
	for (unsigned k = 0; k < KILLS; k++) {
		pid_t pid = begin(PROCESSES, rng_next(&g), 1000000);

		/* any moment will do */
		usleep((useconds_t)rng_below(&g, 30000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
	}
	for (unsigned k = 0; k < PROCESSES; k++) {
		assert_int_equal(waitpid(pids[k], &status, 0), pids[k]);
		assert_int_equal(status, 0);
	}
	all_is_well();
	assert_int_equal(dir_remove(dir), 0);
}

static void in_memory(void **state)
{
	together("/dev/shm");
}

static void on_disk(void **state)
{
	together(getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(in_memory), cmocka_unit_test(on_disk) };
	struct rng g = { 1 };

	for (unsigned k = 1; k < CONTENTS; k++)
		for (size_t i = 0; i < (k % 2 ? C : C / 4); i++)
			contents[k][i] = (uint8_t)rng_next(&g);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
