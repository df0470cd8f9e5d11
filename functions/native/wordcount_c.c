/* SPDX-License-Identifier: Apache-2.0 */
/* wordcount_c - lines, words and bytes of the event, counted as wc(1) does in the C locale */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <hearth/fn.h>

#define ANSWER_MAX 128

static int is_space(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static int wordcount(const struct hearth_fn_event *event, struct hearth_fn_reply *reply, void *ctx)
{
	const unsigned char *text = event->body;
	size_t lines = 0, words = 0, i;
	int in_word = 0, n;
	char *answer = hearth_fn_room(reply, ANSWER_MAX);

	if (!answer)
		return -ENOMEM;
	for (i = 0; i < event->body_len; i++) {
		lines += text[i] == '\n';
		if (is_space(text[i])) {
			in_word = 0;
		} else if (!in_word) {
			in_word = 1;
			words++;
		}
	}
	n = snprintf(answer, ANSWER_MAX, "{\"lines\":%zu,\"words\":%zu,\"bytes\":%zu}\n", lines, words, event->body_len);
	reply->body = answer;
	reply->body_len = (size_t)n;
	reply->content_type = "application/json";
	return 0;
}

int main(void)
{
	int err = hearth_fn_serve(NULL, wordcount, NULL);

	fprintf(stderr, "wordcount_c: cannot serve the channel to the node: %s\n", strerror(-err));
	return 1;
}
