/* SPDX-License-Identifier: Apache-2.0 */
#include <hearth/fn.h>
#include <stdio.h>

static int count(const struct hearth_fn_event *event, struct hearth_fn_reply *reply, void *ctx)
{
	unsigned long *calls = ctx;
	static char text[64];

	reply->body = text;
	reply->body_len = snprintf(text, sizeof(text), "{\"call\": %lu, \"bytes\": %zu}", ++*calls, event->body_len);
	return 0;
}

int main(void)
{
	unsigned long calls = 0;

	return hearth_fn_serve(NULL, count, &calls) < 0;
}
