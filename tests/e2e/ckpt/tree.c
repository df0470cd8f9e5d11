/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program tree whose whole course is known beforehand: tree STEPS MIB PAUSE_US. Each step two threads change random places at the beginning of their halves of an array, a child, over pipes, changes places of its
 * own array, and all goes into a digest, which is printed. One lost, doubled or torn write anywhere, and all lines from there on are others.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS 2
#define WRITES 200
#define PART 16                 /* only the first of so many parts is written, so that there is something that does not change */

static pthread_barrier_t begin, end;
static uint64_t *array, digest = 1;
static size_t words;
static long steps;

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = (a ^ b) * 0x9e3779b97f4a7c15ull;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 32;
}

static uint64_t change(uint64_t *v, size_t n, uint64_t seed)
{
	uint64_t sum = seed;

	for (int k = 0; k < WRITES; k++) {
		uint64_t *at = &v[mix(sum, (uint64_t)k) % (n / PART)];

		*at = mix(*at, sum);
		sum = mix(sum, *at);
	}
	return sum;
}

static uint64_t results[THREADS];

static void *worker(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg, half = words / THREADS;

	for (long s = 0; s < steps; s++) {
		pthread_barrier_wait(&begin);
		results[me] = change(array + me * half, half, mix(digest, me));
		pthread_barrier_wait(&end);
	}
	return NULL;
}

static uint64_t *make_array(size_t n)
{
	uint64_t *v = mmap(NULL, n * sizeof(*v), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t k = 0; k < n; k++)
		v[k] = mix(k, n);
	return v;
}

static int child(int in, int out)
{
	size_t n = words / 4;
	uint64_t *own = make_array(n), seed;

	while (read(in, &seed, sizeof(seed)) == sizeof(seed)) {
		seed = change(own, n, seed);
		if (write(out, &seed, sizeof(seed)) != sizeof(seed))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int to[2], from[2];
	pthread_t t[THREADS];
	uint64_t answer;
	long pause_us;

	if (argc != 4 || pipe(to) || pipe(from))
		return 2;
	steps = atol(argv[1]);
	words = (size_t)atol(argv[2]) << 17;
	pause_us = atol(argv[3]);
	if (fork() == 0) {
		close(to[1]);
		close(from[0]);
		return child(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	array = make_array(words);
	pthread_barrier_init(&begin, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (size_t k = 0; k < THREADS; k++)
		pthread_create(&t[k], NULL, worker, (void *)(uintptr_t)k);
	for (long s = 0; s < steps; s++) {
		if (write(to[1], &digest, sizeof(digest)) != sizeof(digest))
			return 1;
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		if (read(from[0], &answer, sizeof(answer)) != sizeof(answer))
			return 1;
		digest = mix(mix(mix(digest, results[0]), results[1]), answer);
		printf("%ld %016llx\n", s, (unsigned long long)digest);
		fflush(stdout);
		if (pause_us)
			usleep((useconds_t)pause_us);
	}
	return 7;
}
