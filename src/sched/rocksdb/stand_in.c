// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "app.h"
#include "base/module.h"

/* Stands in for hearth-app-rocksdb.so until a server wants it, so that `hearth` neither needs RocksDB nor waits for it to be loaded. */
static const struct hearth_app *loaded;

static int load(struct hearth_err *err)
{
	char path[PATH_MAX];
	void *handle;
	int r = module_find("hearth-app-rocksdb.so", "application rocksdb", "librocksdb-dev", path, sizeof(path), err);

	if (r < 0)
		return r;
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	loaded = handle != NULL ? dlsym(handle, "hearth_app") : NULL;
	if (loaded == NULL)
		return err_set(err, -ELIBACC, "application rocksdb: %s; install librocksdb, or build Hearth anew here", dlerror());
	if (loaded->abi == HEARTH_APP_ABI && loaded->bytes == sizeof(*loaded))
		return 0;
	loaded = NULL;
	dlclose(handle);
	return err_set(err, -ELIBACC, "application rocksdb: %s is of another Hearth; install Hearth whole", path);
}

static int rocksdb_init(const struct hearth_app_env *env, void **ret_server)
{
	struct hearth_err err;

	if (loaded == NULL && load(&err) < 0) {
		snprintf(env->error, env->error_room, "%s", err.msg);
		return err.code;
	}
	return loaded->init(env, ret_server);
}

static int rocksdb_handle(void *worker, struct hearth_app_request *request)
{
	return loaded->handle(worker, request);
}

static void rocksdb_done(void *server)
{
	if (loaded != NULL)
		loaded->done(server);
}

static int rocksdb_worker_init(void *server, const struct hearth_app_env *env, uint32_t worker, void **ret_worker)
{
	*ret_worker = server;
	return 0;
}

const struct hearth_app app_rocksdb = {
	.abi = HEARTH_APP_ABI,
	.bytes = sizeof(struct hearth_app),
	.name = "rocksdb",
	.flags = HEARTH_APP_SHARED,
	.init = rocksdb_init,
	.worker_init = rocksdb_worker_init,
	.handle = rocksdb_handle,
	.done = rocksdb_done,
};
