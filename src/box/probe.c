/* SPDX-License-Identifier: Apache-2.0 */
/* The probe job: what this machine allows, for `hearth doctor`. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "ckpt/criu.h"
#include "job.h"
#include "lo.h"

#define CHECK_MAX_MS 20000

static void add(json_t *list, const char *name, bool ok, const char *detail)
{
	json_array_append_new(list, json_pack("{s:s,s:b,s:s}", "name", name, "ok", ok, "detail", detail));
}

/* a sandbox's name spaces, with what is done in them: mounting, and lo */
static void probe_namespaces(json_t *list)
{
	struct clone_args args = { .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS, .exit_signal = SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	int status = 0;

	if (pid == 0) {
		if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k") < 0)
			_exit(2);
		_exit(lo_up() < 0 ? 3 : 0);
	}
	if (pid < 0) {
		char text[128];

		snprintf(text, sizeof(text), "%s; run as root with CAP_SYS_ADMIN, or use isolation: none", strerror(errno));
		add(list, "namespaces", false, text);
		return;
	}
	waitpid(pid, &status, 0);
	switch (WIFEXITED(status) ? WEXITSTATUS(status) : 1) {
	case 0:
		add(list, "namespaces", true, "pid, mount, network, ipc, uts");
		break;
	case 2:
		add(list, "namespaces", false, "made, but nothing can be mounted in them; use isolation: none");
		break;
	default:
		add(list, "namespaces", false, "made, but lo can't be brought up in them; use isolation: none");
	}
}

static void probe_cgroups(json_t *list)
{
	struct cgroup_tree *tree = NULL;
	struct hearth_err err = { 0 };
	char text[128];

	if (cgroup_probe(&tree, &err) < 0) {
		add(list, "cgroups", false, err.msg);
		return;
	}
	cgroup_tree_describe(tree, text, sizeof(text));
	add(list, "cgroups", cgroup_tree_has(tree, CGROUP_MEMORY), cgroup_tree_version(tree) == CGROUP_NONE ?
	    "none that can be written; instances run without limits" : text);
	cgroup_tree_free(tree);
}

static void probe_uffd(json_t *list)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |
				  UFFD_FEATURE_EVENT_UNMAP };
	FD_AUTO int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	char text[128];

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0) {
		add(list, "userfaultfd", true, "large images are woken lazily");
		return;
	}
	snprintf(text, sizeof(text), "%s; large images can be woken only with \"lazy\": \"never\"", strerror(errno));
	add(list, "userfaultfd", false, text);
}

static void probe_criu(json_t *list, const char *criu)
{
	char version[64], dir[] = "/tmp/hearth-probe-XXXXXX", log[64], why[300] = "";
	struct hearth_err err = { 0 };
	pid_t pid;

	if (criu_version(criu, version, sizeof(version), &err) < 0) {
		add(list, "criu", false, err.msg);
		return;
	}
	add(list, "criu", true, version);
	if (!mkdtemp(dir)) {
		add(list, "criu check", false, strerror(errno));
		return;
	}
	snprintf(log, sizeof(log), "%s/" CRIU_LOG, dir);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		execl(criu, criu, "check", "--no-default-config", "-W", dir, "-o", CRIU_LOG, "-v1", (char *)NULL);
		_exit(127);
	}
	if (pid > 0 && criu_wait(pid, CHECK_MAX_MS, "check", log, &err) == 0) {
		add(list, "criu check", true, "instances can be parked and woken");
	} else {
		criu_main_error(log, why, sizeof(why));
		add(list, "criu check", false, *why ? why : geteuid() ? "needs root" : "failed; nothing can be parked here");
	}
	unlink(log);
	rmdir(dir);
}

int job_probe(const struct spec *spec, json_t *out, struct hearth_err *err)
{
	json_t *list = json_array();

	if (!list)
		return err_set(err, -ENOMEM, "out of memory");
	probe_namespaces(list);
	probe_cgroups(list);
	probe_uffd(list);
	probe_criu(list, spec->criu);
	json_object_set_new(out, "checks", list);
	return 0;
}
