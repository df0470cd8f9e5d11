/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "ctx.h"
#include "gate.h"
#include "gatefile.h"
#include "host.h"
#include "link.h"
#include "log.h"
#include "mem.h"
#include "refuse.h"
#include "service.h"
#include "shim.h"

pthread_mutex_t shim_lock = PTHREAD_MUTEX_INITIALIZER;
atomic_bool shim_active;

/* The environment as the program was started with: it may change it. */
static struct { char *socket, *gate, *name; } started;

__attribute__((constructor)) static void remember(void)
{
	const char *socket = getenv(SHIM_ENV_SOCKET), *gate = getenv(SHIM_ENV_GATE), *name = getenv(SHIM_ENV_NAME);

	started.socket = socket && *socket ? strdup(socket) : NULL;
	started.gate = gate && *gate ? strdup(gate) : NULL;
	started.name = strdup(name ? name : "");
}

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;    /* one thread at a time; taken before shim_lock */

static void fork_prepare(void)
{
	pthread_mutex_lock(&starting);
	pthread_mutex_lock(&shim_lock);
	gate_fork_prepare();
}

static void fork_parent(void)
{
	gate_fork_parent();
	pthread_mutex_unlock(&shim_lock);
	pthread_mutex_unlock(&starting);
}

/* A child has no service thread, and the driver does not work in it unless the parent had not begun: it begins anew with its own cuInit(). */
static void fork_child(void)
{
	pthread_mutex_init(&starting, NULL);
	pthread_mutex_init(&shim_lock, NULL);
	gate_fork_child();
	atomic_store(&shim_active, false);
	link_fork_child();
	service_fork_child();
	refuse_fork_child();
	host_fork_child();
	capture_fork_child();
	mem_fork_child();
	ctx_fork_child();
}

static void start_once(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

static void start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int ret;

	pthread_once(&once, start_once);
	pthread_mutex_lock(&starting);
	if (!shim_is_active() && started.socket && started.name) {
		if (started.gate && !gatefile_there() && (ret = gatefile_map(started.gate)) < 0)
			log_once(LOG_NO_GATE, "gate file %s: %s: this program can be copied while it runs, but not restored", started.gate, strerror(-ret));
		atomic_store(&shim_active, true);
		ret = service_start(started.socket, started.name);
		if (ret < 0)
			log_once(LOG_THREAD, "no thread for the keeper: %s: this program cannot be checkpointed", strerror(-ret));
	}
	pthread_mutex_unlock(&starting);
}

SHIM_EXPORT CUresult cuInit(unsigned int Flags)
{
	CUresult ret;

	if (!driver_has(CALL_cuInit))
		return CUDA_ERROR_NO_DEVICE;
	gate_enter();
	ret = DRV(cuInit)(Flags);
	if (ret == CUDA_SUCCESS)
		start();
	gate_leave();
	return ret;
}
