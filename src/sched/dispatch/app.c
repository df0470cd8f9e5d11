/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "app.h"

static const struct hearth_app *const builtin[] = {
	&app_spin,
#ifdef HEARTH_ROCKSDB
	&app_rocksdb,
#endif
};

const char *const app_names[] = {
	"spin",
#ifdef HEARTH_ROCKSDB
	"rocksdb",
#endif
	NULL,
};

/* what every version has: up to and with handle */
#define APP_BYTES_MIN (offsetof(struct hearth_app, handle) + sizeof(((struct hearth_app *)0)->handle))

static int check(const char *name, const struct hearth_app *app, struct hearth_app *ret, struct hearth_err *err)
{
	if (app->abi != HEARTH_APP_ABI)
		return err_set(err, -EINVAL, "application %s is made for version %u of hearth/app.h, this server has %u: compile it again", name, app->abi, HEARTH_APP_ABI);
	if (app->bytes < APP_BYTES_MIN || app->handle == NULL)
		return err_set(err, -EINVAL, "application %s: its hearth_app says %u bytes%s; .bytes must be sizeof(struct hearth_app) and .handle a function", name,
			       app->bytes, app->bytes >= APP_BYTES_MIN ? " and has no handle" : "");
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, app, app->bytes < sizeof(*ret) ? app->bytes : sizeof(*ret));
	return 0;
}

static int load_object(const char *name, struct hearth_app *ret, void **ret_handle, struct hearth_err *err)
{
	void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	const struct hearth_app *app;
	int r;

	if (handle == NULL)
		return err_set(err, -ELIBACC, "load application: %s", dlerror());
	app = dlsym(handle, "hearth_app");
	if (app == NULL)
		r = err_set(err, -ELIBACC, "application %s exports no \"hearth_app\": define `const struct hearth_app hearth_app` as hearth-app(3) says", name);
	else
		r = check(name, app, ret, err);
	if (r < 0) {
		dlclose(handle);
		return r;
	}
	*ret_handle = handle;
	return 0;
}

int app_load(const char *name, struct hearth_app *ret, void **ret_handle, struct hearth_err *err)
{
	size_t n = strlen(name), at = 0;
	char known[128] = "";

	if (strchr(name, '/') != NULL || (n > 3 && strcmp(name + n - 3, ".so") == 0))
		return load_object(name, ret, ret_handle, err);
	for (size_t i = 0; app_names[i] != NULL; i++) {
		if (strcmp(app_names[i], name) == 0) {
			*ret_handle = NULL;
			return check(name, builtin[i], ret, err);
		}
		at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i > 0 ? ", " : "", app_names[i]);
	}
	return err_set(err, -ENOENT, "no application \"%s\"%s; this build has %s, and any /PATH/FILE.so will do", name,
		       strcmp(name, "rocksdb") == 0 ? " in this build (it was made without RocksDB's library)" : "", known);
}

void app_unload(void *handle)
{
	if (handle != NULL)
		dlclose(handle);
}
