/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ckpt/image.h"
#include "ckpt/pagemap.h"

static char top[] = "/tmp/hearth-image-XXXXXX";

static void put(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX + 64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* @ret_before: what a process that was forked before the commit has of the draft; may be NULL */
static void commit_one(const char *target, struct image_draft *ret_before)
{
	char *mounts[] = { "/usr", "/etc", NULL };
	struct image *img = calloc(1, sizeof(*img));
	struct image_draft d;
	struct hearth_err err = { 0 };

	img->id = strdup("i1");
	img->function = strdup("f");
	img->criu = strdup("4.2.1");
	img->meta = strdup("{\"a\":1}");
	img->empty_tmp_bytes = 16 << 20;
	img->mounts = calloc(3, sizeof(char *));
	for (int k = 0; mounts[k]; k++)
		img->mounts[k] = strdup(mounts[k]);
	assert_int_equal(image_begin(target, &d, &err), 0);
	put(d.tmp, "pages-1.img", "contents");
	put(d.tmp, "core-1.img", "registers");
	assert_int_equal(image_sweep(top), 0);          /* in progress: stays */
	assert_int_equal(access(target, F_OK), -1);
	if (ret_before) {
		*ret_before = d;
		ret_before->lock = dup(d.lock);
	}
	assert_int_equal(image_commit(&d, img, NULL, NULL, &err), 0);
	image_free(img);
}

static void life(void **state)
{
	char target[PATH_MAX], path[PATH_MAX + 64];
	struct hearth_err err = { 0 };
	struct image *img, **list;
	struct image_draft d;
	size_t n, bad;

	snprintf(target, sizeof(target), "%s/one", top);
	assert_int_equal(image_load(target, &img, &err), -ENOENT);
	commit_one(target, NULL);
	assert_int_equal(image_load(target, &img, &err), 0);
	assert_string_equal(img->id, "i1");
	assert_string_equal(img->meta, "{\"a\":1}");
	assert_string_equal(img->mounts[1], "/etc");
	assert_int_equal(img->empty_tmp_bytes, 16 << 20);
	assert_int_equal(img->files_n, 2);
	assert_int_equal(img->pages_bytes, 8);
	assert_int_equal(img->image_bytes, 17);
	assert_int_equal(image_verify(img, true, 3, &err), 0);
	put(target, "core-1.img", "registerz");
	assert_int_equal(image_verify(img, true, 3, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "core-1.img"));
	assert_int_equal(image_verify(img, false, 1, &err), -EBADMSG);
	put(target, "core-1.img", "registers");
	put(target, "pages-1.img", "other");
	assert_int_equal(image_verify(img, true, 1, &err), -EBADMSG);
	assert_int_equal(image_verify(img, false, 1, &err), 0);
	put(target, "pages-1.img", "contents");
	put(target, "core-1.img", "registers and more");
	assert_int_equal(image_verify(img, true, 3, &err), -EBADMSG);
	image_free(img);
	assert_int_equal(image_begin(target, &d, &err), -EEXIST);

	snprintf(path, sizeof(path), "%s/two", top);
	commit_one(path, NULL);
	put(path, "manifest.json", "{}");
	assert_int_equal(image_list(top, &list, &n, &bad), 0);
	assert_int_equal(n, 1);
	assert_int_equal(bad, 1);
	image_free(list[0]);
	free(list);
	assert_int_equal(image_remove(path), 0);
	assert_int_equal(image_remove(path), 0);
	assert_int_equal(image_begin(path, &d, &err), 0);
	close(d.lock);                                  /* as if its writer had been killed */
	assert_int_equal(image_sweep(top), 1);
	assert_int_equal(image_discard(target), 0);
	assert_int_equal(image_load(target, &img, &err), -ENOENT);      /* at once */
	assert_int_equal(image_discard(target), 0);
	/* its files go by themselves; a test's limit is no promise */
	for (int k = 0; k < 2000 && rmdir(top) < 0; k++)
		usleep(5000);
	assert_int_equal(access(top, F_OK), -1);
}

/* a commit is undone, and only the own one */
static void withdrawn(void **state)
{
	struct image_draft before, later;
	char target[PATH_MAX];

	snprintf(target, sizeof(target), "%s/three", top);
	commit_one(target, &before);
	assert_int_equal(image_withdraw(&before), 0);
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(access(before.tmp, F_OK), 0);
	assert_int_equal(image_sweep(top), 0);          /* a draft again, and locked as one */
	assert_int_equal(image_withdraw(&before), 0);
	commit_one(target, &later);
	assert_int_equal(image_withdraw(&before), 0);
	assert_int_equal(access(target, F_OK), 0);
	image_abort(&before);
	assert_int_equal(image_withdraw(&later), 0);
	image_abort(&later);
	assert_int_equal(access(target, F_OK), -1);
}

static void pagemap_rejects(void **state)
{
	uint8_t data[256];
	struct pagemap map;

	for (unsigned seed = 1; seed < 5000; seed++) {
		srand(seed);
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = (uint8_t)rand();
		memcpy(data, "\x19\x43\x56\x54\x25\x40\x08\x56\x02\x00\x00\x00\x08\x01", 14);
		if (pagemap_parse(data, 14 + seed % 200, "\x19\x43\x56\x54\x20\x28\x49\x57\x00\x00\x00\x00", 12, &map) == 0)
			pagemap_done(&map);
	}
	assert_int_equal(pagemap_parse(data, 3, data, 3, &map), -EBADMSG);
}

static void pagemap_splits(void **state)
{
	/* pages_id 1; 4 lazy pages at 0x10000, then one page that is not lazy; VMAs [0x10000, 0x12000), [0x12000, 0x20000), the latter with MADV_HUGEPAGE */
	static const uint8_t pm[] = { 0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56, 2, 0, 0, 0, 8, 1, 8, 0, 0, 0, 8, 0x80, 0x80, 4, 16, 4, 32, 6,
				      8, 0, 0, 0, 8, 0x80, 0x80, 6, 16, 1, 32, 4 };
	static const uint8_t mm[] = { 0x19, 0x43, 0x56, 0x54, 0x20, 0x28, 0x49, 0x57, 24, 0, 0, 0, 0x72, 8, 8, 0x80, 0x80, 4, 16, 0x80, 0xc0, 4,
				      0x72, 12, 8, 0x80, 0xc0, 4, 16, 0x80, 0x80, 8, 72, 0x80, 0x80, 1 };
	struct pagemap map;

	assert_int_equal(pagemap_parse(pm, sizeof(pm), mm, sizeof(mm), &map), 0);
	assert_int_equal(map.n, 2);
	assert_true(map.ranges[0].start == 0x10000 && map.ranges[0].end == 0x12000 && map.ranges[0].offset == 0);
	assert_true(map.ranges[1].start == 0x12000 && map.ranges[1].end == 0x14000 && map.ranges[1].offset == 0x2000);
	assert_true(!map.ranges[0].bulk && map.ranges[1].bulk);
	assert_int_equal(map.file_bytes, 5 * 4096);
	pagemap_done(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(withdrawn), cmocka_unit_test(life), cmocka_unit_test(pagemap_rejects), cmocka_unit_test(pagemap_splits) };

	if (!mkdtemp(top))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
