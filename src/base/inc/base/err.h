/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/**
 * struct hearth_err - one error, as its reader sees it: what failed, on what, why, what to do
 * @code: 0 or -errno
 * @msg:  one line, no newline; truncated, never overrun
 */
struct hearth_err {
	int code;
	char msg[508];
};

/**
 * err_set - fill in an error and return its code, for `return err_set(err, -EINVAL, "...")`
 * @err:  may be NULL: then only the code travels
 * @code: -errno, not 0
 * Control characters in the message become '?'. errno is kept.
 */
int err_set(struct hearth_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* so that analysers, and the compiler, see that what comes back is what went in */
#define err_set(err, code, ...) __extension__({ int err_set_code = (code); (err_set)((err), err_set_code, __VA_ARGS__); err_set_code; })

/**
 * err_prefix - put "context: " in front of a message that is already there
 * @fmt: without the colon
 * Return: err->code; -EIO when err is NULL, so keep your own code where it may be.
 */
int err_prefix(struct hearth_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
