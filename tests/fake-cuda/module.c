/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"

/* Modules: what is in the text (fake_cuda/kernel.h says how it looks), memory for their globals, and launches. */
#define IMAGE_MAX (16u << 20)
struct global { struct global *next; char *name; uint64_t va; size_t bytes; };
struct module { struct module *next; struct ctx *ctx; void *library; struct kernel *kernels; struct global *globals; };

static void module_free(struct module *m)
{
	struct kernel *k, *next_k;
	struct global *g, *next_g;

	for (k = m->kernels; k; k = next_k) {
		next_k = k->next;
		free(k->name);
		free(k->offset);
		free(k->bytes);
		free(k);
	}
	for (g = m->globals; g; g = next_g) {
		struct alloc *a = g->va ? table_find(&fake.allocs, g->va) : NULL;

		next_g = g->next;
		if (a)
			alloc_free(a);
		free(g->name);
		free(g);
	}
	if (m->library)
		dlclose(m->library);
	free(m);
}

static fake_kernel *find_code(const struct module *m, const char *name)
{
	char symbol[256];
	void *f = NULL;

	snprintf(symbol, sizeof(symbol), "fake_kernel_%s", name);
	if (m->library)
		f = dlsym(m->library, symbol);
	if (!f)
		f = dlsym(RTLD_DEFAULT, symbol);
	return f ? (fake_kernel *)f : kernel_builtin(name);
}

static CUresult kernel_add(struct module *m, const char *name, const size_t *bytes, unsigned n)
{
	struct kernel *k = calloc(1, sizeof(*k));

	if (!k)
		return CUDA_ERROR_OUT_OF_MEMORY;
	k->next = m->kernels;
	m->kernels = k;
	k->module = m;
	k->params = n;
	k->name = strdup(name);
	k->offset = calloc(n + 1, sizeof(*k->offset));
	k->bytes = calloc(n + 1, sizeof(*k->bytes));
	if (!k->name || !k->offset || !k->bytes)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (unsigned p = 0; p < n; p++) {
		size_t align = bytes[p] >= 8 ? 8 : bytes[p] >= 4 ? 4 : bytes[p] >= 2 ? 2 : 1;

		k->offset[p] = (k->args_bytes + align - 1) / align * align;
		k->bytes[p] = bytes[p];
		k->args_bytes = k->offset[p] + bytes[p];
	}
	k->fn = find_code(m, name);     /* none: found missing when it is asked for */
	return CUDA_SUCCESS;
}

static CUresult global_add(struct module *m, const char *name, size_t bytes)
{
	struct global *g = calloc(1, sizeof(*g));

	if (!g)
		return CUDA_ERROR_OUT_OF_MEMORY;
	g->next = m->globals;
	m->globals = g;
	g->name = strdup(name);
	g->bytes = bytes;
	if (!g->name)
		return CUDA_ERROR_OUT_OF_MEMORY;
	return alloc_new(m->ctx, m->ctx->device, bytes, ALLOC_GLOBALS, NULL, &g->va);
}

static CUresult parse_line(struct module *m, char *line)
{
	char *state = NULL, *word = strtok_r(line, " \t\r", &state), *name = strtok_r(NULL, " \t\r", &state), *w;
	size_t bytes[PARAMS_MAX];
	unsigned n = 0;

	if (!word || *word == '#')
		return CUDA_SUCCESS;
	if (!name)
		return CUDA_ERROR_INVALID_IMAGE;
	if (strcmp(word, "library") == 0) {
		m->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
		return m->library ? CUDA_SUCCESS : CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
	}
	while ((w = strtok_r(NULL, " \t\r", &state)) && n < PARAMS_MAX)
		bytes[n++] = strtoul(w, NULL, 10);
	if (strcmp(word, "kernel") == 0)
		return kernel_add(m, name, bytes, n);
	if (strcmp(word, "global") == 0 && n == 1 && bytes[0])
		return global_add(m, name, bytes[0]);
	return CUDA_ERROR_INVALID_IMAGE;
}

static CUresult parse_text(struct module *m, char *text)
{
	char *state = NULL;
	CUresult r = CUDA_SUCCESS;

	strtok_r(text, "\n", &state);
	for (char *line; !r && (line = strtok_r(NULL, "\n", &state));)
		r = parse_line(m, line);
	return r;
}

/* ".u64", ".align 8 .b8": bytes of one; *p goes behind it */
static size_t ptx_type(char **p)
{
	size_t bytes = 0;

	for (;;) {
		*p += strspn(*p, " \t\n\r");
		if (strncmp(*p, ".align", 6) == 0) {
			strtoul(*p + 6, p, 10);
		} else if (**p == '.') {
			size_t n = strcspn(*p + 1, " \t\n\r,)") + 1, digits = strcspn(*p, "0123456789");

			if (digits < n)
				bytes = strtoul(*p + digits, NULL, 10) / 8;
			*p += n;
		} else {
			return bytes;
		}
	}
}

/* "name" or "name[12]" behind a type */
static size_t ptx_name(char **p, char ret[256])
{
	size_t n = strcspn(*p, " \t\n\r,;)[=");

	snprintf(ret, 256, "%.*s", (int)(n < 255 ? n : 255), *p);
	*p += n;
	return **p == '[' ? strtoul(*p + 1, p, 10) : 1;
}

static CUresult ptx_entry(struct module *m, char *p)
{
	char name[256], unused[256];
	size_t bytes[PARAMS_MAX];
	unsigned n = 0;

	p += strspn(p, " \t\n\r");
	ptx_name(&p, name);
	name[strcspn(name, "(")] = '\0';
	for (char *end = strchr(p, ')'), *q = strchr(p, '{'); end && (!q || end < q);) {
		p = strstr(p, ".param");
		if (!p || p > end)
			break;
		if (n == PARAMS_MAX)
			return CUDA_ERROR_INVALID_PTX;
		p += 6;
		bytes[n] = ptx_type(&p);
		bytes[n] *= ptx_name(&p, unused);
		n++;
	}
	return kernel_add(m, name, bytes, n);
}

static CUresult parse_ptx(struct module *m, char *text)
{
	CUresult r = CUDA_SUCCESS;
	char name[256];

	for (char *c = text; (c = strstr(c, "//"));)
		for (; *c && *c != '\n'; c++)
			*c = ' ';
	for (char *p = text; !r && (p = strstr(p, ".entry"));) {
		p += 6;
		r = ptx_entry(m, p);
	}
	for (char *p = text; !r && (p = strstr(p, ".global"));) {
		size_t unit;

		p += 7;
		if (p - text >= 9 && !isspace((unsigned char)p[-8]))
			continue;               /* ld.global and the like */
		unit = ptx_type(&p);
		if (unit && (isalpha((unsigned char)*p) || *p == '_'))
			r = global_add(m, name, unit * ptx_name(&p, name));
	}
	return r;
}

static CUresult module_parse(struct module *m, const char *image)
{
	char *text = strndup(image, IMAGE_MAX);
	CUresult r = CUDA_ERROR_OUT_OF_MEMORY;

	if (!text)
		return r;
	if (strncmp(text, "fake-cuda", 9) == 0)
		r = parse_text(m, text);
	else if (strstr(text, ".version") && strstr(text, ".target"))
		r = parse_ptx(m, text);
	else
		r = CUDA_ERROR_INVALID_IMAGE;
	free(text);
	return r;
}

static CUresult module_load(const void *image, struct module **ret)
{
	struct module *m;
	CUresult r;

	if (!image || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	m = calloc(1, sizeof(*m));
	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	m->ctx = ctx_current();
	pthread_mutex_lock(&fake.lock);
	r = module_parse(m, image);
	if (r) {
		module_free(m);
	} else {
		m->next = fake.modules;
		fake.modules = m;
		*ret = m;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

static CUresult module_load_file(const char *path, struct module **ret)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;
	char *text = NULL;
	CUresult r = CUDA_ERROR_FILE_NOT_FOUND;

	if (fd < 0)
		return r;
	if (fstat(fd, &st) == 0 && st.st_size < IMAGE_MAX)
		text = calloc(1, (size_t)st.st_size + 1);
	if (text && read(fd, text, (size_t)st.st_size) == st.st_size)
		r = module_load(text, ret);
	free(text);
	close(fd);
	return r;
}

/* fake.lock held */
static struct module *module_of(const void *handle)
{
	for (struct module *m = fake.modules; m; m = m->next)
		if (m == handle)
			return m;
	return NULL;
}

bool kernel_known(const struct kernel *want)
{
	for (struct module *m = fake.modules; m; m = m->next)
		for (struct kernel *k = m->kernels; k; k = k->next)
			if (k == want)
				return true;
	return false;
}

static CUresult module_unload(void *handle)
{
	struct module *m;

	stream_wait_ctx(NULL);
	pthread_mutex_lock(&fake.lock);
	m = module_of(handle);
	for (struct module **at = &fake.modules; m && *at; at = &(*at)->next) {
		if (*at != m)
			continue;
		*at = m->next;
		module_free(m);
		break;
	}
	pthread_mutex_unlock(&fake.lock);
	return m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

void module_free_all(struct ctx *c)
{
	for (struct module **at = &fake.modules; *at;) {
		struct module *m = *at;

		if (m->ctx != c) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		module_free(m);
	}
}

static CUresult get_kernel(const void *handle, const char *name, struct kernel **ret)
{
	CUresult r = CUDA_ERROR_NOT_FOUND;
	struct module *m;

	if (!ret || !name)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	m = module_of(handle);
	if (!m)
		r = CUDA_ERROR_INVALID_HANDLE;
	for (struct kernel *k = m ? m->kernels : NULL; r && k; k = k->next) {
		if (strcmp(k->name, name) != 0 || !k->fn)
			continue;
		*ret = k;
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

void *module_global(const void *module, const char *name, size_t *ret_bytes)
{
	for (const struct global *g = ((const struct module *)module)->globals; g; g = g->next) {
		if (strcmp(g->name, name) != 0)
			continue;
		if (ret_bytes)
			*ret_bytes = g->bytes;
		return (void *)g->va;
	}
	return NULL;
}

static CUresult get_global(CUdeviceptr *ret, size_t *ret_bytes, const void *handle, const char *name)
{
	struct module *m;
	void *at = NULL;

	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	m = module_of(handle);
	if (m)
		at = module_global(m, name, ret_bytes);
	pthread_mutex_unlock(&fake.lock);
	if (at && ret)
		*ret = (CUdeviceptr)at;
	return at ? CUDA_SUCCESS : m ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_HANDLE;
}

EXPORT CUresult cuModuleLoadData(CUmodule *ret, const void *image)
{
	CALL(CALL_CTX);
	return module_load(image, (struct module **)ret);
}

EXPORT CUresult cuModuleLoadDataEx(CUmodule *ret, const void *image, unsigned int n, CUjit_option *options, void **values)
{
	CALL(CALL_CTX);
	return module_load(image, (struct module **)ret);
}

EXPORT CUresult cuModuleLoadFatBinary(CUmodule *ret, const void *image)
{
	CALL(CALL_CTX);
	return module_load(image, (struct module **)ret);
}

EXPORT CUresult cuModuleLoad(CUmodule *ret, const char *path)
{
	CALL(CALL_CTX);
	return module_load_file(path, (struct module **)ret);
}

EXPORT CUresult cuModuleUnload(CUmodule m)
{
	CALL(CALL_CTX);
	return module_unload(m);
}

EXPORT CUresult cuModuleGetFunction(CUfunction *ret, CUmodule m, const char *name)
{
	CALL(CALL_CTX);
	return get_kernel(m, name, (struct kernel **)ret);
}

EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *ret, size_t *bytes, CUmodule m, const char *name)
{
	CALL(CALL_CTX);
	return get_global(ret, bytes, m, name);
}

EXPORT CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *ret)
{
	CALL(CALL_INIT);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = CU_MODULE_EAGER_LOADING;
	return CUDA_SUCCESS;
}

/* a library is a module of the context that is current when it is loaded; a CUkernel is a CUfunction */
EXPORT CUresult cuLibraryLoadData(CUlibrary *ret, const void *image, CUjit_option *jo, void **jv, unsigned int jn, CUlibraryOption *lo, void **lv, unsigned int ln)
{
	CALL(CALL_CTX);
	return module_load(image, (struct module **)ret);
}

EXPORT CUresult cuLibraryLoadFromFile(CUlibrary *ret, const char *path, CUjit_option *jo, void **jv, unsigned int jn, CUlibraryOption *lo, void **lv, unsigned int ln)
{
	CALL(CALL_CTX);
	return module_load_file(path, (struct module **)ret);
}

EXPORT CUresult cuLibraryUnload(CUlibrary m)
{
	CALL(CALL_CTX);
	return module_unload(m);
}

EXPORT CUresult cuLibraryGetKernel(CUkernel *ret, CUlibrary m, const char *name)
{
	CALL(CALL_CTX);
	return get_kernel(m, name, (struct kernel **)ret);
}

EXPORT CUresult cuLibraryGetModule(CUmodule *ret, CUlibrary m)
{
	CALL(CALL_CTX);
	if (!ret || !m)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUmodule)m;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr *ret, size_t *bytes, CUlibrary m, const char *name)
{
	CALL(CALL_CTX);
	return get_global(ret, bytes, m, name);
}

static CUresult kernel_of(const void *handle, const struct kernel **ret)
{
	bool known;

	pthread_mutex_lock(&fake.lock);
	known = handle && kernel_known(handle);
	pthread_mutex_unlock(&fake.lock);
	*ret = handle;
	return known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

EXPORT CUresult cuKernelGetFunction(CUfunction *ret, CUkernel kernel)
{
	const struct kernel *k;
	CUresult r;

	CALL(CALL_CTX);
	r = kernel_of(kernel, &k);
	if (!r)
		*ret = (CUfunction)kernel;
	return r;
}

static CUresult param_info(const void *handle, size_t i, size_t *ret_offset, size_t *ret_bytes)
{
	const struct kernel *k;
	CUresult r = kernel_of(handle, &k);

	if (r || i >= k->params || !ret_offset)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*ret_offset = k->offset[i];
	if (ret_bytes)
		*ret_bytes = k->bytes[i];
	return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncGetParamInfo(CUfunction f, size_t i, size_t *offset, size_t *bytes)
{
	CALL(CALL_INIT);
	return param_info(f, i, offset, bytes);
}

EXPORT CUresult cuKernelGetParamInfo(CUkernel f, size_t i, size_t *offset, size_t *bytes)
{
	CALL(CALL_INIT);
	return param_info(f, i, offset, bytes);
}

static CUresult name_of(const char **ret, const void *handle)
{
	const struct kernel *k;
	CUresult r = kernel_of(handle, &k);

	if (!r && ret)
		*ret = k->name;
	return r;
}

EXPORT CUresult cuFuncGetName(const char **ret, CUfunction f)
{
	CALL(CALL_INIT);
	return name_of(ret, f);
}

EXPORT CUresult cuKernelGetName(const char **ret, CUkernel f)
{
	CALL(CALL_INIT);
	return name_of(ret, f);
}

EXPORT CUresult cuFuncGetModule(CUmodule *ret, CUfunction f)
{
	const struct kernel *k;
	CUresult r;

	CALL(CALL_INIT);
	r = kernel_of(f, &k);
	if (!r && ret)
		*ret = (CUmodule)k->module;
	return r;
}

EXPORT CUresult cuFuncGetAttribute(int *ret, CUfunction_attribute what, CUfunction f)
{
	const struct kernel *k;
	CUresult r;

	CALL(CALL_CTX);
	r = kernel_of(f, &k);
	if (r || !ret || what >= CU_FUNC_ATTRIBUTE_MAX)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*ret = what == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : what == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32 : what == CU_FUNC_ATTRIBUTE_BINARY_VERSION ? 90 : 0;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute what, int value)
{
	const struct kernel *k;

	CALL(CALL_CTX);
	return kernel_of(f, &k);
}

EXPORT CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache config)
{
	const struct kernel *k;

	CALL(CALL_CTX);
	return kernel_of(f, &k);
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *ret, CUfunction f, int block, size_t shared, unsigned int flags)
{
	const struct kernel *k;
	CUresult r;

	CALL(CALL_CTX);
	r = kernel_of(f, &k);
	if (r || !ret || block <= 0 || block > 1024)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*ret = 2048 / block;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *ret, CUfunction f, int block, size_t shared)
{
	CALL(CALL_CTX);
	return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(ret, f, block, shared, 0);
}

/* parameters as a block: CU_LAUNCH_PARAM_BUFFER_POINTER, p, CU_LAUNCH_PARAM_BUFFER_SIZE, &n, CU_LAUNCH_PARAM_END */
static CUresult args_extra(const struct kernel *k, void **extra, char *args)
{
	const void *from = NULL;
	size_t n = 0;

	for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
		if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
			from = extra[1];
		else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
			n = *(size_t *)extra[1];
		else
			return CUDA_ERROR_INVALID_VALUE;
	}
	if (!from || n < k->args_bytes)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(args, from, k->args_bytes);
	return CUDA_SUCCESS;
}

CUresult launch_make(struct kernel *k, const unsigned dim[6], unsigned shared, void **params, void **extra, struct work *ret)
{
	struct work w = { .kind = WORK_KERNEL, .launch = { .k = k, .shared = shared } };
	CUresult r = CUDA_SUCCESS;

	pthread_mutex_lock(&fake.lock);
	if (!kernel_known(k))
		r = CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_unlock(&fake.lock);
	for (int d = 0; !r && d < 6; d++)
		r = dim[d] ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	if (!r && ((uint64_t)dim[3] * dim[4] * dim[5] > 1024 || (k->params && !params && !extra)))
		r = CUDA_ERROR_INVALID_VALUE;
	if (r)
		return r;
	memcpy(w.launch.grid, dim, sizeof(w.launch.grid));
	memcpy(w.launch.block, dim + 3, sizeof(w.launch.block));
	w.launch.args = calloc(1, k->args_bytes + 1);
	if (!w.launch.args)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (params)
		for (unsigned p = 0; p < k->params; p++)
			memcpy((char *)w.launch.args + k->offset[p], params[p], k->bytes[p]);
	else if (extra)
		r = args_extra(k, extra, w.launch.args);
	if (r)
		free(w.launch.args);
	else
		*ret = w;
	return r;
}

static CUresult launch(CUfunction f, const unsigned dim[6], unsigned shared, CUstream handle, void **params, void **extra)
{
	struct work w;
	CUresult r;
	struct stream *s = stream_from(handle, &r);

	if (!s)
		return r;
	r = launch_make((struct kernel *)f, dim, shared, params, extra, &w);
	return r ? r : stream_submit(s, &w, NULL);
}

EXPORT CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared, CUstream s, void **params,
	void **extra)
{
	CALL(CALL_CTX);
	return launch(f, (unsigned[6]){ gx, gy, gz, bx, by, bz }, shared, s, params, extra);
}

EXPORT CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared, CUstream s,
	void **params)
{
	CALL(CALL_CTX);
	return launch(f, (unsigned[6]){ gx, gy, gz, bx, by, bz }, shared, s, params, NULL);
}

EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **params, void **extra)
{
	CALL(CALL_CTX);
	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	return launch(f, (unsigned[6]){ c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY, c->blockDimZ }, c->sharedMemBytes, c->hStream, params, extra);
}
