/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

#include "log.h"

/*
 * Every way to the driver ends here: dlsym(), cuGetProcAddress(), and, for programs that are linked with libcuda.so.1, the symbols that this library exports under the driver's names.
 */
typedef void *dlsym_fn(void *, const char *);
struct route { void *answer; uint64_t decided; };

_Atomic(shim_fn *) driver_slots[CALL_COUNT];
dlsym_fn *shim_libc_dlsym SHIM_HIDDEN;
static _Atomic(void *) driver_handle;

struct route shim_route(void *handle, const char *name, void *caller) SHIM_HIDDEN;

/*
 * dlsym() must not be called on behalf of another object: libc looks at the return address (RTLD_NEXT, name spaces). So what is none of our business is passed on with a jump.
 */
#ifdef __x86_64__
__asm__(
	".text\n.globl dlsym\n.type dlsym, @function\n.p2align 4\n"
	"dlsym:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	push %rdi\n	.cfi_adjust_cfa_offset 8\n"
	"	push %rsi\n	.cfi_adjust_cfa_offset 8\n"
	"	sub $8, %rsp\n	.cfi_adjust_cfa_offset 8\n"
	"	mov 24(%rsp), %rdx\n"
	"	call shim_route\n"
	"	add $8, %rsp\n	.cfi_adjust_cfa_offset -8\n"
	"	pop %rsi\n	.cfi_adjust_cfa_offset -8\n"
	"	pop %rdi\n	.cfi_adjust_cfa_offset -8\n"
	"	test %rdx, %rdx\n"
	"	jnz 1f\n"
	"	jmp *shim_libc_dlsym(%rip)\n"
	"1:	ret\n"
	"	.cfi_endproc\n"
	".size dlsym, . - dlsym\n");
#else
#error "dlsym() is interposed on x86-64 only"
#endif

static dlsym_fn *libc_dlsym(void)
{
	dlsym_fn *fn = __atomic_load_n(&shim_libc_dlsym, __ATOMIC_RELAXED);

	if (fn)
		return fn;
	fn = (dlsym_fn *)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	if (!fn)
		fn = (dlsym_fn *)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
	__atomic_store_n(&shim_libc_dlsym, fn, __ATOMIC_RELAXED);
	return fn;
}

static CUresult missing(void)
{
	return CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
}

static void *driver_open(bool load)
{
	void *handle = atomic_load(&driver_handle);

	if (!handle) {
		handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | (load ? 0 : RTLD_NOLOAD));
		if (handle)
			atomic_store(&driver_handle, handle);
	}
	return handle;
}

shim_fn *driver_find(unsigned call)
{
	void *handle = driver_open(true);
	shim_fn *fn = handle ? (shim_fn *)libc_dlsym()(handle, shim_calls[call].symbol) : NULL;

	if (!fn)
		return (shim_fn *)missing;
	atomic_store_explicit(&driver_slots[call], fn, memory_order_relaxed);
	return fn;
}

bool driver_has(unsigned call)
{
	return driver_fn(call) != (shim_fn *)missing;
}

/* the table is sorted by symbol, as strcmp() does */
static int call_of_symbol(const char *symbol)
{
	int low = 0, high = CALL_COUNT - 1;

	while (low <= high) {
		int at = (low + high) / 2, order = strcmp(symbol, shim_calls[at].symbol);

		if (order == 0)
			return at;
		if (order < 0)
			high = at - 1;
		else
			low = at + 1;
	}
	return -1;
}

/* Was this address found in the driver, not in a stub, another shim or a library that happens to use the name? */
static bool from_driver(void *address)
{
	Dl_info info;
	const char *base;
	void *handle;

	if (!dladdr(address, &info) || !info.dli_fname)
		return false;
	base = strrchr(info.dli_fname, '/');
	base = base ? base + 1 : info.dli_fname;
	if (strncmp(base, "libcuda.so", 10) != 0)
		return false;
	if (!atomic_load(&driver_handle)) {
		handle = dlopen(info.dli_fname, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
		if (handle)
			atomic_store(&driver_handle, handle);
	}
	return true;
}

/* called by dlsym() above: decided = 0 leaves it to libc. A driver that looks itself up gets itself. */
struct route shim_route(void *handle, const char *name, void *caller)
{
	struct route pass = { NULL, 0 };
	dlsym_fn *real = libc_dlsym();
	void *found;
	int call;

	if (!name || handle == RTLD_NEXT || strncmp(name, "cu", 2) != 0)
		return pass;
	call = call_of_symbol(name);
	if (call < 0 || !shim_calls[call].wrapper || from_driver(caller))
		return pass;
	found = real(handle, name);
	if (!found)
		return pass;
	if (found == (void *)shim_calls[call].wrapper) {
		/* Our own, found in the global scope: without a driver there the program is to be told so. */
		if (!driver_open(false) && !real(RTLD_NEXT, name))
			return (struct route){ NULL, 1 };
		return (struct route){ found, 1 };
	}
	if (!from_driver(found))
		return pass;
	atomic_store_explicit(&driver_slots[call], (shim_fn *)found, memory_order_relaxed);
	return (struct route){ (void *)shim_calls[call].wrapper, 1 };
}

static CUresult driver_ask(const char *name, void **ret, int version, cuuint64_t flags)
{
	CUdriverProcAddressQueryResult status;

	if (driver_has(CALL_cuGetProcAddress_v2))
		return DRV(cuGetProcAddress_v2)(name, ret, version, flags, &status);
	return DRV(cuGetProcAddress)(name, ret, version, flags);
}

/* the newest entry of our table that a program which knows the driver of @version may get */
static int call_of_version(const char *name, int version, bool per_thread)
{
	int best = -1;

	for (int i = 0; i < CALL_COUNT; i++) {
		const struct shim_call *c = &shim_calls[i];

		if (!c->wrapper || c->version > version || (c->per_thread && !per_thread) || strcmp(c->name, name) != 0)
			continue;
		if (best < 0 || c->per_thread > shim_calls[best].per_thread || (c->per_thread == shim_calls[best].per_thread && c->version > shim_calls[best].version))
			best = i;
	}
	return best;
}

/* Which entry point did the driver answer with? By its address; a driver whose symbols lie elsewhere: by the version, unless the driver gives another address for the version that we know. */
static void route_proc(const char *name, void **address, int version, cuuint64_t flags)
{
	void *known = NULL;
	int call;

	for (int i = 0; i < CALL_COUNT; i++) {
		if ((void *)shim_calls[i].wrapper == *address)
			return;                 /* its answer came through us */
		if (shim_calls[i].wrapper && strcmp(shim_calls[i].name, name) == 0 && (void *)driver_fn((unsigned)i) == *address) {
			*address = (void *)shim_calls[i].wrapper;
			return;
		}
	}
	call = call_of_version(name, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
	if (call < 0)
		return;
	if (driver_ask(name, &known, shim_calls[call].version, flags) != CUDA_SUCCESS || known != *address) {
		log_once(LOG_NEWER, "%s of version %d is newer than this shim and not wrapped", name, version);
		return;
	}
	atomic_store_explicit(&driver_slots[call], (shim_fn *)*address, memory_order_relaxed);
	*address = (void *)shim_calls[call].wrapper;
}

SHIM_EXPORT CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
	CUresult ret = DRV(cuGetProcAddress)(symbol, pfn, cudaVersion, flags);

	if (ret == CUDA_SUCCESS && symbol && pfn && *pfn)
		route_proc(symbol, pfn, cudaVersion, flags);
	return ret;
}

SHIM_EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags, CUdriverProcAddressQueryResult *symbolStatus)
{
	CUresult ret = DRV(cuGetProcAddress_v2)(symbol, pfn, cudaVersion, flags, symbolStatus);

	if (ret == CUDA_SUCCESS && symbol && pfn && *pfn)
		route_proc(symbol, pfn, cudaVersion, flags);
	return ret;
}
