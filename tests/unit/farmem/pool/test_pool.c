/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the pool that decide without help: whose objects are whose, what opens a sealed page, what keys are taken, what places are. The store: tests/prop, the rest: tests/fault. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hints.h"
#include "keys.h"
#include "owner.h"
#include "place.h"
#include "seal.h"
#include "store.h"

static const struct farmem_object a = { 1, 1, 1 }, b = { 1, 1, 2 }, c = { 2, 1, 1 };

/* ---- leases ---- */

static void count(void *ctx, const struct farmem_object *object)
{
	struct farmem_object *last = ctx;

	*last = *object;
}

static void test_leases(void **state)
{
	struct farmem_object last = { 0 };
	struct owners *o = owners_new();

	assert_int_equal(owners_join(o, 10), 0);
	assert_int_equal(owners_join(o, 10), 0);
	assert_int_equal(owners_join(o, 20), 0);
	assert_int_equal(owners_own(o, &a, 10), 0);
	assert_int_equal(owners_own(o, &b, 10), 0);
	assert_int_equal(owners_own(o, &c, 20), 0);
	/* another node reads b: it is that one's now */
	assert_int_equal(owners_own(o, &b, 20), 0);
	owners_leave(o, 10, 100);
	assert_int_equal(owners_expire(o, 1000, count, &last), 0);
	owners_leave(o, 10, 200);
	assert_int_equal(owners_expire(o, 199, count, &last), 0);
	/* it came back in time */
	assert_int_equal(owners_join(o, 10), 0);
	assert_int_equal(owners_expire(o, 1000, count, &last), 0);
	owners_leave(o, 10, 300);
	assert_int_equal(owners_expire(o, 300, count, &last), 1);
	assert_memory_equal(&last, &a, sizeof(a));
	assert_int_equal(owners_nodes(o), 1);
	owners_forget(o, &b);
	owners_leave(o, 20, 400);
	assert_int_equal(owners_expire(o, 400, count, &last), 1);
	assert_memory_equal(&last, &c, sizeof(c));
	owners_free(o);
}

/* ---- seals ---- */

static void page_of(uint8_t *page, unsigned kind)
{
	for (unsigned k = 0; k < POOL_PAGE_BYTES; k++)
		page[k] = kind == 0 ? 0 : kind == 1 ? (uint8_t)(k / 64) : (uint8_t)(k * k * 2654435761u >> 13);
}

static void test_seals(void **state)
{
	uint8_t page[POOL_PAGE_BYTES], got[POOL_PAGE_BYTES], one[STORE_SEALED_BYTES], two[STORE_SEALED_BYTES];
	struct key k = { .tenant = 1, .page = { 1 } }, other = { .tenant = 1, .page = { 2 } };
	struct pool_ref ref = { 5, 9 };
	struct sealer s;

	assert_int_equal(sealer_init(&s), 0);
	for (unsigned kind = 0; kind < 3; kind++) {
		uint32_t n, m;

		page_of(page, kind);
		n = seal_page(&s, &k, &a, ref, page, one);
		m = seal_page(&s, &k, &a, ref, page, two);
		assert_int_equal(n, m);
		/* the same page twice is not to be told from two pages */
		assert_memory_not_equal(one, two, n);
		assert_int_equal(seal_open(&s, &k, &a, ref, one, n, got), 0);
		assert_memory_equal(got, page, sizeof(page));
		assert_int_equal(seal_open(&s, &other, &a, ref, one, n, got), -EBADMSG);
		assert_int_equal(seal_open(&s, &k, &b, ref, one, n, got), -EBADMSG);
		assert_int_equal(seal_open(&s, &k, &a, (struct pool_ref){ 5, 8 }, one, n, got), -EBADMSG);
		assert_int_equal(seal_open(&s, &k, &a, (struct pool_ref){ 6, 9 }, one, n, got), -EBADMSG);
		assert_int_equal(seal_open(&s, &k, &a, ref, one, n - 1, got), -EBADMSG);
		for (unsigned at = 0; at < n; at += 7) {
			one[at] ^= 4;
			assert_int_equal(seal_open(&s, &k, &a, ref, one, n, got), -EBADMSG);
			one[at] ^= 4;
		}
	}
	sealer_done(&s);
}

/* After pages that do not become smaller not each is tried, but those that do are found again soon; all of them open. */
static void test_untried(void **state)
{
	uint8_t noise[POOL_PAGE_BYTES], small[POOL_PAGE_BYTES], got[POOL_PAGE_BYTES], sealed[STORE_SEALED_BYTES];
	struct key k = { .tenant = 1, .page = { 1 } };
	struct pool_ref ref = { 5, 9 };
	struct sealer s;
	unsigned whole = 0;

	assert_int_equal(sealer_init(&s), 0);
	page_of(noise, 2);
	page_of(small, 1);
	for (unsigned i = 0; i < 200; i++) {
		const uint8_t *page = i < 100 ? noise : small;
		uint32_t n = seal_page(&s, &k, &a, ref, page, sealed);

		assert_int_equal(seal_open(&s, &k, &a, ref, sealed, n, got), 0);
		assert_memory_equal(got, page, POOL_PAGE_BYTES);
		whole += page == small && n > POOL_PAGE_BYTES;
	}
	assert_in_range(whole, 0, 7);
	sealer_done(&s);
}

/* A key and a nonce of their own for each k, but for nonces that have their first 16 bytes in common. */
static void same_as_sodium(struct cipher *cipher, unsigned k)
{
	static const size_t sizes[] = { 0, 1, 63, 64, 1000, 1 + POOL_PAGE_BYTES };
	static uint8_t text[1 + POOL_PAGE_BYTES], ours[1 + POOL_PAGE_BYTES + CIPHER_TAG_BYTES], theirs[sizeof(ours)], got[sizeof(text)];
	uint8_t key[CIPHER_KEY_BYTES] = { 1, (uint8_t)(k / 4) }, nonce[CIPHER_NONCE_BYTES] = { (uint8_t)(k / 2), [20] = (uint8_t)k };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = sizes[i];

		page_of(text, 2);
		cipher_close(cipher, key, nonce, "with", 4, text, n, ours);
		(void)crypto_aead_xchacha20poly1305_ietf_encrypt(theirs, NULL, text, n, (const uint8_t *)"with", 4, NULL, nonce, key);
		assert_memory_equal(ours, theirs, n + CIPHER_TAG_BYTES);
		assert_int_equal(cipher_open(cipher, key, nonce, "with", 4, ours, n + CIPHER_TAG_BYTES, got), 0);
		assert_memory_equal(got, text, n);
		assert_int_equal(cipher_open(cipher, key, nonce, "WITH", 4, ours, n + CIPHER_TAG_BYTES, got), -EBADMSG);
		ours[n] ^= 1;
		assert_int_equal(cipher_open(cipher, key, nonce, "with", 4, ours, n + CIPHER_TAG_BYTES, got), -EBADMSG);
	}
	assert_int_equal(cipher_open(cipher, key, nonce, "with", 4, ours, CIPHER_TAG_BYTES - 1, got), -EBADMSG);
}

/* Also on a machine whose OpenSSL is not to have it. */
static void test_ciphers(void **state)
{
	for (unsigned openssl = 0; openssl < 2; openssl++) {
		struct cipher *cipher;

		setenv("HEARTH_FAULT", "fail:pool-no-openssl", 1);
		if (openssl)
			unsetenv("HEARTH_FAULT");
		cipher = cipher_new();
		assert_non_null(cipher);
		for (unsigned k = 0; k < 16; k++)
			same_as_sodium(cipher, k);
		cipher_free(cipher);
	}
}

/* ---- tags ---- */

/* The two ends of a connection. */
static void sessions(struct wire_session *client, struct wire_session *pool)
{
	static const uint8_t challenge[2][WIRE_KEY_BYTES] = { { 1 }, { 2 } };
	static const struct key key = { .tenant = 1, .access = { 3 } };
	const struct key *const keys[] = { &key };

	keys_session(keys, 1, false, challenge[0], challenge[1], client);
	keys_session(keys, 1, true, challenge[0], challenge[1], pool);
}

/* One frame, always the same but for its tag. */
static struct wire_frame say(struct wire_session *s, struct buf *out)
{
	struct wire_head head = { .kind = WIRE_DEL, .n = 1, .id = 9, .object = { 1, 2, 3 } };
	struct wire_item item = { .page = 5, .epoch = 6 };
	struct wire_frame f;
	size_t at;

	buf_reset(out);
	assert_int_equal(wire_begin(out, &head, &at), 0);
	wire_set_item(out, at, 0, &item);
	wire_end(s, out, at);
	assert_int_equal(wire_decode(buf_head(out), out->len, &f), 1);
	return f;
}

static void test_tags(void **state)
{
	struct wire_session client, pool;
	struct buf out = { 0 };
	uint8_t before[WIRE_TAG_BYTES] = { 0 };

	sessions(&client, &pool);
	assert_memory_not_equal(client.out.key, client.in.key, WIRE_KEY_BYTES);
	for (unsigned k = 0; k < 3 * WIRE_AHEAD; k++) {
		struct wire_frame f = say(&client, &out);

		assert_memory_not_equal(f.head.tag, before, sizeof(before));
		memcpy(before, f.head.tag, sizeof(before));
		assert_int_equal(wire_check(&pool, &f), 0);
	}
	/* the keys of a direction do not come again */
	for (unsigned k = 0; k < WIRE_AHEAD; k++)
		for (unsigned i = 0; i < k; i++)
			assert_memory_not_equal(pool.in.ahead[k], pool.in.ahead[i], WIRE_KEY_BYTES);
	buf_done(&out);
}

/* Each on a connection of its own: the first that is wrong is the last. */
static void test_wrong_tags(void **state)
{
	struct wire_session client, pool;
	struct buf out = { 0 };
	struct wire_frame f;

	sessions(&client, &pool);
	f = say(&client, &out);
	assert_int_equal(wire_check(&pool, &f), 0);
	assert_int_equal(wire_check(&pool, &f), -EACCES);       /* again */
	sessions(&client, &pool);
	(void)say(&client, &out);
	f = say(&client, &out);
	assert_int_equal(wire_check(&pool, &f), -EACCES);       /* one is missing */
	sessions(&client, &pool);
	f = say(&client, &out);
	assert_int_equal(wire_check(&client, &f), -EACCES);     /* back to who sent it */
	for (unsigned k = 0; k < sizeof(struct wire_item); k++) {
		sessions(&client, &pool);
		f = say(&client, &out);
		((uint8_t *)buf_head(&out))[sizeof(struct wire_head) + k] ^= 1;
		assert_int_equal(wire_check(&pool, &f), -EACCES);
	}
	sessions(&client, &pool);
	f = say(&client, &out);
	f.head.id++;
	assert_int_equal(wire_check(&pool, &f), -EACCES);
	buf_done(&out);
}

/* ---- keys ---- */

static int read_keys(const char *text, mode_t mode, bool pool, struct keys *k, struct hearth_err *err)
{
	char path[] = "/tmp/unit-pool-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	fchmod(fd, mode);
	close(fd);
	r = keys_read(path, pool, k, err);
	unlink(path);
	return r;
}

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void test_keys(void **state)
{
	static const char *const wrong[] = { "", "7 secret\n", "7 secret abc\n", "7x secret " HEX "\n", "-1 secret " HEX "\n", "7 other " HEX "\n", "7 secret " HEX " more\n", "7 access " HEX "\n",
		"7 secret " HEX "\n7 secret " HEX "\n", "7 secret " HEX "0\n" };
	struct hearth_err err;
	struct keys k;

	for (unsigned n = 0; n < sizeof(wrong) / sizeof(wrong[0]); n++)
		assert_int_equal(read_keys(wrong[n], 0600, false, &k, &err), -EINVAL);
	assert_int_equal(read_keys("7 secret " HEX "\n", 0640, false, &k, &err), -EPERM);
	assert_int_equal(read_keys("7 secret " HEX "\n", 0600, true, &k, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "line 1"));
	assert_int_equal(read_keys("# nodes\n\n7 secret " HEX "\n0x10 secret " HEX "\n", 0600, false, &k, &err), 0);
	assert_int_equal(k.n, 2);
	assert_non_null(keys_find(&k, 16));
	assert_null(keys_find(&k, 8));
	assert_int_equal(read_keys("alice secret " HEX "\n_b secret " HEX "\n", 0600, false, &k, &err), 0);
	assert_ptr_equal(keys_find(&k, farmem_digest("alice")), &k.key[0]);
	assert_int_equal(read_keys("alice secret " HEX "\nalice secret " HEX "\n", 0600, false, &k, &err), -EINVAL);
	assert_int_equal(read_keys("7 secret " HEX "\n", 0600, false, &k, &err), 0);
	/* what a pool has is neither the secret nor what pages are sealed with */
	assert_memory_not_equal(k.key[0].access, k.key[0].page, WIRE_KEY_BYTES);
	keys_done(&k);
}

static void test_places(void **state)
{
	static const char *const wrong[] = { "", "tcp:", "tcp:127.0.0.1", "tcp:127.0.0.1:", "tcp:127.0.0.1:x", "tcp:127.0.0.1:65536", "tcp:name:1", "rdma:name:1", "rdma:/path", "unix:", "embedded:", "127.0.0.1:1" };
	struct hearth_err err;
	struct place p;

	for (unsigned n = 0; n < sizeof(wrong) / sizeof(wrong[0]); n++)
		assert_int_equal(place_parse(wrong[n], strlen(wrong[n]), &p, &err), -EINVAL);
	assert_int_equal(place_parse("tcp:127.0.0.9:80", 16, &p, &err), 0);
	assert_true(p.loopback);
	assert_int_equal(p.port, 80);
	assert_int_equal(place_parse("tcp:10.0.0.1:80", 15, &p, &err), 0);
	assert_false(p.loopback);
	assert_int_equal(place_parse("unix:/a,tcp:x", 7, &p, &err), 0);
	assert_string_equal(p.host, "/a");
	/* a device answers whoever reaches it */
	assert_int_equal(place_parse("rdma:127.0.0.1:80", 17, &p, &err), 0);
	assert_int_equal(p.kind, PLACE_RDMA);
	assert_false(p.loopback);
}

/* ---- where pages are in a pool's memory ---- */

static void test_hints(void **state)
{
	struct farmem_object one = { 1, 1, 1 }, other = { 1, 1, 2 };
	struct wire_item i = { .page = 70, .epoch = 3, .held = 4000, .at = WIRE_REGION_BYTES / WIRE_AT_BYTES + 5 }, nothing = { .page = 71, .epoch = 3 };
	struct wire_memory m = { .region = 1, .rkey = 9, .address = 1 << 20 }, far = { .region = UINT32_MAX, .address = 1 };
	struct pool_ref ref = { 70, 3 };
	struct hints *h = hints_new();
	struct hint at;

	assert_non_null(h);
	hints_note(h, &one, &i);
	hints_note(h, &one, &nothing);
	assert_false(hints_find(h, &one, ref, &at));            /* nor can it be read */
	assert_int_equal(hints_memory(h, &far), -EPROTO);
	assert_int_equal(hints_memory(h, &m), 0);
	assert_true(hints_find(h, &one, ref, &at));
	assert_int_equal(at.at, 5 * WIRE_AT_BYTES);
	assert_int_equal(at.len, 4000);
	assert_int_equal(at.memory.rkey, 9);
	assert_false(hints_find(h, &other, ref, &at));
	assert_false(hints_find(h, &one, (struct pool_ref){ 70, 4 }, &at));
	assert_false(hints_find(h, &one, (struct pool_ref){ 71, 3 }, &at));
	/* one that would reach beyond what was lent */
	i.at = 2 * (WIRE_REGION_BYTES / WIRE_AT_BYTES) - 1;
	hints_note(h, &one, &i);
	assert_false(hints_find(h, &one, ref, &at));
	i.at = WIRE_REGION_BYTES / WIRE_AT_BYTES;
	hints_note(h, &one, &i);
	assert_true(hints_find(h, &one, ref, &at));
	hints_forget(h, &one, 70);
	assert_false(hints_find(h, &one, ref, &at));
	hints_note(h, &one, &i);
	hints_reset(h);
	assert_int_equal(hints_memory(h, &m), 0);
	assert_false(hints_find(h, &one, ref, &at));
	hints_free(h);
}

/* While others read its memory, what is let go of does not open there. */
static void test_lent(void **state)
{
	struct pool_options o = { .memory_bytes = 1 << 20 };
	uint8_t sealed[4000], *memory;
	struct pool_store_object *x;
	uint64_t bytes, where, later;
	struct store *s;
	struct hearth_err err;

	memset(sealed, 7, sizeof(sealed));
	assert_int_equal(pool_store_new(&o, &s, &err), 0);
	memory = pool_store_lend(s, true, &bytes);
	assert_int_equal(bytes, 1 << 20);
	x = pool_store_object(s, &a, true);
	assert_int_equal(pool_store_where(s, x, 1, &where), 0);
	assert_int_equal(pool_store_put_sealed(s, x, (struct pool_ref){ 1, 1 }, sealed, sizeof(sealed)), 0);
	assert_int_equal(pool_store_where(s, x, 1, &where), sizeof(sealed));
	assert_int_equal(where % WIRE_AT_BYTES, 0);
	assert_memory_equal(memory + where, sealed, sizeof(sealed));
	sealed[100] = 8;
	assert_int_equal(pool_store_put_sealed(s, x, (struct pool_ref){ 1, 2 }, sealed, sizeof(sealed)), 0);
	assert_int_equal(memory[where], 0);
	assert_int_equal(pool_store_where(s, x, 1, &later), sizeof(sealed));
	assert_memory_equal(memory + later, sealed, sizeof(sealed));
	pool_store_del_object(s, x);
	assert_int_equal(memory[later], 0);
	assert_int_equal(memory[later + 3000], 7);              /* and is there, until nobody reads any more */
	pool_store_lend(s, false, &bytes);
	assert_int_equal(memory[later + 3000], 0);
	pool_store_free(s);
}

/* ---- death before a page is published: what was there is there ---- */

static void ended(struct pool_op *op)
{
}

static int one_page(struct pool *p, enum pool_kind kind, uint32_t epoch, uint8_t *page)
{
	struct pool_ref ref = { 1, epoch };
	void *pages = page;
	int status = 0;
	struct pool_op op = { .kind = kind, .object = a, .refs = &ref, .pages = &pages, .status = &status, .n = 1, .done = ended };

	pool_submit(p, &op);
	return status;
}

static void test_death_before_publish(void **state)
{
	struct pool_options o = { .memory_bytes = 1u << 20 };
	uint8_t page[POOL_PAGE_BYTES], got[POOL_PAGE_BYTES];
	struct hearth_err err;
	struct pool *p, *next;
	int status;
	pid_t pid;

	assert_int_equal(pool_open("embedded:", &o, &p, &err), 0);
	page_of(page, 2);
	assert_int_equal(one_page(p, POOL_PUT, 1, page), 0);
	pid = fork();
	if (!pid) {
		setenv("HEARTH_FAULT", "pool-publish", 1);
		memset(page, 7, sizeof(page));
		one_page(p, POOL_PUT, 2, page);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	o.adopt = true;
	assert_int_equal(pool_fds(p, o.fds), 2);
	assert_int_equal(pool_open("embedded:", &o, &next, &err), 0);
	assert_int_equal(one_page(next, POOL_GETV, 2, got), -ESTALE);
	assert_int_equal(one_page(next, POOL_GETV, 1, got), 0);
	page_of(page, 2);
	assert_memory_equal(got, page, sizeof(page));
	pool_close(p);
	pool_close(next);
}

/* Numbers that are used once: what is gone leaves nothing behind, in the index either. */
static void test_index_stays_small(void **state)
{
	struct pool_options o = { .memory_bytes = 64u << 20 };
	struct farmem_object id = { 1, 2, 3 };
	uint8_t page[POOL_PAGE_BYTES], got[POOL_PAGE_BYTES];
	struct hearth_err err;
	uint64_t number = 0;
	struct store *s;
	struct stat st;
	int fds[2];

	(void)state;
	assert_int_equal(pool_store_new(&o, &s, &err), 0);
	pool_store_fds(s, fds);
	for (unsigned round = 0; round < 400; round++, number += 256) {
		struct pool_store_object *x = pool_store_object(s, &id, true);

		for (uint64_t k = number; k < number + 256; k++) {
			page_of(page, 2);
			memcpy(page, &k, sizeof(k));
			assert_int_equal(pool_store_put(s, x, (struct pool_ref){ k, 1 }, page), 0);
		}
		/* those of the round before, so that there are always some */
		for (uint64_t k = number - 256; round && k < number; k++)
			assert_int_equal(pool_store_del(s, pool_store_object(s, &id, false), (struct pool_ref){ k, 1 }), 0);
	}
	for (uint64_t k = number - 256; k < number; k++) {
		uint64_t digest;

		page_of(page, 2);
		memcpy(page, &k, sizeof(k));
		assert_int_equal(pool_store_get(s, pool_store_object(s, &id, false), (struct pool_ref){ k, 1 }, got, &digest), 0);
		assert_memory_equal(got, page, sizeof(page));
	}
	assert_int_equal(fstat(fds[0], &st), 0);
	assert_true(st.st_blocks * 512 < 256 << 10);
	pool_store_free(s);
}

/* Descriptors of something else are not taken for a store. */
static void test_not_a_store(void **state)
{
	struct pool_options o = { .memory_bytes = 1u << 20 };
	struct hearth_err err;
	struct pool *p, *q;
	int fds[2];

	assert_int_equal(pool_open("embedded:", &o, &p, &err), 0);
	pool_fds(p, fds);
	o = (struct pool_options){ .adopt = true, .fds = { fds[1], fds[0] } };
	assert_int_equal(pool_open("embedded:", &o, &q, &err), -EUCLEAN);
	assert_int_equal(pwrite(fds[0], "x", 1, 0), 1);
	o = (struct pool_options){ .adopt = true, .fds = { fds[0], fds[1] } };
	assert_int_equal(pool_open("embedded:", &o, &q, &err), -EUCLEAN);
	o.fds[0] = -1;
	assert_int_equal(pool_open("embedded:", &o, &q, &err), -EBADF);
	pool_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leases), cmocka_unit_test(test_seals), cmocka_unit_test(test_untried), cmocka_unit_test(test_ciphers), cmocka_unit_test(test_tags), cmocka_unit_test(test_wrong_tags), cmocka_unit_test(test_keys), cmocka_unit_test(test_places), cmocka_unit_test(test_hints), cmocka_unit_test(test_lent), cmocka_unit_test(test_death_before_publish), cmocka_unit_test(test_not_a_store), cmocka_unit_test(test_index_stays_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
