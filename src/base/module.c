// SPDX-License-Identifier: Apache-2.0
#include "base/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int module_find(const char *file, const char *what, const char *package, char *ret_path, size_t n, struct hearth_err *err)
{
	char self[PATH_MAX] = "";
	const char *folder[] = { getenv("HEARTH_MODULES"), self, self }, *below[] = { "", "", "/../libexec/hearth" };
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash = len > 0 ? strrchr(self, '/') : NULL;

	if (slash != NULL)
		*slash = '\0';
	for (int i = 0; i < 3; i++) {
		if (folder[i] == NULL || *folder[i] == '\0')
			continue;
		snprintf(ret_path, n, "%s%s/%s", folder[i], below[i], file);
		if (access(ret_path, F_OK) == 0)
			return 0;
	}
	return err_set(err, -EOPNOTSUPP, "%s: %s is not in %s nor in %s/../libexec/hearth: this Hearth was built without; install %s and build it anew", what, file,
		       self, self, package);
}

int module_load(const char *file, const char *what, const char *package, const char *symbol, const void **ret, struct hearth_err *err)
{
	char path[PATH_MAX + 64];
	const char *const *version;
	void *handle;
	int r = module_find(file, what, package, path, sizeof(path), err);

	if (r < 0)
		return r;
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		return err_set(err, -EOPNOTSUPP, "%s: %s; install the library, or build Hearth anew here", what, dlerror());
	version = dlsym(handle, symbol);
	if (version == NULL || strcmp(*version, HEARTH_VERSION) != 0) {
		err_set(err, -EOPNOTSUPP, "%s: %s is %s%s, not of this Hearth (" HEARTH_VERSION "); install Hearth whole", what, path,
			version != NULL ? "version " : "no module", version != NULL ? *version : "");
		dlclose(handle);
		return -EOPNOTSUPP;
	}
	*ret = version;
	return 0;
}
