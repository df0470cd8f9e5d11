/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_PROGRAM_H
#define CKPT_PROGRAM_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Programs that `hearth run` and `hearth restore` began: RUN/programs/NAME/
 *   program.json  sealed: who it is and what became of it
 *   gate          the shim's (shim/wire.h)
 *   log, log.1    what it wrote, when detached
 */
#define PROGRAM_NAME_MAX 63

/* PROGRAM_STARTING: @pid is the command's that begins it; PROGRAM_DAMAGED: only @name is known */
enum program_state { PROGRAM_RUNNING, PROGRAM_PARKED, PROGRAM_ENDED, PROGRAM_STARTING, PROGRAM_DAMAGED };

/** struct program - strings are heap; see program_done(). @store, @image: where it is parked; @status: of wait(2), once it ended */
struct program {
	char name[PROGRAM_NAME_MAX + 1];
	enum program_state state;
	pid_t pid;
	uint64_t starttime, created_ns;
	int status;
	bool detached;
	json_t *argv;
	char *store, *image;
};

/** program_dir - "RUN/programs/NAME". Return: 0, -ENAMETOOLONG. */
int program_dir(const char *run_dir, const char *name, char ret[PATH_MAX]);
bool program_name_ok(const char *name);
/**
 * program_lock - checkpoints and restores of a tree exclude each other
 * @root: pid of its root. @ret: to hand to program_unlock(), or it ends with the last process that has the descriptor: a child that lives on keeps it.
 * Return: 0, -EBUSY, -errno.
 */
int program_lock(const char *run_dir, pid_t root, int *ret, struct hearth_err *err);
/** program_unlock - at once, whoever has the descriptor still; closes it. -1: nothing. */
void program_unlock(int *lock, pid_t root);
/** program_claim - make the folder of a new program. @name: NULL = after @command, with a number if that is taken. Return: 0, -EEXIST (one of that name runs or is parked), -EINVAL, -errno. */
int program_claim(const char *run_dir, const char *name, const char *command, char ret_name[PROGRAM_NAME_MAX + 1], struct hearth_err *err);
int program_save(const char *run_dir, const struct program *p, struct hearth_err *err);
/** program_load - a program that is said to run or start but does not is PROGRAM_ENDED. Return: 0, -ENOENT, -EBADMSG, -errno. */
int program_load(const char *run_dir, const char *name, struct program *ret, struct hearth_err *err);
void program_done(struct program *p);
/** program_remove - its folder goes */
void program_remove(const char *run_dir, const char *name);
/** program_list - sorted by name; caller: program_done() each, free(). Those whose record can't be read are PROGRAM_DAMAGED. */
int program_list(const char *run_dir, struct program **ret, size_t *ret_n, struct hearth_err *err);
/** program_find - by name, or by the pid of its root as text. Return: 0, -ENOENT. */
int program_find(const char *run_dir, const char *text, struct program *ret, struct hearth_err *err);
const char *program_state_name(enum program_state s);

/** struct program_run - how `hearth run` begins one
 * @argv: NULL-terminated; @env: "K=V", NULL-terminated, over the caller's environment; may be NULL
 * @shim: libhearth-cuda.so, to be preloaded; NULL: CPU only. @keeper: path of its socket
 */
struct program_run {
	const char *run_dir, *name, *shim, *keeper;
	char *const *argv;
	char *const *env;
	bool detach;
};
/**
 * program_run - begin a program and read what it writes
 * Attached: returns when it ended; its output went to ours, signals of ours to it. Detached: returns once it runs; a process of its own reads on.
 * @ret_status: of wait(2), attached only; @ret: as saved last
 * Return: 0, -ENOENT (no such command), -EEXIST, -errno.
 */
int program_run(const struct program_run *run, struct program *ret, int *ret_status, struct hearth_err *err);

/**
 * program_find_library - a library of ours that others are to load
 * @variable: names another one in the environment
 * Return: its path in @ret, with NULL in @ret_why, or NULL with why (valid until the thread's next call).
 */
const char *program_find_library(const char *variable, const char *name, char *ret, size_t n, const char **ret_why);
/** program_find_shim - libhearth-cuda.so and a driver for it. @env: that the program gets. @ret_why: why not. Return: path or NULL. */
const char *program_find_shim(char *const *env, char *ret, size_t n, const char **ret_why);

#endif
