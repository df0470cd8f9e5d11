/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main for any LLVMFuzzerTestOneInput, without libFuzzer.
 *   FUZZER FILE|FOLDER...                    runs each file once (to repeat a finding)
 *   FUZZER -runs=N [-seed=S] FILE|FOLDER...  then N mutations of them; the same S gives the same inputs
 * An input that crashes is written to ./crash-input.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX_BYTES (64u << 10)
#define CORPUS_MAX 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct input {
	uint8_t *data;
	size_t len;
};

static struct input corpus[CORPUS_MAX];
static size_t corpus_count;
static uint64_t state = 1;
static const uint8_t *now;
static size_t now_len;

static uint64_t next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static size_t below(size_t n)
{
	return n == 0 ? 0 : (size_t)(next() % n);
}

static void on_crash(int sig)
{
	int fd = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd >= 0 && write(fd, now, now_len) == (ssize_t)now_len)
		(void)!write(STDERR_FILENO, "input written to crash-input\n", 29);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* A copy of exactly len bytes, so that a sanitizer sees the first read behind it. */
static void run_one(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	if (copy == NULL) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	memcpy(copy, data, len);
	now = copy;
	now_len = len;
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static int add_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;

	if (f == NULL || corpus_count == CORPUS_MAX) {
		fprintf(stderr, "%s: %s\n", path, f == NULL ? strerror(errno) : "too many inputs");
		if (f != NULL)
			fclose(f);
		return -1;
	}
	data = malloc(INPUT_MAX_BYTES);
	if (data == NULL) {
		fclose(f);
		return -1;
	}
	corpus[corpus_count].data = data;
	corpus[corpus_count++].len = fread(data, 1, INPUT_MAX_BYTES, f);
	fclose(f);
	return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The files of a folder in the order of their names, so that a seed means the same everywhere. */
static int add_path(const char *path)
{
	struct dirent **list;
	struct stat st;
	int n, r = 0;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return add_file(path);
	n = scandir(path, &list, NULL, by_name);
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/%s", path, list[i]->d_name);
		if (r == 0 && list[i]->d_name[0] != '.')
			r = add_file(file);
		free(list[i]);
	}
	free(list);
	return r;
}

/* One small change; in holds len of INPUT_MAX_BYTES. Return: the new length. */
static size_t mutate(uint8_t *in, size_t len)
{
	static const char telling[] = "\n\r\t \"'\\:;,.-_#&*!|>%@`?[]{}()<>=/+~019aAzZ\x7f\x80\xff";     /* and its NUL */
	const struct input *other = corpus_count > 0 ? &corpus[below(corpus_count)] : NULL;
	size_t at = below(len + 1), n, from;

	switch (below(6)) {
	case 0: /* flip a bit */
		if (at < len)
			in[at] ^= (uint8_t)(1 << below(8));
		return len;
	case 1: /* any byte */
		if (at < len)
			in[at] = (uint8_t)next();
		return len;
	case 2: /* cut out */
		n = below(len - at + 1) / (1 + below(8));
		memmove(in + at, in + at + n, len - at - n);
		return len - n;
	case 3: /* repeat a piece in place */
		n = below((len - at < 64 ? len - at : 64) + 1);
		if (len + n > INPUT_MAX_BYTES)
			return len;
		memmove(in + at + n, in + at, len - at);
		return len + n;
	case 4: /* a piece of another input */
		if (other == NULL || other->len == 0)
			return len;
		from = below(other->len);
		n = below((other->len - from < 64 ? other->len - from : 64) + 1);
		if (len + n > INPUT_MAX_BYTES)
			return len;
		memmove(in + at + n, in + at, len - at);
		memcpy(in + at, other->data + from, n);
		return len + n;
	default: /* a byte more, of the kind that means something */
		if (len == INPUT_MAX_BYTES)
			return len;
		memmove(in + at + 1, in + at, len - at);
		in[at] = (uint8_t)telling[below(sizeof(telling))];
		return len + 1;
	}
}

static void run_mutations(unsigned long runs)
{
	static uint8_t in[INPUT_MAX_BYTES];

	for (unsigned long i = 0; i < runs; i++) {
		size_t len = 0;

		if (corpus_count > 0) {
			const struct input *from = &corpus[below(corpus_count)];

			memcpy(in, from->data, from->len);
			len = from->len;
		}
		for (size_t n = 1 + below(8); n > 0; n--)
			len = mutate(in, len);
		run_one(in, len);
	}
}

int main(int argc, char **argv)
{
	unsigned long runs = 0;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "-runs=", 6) == 0)
			runs = strtoul(argv[i] + 6, NULL, 10);
		else if (strncmp(argv[i], "-seed=", 6) == 0)
			state = strtoull(argv[i] + 6, NULL, 10);
		else if (add_path(argv[i]) < 0)
			return 1;
	}
	signal(SIGSEGV, on_crash);
	signal(SIGBUS, on_crash);
	signal(SIGABRT, on_crash);
	for (size_t i = 0; i < corpus_count; i++)
		run_one(corpus[i].data, corpus[i].len);
	run_mutations(runs);
	printf("%zu inputs, %lu mutations: no finding\n", corpus_count, runs);
	for (size_t i = 0; i < corpus_count; i++)
		free(corpus[i].data);
	return 0;
}
