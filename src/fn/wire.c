/* SPDX-License-Identifier: Apache-2.0 */
#include "fn/wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

void fn_frame_put(uint8_t out[FN_HEAD_BYTES], const struct fn_frame *head)
{
	struct fn_frame le = {
		.len = htole32(head->len), .type = head->type, .flags = head->flags, .meta_len = htole16(head->meta_len),
		.id = htole64(head->id), .arg = htole64(head->arg), .reserved = 0,
	};

	memcpy(out, &le, sizeof le);
}

static struct fn_frame head_get(const void *data)
{
	struct fn_frame le;

	memcpy(&le, data, sizeof le);
	le.len = le32toh(le.len);
	le.meta_len = le16toh(le.meta_len);
	le.id = le64toh(le.id);
	le.arg = le64toh(le.arg);
	return le;
}

static bool meta_valid(const char *meta, size_t len)
{
	struct fn_meta m;
	size_t pos = 0;

	if (len == 0)
		return true;
	if (memchr(meta, 0, len))
		return false;
	while (fn_meta_next(meta, len, &pos, &m))
		;
	return pos == len;
}

int fn_frame_peek(void *data, size_t len, size_t body_max, struct fn_view *ret)
{
	uint8_t *bytes = data;
	struct fn_frame head;
	size_t total;

	if (body_max > FN_BODY_MAX)
		body_max = FN_BODY_MAX;
	if (len < FN_HEAD_BYTES) {
		ret->total = FN_HEAD_BYTES;
		return 0;
	}
	head = head_get(bytes);
	if (head.type == 0 || head.reserved != 0 || head.meta_len > FN_META_MAX || head.len < head.meta_len)
		return -EPROTO;
	if (head.len - head.meta_len > body_max)
		return -EMSGSIZE;
	total = FN_HEAD_BYTES + (size_t)head.len;
	if (len < total) {
		ret->total = total;
		return 0;
	}
	if (!meta_valid((char *)bytes + FN_HEAD_BYTES, head.meta_len))
		return -EPROTO;
	*ret = (struct fn_view){
		.head = head,
		.meta = (char *)bytes + FN_HEAD_BYTES,
		.body = bytes + FN_HEAD_BYTES + head.meta_len,
		.body_len = head.len - head.meta_len,
		.total = total,
	};
	return 1;
}

bool fn_meta_next(const char *meta, size_t len, size_t *pos, struct fn_meta *ret)
{
	const char *line, *end, *equals;

	if (*pos >= len)
		return false;
	line = meta + *pos;
	end = memchr(line, '\n', len - *pos);
	if (!end)
		return false;
	equals = memchr(line, '=', (size_t)(end - line));
	if (!equals || equals == line)
		return false;
	*ret = (struct fn_meta){
		.key = line, .key_len = (size_t)(equals - line),
		.value = equals + 1, .value_len = (size_t)(end - equals - 1),
	};
	*pos += (size_t)(end - line) + 1;
	return true;
}

bool fn_meta_is(const struct fn_meta *m, const char *key)
{
	return strlen(key) == m->key_len && memcmp(key, m->key, m->key_len) == 0;
}

bool fn_meta_get(const char *meta, size_t len, const char *key, const char **ret_value, size_t *ret_len)
{
	struct fn_meta m;
	size_t pos = 0;

	while (fn_meta_next(meta, len, &pos, &m)) {
		if (!fn_meta_is(&m, key))
			continue;
		*ret_value = m.value;
		*ret_len = m.value_len;
		return true;
	}
	return false;
}

int fn_meta_put(char *meta, size_t cap, size_t *len, const char *key, const char *value, size_t value_len)
{
	size_t key_len = strlen(key), room = cap < FN_META_MAX ? cap : FN_META_MAX;
	char *out;

	if (key_len == 0 || strpbrk(key, "=\n"))
		return -EINVAL;
	if (value_len && (memchr(value, '\n', value_len) || memchr(value, 0, value_len)))
		return -EINVAL;
	if (*len > room || room - *len < 2 || key_len > room - *len - 2 || value_len > room - *len - 2 - key_len)
		return -EMSGSIZE;
	out = meta + *len;
	memcpy(out, key, key_len);
	out[key_len] = '=';
	if (value_len)
		memcpy(out + key_len + 1, value, value_len);
	out[key_len + 1 + value_len] = '\n';
	*len += key_len + value_len + 2;
	return 0;
}

int fn_address(const char *name, const char *suffix, struct sockaddr_un *ret, socklen_t *ret_len)
{
	size_t name_len = strlen(name), suffix_len, dash;

	if (!suffix)
		suffix = "";
	suffix_len = strlen(suffix);
	dash = suffix_len > 0 && suffix[0] != '-';
	if (name_len + dash + suffix_len > sizeof ret->sun_path)
		return -ENAMETOOLONG;
	memset(ret, 0, sizeof *ret);
	ret->sun_family = AF_UNIX;
	memcpy(ret->sun_path, name, name_len);
	ret->sun_path[0] = 0;           /* the '@' of the printed form: an abstract name */
	if (dash)
		ret->sun_path[name_len] = '-';
	memcpy(ret->sun_path + name_len + dash, suffix, suffix_len);
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_len + dash + suffix_len);
	return 0;
}

/* Make a socket and bind or connect it. */
static int open_at(const char *name, const char *suffix, int (*attach)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un address;
	socklen_t address_len;
	int fd, ret;

	ret = fn_address(name, suffix, &address, &address_len);
	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (attach(fd, (struct sockaddr *)&address, address_len) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

int fn_listen(const char *name, const char *suffix)
{
	int fd = open_at(name, suffix, bind), ret;

	if (fd < 0)
		return fd;
	if (listen(fd, 8) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

int fn_connect(const char *name, const char *suffix)
{
	return open_at(name, suffix, connect);
}

int fn_accept(int listen_fd)
{
	struct ucred peer;
	socklen_t peer_len = sizeof peer;
	int fd, ret = 0;

	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) < 0)
		ret = -errno;
	else if (peer.uid != 0 && peer.uid != geteuid())
		ret = -EACCES;
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}
