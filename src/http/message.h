/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTP_MESSAGE_H
#define HTTP_MESSAGE_H

#include <sys/types.h>

#include "http/server.h"

/*
 * What requests and responses have in common: where a head ends, how a body is framed. http_parser parses heads; bodies are framed here, because
 * the distributions build http_parser without its strict mode, which takes chunk ends on trust.
 */

/** struct head_scan - how far a head has been looked through; all zero at its first byte */
struct head_scan {
	size_t pos, line;
};

/**
 * head_scan - look for the empty line that ends a head
 * @ret_len: length of the head, empty line included
 * Return: 1 found, 0 more bytes needed, -EBADMSG (a line not ended by CR LF, or a folded one).
 */
int head_scan(struct head_scan *s, const char *data, size_t len, size_t *ret_len);

bool head_name_ok(struct http_view name);		/* a token of RFC 9110 */
bool head_value_ok(struct http_view value);		/* no control character but a tab */
bool head_target_ok(struct http_view target);		/* no space, no control character */
struct http_view head_trim(struct http_view v);
/** head_find - index of a header from index i on, or n */
size_t head_find(const struct http_header *headers, size_t n, size_t i, const char *name);
/** head_list_has - a comma-separated list (Connection, ...) holds the token */
bool head_list_has(struct http_view list, struct http_view token);
/** head_is_hop - belongs to this connection only: not to be passed on (framing headers included) */
bool head_is_hop(struct http_view name);

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_TO_EOF };

/** struct body_frame - state of a body; left is what is missing of the body or of the chunk */
struct body_frame {
	enum body_kind kind;
	bool done;
	uint8_t state;
	uint64_t left;
	unsigned overhead;		/* bytes of the current chunk line or of the trailers */
};

void body_frame_init(struct body_frame *f, enum body_kind kind, uint64_t length);
/**
 * body_frame_next - take the next piece
 * @ret_piece: body bytes inside data; may be empty
 * Return: bytes of data used (less than len: call again unless done), -EBADMSG.
 */
ssize_t body_frame_next(struct body_frame *f, const char *data, size_t len, struct http_view *ret_piece);

#endif
