/* SPDX-License-Identifier: Apache-2.0 */
#include "user.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int user_resolve(const char *text, uid_t *ret_uid, gid_t *ret_gid, struct hearth_err *err)
{
	unsigned long uid, gid;
	struct passwd *pw;
	char *end;

	if (!text) {
		*ret_uid = *ret_gid = USER_NOBODY;
		return 0;
	}
	uid = strtoul(text, &end, 10);
	if (end != text && *end == ':') {
		const char *second = end + 1;

		gid = strtoul(second, &end, 10);
		if (end == second || *end || uid >= 0xffffffffu || gid >= 0xffffffffu)
			return err_set(err, -EINVAL, "user '%s' must be a name or uid:gid", text);
		*ret_uid = (uid_t)uid;
		*ret_gid = (gid_t)gid;
		return 0;
	}
	pw = getpwnam(text);
	if (!pw)
		return err_set(err, -ENOENT, "there is no user '%s' on this machine; make it or give uid:gid", text);
	*ret_uid = pw->pw_uid;
	*ret_gid = pw->pw_gid;
	return 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

int user_become(uid_t uid, gid_t gid, struct hearth_err *err)
{
	int r;

	if (geteuid() == 0) {
		/* needs CAP_SETPCAP, so before the ids; the kernel ends the list with EINVAL */
		for (int cap = 0; ; cap++)
			if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
				if (errno == EINVAL)
					break;
				return err_set(err, -errno, "cannot drop capability %d: %s", cap, strerror(errno));
			}
		if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
			return err_set(err, -errno, "cannot become user %u:%u: %s", uid, gid, strerror(errno));
	}
	r = drop_capabilities();
	if (r < 0)
		return err_set(err, r, "cannot drop capabilities: %s", strerror(-r));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "cannot set no_new_privs: %s", strerror(errno));
	return 0;
}
