/* SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- tests, each for both kinds ---- */

static void life(struct fixture *f)
{
	const size_t n = 70 * C + 1234;                 /* more than two segments */
	uint8_t *data = malloc(n), part[3 * C];
	struct store_entry *list;
	struct store_image *img;
	struct store_stats st;
	struct store_draft *d;
	json_t *meta = json_pack("{s:i}", "answer", 42);
	size_t list_n, digests_n;

	fill(data, n, 7);
	memset(data + 5 * C, 0, 2 * C);
	d = draft(f, "one", 0);
	object(f, d, "memory", data, n);
	object(f, d, "empty", data, 0);
	object(f, d, "tiny", "x", 1);
	assert_int_equal(store_image_open(f->s, "one", &img, &f->err), -ENOENT);
	assert_int_equal(store_commit(d, meta, &st, &f->err), 0);
	assert_int_equal(st.bytes, n + 1);
	assert_int_equal(st.chunks, 72);
	assert_int_equal(st.zero_bytes, 2 * C);
	assert_int_equal(st.new_chunks, 70);
	assert_int_equal(st.new_bytes, n - 2 * C + 1);
	assert_int_equal(st.stored_bytes, 68 * C + 4096 + 4096);
	json_decref(meta);
	assert_int_equal(packs(f), 3);
	assert_in_range(pack_bytes(f), st.stored_bytes, st.stored_bytes + 64 * 1024);
	reopen(f);
	expect(f, "one", "memory", data, n);
	expect(f, "one", "empty", data, 0);
	expect(f, "one", "tiny", "x", 1);
	assert_int_equal(store_image_open(f->s, "one", &img, &f->err), 0);
	assert_int_equal(json_integer_value(json_object_get(store_image_meta(img), "answer")), 42);
	assert_int_equal(store_image_object(img, "nothing"), -ENOENT);
	assert_int_equal(store_image_objects(img), 3);
	assert_true(digest_equal(store_image_digests(img, 0, &digests_n)[5], f->s->zero));
	assert_int_equal(digests_n, 71);
	for (size_t from = 4 * C - 100; from < 5 * C; from += 3333) {
		assert_int_equal(store_read(img, 0, from, part, 2 * C + 77, &f->err), 0);
		assert_memory_equal(part, data + from, 2 * C + 77);
	}
	assert_int_equal(store_read(img, 0, n - 10, part, 10, &f->err), 0);
	assert_memory_equal(part, data + n - 10, 10);
	assert_int_equal(store_read(img, 0, n - 10, part, 11, &f->err), -EINVAL);
	assert_int_equal(store_read(img, 0, n, part, 0, &f->err), 0);
	assert_int_equal(store_image_verify(img, 2, &f->err), 0);
	store_image_close(img);
	assert_int_equal(store_list(f->s, &list, &list_n, &f->err), 0);
	assert_int_equal(list_n, 1);
	assert_string_equal(list[0].name, "one");
	assert_int_equal(list[0].own_bytes, st.stored_bytes);
	assert_int_equal(list[0].shared_bytes, 0);
	store_list_free(list, list_n);
	assert_int_equal(store_rm(f->s, "one", &f->err), 0);
	assert_int_equal(store_rm(f->s, "one", &f->err), -ENOENT);
	assert_int_equal(packs(f), 0);
	free(data);
}

static void shares(struct fixture *f)
{
	uint8_t *a = made(20, 100), *b = made(20, 110);         /* 10 in common */
	struct store_entry *list;
	struct store_stats st;
	struct store_draft *d;
	uint64_t before;
	size_t n;

	write_image(f, "a", a, 20 * C);
	d = draft(f, "b", 0);
	object(f, d, "o", b, 20 * C);
	object(f, d, "again", b, 20 * C);
	st = commit(f, d);
	assert_int_equal(st.new_chunks, 10);
	assert_int_equal(st.chunks, 40);
	assert_int_equal(store_list(f->s, &list, &n, &f->err), 0);
	assert_int_equal(n, 2);
	for (size_t k = 0; k < n; k++) {
		assert_int_equal(list[k].own_bytes, 10 * C);
		assert_int_equal(list[k].shared_bytes, 10 * C);
	}
	store_list_free(list, n);
	before = pack_bytes(f);
	assert_int_equal(store_rm(f->s, "a", &f->err), 0);
	assert_int_equal(packs(f), 2);
	/* what only a had is given back although its pack stays */
	assert_in_range(pack_bytes(f), before - 10 * C - 4096, before - 10 * C + 4096);
	expect(f, "b", "o", b, 20 * C);
	expect(f, "b", "again", b, 20 * C);
	/* what was given back is not taken for something that is there */
	write_image(f, "c", a, 20 * C);
	expect(f, "c", "o", a, 20 * C);
	reopen(f);
	expect(f, "c", "o", a, 20 * C);
	assert_int_equal(store_rm(f->s, "b", &f->err), 0);
	assert_int_equal(store_rm(f->s, "c", &f->err), 0);
	assert_int_equal(packs(f), 0);
	free(a);
	free(b);
}

/* what a draft believes from its beginning on is not true any more */
static int put_known(struct store_object *o, uint64_t k, struct digest dg)
{
	bool known = false;
	int r = (int)store_put_known(o, k, 1, &dg, &known);

	assert_int_equal(known, r == 1);
	return r;
}

static void outdated(struct fixture *f)
{
	uint8_t *a = made(8, 700);
	struct store_draft *d;
	struct store_object *o;

	write_image(f, "all", a, 8 * C);
	write_image(f, "half", a, 4 * C);       /* keeps the pack */
	d = draft(f, "new", 0);
	assert_int_equal(store_rm(f->s, "all", &f->err), 0);
	o = object(f, d, "o", NULL, 8 * C);
	assert_int_equal(put_known(o, 6, chunk_digest(f->s, a + 6 * C, C)), 0);
	assert_int_equal(put_known(o, 1, chunk_digest(f->s, a + C, C)), 1);
	assert_int_equal(store_put(o, 0, a, 8 * C, NULL, &f->err), 0);
	assert_int_equal(commit(f, d).new_chunks, 4);
	expect(f, "new", "o", a, 8 * C);
	free(a);
}

static void replaces(struct fixture *f)
{
	uint8_t *a = made(24, 500), *b = made(24, 600);
	struct store_draft *d = draft(f, "r", 0);
	struct store_object *o = object(f, d, "o", a, 24 * C);
	struct store_stats st;

	/* ten times the same space */
	for (unsigned round = 0; round < 10; round++)
		for (size_t k = 0; k < 24; k++) {
			fill(b + k * C, C, 1000 + round * 24 + k);
			assert_int_equal(store_put(o, k * C, b + k * C, C, NULL, &f->err), 0);
		}
	assert_int_equal(store_put(o, 3 * C, a, C, NULL, &f->err), 0);
	memcpy(b + 3 * C, a, C);
	memset(b + 7 * C, 0, C);
	assert_int_equal(store_put(o, 7 * C, b + 7 * C, C, NULL, &f->err), 0);
	st = commit(f, d);
	assert_int_equal(st.new_chunks, 23);
	assert_int_equal(st.stored_bytes, 23 * C);
	assert_in_range(pack_bytes(f), 23 * C, 23 * C + 64 * 1024);
	if (store_in_memory(f->s))
		assert_int_equal(packs(f), 1);
	expect(f, "r", "o", b, 24 * C);
	free(a);
	free(b);
}

static void known(struct fixture *f)
{
	uint8_t *a = made(3, 40);
	struct store_draft *d;
	struct store_object *o;
	struct digest dg[3];

	for (int k = 0; k < 3; k++)
		dg[k] = chunk_digest(f->s, a + k * C, C);
	write_image(f, "a", a, 2 * C);
	d = draft(f, "b", 0);
	o = object(f, d, "o", NULL, 4 * C);
	assert_int_equal(put_known(o, 0, dg[0]), 1);
	assert_int_equal(put_known(o, 1, dg[2]), 0);
	assert_int_equal(store_put(o, C, a + 2 * C, C, &dg[2], &f->err), 0);
	assert_int_equal(put_known(o, 2, dg[2]), 1);
	assert_int_equal(store_commit(d, NULL, NULL, &f->err), -EINVAL);
	assert_non_null(strstr(f->err.msg, "chunk 3"));
	assert_int_equal(put_known(o, 3, f->s->zero), 1);
	assert_int_equal(put_known(o, 4, dg[0]), -EINVAL);
	/* whoever holds chunks keeps them, whatever is removed */
	assert_int_equal(store_rm(f->s, "a", &f->err), 0);
	commit(f, d);
	memcpy(a + C, a + 2 * C, C);
	{
		uint8_t *all = calloc(4, C);

		memcpy(all, a, 3 * C);
		expect(f, "b", "o", all, 4 * C);
		free(all);
	}
	free(a);
}

static void compressed(struct fixture *f)
{
	uint8_t *a = made(10, 50);
	struct store_draft *d = draft(f, "z", 3);
	struct store_image *img;
	struct store_stats st;

	for (size_t k = 0; k < 8; k++)
		memset(a + k * C + 300 * (k + 1), 'x', C - 300 * (k + 1));
	object(f, d, "o", a, 9 * C + 5000);
	st = commit(f, d);
	assert_true(st.stored_bytes < 3 * C);
	expect(f, "z", "o", a, 9 * C + 5000);
	assert_int_equal(store_image_open(f->s, "z", &img, &f->err), 0);
	assert_null(store_map_chunk(img, 0, 0));
	if (store_in_memory(f->s))
		assert_memory_equal(store_map_chunk(img, 0, 8), a + 8 * C, C);
	else
		assert_null(store_map_chunk(img, 0, 8));
	store_image_close(img);
	free(a);
}

static void names(struct fixture *f)
{
	static const char *const wrong[] = { "", ".x", "a/b", "..", "a b", "\n" };
	struct store_options o = { 0 };
	struct store_draft *d, *e;
	char longest[STORE_NAME_MAX + 2];

	for (size_t k = 0; k < sizeof(wrong) / sizeof(*wrong); k++) {
		assert_int_equal(store_begin(f->s, wrong[k], &o, &d, &f->err), -EINVAL);
		assert_int_equal(store_rm(f->s, wrong[k], &f->err), -EINVAL);
	}
	memset(longest, 'a', sizeof(longest));
	longest[STORE_NAME_MAX + 1] = '\0';
	assert_int_equal(store_begin(f->s, longest, &o, &d, &f->err), -EINVAL);
	longest[STORE_NAME_MAX] = '\0';
	d = draft(f, longest, 0);
	e = draft(f, longest, 0);
	assert_int_equal(store_object_begin(d, "", 1, NULL, NULL, &f->err), -EINVAL);
	object(f, d, "x", "1", 1);
	{
		struct store_object *x;

		assert_int_equal(store_object_begin(d, "x", 1, json_object(), &x, &f->err), -EEXIST);
	}
	object(f, e, "x", "2", 1);
	commit(f, d);
	assert_int_equal(store_commit(e, NULL, NULL, &f->err), -EEXIST);        /* the second of two is late */
	store_abort(e);
	assert_int_equal(store_begin(f->s, longest, &o, &d, &f->err), -EEXIST);
	expect(f, longest, "x", "1", 1);
	assert_int_equal(packs(f), 1);
}

static void files(struct fixture *f)
{
	char path[200];
	size_t n = 3 * C + 17;
	uint8_t *a = malloc(n + 1);
	struct store_image *img;
	struct store_draft *d;
	FILE *file;
	int dir;

	fill(a, n, 99);
	memset(a + C, 0, C);
	snprintf(path, sizeof(path), "%s/file", f->dir);
	file = fopen(path, "w");
	assert_int_equal(fwrite(a, 1, n, file), n);
	fclose(file);
	d = draft(f, "f", 0);
	assert_int_equal(store_put_file(d, "core-1.img", path, &f->err), 0);
	assert_int_equal(store_put_file(d, "nothing", "/nonexistent/x", &f->err), -ENOENT);
	assert_int_equal(store_put_file(d, "folder", f->dir, &f->err), -EINVAL);
	commit(f, d);
	assert_int_equal(store_image_open(f->s, "f", &img, &f->err), 0);
	dir = open(f->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(store_extract(img, 0, dir, "file", &f->err), -EEXIST);
	assert_int_equal(store_extract(img, 0, dir, "back", &f->err), 0);
	close(dir);
	store_image_close(img);
	snprintf(path, sizeof(path), "%s/back", f->dir);
	file = fopen(path, "r");
	{
		uint8_t *b = malloc(n + 1);

		assert_int_equal(fread(b, 1, n + 1, file), n);
		assert_memory_equal(a, b, n);
		free(b);
	}
	fclose(file);
	free(a);
}

static void seals(struct fixture *f)
{
	uint8_t *a = made(8, 70), *b = made(4, 200);
	struct store_draft *keeper = draft(f, NULL, 0), *engine = draft(f, "e", 0), *other = draft(f, "other", 0);
	struct store_object *o;
	struct store_stats st;
	json_t *meta = json_pack("{s:s}", "kind", "device");
	int fd = -1;

	assert_int_equal(store_object_begin(keeper, "buffer", 8 * C, meta, &o, &f->err), 0);
	assert_int_equal(store_seal(keeper, &fd, &f->err), -EINVAL);
	assert_int_equal(store_put(o, 0, a, 8 * C, NULL, &f->err), 0);
	assert_int_equal(store_commit(keeper, NULL, NULL, &f->err), -EINVAL);
	assert_int_equal(store_seal(keeper, &fd, &f->err), 0);
	object(f, engine, "pages", b, 4 * C);
	assert_int_equal(store_adopt(engine, 0, &f->err), -EBADMSG);
	assert_int_equal(store_adopt(engine, fd, &f->err), 0);
	assert_int_equal(store_adopt(engine, fd, &f->err), -EEXIST);
	assert_int_equal(store_sweep(f->s, &f->err), 0);
	st = commit(f, engine);
	assert_int_equal(st.new_chunks, 12);
	assert_int_equal(st.chunks, 12);
	store_abort(keeper);
	assert_int_equal(store_adopt(other, fd, &f->err), 0);
	assert_int_equal(store_rm(f->s, "e", &f->err), 0);
	assert_int_equal(packs(f), 1);                          /* still held by the other */
	store_abort(other);
	assert_int_equal(store_sweep(f->s, &f->err), 1);
	other = draft(f, "other", 0);
	assert_int_equal(store_adopt(other, fd, &f->err), -EBADMSG);
	store_abort(other);
	close(fd);
	assert_int_equal(packs(f), 0);
	free(a);
	free(b);
}

static void held_by_readers(struct fixture *f)
{
	uint8_t *a = made(4, 70), *got = malloc(4 * C);
	struct store_image *img;

	write_image(f, "a", a, 4 * C);
	assert_int_equal(store_image_open(f->s, "a", &img, &f->err), 0);
	assert_int_equal(store_rm(f->s, "a", &f->err), 0);
	assert_int_equal(packs(f), 1);
	assert_int_equal(store_read(img, 0, 0, got, 4 * C, &f->err), 0);
	assert_memory_equal(got, a, 4 * C);
	store_image_close(img);
	assert_int_equal(packs(f), 0);
	free(a);
	free(got);
}

static void aborted(struct fixture *f)
{
	uint8_t *a = made(40, 70);
	struct store_draft *d = draft(f, "a", 0);

	object(f, d, "o", a, 40 * C);
	assert_int_equal(store_sweep(f->s, &f->err), 0);
	assert_null(store_abort(d));
	assert_null(store_abort(NULL));
	assert_int_equal(packs(f), 0);
	free(a);
}

/* a writer that was killed: its locks end with it */
static void killed(struct fixture *f)
{
	uint8_t *a = made(40, 70);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct fixture g = *f;
		struct store_draft *d;

		if (store_open(f->dir, &g.s, &g.err) < 0)
			_exit(1);
		g.s->segment_bytes = SEGMENT;
		d = draft(&g, "a", 0);
		object(&g, d, "o", a, 40 * C);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(packs(f) >= 1);
	assert_true(store_sweep(f->s, &f->err) >= 1);
	assert_int_equal(packs(f), 0);
	free(a);
}

/* a process that stands by for a writer holds nothing of the writer's, who is killed */
static void killed_with_child(struct fixture *f)
{
	uint8_t *a = made(4, 70);
	int ready[2], hold[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(hold), 0);
	pid = fork();
	if (pid == 0) {
		struct fixture g = *f;
		struct store_draft *d;

		close(hold[1]);
		if (store_open(f->dir, &g.s, &g.err) < 0)
			_exit(1);
		d = draft(&g, "a", 0);
		object(&g, d, "o", a, 4 * C);
		if (fork() == 0) {
			store_forked(g.s);
			(void)!write(ready[1], "x", 1);
			(void)!read(hold[0], &byte, 1);         /* until the test is over */
			_exit(0);
		}
		(void)!read(hold[0], &byte, 1);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(store_sweep(f->s, &f->err), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(store_sweep(f->s, &f->err), 1);
	close(ready[0]);
	close(hold[0]);
	close(hold[1]);
	free(a);
}

/* what libhearth-ds has begun ends with a fork: who reads on in a child begins anew */
static void read_in_child(struct fixture *f)
{
	uint8_t *a = made(64, 90), *got = malloc(64 * C);
	struct store_image *img;
	int status;
	pid_t pid;

	assert_null(f->s->io[IO_CACHED].ds);
	write_image(f, "a", a, 64 * C);
	assert_int_equal(store_image_open(f->s, "a", &img, &f->err), 0);
	assert_int_equal(store_read(img, 0, 0, got, 64 * C, &f->err), 0);
	pid = fork();
	if (pid == 0) {
		memset(got, 0, 64 * C);
		_exit(store_read(img, 0, 0, got, 64 * C, &f->err) < 0 || memcmp(got, a, 64 * C) || store_image_verify(img, 2, &f->err) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(store_read(img, 0, 0, got, 64 * C, &f->err), 0);
	assert_memory_equal(got, a, 64 * C);
	store_image_close(img);
	free(got);
	free(a);
}

/* ---- damage ---- */

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* Return: what opening and verifying say */
static int verdict(struct fixture *f, const char *name)
{
	struct store_image *img;
	int r;

	r = store_image_open(f->s, name, &img, &f->err);
	if (r < 0)
		return r;
	r = store_image_verify(img, 2, &f->err);
	store_image_close(img);
	return r;
}

static void damaged(struct fixture *f)
{
	static const char *const of_image[] = { "manifest.json", "chunks.bin" };
	uint8_t *a = made(3, 70);
	char path[256], pack[256];
	struct store *t;
	struct store_stats st;
	struct store_draft *d;
	off_t last;

	write_image(f, "a", a, 2 * C + 500);
	for (int k = 0; k < 2; k++) {
		snprintf(path, sizeof(path), "%s/images/a/%s", f->dir, of_image[k]);
		for (off_t at = 0; at < size_of(path); at++) {
			flip(path, at);
			assert_int_equal(verdict(f, "a"), -EBADMSG);
			assert_non_null(strstr(f->err.msg, of_image[k]));
			flip(path, at);
		}
		assert_int_equal(verdict(f, "a"), 0);
	}
	snprintf(path, sizeof(path), "%s/store.json", f->dir);
	for (off_t at = 0; at < size_of(path); at++) {
		flip(path, at);
		assert_int_equal(store_open(f->dir, &t, &f->err), -EBADMSG);
		assert_non_null(strstr(f->err.msg, "store.json"));
		flip(path, at);
	}
	snprintf(pack, sizeof(pack), "%s/packs/%08x.pack", f->dir, 1);
	last = size_of(pack) - 4096;            /* where the last, short chunk is */
	assert_true(last >= 2 * C);
	for (off_t at = 0; at < 2 * C + 500; at += at < 2 * C ? 4321 : 100) {
		off_t place = at < 2 * C ? at : last + at - 2 * C;

		flip(pack, place);
		assert_int_equal(verdict(f, "a"), -EBADMSG);
		assert_non_null(strstr(f->err.msg, "00000001.pack"));
		assert_non_null(strstr(f->err.msg, "image a"));
		flip(pack, place);
	}
	assert_int_equal(verdict(f, "a"), 0);
	/* a pack that was found damaged is shared no more */
	reopen(f);
	d = draft(f, "b", 0);
	object(f, d, "o", a, 2 * C + 500);
	st = commit(f, d);
	assert_int_equal(st.new_chunks, 3);
	assert_int_equal(truncate(pack, C), 0);
	assert_int_equal(verdict(f, "a"), -EBADMSG);
	assert_int_equal(unlink(pack), 0);
	assert_int_equal(verdict(f, "a"), -EBADMSG);
	assert_non_null(strstr(f->err.msg, "missing"));
	assert_int_equal(verdict(f, "b"), 0);
	assert_int_equal(store_rm(f->s, "a", &f->err), 0);
	assert_int_equal(verdict(f, "b"), 0);
	free(a);
}

/* found while another image is written already */
static void damaged_meanwhile(struct fixture *f)
{
	uint8_t *a = made(3, 70);
	struct store_draft *d;
	char pack[256];

	write_image(f, "a", a, 3 * C);
	d = draft(f, "b", 0);
	snprintf(pack, sizeof(pack), "%s/packs/%08x.pack", f->dir, 1);
	flip(pack, C);
	assert_int_equal(verdict(f, "a"), -EBADMSG);
	object(f, d, "o", a, 3 * C);
	assert_int_equal(commit(f, d).new_chunks, 3);
	assert_int_equal(verdict(f, "b"), 0);
	free(a);
}

static void damaged_in_lists(struct fixture *f)
{
	uint8_t *a = made(3, 70);
	struct store_entry *list;
	char path[256];
	size_t n;

	write_image(f, "a", a, C);
	write_image(f, "b", a + C, 2 * C);
	snprintf(path, sizeof(path), "%s/images/a/manifest.json", f->dir);
	flip(path, 20);
	assert_int_equal(store_list(f->s, &list, &n, &f->err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(list[0].damaged + list[1].damaged, 1);
	store_list_free(list, n);
	/* whose packs are whose is not known now: nothing is removed */
	assert_int_equal(store_sweep(f->s, &f->err), -EBADMSG);
	assert_int_equal(store_rm(f->s, "b", &f->err), 0);
	assert_int_equal(packs(f), 2);
	assert_int_equal(store_rm(f->s, "a", &f->err), 0);
	assert_int_equal(packs(f), 0);
	free(a);
}

static void versions(struct fixture *f)
{
	char path[256], *text, *at;
	struct store_image *img;
	struct store *t;
	size_t len;

	write_image(f, "a", "x", 1);
	snprintf(path, sizeof(path), "%s/images/a/manifest.json", f->dir);
	assert_int_equal(file_read_sealed(path, 1 << 20, &text, &len, NULL), 0);
	at = strstr(text, "\"version\":1");
	assert_non_null(at);
	at[10] = '2';
	assert_int_equal(file_replace_sealed(path, text, len, 0600, NULL), 0);
	free(text);
	assert_int_equal(store_image_open(f->s, "a", &img, &f->err), -EPROTO);
	snprintf(path, sizeof(path), "%s/store.json", f->dir);
	assert_int_equal(file_read_sealed(path, 1 << 20, &text, &len, NULL), 0);
	strstr(text, "\"version\":1")[10] = '2';
	assert_int_equal(file_replace_sealed(path, text, len, 0600, NULL), 0);
	free(text);
	assert_int_equal(store_open(f->dir, &t, &f->err), -EPROTO);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_open(f->dir, &t, &f->err), -EBADMSG);    /* its seed is gone */
}

/* ---- several at once ---- */

#define THREADS 4
#define PER 60

struct putting { struct store_object *o; unsigned k; int r; };

static void *put_share(void *arg)
{
	struct putting *p = arg;
	uint8_t *room = malloc(C);
	struct hearth_err err;

	/* some of what each puts the others put too, and all is put twice */
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < PER && p->r == 0; i++) {
			fill(room, C, round == 0 ? 5000 + i : i % 3 ? 6000 + i : 7000 + i * THREADS + p->k);
			p->r = store_put(p->o, (uint64_t)(p->k * PER + i) * C, room, C, NULL, &err);
		}
	free(room);
	return NULL;
}

static void threads(struct fixture *f)
{
	struct store_draft *d = draft(f, "t", 0);
	struct store_object *o = object(f, d, "o", NULL, THREADS * PER * C);
	struct putting p[THREADS];
	pthread_t t[THREADS];
	uint8_t *want = malloc(THREADS * PER * C);
	struct store_stats st;

	for (unsigned k = 0; k < THREADS; k++) {
		p[k] = (struct putting){ o, k, 0 };
		assert_int_equal(pthread_create(&t[k], NULL, put_share, &p[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++) {
		pthread_join(t[k], NULL);
		assert_int_equal(p[k].r, 0);
		for (unsigned i = 0; i < PER; i++)
			fill(want + (size_t)(k * PER + i) * C, C, i % 3 ? 6000 + i : 7000 + i * THREADS + k);
	}
	st = commit(f, d);
	assert_int_equal(st.new_chunks, PER / 3 * THREADS + PER - PER / 3);
	expect(f, "t", "o", want, THREADS * PER * C);
	free(want);
}

/* ---- memory only ---- */

struct segments { unsigned now; size_t bytes; };

static void segment_there(void *ctx, void *at, size_t bytes)
{
	struct segments *g = ctx;

	(void)*(volatile uint8_t *)at;
	g->now++;
	g->bytes += bytes;
}

static void segment_gone(void *ctx, void *at, size_t bytes)
{
	struct segments *g = ctx;

	g->now--;
	g->bytes -= bytes;
}

static void placed(void **state)
{
	struct fixture f;
	struct segments g = { 0 };
	uint8_t *a = made(40, 70), *to;
	struct digest dg[28];
	struct store_place place;
	struct store_object *o;
	struct store_image *img;
	struct store_draft *d;
	struct store_stats st;

	begin(&f, "/dev/shm");
	store_segments_gone(f.s, segment_gone, &g);
	assert_int_equal(store_reserve_segments(f.s, SEGMENT + 1, segment_there, &g, &f.err), 0);
	assert_int_equal(g.now, 2);
	d = draft(&f, "p", 0);
	o = object(&f, d, "o", NULL, 40 * C);
	assert_int_equal(store_space(d, 33, (void **)&to, &place, &f.err), -EINVAL);
	assert_int_equal(store_space(d, 0, (void **)&to, &place, &f.err), -EINVAL);
	assert_int_equal(store_space(d, 30, (void **)&to, &place, &f.err), 0);
	memcpy(to, a, 30 * C);
	memcpy(to + 5 * C, a, C);               /* twice the same */
	memcpy(a + 5 * C, a, C);
	memset(to + 6 * C, 0, C);
	memset(a + 6 * C, 0, C);
	for (unsigned k = 0; k < 28; k++)       /* two are never placed */
		dg[k] = chunk_digest(f.s, to + k * C, C);
	assert_int_equal(store_put_placed(o, 0, 1, dg, NULL, place), 0);
	place.at += C;
	assert_int_equal(store_put_placed(o, 1, 27, dg + 1, NULL, place), 0);
	assert_int_equal(store_put_placed(o, 28, 1, &f.s->zero, NULL, (struct store_place){ 77, 0 }), -EINVAL);
	assert_int_equal(store_put_placed(o, 28, 100, dg, NULL, place), -EINVAL);
	assert_int_equal(store_put(o, 28 * C, a + 28 * C, 12 * C, NULL, &f.err), 0);
	st = commit(&f, d);
	assert_int_equal(st.new_chunks, 38);
	assert_int_equal(g.now, 0);
	expect(&f, "p", "o", a, 40 * C);
	assert_int_equal(store_image_open(f.s, "p", &img, &f.err), 0);
	assert_memory_equal(store_map_chunk(img, 0, 3), a + 3 * C, C);
	assert_null(store_map_chunk(img, 0, 6));
	assert_true(g.now > 0);
	store_image_close(img);
	assert_int_equal(g.now, 0);
	assert_in_range(pack_bytes(&f), 38 * C, 38 * C + 8192);
	end(&f);
	free(a);
}

/* chunks that are half zeros take a page or so, however they come; their places are there for others */
static void sparse(void **state)
{
	struct fixture f;
	uint8_t *a = made(32, 90), *to;
	struct digest dg[16];
	struct store_place place;
	struct store_object *o;
	struct store_draft *d;
	struct store_stats st;

	for (unsigned k = 0; k < 32; k++)
		memset(a + k * C + (k % 2 ? 3000 : C / 2 + 1), 0, C - (k % 2 ? 3000 : C / 2 + 1));     /* one byte too many in every other */
	begin(&f, "/dev/shm");
	d = draft(&f, "p", 0);
	o = object(&f, d, "o", NULL, 32 * C);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(store_space(d, 16, (void **)&to, &place, &f.err), 0);
		memcpy(to, a, 16 * C);
		for (unsigned k = 0; k < 16; k++)
			dg[k] = chunk_digest(f.s, to + k * C, C);
		assert_int_equal(store_put_placed(o, 0, 16, dg, NULL, place), 0);
	}
	assert_int_equal(store_put(o, 16 * C, a + 16 * C, 16 * C, NULL, &f.err), 0);
	st = commit(&f, d);
	assert_int_equal(st.new_chunks, 32);
	assert_int_equal(st.stored_bytes, 16 * (C + 4096));
	assert_in_range(pack_bytes(&f), 16 * (C + 4096), 16 * (C + 4096) + 8192);
	expect(&f, "p", "o", a, 32 * C);
	end(&f);
	free(a);
}

static void disk_has_no_space(void **state)
{
	struct fixture f;
	struct store_place place;
	struct store_draft *d;
	void *to;

	begin(&f, place_of(1));
	if (!store_in_memory(f.s)) {
		d = draft(&f, "p", 0);
		assert_int_equal(store_space(d, 1, &to, &place, &f.err), -EOPNOTSUPP);
		assert_int_equal(store_reserve_segments(f.s, 1, NULL, NULL, &f.err), -EOPNOTSUPP);
		store_abort(d);
	}
	end(&f);
}

/* ---- the table, and free space ---- */

static void table_like_a_list(void **state)
{
	struct table t = { 0 };
	struct rng g;
	static uint8_t there[512];

	rng_seed(&g, 3);
	for (unsigned n = 0; n < 200000; n++) {
		unsigned k = (unsigned)rng_below(&g, 512);
		/* many with the same home */
		struct store_chunk c = { .digest = { k, k % 7 }, .pack = k + 1 };
		struct slot *s = table_find(&t, c.digest);

		assert_int_equal(s != NULL, there[k]);
		if (s) {
			assert_int_equal(s->chunk.pack, k + 1);
			table_del(&t, s);
		} else {
			assert_non_null(table_add(&t, &c));
		}
		there[k] ^= 1;
	}
	table_done(&t);
}

static void space_like_a_map(void **state)
{
	struct fixture f;
	static uint8_t taken[2048];
	struct { uint32_t page, n; } runs[400];
	struct space *sp;
	struct rng g;
	size_t n = 0;
	uint32_t page;

	begin(&f, "/dev/shm");
	f.s->segment_bytes = 1000 * STORE_PAGE;         /* no multiple of 64 pages */
	assert_int_equal(space_new(f.s, false, &sp, &f.err), 0);
	rng_seed(&g, 4);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t min = 1 + (uint32_t)rng_below(&g, 20), max = min + (uint32_t)rng_below(&g, 20), got;

		if (n == 400 || (n && rng_below(&g, 2))) {
			size_t k = rng_below(&g, n);

			memset(taken + runs[k].page, 0, runs[k].n);
			space_give(sp, runs[k].page, runs[k].n);
			runs[k] = runs[--n];
			continue;
		}
		got = space_take(sp, min, max, &page);
		if (got == 0) {
			/* indeed there is none */
			for (uint32_t p = 0, run = 0; p < 1000; p++) {
				run = taken[p] ? 0 : run + 1;
				assert_true(run < min);
			}
			continue;
		}
		assert_in_range(got, min, max);
		assert_true(page + got <= 1000);
		for (uint32_t p = page; p < page + got; p++) {
			assert_int_equal(taken[p], 0);
			taken[p] = 1;
		}
		runs[n].page = page;
		runs[n++].n = got;
	}
	space_free(f.s, sp, true);
	end(&f);
}

#define BOTH(test) \
	static void test##_both(void **state) \
	{ \
		for (unsigned k = 0; k < 2; k++) { \
			struct fixture f; \
			begin(&f, place_of(k)); \
			test(&f); \
			end(&f); \
		} \
	}

BOTH(life) BOTH(shares) BOTH(outdated) BOTH(replaces) BOTH(known) BOTH(compressed) BOTH(names) BOTH(files) BOTH(seals) BOTH(held_by_readers) BOTH(aborted) BOTH(killed) BOTH(killed_with_child)
BOTH(read_in_child)
BOTH(damaged) BOTH(damaged_meanwhile) BOTH(damaged_in_lists) BOTH(versions) BOTH(threads)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_like_a_list), cmocka_unit_test(space_like_a_map), cmocka_unit_test(life_both), cmocka_unit_test(shares_both),
		cmocka_unit_test(outdated_both), cmocka_unit_test(replaces_both), cmocka_unit_test(known_both), cmocka_unit_test(compressed_both), cmocka_unit_test(names_both), cmocka_unit_test(files_both),
		cmocka_unit_test(seals_both), cmocka_unit_test(held_by_readers_both), cmocka_unit_test(aborted_both), cmocka_unit_test(killed_both), cmocka_unit_test(killed_with_child_both), cmocka_unit_test(read_in_child_both),
		cmocka_unit_test(damaged_both), cmocka_unit_test(damaged_meanwhile_both), cmocka_unit_test(damaged_in_lists_both), cmocka_unit_test(versions_both), cmocka_unit_test(threads_both),
		cmocka_unit_test(placed), cmocka_unit_test(sparse), cmocka_unit_test(disk_has_no_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
