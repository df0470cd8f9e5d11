/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_LOG_H
#define SHIM_LOG_H

/* What the shim has to say about the program it is in: silence, unless HEARTH_SHIM_LOG is set; then each thing once, a line to standard error. */
enum log_thing { LOG_NEWER, LOG_NO_EXPORT, LOG_KEEPER, LOG_NO_GATE, LOG_IPC, LOG_EXPORT, LOG_THREAD, LOG_RELEASE, LOG_THINGS };

void log_once(enum log_thing thing, const char *fmt, ...) __attribute__((format(printf, 2, 3), visibility("hidden")));

#endif
