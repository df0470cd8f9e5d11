/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for hearth-init: the same command line; runs COMMAND as its child, reaps, and ends with it. Static. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int at = 1;
	pid_t child, pid;
	int status;

	while (at < argc && strcmp(argv[at], "--"))
		at++;
	if (at + 1 >= argc)
		return 2;
	child = fork();
	if (child == 0) {
		execvp(argv[at + 1], argv + at + 1);
		_exit(127);
	}
	while ((pid = wait(&status)) > 0)
		if (pid == child)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	return 1;
}
