/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_RELAY_H
#define CKPT_ENGINE_RELAY_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "ckpt/program.h"

/** struct relay - what reads a program's output, and waits for its end. @from: read ends of its standard output and errors (-1: none); @log: file to append to, NULL: our own output and errors */
struct relay {
	int from[2];
	const char *log;
	int log_fd;
	int signals;                    /* signalfd */
};

/** relay_begin - from here on signals wait for relay_run(), before the program is there to get them. Return: 0, -errno. */
int relay_begin(struct relay *r, struct hearth_err *err);
/** relay_child - give the signals back in a child that becomes the program */
void relay_child(void);
/**
 * relay_run - until @root, a child, has ended and what it wrote is read
 * Signals that come are sent on to it. Other children are reaped as well. Return: 0, -errno; *ret_status as of wait(2).
 */
int relay_run(struct relay *r, pid_t root, int *ret_status);
void relay_end(struct relay *r);

/**
 * relay_detach - go on in a process of its own that has no terminal
 * @ret_told: what that process tells besides the outcome (a new reference, may be NULL); NULL: it is not wanted
 * Return: 0 in that process, which tells the outcome with relay_report(); 1 in the caller, once it has, with 0 or the error; -errno.
 */
int relay_detach(int *ret_report, json_t **ret_told, struct hearth_err *err);
/** relay_report - @err: code 0: all is well; @told: borrowed, may be NULL. The descriptor is closed. */
void relay_report(int *report, const struct hearth_err *err, const json_t *told);
/** program_ended - note the end of a program whose relay this process is. @status: of wait(2) */
void program_ended(const char *run_dir, struct program *p, int status);

#endif
