/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "private.h"
#include "seed.h"

/*
 * A store against plain arrays: drafts begin, are written, replaced, sealed, adopted, committed and aborted, images are read, listed and removed, handles closed and opened, sweeps made, in any
 * order, by two handles of the store. A chunk's content is a small number, so that much is shared. At all times every image reads as the model says, and at the end nothing is left over.
 */
#define C STORE_CHUNK_BYTES
#define IMAGES 12
#define DRAFTS 4
#define OBJECTS 3
#define CHUNKS 24
#define SEGMENT_CHUNKS 20
#define CONTENTS 60     /* 0: zeros */

struct object_model { bool there; size_t bytes; uint8_t is[CHUNKS]; };
struct image_model { bool there; struct object_model o[OBJECTS]; };
struct draft_model {
	struct store_draft *d;
	unsigned handle, image;
	struct object_model m[OBJECTS];
	struct store_object *o[OBJECTS];
	bool set[OBJECTS][CHUNKS];
};
struct reader_model { struct store_image *img; unsigned handle; struct image_model m; };

struct world {
	struct rng g;
	char dir[128];
	struct store *s[2];
	struct image_model images[IMAGES];
	struct draft_model drafts[DRAFTS];
	struct reader_model reader;
	uint8_t contents[CONTENTS][C];
};

static struct hearth_err err;

static void ok(int r)
{
	if (r < 0)
		fail_msg("%s (%d)", err.msg, r);
}

static const char *name_of(unsigned k)
{
	static char name[4][16];
	static unsigned turn;
	char *p = name[turn++ % 4];

	snprintf(p, 16, "i%u", k);
	return p;
}

static size_t len_of(const struct object_model *m, size_t k)
{
	return chunk_len(m->bytes, k);
}

static void open_handle(struct world *w, unsigned h)
{
	ok(store_open(w->dir, &w->s[h], &err));
	w->s[h]->segment_bytes = SEGMENT_CHUNKS * C;
}

/* ---- drafts ---- */

static void begin_draft(struct world *w, struct draft_model *d)
{
	struct store_options o = { .zstd_level = rng_below(&w->g, 3) == 0 };
	int r;

	memset(d, 0, sizeof(*d));
	d->handle = (unsigned)rng_below(&w->g, 2);
	d->image = (unsigned)rng_below(&w->g, IMAGES);
	r = store_begin(w->s[d->handle], name_of(d->image), &o, &d->d, &err);
	assert_int_equal(r, w->images[d->image].there ? -EEXIST : 0);
	if (r < 0)
		d->d = NULL;
}

static void begin_object(struct world *w, struct draft_model *d, unsigned k)
{
	char name[8];

	d->m[k].there = true;
	d->m[k].bytes = rng_below(&w->g, 10) == 0 ? 0 : rng_below(&w->g, CHUNKS * C);
	if (rng_below(&w->g, 2))
		d->m[k].bytes = d->m[k].bytes / C * C;
	snprintf(name, sizeof(name), "o%u", k);
	ok(store_object_begin(d->d, name, d->m[k].bytes, NULL, &d->o[k], &err));
}

static void put_placed(struct world *w, struct draft_model *d, unsigned k, size_t at, size_t n, const struct digest *dg, const bool *known)
{
	struct store_place place;
	uint8_t *to;

	size_t wanted = 0, most = SEGMENT_CHUNKS;

	for (size_t i = 0; i < n; i++)
		wanted += !known || !known[i];
	if (wanted > most) {
		put_placed(w, d, k, at, n / 2, dg, known);
		put_placed(w, d, k, at + n / 2, n - n / 2, dg + n / 2, known ? known + n / 2 : NULL);
		return;
	}
	if (wanted == 0)
		return;
	wanted += rng_below(&w->g, 3);
	ok(store_space(d->d, wanted < most ? wanted : most, (void **)&to, &place, &err));
	for (size_t i = 0; i < n; i++)
		if (!known || !known[i]) {
			memcpy(to, w->contents[d->m[k].is[at + i]], C);
			to += C;
		}
	assert_int_equal(store_put_placed(d->o[k], at, n, dg, known, place), 0);
}

static void put(struct world *w, struct draft_model *d, unsigned k)
{
	size_t n = chunks_of(d->m[k].bytes), at = n ? rng_below(&w->g, n) : 0, count = n ? 1 + rng_below(&w->g, n - at) : 0;
	unsigned content = (unsigned)rng_below(&w->g, CONTENTS);
	uint8_t *data = malloc(count * C + 1);
	struct digest dg[CHUNKS];
	bool known[CHUNKS], memory = store_in_memory(w->s[0]);
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++) {
		uint8_t *is = &d->m[k].is[at + i];

		*is = (uint8_t)((content + i) % CONTENTS);
		memcpy(data + i * C, w->contents[*is], C);
		dg[i] = chunk_digest(w->s[d->handle], data + i * C, len_of(&d->m[k], at + i));
		bytes += len_of(&d->m[k], at + i);
		d->set[k][at + i] = true;
	}
	if (count && rng_below(&w->g, 3) == 0) {
		assert_true(store_put_known(d->o[k], at, count, dg, known) >= 0);
		if (memory && rng_below(&w->g, 2) == 0)
			put_placed(w, d, k, at, count, dg, known);
		else
			for (size_t i = 0; i < count; i++)
				if (!known[i])
					ok(store_put(d->o[k], (at + i) * C, data + i * C, len_of(&d->m[k], at + i), rng_below(&w->g, 2) ? &dg[i] : NULL, &err));
	} else if (count && memory && rng_below(&w->g, 3) == 0) {
		put_placed(w, d, k, at, count, dg, NULL);
	} else {
		ok(store_put(d->o[k], at * C, data, bytes, rng_below(&w->g, 2) ? dg : NULL, &err));
	}
	free(data);
}

static bool complete(const struct draft_model *d)
{
	for (unsigned k = 0; k < OBJECTS; k++)
		for (size_t i = 0; d->m[k].there && i < chunks_of(d->m[k].bytes); i++)
			if (!d->set[k][i])
				return false;
	return true;
}

static void commit(struct world *w, struct draft_model *d)
{
	struct store_stats st;
	uint64_t bytes = 0;
	int r = store_commit(d->d, NULL, &st, &err);

	if (!complete(d)) {
		assert_int_equal(r, -EINVAL);
		return;         /* and can go on */
	}
	if (w->images[d->image].there) {
		assert_int_equal(r, -EEXIST);
		store_abort(d->d);
		d->d = NULL;
		return;
	}
	ok(r);
	for (unsigned k = 0; k < OBJECTS; k++)
		bytes += d->m[k].there ? d->m[k].bytes : 0;
	assert_int_equal(st.bytes, bytes);
	assert_true(st.new_bytes <= st.bytes && st.stored_bytes <= st.new_chunks * C);
	w->images[d->image].there = true;
	memcpy(w->images[d->image].o, d->m, sizeof(d->m));
	d->d = NULL;
}

/* the objects of one draft become those of another, which is committed */
static void hand_over(struct world *w, struct draft_model *d)
{
	struct draft_model e;
	int fd;

	if (!complete(d))
		return;
	begin_draft(w, &e);
	if (!e.d)
		return;
	ok(store_seal(d->d, &fd, &err));
	ok(store_adopt(e.d, fd, &err));
	close(fd);
	memcpy(e.m, d->m, sizeof(e.m));
	memcpy(e.set, d->set, sizeof(e.set));
	if (rng_below(&w->g, 3))
		commit(w, &e);
	else
		store_abort(e.d);
	store_abort(d->d);
	d->d = NULL;
}

static void step_draft(struct world *w, struct draft_model *d)
{
	unsigned k = (unsigned)rng_below(&w->g, OBJECTS);

	if (!d->d) {
		begin_draft(w, d);
		return;
	}
	switch (rng_below(&w->g, 12)) {
	case 0:
		commit(w, d);
		return;
	case 1:
		hand_over(w, d);
		return;
	case 2:
		if (rng_below(&w->g, 3) == 0) {
			store_abort(d->d);
			d->d = NULL;
		}
		return;
	default:
		if (!d->m[k].there)
			begin_object(w, d, k);
		else
			put(w, d, k);
	}
}

/* ---- images ---- */

static void check_open(struct world *w, struct store_image *img, const struct image_model *m, struct store *s)
{
	static uint8_t got[CHUNKS * C];

	for (unsigned k = 0; k < OBJECTS; k++) {
		char name[8];
		int o;

		snprintf(name, sizeof(name), "o%u", k);
		o = store_image_object(img, name);
		assert_int_equal(o >= 0, m->o[k].there);
		if (o < 0)
			continue;
		assert_int_equal(store_image_object_bytes(img, o), m->o[k].bytes);
		ok(store_read(img, o, 0, got, m->o[k].bytes, &err));
		for (size_t i = 0; i < chunks_of(m->o[k].bytes); i++) {
			size_t len = len_of(&m->o[k], i), n;

			assert_memory_equal(got + i * C, w->contents[m->o[k].is[i]], len);
			assert_true(digest_equal(store_image_digests(img, o, &n)[i], chunk_digest(s, got + i * C, len)));
		}
		if (m->o[k].bytes) {
			size_t from = rng_below(&w->g, m->o[k].bytes), n = rng_below(&w->g, m->o[k].bytes - from + 1);
			static uint8_t part[CHUNKS * C];

			ok(store_read(img, o, from, part, n, &err));
			assert_memory_equal(part, got + from, n);
		}
	}
}

static void check_image(struct world *w, unsigned k)
{
	unsigned h = (unsigned)rng_below(&w->g, 2);
	struct store_image *img;
	int r = store_image_open(w->s[h], name_of(k), &img, &err);

	assert_int_equal(r, w->images[k].there ? 0 : -ENOENT);
	if (r < 0)
		return;
	check_open(w, img, &w->images[k], w->s[h]);
	ok(store_image_verify(img, 1, &err));
	/* keep it, to be read when it has gone */
	if (!w->reader.img && rng_below(&w->g, 2))
		w->reader = (struct reader_model){ img, h, w->images[k] };
	else
		store_image_close(img);
}

static void check_reader(struct world *w)
{
	if (!w->reader.img)
		return;
	check_open(w, w->reader.img, &w->reader.m, w->s[w->reader.handle]);
	if (rng_below(&w->g, 3) == 0)
		w->reader.img = store_image_close(w->reader.img);
}

static void check_list(struct world *w)
{
	struct store_entry *list;
	struct store_usage u;
	uint64_t own = 0;
	size_t n, there = 0;

	ok(store_list(w->s[rng_below(&w->g, 2)], &list, &n, &err));
	ok(store_usage(w->s[0], &u, &err));
	for (unsigned k = 0; k < IMAGES; k++)
		there += w->images[k].there;
	assert_int_equal(n, there);
	assert_int_equal(u.images, there);
	for (size_t i = 0; i < n; i++) {
		assert_false(list[i].damaged);
		assert_true(i == 0 || list[i].created_ns >= list[i - 1].created_ns);
		own += list[i].own_bytes;
		assert_true(list[i].own_bytes + list[i].shared_bytes <= u.live_bytes);
	}
	assert_true(own <= u.live_bytes && u.live_bytes <= u.pack_bytes);
	store_list_free(list, n);
}

static void remove_image(struct world *w, unsigned k)
{
	int r = store_rm(w->s[rng_below(&w->g, 2)], name_of(k), &err);

	assert_int_equal(r, w->images[k].there ? 0 : -ENOENT);
	w->images[k].there = false;
}

static void reopen(struct world *w)
{
	unsigned h = (unsigned)rng_below(&w->g, 2);

	for (unsigned k = 0; k < DRAFTS; k++)
		if (w->drafts[k].d && w->drafts[k].handle == h)
			return;
	if (w->reader.img && w->reader.handle == h)
		return;
	store_close(w->s[h]);
	open_handle(w, h);
}

/* another process begins an image, and is killed */
static void somebody_dies(struct world *w)
{
	struct store_options o = { 0 };
	struct store_object *object;
	struct store_draft *d;
	struct store *s;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (store_open(w->dir, &s, NULL) == 0 && store_begin(s, NULL, &o, &d, NULL) == 0 && store_object_begin(d, "x", 40 * C, NULL, &object, NULL) == 0)
			store_put(object, 0, w->contents, 40 * C, NULL, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static int count_pack(void *ctx, uint32_t id)
{
	(void)id;
	++*(unsigned *)ctx;
	return 0;
}

static void tidy_up(struct world *w)
{
	unsigned left = 0;

	for (unsigned k = 0; k < DRAFTS; k++)
		store_abort(w->drafts[k].d);
	w->reader.img = store_image_close(w->reader.img);
	for (unsigned k = 0; k < IMAGES; k++) {
		check_image(w, k);
		w->reader.img = store_image_close(w->reader.img);
		remove_image(w, k);
	}
	ok(store_sweep(w->s[0], &err));
	packs_each(w->s[0], count_pack, &left);
	assert_int_equal(left, 0);
	store_close(w->s[0]);
	store_close(w->s[1]);
	ok(dir_remove(w->dir));
}

static void run(const char *top, unsigned steps)
{
	struct world *w = calloc(1, sizeof(*w));

	w->g.state = prop_seed();
	for (unsigned k = 1; k < CONTENTS; k++)
		for (size_t i = 0; i < (k % 2 ? C : C / 4); i++)         /* half of them can be compressed */
			w->contents[k][i] = (uint8_t)rng_next(&w->g);
	snprintf(w->dir, sizeof(w->dir), "%s/hearth-prop-XXXXXX", top);
	assert_non_null(mkdtemp(w->dir));
	open_handle(w, 0);
	open_handle(w, 1);
	for (unsigned n = 0; n < steps; n++) {
		switch (rng_below(&w->g, 30)) {
		case 0: remove_image(w, (unsigned)rng_below(&w->g, IMAGES)); break;
		case 1: check_list(w); break;
		case 2: reopen(w); break;
		case 3: ok(store_sweep(w->s[rng_below(&w->g, 2)], &err)); break;
		case 4: check_reader(w); break;
		case 5: check_image(w, (unsigned)rng_below(&w->g, IMAGES)); break;
		case 6: if (rng_below(&w->g, 8) == 0) somebody_dies(w); break;
		default: step_draft(w, &w->drafts[rng_below(&w->g, DRAFTS)]);
		}
	}
	tidy_up(w);
	free(w);
}

static void in_memory(void **state)
{
	run("/dev/shm", 3000);
}

static void on_disk(void **state)
{
	run(getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp", 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(in_memory), cmocka_unit_test(on_disk) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
