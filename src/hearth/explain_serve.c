/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "sched/serve.h"

int explain_serve(struct cli *cli, const char *socket)
{
	struct hearth_err err;
	char *text = NULL;
	int r;

	if (serve_ask(socket, cli->json ? "explain json" : "explain", &text, &err) < 0)
		return cli_fail(cli, &err);
	r = fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
	free(text);
	return r;
}
