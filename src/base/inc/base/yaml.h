/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Strict configuration: one mapping, bound to the fields of a struct by a table. Unknown keys, repeated keys, wrong types, values out of range and
 * missing required keys are errors that name file:line, the key and what would be right (with the nearest known key when one is close).
 */
enum yaml_kind {
	YAML_STR,       /* char *                 heap, freed by yaml_unload */
	YAML_INT,       /* int64_t                min..max */
	YAML_BOOL,      /* bool                   true/false/yes/no */
	YAML_ENUM,      /* int                    index into names (NULL-terminated) */
	YAML_DURATION,  /* uint64_t, ns           "250ms", "1.5s", "10m", "2h", "0"; min..max in ns */
	YAML_BYTES,     /* uint64_t, bytes        "6MiB", "512MB", "1GiB", "4096"; min..max in bytes */
	YAML_DOUBLE,    /* double                 min..max */
	YAML_STRV,      /* char **                sequence of strings (or one string), NULL-terminated */
	YAML_ENV,       /* char **                mapping of strings as "KEY=VALUE", NULL-terminated */
	YAML_MAPS,      /* struct x *             sequence of mappings, each bound to a struct by a table of its own; min..max entries */
	YAML_MAP,       /* struct x               a mapping, bound to the struct by a table of its own; keys that are absent keep what they held. A text stands for the table's first key. */
};

struct yaml_key {
	const char *name;
	enum yaml_kind kind;
	size_t offset;                  /* of the field in the struct */
	int required;
	int64_t min, max;               /* both 0: any */
	const char *const *names;       /* YAML_ENUM */
	/* YAML_MAPS, which may be nested: the entries are a heap array (NULL: none), their number is the size_t at count_offset */
	const struct yaml_key *sub;     /* keys of an entry; YAML_MAP: of the mapping, none of them required */
	size_t sub_bytes;               /* size of an entry's struct */
	const void *sub_defaults;       /* an entry begins as a copy of this (no heap fields in it); NULL: all zero */
	size_t count_offset;
};

/**
 * yaml_load - parse text into a struct that already holds the defaults
 * @text, @len: the document; @file: its name for messages
 * @keys:       ends with a NULL name
 * @out:        untouched on failure; strings of replaced defaults are freed (so defaults must be heap or NULL)
 * Return: 0, -EINVAL (with message), -ENOMEM.
 */
int yaml_load(const char *text, size_t len, const char *file, const struct yaml_key *keys, void *out, struct hearth_err *err);
int yaml_load_file(const char *path, const struct yaml_key *keys, void *out, struct hearth_err *err);
/** yaml_unload - free every heap field of a struct and set it to NULL. Not called yaml_free: libyaml exports that, and ours would take its place. */
void yaml_unload(const struct yaml_key *keys, void *out);
#define yaml_free yaml_unload   /* for callers of the old name */

/* The scalars, for command lines too. Return: 0, -EINVAL. */
int parse_duration(const char *text, uint64_t *ret_ns);
int parse_bytes(const char *text, uint64_t *ret_bytes);

#endif
