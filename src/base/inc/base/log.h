/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** log_set_level - what is written from here on; not thread-safe against itself */
void log_set_level(enum log_level level);
/** log_level_parse - "error", "warn", "info", "debug". Return: 0, -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret_level);
/** log_set_level_named - the same by its name, for command lines. Return: 0, -EINVAL (as it was). */
int log_set_level_named(const char *text);
bool log_enabled(enum log_level level);
/** log_write - one line to standard error: time, level, message. Written with one write(2). */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_at(level, ...) do { if (log_enabled(level)) log_write(level, __VA_ARGS__); } while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
