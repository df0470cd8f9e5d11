/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include "message.h"

#define CHUNK_LINE_MAX 4096		/* a chunk's size line with its extensions; all trailers together */

/* RFC 9110 tchar */
static const uint8_t token_chars[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1,
	['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

bool http_view_is(struct http_view v, const char *text)
{
	return strlen(text) == v.len && (v.len == 0 || strncasecmp(v.data, text, v.len) == 0);
}

int head_scan(struct head_scan *s, const char *data, size_t len, size_t *ret_len)
{
	const char *nl;
	size_t at;

	while (s->pos < len && (nl = memchr(data + s->pos, '\n', len - s->pos)) != NULL) {
		at = (size_t)(nl - data);
		if (at == s->line || data[at - 1] != '\r')
			return -EBADMSG;
		if (at - s->line == 1) {
			*ret_len = at + 1;
			return 1;
		}
		/* a line that begins with white space continues the one before: obsolete, and read differently by different servers */
		if (data[s->line] == ' ' || data[s->line] == '\t')
			return -EBADMSG;
		s->line = s->pos = at + 1;
	}
	s->pos = len;
	return 0;
}

bool head_name_ok(struct http_view name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!token_chars[(uint8_t)name.data[i]])
			return false;
	return name.len > 0;
}

bool head_value_ok(struct http_view value)
{
	for (size_t i = 0; i < value.len; i++) {
		uint8_t c = (uint8_t)value.data[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

bool head_target_ok(struct http_view target)
{
	for (size_t i = 0; i < target.len; i++) {
		uint8_t c = (uint8_t)target.data[i];

		if (c <= 0x20 || c == 0x7f)
			return false;
	}
	return target.len > 0;
}

struct http_view head_trim(struct http_view v)
{
	while (v.len > 0 && (v.data[0] == ' ' || v.data[0] == '\t')) {
		v.data++;
		v.len--;
	}
	while (v.len > 0 && (v.data[v.len - 1] == ' ' || v.data[v.len - 1] == '\t'))
		v.len--;
	return v;
}

size_t head_find(const struct http_header *headers, size_t n, size_t i, const char *name)
{
	size_t len = strlen(name);

	for (; i < n; i++)
		if (headers[i].name.len == len && strncasecmp(headers[i].name.data, name, len) == 0)
			break;
	return i;
}

bool head_list_has(struct http_view list, struct http_view token)
{
	while (list.len > 0) {
		const char *comma = memchr(list.data, ',', list.len);
		size_t len = comma != NULL ? (size_t)(comma - list.data) : list.len;
		struct http_view item = head_trim((struct http_view){ list.data, len });

		if (item.len == token.len && strncasecmp(item.data, token.data, token.len) == 0)
			return true;
		if (comma == NULL)
			break;
		list.data += len + 1;
		list.len -= len + 1;
	}
	return false;
}

bool head_is_hop(struct http_view name)
{
	switch (name.len) {		/* by length first: nearly every header ends here */
	case 2: return http_view_is(name, "TE");
	case 7: return http_view_is(name, "Upgrade") || http_view_is(name, "Trailer");
	case 10: return http_view_is(name, "Connection") || http_view_is(name, "Keep-Alive");
	case 14: return http_view_is(name, "Content-Length") || http_view_is(name, "HTTP2-Settings");
	case 16: return http_view_is(name, "Proxy-Connection");
	case 17: return http_view_is(name, "Transfer-Encoding");
	default: return false;
	}
}

enum chunk_state { CHUNK_SIZE_FIRST, CHUNK_SIZE, CHUNK_EXT, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_TRAILER_FIRST,
	CHUNK_TRAILER, CHUNK_TRAILER_LF, CHUNK_LAST_LF };

void body_frame_init(struct body_frame *f, enum body_kind kind, uint64_t length)
{
	*f = (struct body_frame){ .kind = kind, .state = CHUNK_SIZE_FIRST, .left = kind == BODY_LENGTH ? length : 0 };
	f->done = kind == BODY_NONE || (kind == BODY_LENGTH && length == 0);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The size line: hex digits, then nothing or an extension, which is skipped. */
static int chunk_size_byte(struct body_frame *f, char c)
{
	int v;

	switch (f->state) {
	case CHUNK_SIZE_FIRST:
	case CHUNK_SIZE:
		v = hex_value(c);
		if (v >= 0 && f->left < UINT64_MAX >> 8) {
			f->left = f->left * 16 + (unsigned)v;
			f->state = CHUNK_SIZE;
			return 0;
		}
		if (v >= 0 || f->state == CHUNK_SIZE_FIRST)
			return -EBADMSG;
		if (c == '\r')
			f->state = CHUNK_SIZE_LF;
		else if (c == ';' || c == ' ' || c == '\t')
			f->state = CHUNK_EXT;
		else
			return -EBADMSG;
		return 0;
	case CHUNK_EXT:
		if (c == '\r')
			f->state = CHUNK_SIZE_LF;
		else if (c == '\n' || c == '\0')
			return -EBADMSG;
		return 0;
	default: /* CHUNK_SIZE_LF */
		f->state = f->left > 0 ? CHUNK_DATA : CHUNK_TRAILER_FIRST;
		f->overhead = 0;
		return c == '\n' ? 0 : -EBADMSG;
	}
}

/* Behind a chunk's data, and the trailers, which are dropped. */
static int chunk_end_byte(struct body_frame *f, char c)
{
	switch (f->state) {
	case CHUNK_DATA_CR:
		f->state = CHUNK_DATA_LF;
		return c == '\r' ? 0 : -EBADMSG;
	case CHUNK_DATA_LF:
		f->state = CHUNK_SIZE_FIRST;
		return c == '\n' ? 0 : -EBADMSG;
	case CHUNK_TRAILER_FIRST:
		f->state = c == '\r' ? CHUNK_LAST_LF : CHUNK_TRAILER;
		return c == '\n' || c == '\0' ? -EBADMSG : 0;
	case CHUNK_TRAILER:
		if (c == '\r')
			f->state = CHUNK_TRAILER_LF;
		return c == '\n' || c == '\0' ? -EBADMSG : 0;
	case CHUNK_TRAILER_LF:
		f->state = CHUNK_TRAILER_FIRST;
		return c == '\n' ? 0 : -EBADMSG;
	default: /* CHUNK_LAST_LF */
		f->done = true;
		return c == '\n' ? 0 : -EBADMSG;
	}
}

static ssize_t chunked_next(struct body_frame *f, const char *data, size_t len, struct http_view *ret_piece)
{
	size_t i = 0;
	int r;

	while (i < len && !f->done) {
		if (f->state == CHUNK_DATA) {
			size_t n = len - i < f->left ? len - i : (size_t)f->left;

			*ret_piece = (struct http_view){ data + i, n };
			f->left -= n;
			if (f->left == 0)
				f->state = CHUNK_DATA_CR;
			return (ssize_t)(i + n);
		}
		if (++f->overhead > CHUNK_LINE_MAX)
			return -EBADMSG;
		r = f->state <= CHUNK_SIZE_LF ? chunk_size_byte(f, data[i]) : chunk_end_byte(f, data[i]);
		if (r < 0)
			return r;
		i++;
	}
	return (ssize_t)i;
}

ssize_t body_frame_next(struct body_frame *f, const char *data, size_t len, struct http_view *ret_piece)
{
	size_t n = len;

	*ret_piece = (struct http_view){ data, 0 };
	switch (f->kind) {
	case BODY_NONE:
		return 0;
	case BODY_CHUNKED:
		return chunked_next(f, data, len, ret_piece);
	case BODY_LENGTH:
		if (n > f->left)
			n = (size_t)f->left;
		f->left -= n;
		f->done = f->left == 0;
		break;
	case BODY_TO_EOF:
		break;
	}
	ret_piece->len = n;
	return (ssize_t)n;
}
