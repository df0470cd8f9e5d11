/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"
#include "read.h"

#define THREADS_MAX 64
#define PIECE_BYTES (4u << 20)

struct verify {
	struct store_image *img;
	pthread_mutex_t lock;           /* of the place below and the error */
	size_t object;
	uint64_t at;
	int r;
	struct hearth_err err;
};

/* the next piece that nobody has. Return: bytes, 0 at the end or after an error. */
static size_t next_piece(struct verify *v, int *ret_object, uint64_t *ret_at)
{
	size_t n = 0;

	pthread_mutex_lock(&v->lock);
	while (v->r == 0 && n == 0 && v->object < v->img->m.objects_n) {
		uint64_t left = v->img->m.objects[v->object].bytes - v->at;

		n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
		*ret_object = (int)v->object;
		*ret_at = v->at;
		v->at += n;
		if (n == left) {
			v->object++;
			v->at = 0;
		}
	}
	pthread_mutex_unlock(&v->lock);
	return n;
}

static void *worker(void *arg)
{
	struct verify *v = arg;
	struct hearth_err err = { .msg = "" };
	void *room = io_room(PIECE_BYTES);
	int object, r = room ? 0 : err_set(&err, -ENOMEM, "image %s: out of memory", v->img->name);
	uint64_t at;
	size_t n;

	while (r == 0 && (n = next_piece(v, &object, &at)) > 0)
		r = store_read(v->img, object, at, room, n, &err);
	free(room);
	pthread_mutex_lock(&v->lock);
	if (r < 0 && v->r == 0) {
		v->r = r;
		v->err = err;
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

/* it is the disk that is to be read */
static void drop_caches(struct store_image *img)
{
	for (size_t k = 0; k < img->packs.n && !img->store->memory; k++) {
		int fd = pack_fd(img->store, img->packs.v[k]);

		if (fd >= 0)
			(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}

int store_image_verify(struct store_image *img, unsigned threads, struct hearth_err *err)
{
	struct verify v = { .img = img };
	pthread_t started[THREADS_MAX];
	unsigned n = 0;

	if (threads == 0)
		threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	drop_caches(img);
	pthread_mutex_init(&v.lock, NULL);
	/* fewer threads than wanted, or none but this one, is no error */
	while (n + 1 < threads && n < THREADS_MAX && thread_spawn(&started[n], worker, &v) == 0)
		n++;
	worker(&v);
	while (n)
		pthread_join(started[--n], NULL);
	pthread_mutex_destroy(&v.lock);
	return v.r < 0 ? err_set(err, v.r, "%s", v.err.msg) : 0;
}
