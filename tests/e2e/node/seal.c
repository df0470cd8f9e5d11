/* SPDX-License-Identifier: Apache-2.0 */
/* seal FILE... - give each file the last line with its digest that the daemon's own files end with */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

int main(int argc, char **argv)
{
	for (int k = 1; k < argc; k++) {
		struct hearth_err err = { 0 };
		char *text;
		size_t len;

		if (file_read(argv[k], 1 << 20, &text, &len) < 0 || file_replace_sealed(argv[k], text, len, 0600, &err) < 0) {
			fprintf(stderr, "%s: %s\n", argv[k], err.msg);
			return 1;
		}
		free(text);
	}
	return 0;
}
