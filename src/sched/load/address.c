/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"

/* "HOST:PORT", "[HOST]:PORT", or without the port if there is a default. @host: room for 256 */
static int split(const char *target, const char *default_port, char *host, const char **ret_port)
{
	const char *colon = strrchr(target, ':'), *close = strchr(target, ']'), *from = target;
	size_t len;

	if (target[0] == '[') {
		if (!close || (close[1] != ':' && close[1] != '\0'))
			return -EINVAL;
		from = target + 1;
		len = (size_t)(close - from);
		colon = close[1] ? close + 1 : NULL;
	} else {
		len = colon ? (size_t)(colon - target) : strlen(target);
		if (memchr(target, ':', len))
			return -EINVAL;
	}
	*ret_port = colon ? colon + 1 : default_port;
	if (len == 0 || len > 255 || !*ret_port || **ret_port == '\0')
		return -EINVAL;
	memcpy(host, from, len);
	host[len] = '\0';
	return 0;
}

int address_resolve(const char *target, const char *default_port, bool dgram, struct address *ret, struct hearth_err *err)
{
	struct addrinfo hints = { .ai_socktype = dgram ? SOCK_DGRAM : SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *list = NULL;
	char host[256];
	const char *port;
	char *end;
	int rc;

	if (split(target, default_port, host, &port) < 0)
		return err_set(err, -EINVAL, "\"%s\" is no address: it must be ADDRESS:PORT, or [ADDRESS]:PORT for IPv6", target);
	if (port[0] < '0' || port[0] > '9' || strtoul(port, &end, 10) - 1 >= 65535 || *end != '\0')
		return err_set(err, -EINVAL, "\"%s\" is no port: it must be 1..65535", port);
	rc = getaddrinfo(host, port, &hints, &list);
	if (rc != 0)
		return err_set(err, -EHOSTUNREACH, "cannot find the address of %s: %s", host, gai_strerror(rc));
	memcpy(&ret->sa, list->ai_addr, list->ai_addrlen);
	ret->len = list->ai_addrlen;
	freeaddrinfo(list);
	snprintf(ret->text, sizeof(ret->text), "%s", target);
	return 0;
}
