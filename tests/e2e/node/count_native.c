/* SPDX-License-Identifier: Apache-2.0 */
/* count_native - a native function with a state: how many events it has had */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/fn.h>

static int count(const struct hearth_fn_event *event, struct hearth_fn_reply *reply, void *ctx)
{
	static char text[32];
	unsigned *n = ctx;

	(void)event;
	reply->body_len = (size_t)snprintf(text, sizeof(text), "%u", ++*n);
	reply->body = text;
	return 0;
}

int main(void)
{
	unsigned n = 0;
	int err = hearth_fn_serve(NULL, count, &n);

	fprintf(stderr, "count_native: %s\n", strerror(-err));
	return 1;
}
