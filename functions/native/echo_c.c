/* SPDX-License-Identifier: Apache-2.0 */
/* echo_c - returns the event as it came */
#include <stdio.h>
#include <string.h>

#include <hearth/fn.h>

static int echo(const struct hearth_fn_event *event, struct hearth_fn_reply *reply, void *ctx)
{
	reply->body = event->body;
	reply->body_len = event->body_len;
	if (event->content_type[0])
		reply->content_type = event->content_type;
	return 0;
}

int main(void)
{
	int err = hearth_fn_serve(NULL, echo, NULL);

	fprintf(stderr, "echo_c: cannot serve the channel to the node: %s\n", strerror(-err));
	return 1;
}
