/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_images SOURCE IMAGES - for every line "FUNCTION ID" of standard input, a parked image of that name in IMAGES/FUNCTION/ID: the files of the image
 * SOURCE, linked, under a manifest of its own. A thousand images take the space of one, and to a daemon that starts they are a thousand.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "ckpt/image.h"

static int link_files(const char *from, const char *to)
{
	FD_AUTO int a = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), b = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = opendir(from);
	struct dirent *e;
	int r = a < 0 || b < 0 || !d ? -errno : 0;

	while (r == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, IMAGE_MANIFEST) && linkat(a, e->d_name, b, e->d_name, 0) < 0)
			r = -errno;
	if (d)
		closedir(d);
	return r;
}

static int make_image(json_t *manifest, const char *source, const char *images, const char *function, const char *id)
{
	char dir[PATH_MAX], path[PATH_MAX + 32];
	char *text;
	int r;

	snprintf(dir, sizeof(dir), "%s/%s/%s", images, function, id);
	snprintf(path, sizeof(path), "%s/" IMAGE_MANIFEST, dir);
	json_object_set_new(manifest, "id", json_string(id));
	json_object_set_new(manifest, "function", json_string(function));
	text = json_dumps(manifest, JSON_INDENT(1));
	if (!text)
		return -ENOMEM;
	r = dir_make(dir, 0700);
	if (r == 0)
		r = link_files(source, dir);
	if (r == 0) {
		size_t len = strlen(text);

		text[len] = '\n';       /* the NUL's place, as in image_commit(): the length is said apart */
		r = file_replace_sealed(path, text, len + 1, 0600, NULL);
	}
	free(text);
	return r;
}

int main(int argc, char **argv)
{
	char function[64], id[128], path[PATH_MAX], *text = NULL;
	struct hearth_err err = { 0 };
	json_t *manifest;
	int r = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: bench_images SOURCE IMAGES <LIST\n");
		return 2;
	}
	snprintf(path, sizeof(path), "%s/" IMAGE_MANIFEST, argv[1]);
	if (file_read_sealed(path, 4u << 20, &text, NULL, &err) < 0) {
		fprintf(stderr, "bench_images: %s\n", err.msg);
		return 1;
	}
	manifest = json_loads(text, 0, NULL);
	while (manifest && r == 0 && scanf("%63s %127s", function, id) == 2)
		r = make_image(manifest, argv[1], argv[2], function, id);
	if (!manifest || r < 0)
		fprintf(stderr, "bench_images: %s\n", manifest ? strerror(-r) : "the manifest is no JSON");
	json_decref(manifest);
	free(text);
	return r < 0 || !manifest;
}
