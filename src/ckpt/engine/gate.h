/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_GATE_H
#define CKPT_ENGINE_GATE_H

#include "base/err.h"
#include "ckpt/program.h"

/** gate_make - the gate file of a program, if it is not there. Return: 0, -errno. */
int gate_make(const char *run_dir, const char *name, struct hearth_err *err);
/**
 * gate_save, gate_put - the gate file as it was when the program was dumped: its threads wait for a change of what is in it
 * @dir: CRIU's folder, where the copy is kept; a program without a gate has none. Return: 0, -errno.
 */
int gate_save(const char *run_dir, const char *name, const char *dir, struct hearth_err *err);
int gate_put(const char *run_dir, const char *name, const char *dir, struct hearth_err *err);
/**
 * gate_check - is the gate that processes of the tree map the program's file, and whole? Otherwise nobody could wake them once they are detached.
 * Return: 0 (also if none maps one), -ESTALE (it was removed or replaced), -EBADMSG, -errno.
 */
int gate_check(const char *run_dir, const char *name, pid_t root, struct hearth_err *err);
/** gate_environment - tell the shim where it and the keeper are; in the program's process, before exec */
void gate_environment(const char *run_dir, const char *name, const char *keeper);

#endif
