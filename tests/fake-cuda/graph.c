/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

/*
 * Graphs, capture, and what is made of them: a plan, the works in an order in which nothing comes before what it depends on. A launch does a plan as one piece of work of its stream. A changed
 * graph gets a new plan, so launches that wait keep the old one. fake.lock covers graphs; plans are counted.
 */
struct node { struct node *next; struct work work; CUgraphNodeType type; struct node **after; size_t nafter; bool done; struct graph *child; };
struct graph { struct node *first, *last; size_t n; };
struct plan { unsigned refs; size_t n; struct work *works; CUgraphNodeType *types; struct node **nodes; };
struct exec { struct plan *plan; };

void plan_ref(struct plan *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_SEQ_CST);
}

void plan_put(struct plan *p)
{
	if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_SEQ_CST))
		return;
	for (size_t k = 0; k < p->n; k++)
		work_done(&p->works[k]);
	free(p->works);
	free(p->types);
	free(p->nodes);
	free(p);
}

CUresult plan_run(struct plan *p, struct ctx *c, CUstream handle)
{
	CUresult r = CUDA_SUCCESS;

	for (size_t k = 0; !r && k < p->n; k++)
		r = work_run(&p->works[k], c, handle);
	return r;
}

static void graph_free(struct graph *g)
{
	for (struct node *n = g->first, *next; n; n = next) {
		next = n->next;
		work_done(&n->work);
		if (n->child)
			graph_free(n->child);
		free(n->after);
		free(n);
	}
	free(g);
}

static bool deps_done(const struct node *n)
{
	for (size_t k = 0; k < n->nafter; k++)
		if (!n->after[k]->done)
			return false;
	return true;
}

static struct plan *plan_new(const struct graph *g);

static bool plan_add(struct plan *p, struct node *n)
{
	if (n->child) {
		struct plan *inner = plan_new(n->child);

		if (!inner)
			return false;
		p->works[p->n] = (struct work){ .kind = WORK_PLAN, .plan = inner };
	} else if (!work_copy_of(&p->works[p->n], &n->work)) {
		return false;
	}
	p->types[p->n] = n->type;
	p->nodes[p->n] = n;
	p->n++;
	n->done = true;
	return true;
}

/* Return: NULL: no memory, or a circle */
static struct plan *plan_new(const struct graph *g)
{
	struct plan *p = calloc(1, sizeof(*p));
	bool moved = true;

	if (!p)
		return NULL;
	p->refs = 1;
	p->works = calloc(g->n + 1, sizeof(*p->works));
	p->types = calloc(g->n + 1, sizeof(*p->types));
	p->nodes = calloc(g->n + 1, sizeof(struct node *));
	if (!p->works || !p->types || !p->nodes)
		goto err;
	for (struct node *n = g->first; n; n = n->next)
		n->done = false;
	while (moved && p->n < g->n) {
		moved = false;
		for (struct node *n = g->first; n; n = n->next) {
			if (n->done || !deps_done(n))
				continue;
			if (!plan_add(p, n))
				goto err;
			moved = true;
		}
	}
	if (p->n == g->n)
		return p;
err:
	plan_put(p);
	return NULL;
}

/* takes what @w owns, also when it fails */
static CUresult node_add(struct graph *g, CUgraphNodeType type, struct work *w, const CUgraphNode *after, size_t n, struct node **ret)
{
	struct node *node = calloc(1, sizeof(*node));

	if (node)
		node->after = calloc(n + 1, sizeof(struct node *));
	if (!node || !node->after) {
		free(node);
		work_done(w);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	node->type = type;
	node->work = *w;
	node->nafter = n;
	if (n)
		memcpy(node->after, after, n * sizeof(*after));
	if (g->last)
		g->last->next = node;
	else
		g->first = node;
	g->last = node;
	g->n++;
	*ret = node;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphCreate(CUgraph *ret, unsigned int flags)
{
	CALL(CALL_INIT);
	if (!ret || flags)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = calloc(1, sizeof(struct graph));
	return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

EXPORT CUresult cuGraphDestroy(CUgraph graph)
{
	CALL(CALL_INIT);
	if (!graph)
		return CUDA_ERROR_INVALID_VALUE;
	graph_free((struct graph *)graph);
	return CUDA_SUCCESS;
}

static CUresult add(CUgraphNode *ret, CUgraph graph, CUgraphNodeType type, struct work *w, const CUgraphNode *after, size_t n)
{
	struct node *node;
	CUresult r;

	if (!ret || !graph || (n && !after)) {
		work_done(w);
		return CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_lock(&fake.lock);
	r = node_add((struct graph *)graph, type, w, after, n, &node);
	pthread_mutex_unlock(&fake.lock);
	if (!r)
		*ret = (CUgraphNode)node;
	return r;
}

static CUresult kernel_work(const CUDA_KERNEL_NODE_PARAMS *p, struct work *ret)
{
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	return launch_make((struct kernel *)(p->func ? (void *)p->func : (void *)p->kern), (unsigned[6]){ p->gridDimX, p->gridDimY, p->gridDimZ, p->blockDimX, p->blockDimY, p->blockDimZ },
		p->sharedMemBytes, p->kernelParams, p->extra, ret);
}

EXPORT CUresult cuGraphAddKernelNode_v2(CUgraphNode *ret, CUgraph g, const CUgraphNode *after, size_t n, const CUDA_KERNEL_NODE_PARAMS *p)
{
	struct work w;
	CUresult r;

	CALL(CALL_CTX);
	r = kernel_work(p, &w);
	return r ? r : add(ret, g, CU_GRAPH_NODE_TYPE_KERNEL, &w, after, n);
}

EXPORT CUresult cuGraphAddMemcpyNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *after, size_t n, const CUDA_MEMCPY3D *p, CUcontext ctx)
{
	struct work w;
	CUresult r;

	CALL(CALL_CTX);
	if (!p)
		return CUDA_ERROR_INVALID_VALUE;
	r = copy_make_3d(p, ctx_current()->device, &w);
	return r ? r : add(ret, g, CU_GRAPH_NODE_TYPE_MEMCPY, &w, after, n);
}

EXPORT CUresult cuGraphAddMemsetNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *after, size_t n, const CUDA_MEMSET_NODE_PARAMS *p, CUcontext ctx)
{
	struct work w = { .kind = WORK_SET };

	CALL(CALL_CTX);
	if (!p || (p->elementSize != 1 && p->elementSize != 2 && p->elementSize != 4))
		return CUDA_ERROR_INVALID_VALUE;
	w.set.to = p->dst;
	w.set.pitch = p->height > 1 ? p->pitch : p->width * p->elementSize;
	w.set.width = p->width;
	w.set.rows = p->height;
	w.set.value = p->value;
	w.set.unit = p->elementSize;
	return add(ret, g, CU_GRAPH_NODE_TYPE_MEMSET, &w, after, n);
}

EXPORT CUresult cuGraphAddHostNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *after, size_t n, const CUDA_HOST_NODE_PARAMS *p)
{
	struct work w = { .kind = WORK_HOST };

	CALL(CALL_CTX);
	if (!p || !p->fn)
		return CUDA_ERROR_INVALID_VALUE;
	w.host.fn = p->fn;
	w.host.data = p->userData;
	return add(ret, g, CU_GRAPH_NODE_TYPE_HOST, &w, after, n);
}

EXPORT CUresult cuGraphAddEmptyNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *after, size_t n)
{
	struct work w = { .kind = WORK_EMPTY };

	CALL(CALL_CTX);
	return add(ret, g, CU_GRAPH_NODE_TYPE_EMPTY, &w, after, n);
}

static struct node *node_at(const struct graph *g, size_t at)
{
	struct node *n = g->first;

	while (at--)
		n = n->next;
	return n;
}

static size_t place_of(const struct graph *g, const struct node *want)
{
	size_t at = 0;

	for (const struct node *n = g->first; n && n != want; n = n->next)
		at++;
	return at;
}

/* a copy, as the driver's: later changes of @from do not show */
static struct graph *graph_copy(const struct graph *from)
{
	struct graph *g = calloc(1, sizeof(*g));

	for (struct node *o = from->first, *n; g && o; o = o->next) {
		struct work w;

		if (!work_copy_of(&w, &o->work) || node_add(g, o->type, &w, (const CUgraphNode *)o->after, o->nafter, &n)) {
			graph_free(g);
			return NULL;
		}
		n->child = o->child ? graph_copy(o->child) : NULL;
	}
	for (struct node *n = g ? g->first : NULL; n; n = n->next)
		for (size_t k = 0; k < n->nafter; k++)
			n->after[k] = node_at(g, place_of(from, n->after[k]));
	return g;
}

EXPORT CUresult cuGraphAddChildGraphNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *after, size_t n, CUgraph inner)
{
	struct work w = { .kind = WORK_EMPTY };
	struct graph *copy;
	CUresult r;

	CALL(CALL_CTX);
	if (!inner || inner == g)
		return CUDA_ERROR_INVALID_VALUE;
	copy = graph_copy((struct graph *)inner);
	if (!copy)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = add(ret, g, CU_GRAPH_NODE_TYPE_GRAPH, &w, after, n);
	if (r)
		graph_free(copy);
	else
		((struct node *)*ret)->child = copy;
	return r;
}

EXPORT CUresult cuGraphAddMemAllocNode(CUgraphNode *ret, CUgraph g, const CUgraphNode *after, size_t n, CUDA_MEM_ALLOC_NODE_PARAMS *p)
{
	CALL(CALL_CTX);
	return CUDA_ERROR_NOT_SUPPORTED;
}

EXPORT CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n)
{
	CUresult r = CUDA_SUCCESS;

	CALL(CALL_INIT);
	if (!graph || (n && (!from || !to)))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	for (size_t k = 0; !r && k < n; k++) {
		struct node *node = (struct node *)to[k];
		struct node **v = realloc(node->after, (node->nafter + 1) * sizeof(struct node *));

		if (!v) {
			r = CUDA_ERROR_OUT_OF_MEMORY;
			break;
		}
		node->after = v;
		v[node->nafter++] = (struct node *)from[k];
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *ret, size_t *n)
{
	struct graph *g = (struct graph *)graph;
	size_t k = 0;

	CALL(CALL_INIT);
	if (!g || !n)
		return CUDA_ERROR_INVALID_VALUE;
	if (ret) {
		for (struct node *o = g->first; o && k < *n; o = o->next)
			ret[k++] = (CUgraphNode)o;
		for (size_t z = k; z < *n; z++)
			ret[z] = NULL;
	}
	*n = ret ? k : g->n;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType *ret)
{
	CALL(CALL_INIT);
	if (!node || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = ((struct node *)node)->type;
	return CUDA_SUCCESS;
}

/* kernelParams are not given back: the node has them as a block */
EXPORT CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *ret)
{
	const struct node *n = (const struct node *)node;

	CALL(CALL_INIT);
	if (!n || !ret || n->type != CU_GRAPH_NODE_TYPE_KERNEL)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUDA_KERNEL_NODE_PARAMS){ .func = (CUfunction)n->work.launch.k, .gridDimX = n->work.launch.grid[0], .gridDimY = n->work.launch.grid[1], .gridDimZ = n->work.launch.grid[2],
		.blockDimX = n->work.launch.block[0], .blockDimY = n->work.launch.block[1], .blockDimZ = n->work.launch.block[2], .sharedMemBytes = n->work.launch.shared };
	return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *ret, CUgraph graph, unsigned long long flags)
{
	struct exec *e;

	CALL(CALL_CTX);
	if (!ret || !graph)
		return CUDA_ERROR_INVALID_VALUE;
	e = calloc(1, sizeof(*e));
	if (!e)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&fake.lock);
	e->plan = plan_new((struct graph *)graph);
	pthread_mutex_unlock(&fake.lock);
	if (!e->plan) {
		free(e);
		return CUDA_ERROR_INVALID_VALUE;
	}
	*ret = (CUgraphExec)e;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec exec)
{
	struct exec *e = (struct exec *)exec;

	CALL(CALL_INIT);
	if (!e)
		return CUDA_ERROR_INVALID_VALUE;
	plan_put(e->plan);
	free(e);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle)
{
	struct exec *e = (struct exec *)exec;
	struct work w = { .kind = WORK_PLAN };
	struct stream *s;
	CUresult r;

	CALL(CALL_CTX);
	s = stream_from(handle, &r);
	if (!s)
		return r;
	if (!e)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	w.plan = e->plan;
	plan_ref(w.plan);
	pthread_mutex_unlock(&fake.lock);
	return stream_submit(s, &w, NULL);
}

EXPORT CUresult cuGraphUpload(CUgraphExec exec, CUstream handle)
{
	CALL(CALL_CTX);
	return exec ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static void plan_swap(struct exec *e, struct plan *p)
{
	struct plan *old = e->plan;

	e->plan = p;
	plan_put(old);
}

EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *ret)
{
	struct exec *e = (struct exec *)exec;
	CUgraphExecUpdateResult why = CU_GRAPH_EXEC_UPDATE_SUCCESS;
	struct plan *p;

	CALL(CALL_CTX);
	if (!e || !graph || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	p = plan_new((struct graph *)graph);
	if (!p || p->n != e->plan->n)
		why = CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
	for (size_t k = 0; !why && k < p->n; k++)
		if (p->types[k] != e->plan->types[k])
			why = CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
	if (why)
		plan_put(p);
	else
		plan_swap(e, p);
	pthread_mutex_unlock(&fake.lock);
	*ret = (CUgraphExecUpdateResultInfo){ .result = why };
	return why ? CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE : CUDA_SUCCESS;
}

static struct plan *plan_copy(const struct plan *from)
{
	struct plan *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->refs = 1;
	p->works = calloc(from->n + 1, sizeof(*p->works));
	p->types = calloc(from->n + 1, sizeof(*p->types));
	p->nodes = calloc(from->n + 1, sizeof(struct node *));
	for (size_t k = 0; p->works && p->types && p->nodes && k < from->n && work_copy_of(&p->works[k], &from->works[k]); k++) {
		p->types[k] = from->types[k];
		p->nodes[k] = from->nodes[k];
		p->n++;
	}
	if (p->n == from->n)
		return p;
	plan_put(p);
	return NULL;
}

EXPORT CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
	struct exec *e = (struct exec *)exec;
	struct plan *p = NULL;
	struct work w;
	CUresult r;

	CALL(CALL_CTX);
	if (!e)
		return CUDA_ERROR_INVALID_VALUE;
	r = kernel_work(params, &w);
	if (r)
		return r;
	r = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	p = plan_copy(e->plan);
	for (size_t k = 0; p && r && k < p->n; k++) {
		if (p->nodes[k] != (struct node *)node || p->types[k] != CU_GRAPH_NODE_TYPE_KERNEL)
			continue;
		work_done(&p->works[k]);
		p->works[k] = w;
		r = CUDA_SUCCESS;
	}
	if (r) {
		work_done(&w);
		plan_put(p);
	} else {
		plan_swap(e, p);
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

/* ---- capture: the works of a stream, and of those that wait for its events, go into a graph, each after the one before ---- */
static unsigned capturing;
static uint64_t next_capture;

bool capture_active(struct ctx *c)
{
	return __atomic_load_n(&capturing, __ATOMIC_SEQ_CST) != 0;
}

static CUgraphNodeType type_of(const struct work *w)
{
	switch (w->kind) {
	case WORK_KERNEL:
		return CU_GRAPH_NODE_TYPE_KERNEL;
	case WORK_COPY:
		return CU_GRAPH_NODE_TYPE_MEMCPY;
	case WORK_SET:
		return CU_GRAPH_NODE_TYPE_MEMSET;
	case WORK_HOST:
		return CU_GRAPH_NODE_TYPE_HOST;
	case WORK_PLAN:
		return CU_GRAPH_NODE_TYPE_GRAPH;
	default:
		return CU_GRAPH_NODE_TYPE_EMPTY;
	}
}

/* All captured works follow each other in the order of the calls: that is one of the orders that their dependencies allow. */
CUresult capture_add(struct stream *s, struct work *w)
{
	struct capture *c = s->capture;
	struct node *node;
	CUgraphNode after;
	CUresult r;

	if (w->kind == WORK_FREE) {
		work_done(w);
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	}
	pthread_mutex_lock(&fake.lock);
	after = (CUgraphNode)c->graph->last;
	r = node_add(c->graph, type_of(w), w, &after, after ? 1 : 0, &node);
	pthread_mutex_unlock(&fake.lock);
	return r;
}

CUresult capture_event(struct stream *s, struct event *e)
{
	e->captured = s->capture->id;
	return CUDA_SUCCESS;
}

CUresult capture_wait(struct stream *s, struct event *e)
{
	struct capture *c = stream_capture_by(e->captured);

	if (s->capture && s->capture != c)
		return c ? CUDA_ERROR_STREAM_CAPTURE_MERGE : CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
	s->capture = c;
	return CUDA_SUCCESS;
}

static struct stream *capture_stream(CUstream handle, CUresult *why)
{
	struct stream *s = stream_from(handle, why);

	if (s && s->legacy) {
		*why = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		return NULL;
	}
	return s;
}

EXPORT CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode)
{
	struct stream *s;
	struct capture *c;
	CUresult r;

	CALL(CALL_CTX);
	s = capture_stream(handle, &r);
	if (!s)
		return r;
	if (s->capture || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return s->capture ? CUDA_ERROR_ILLEGAL_STATE : CUDA_ERROR_INVALID_VALUE;
	c = calloc(1, sizeof(*c));
	if (c)
		c->graph = calloc(1, sizeof(*c->graph));
	if (!c || !c->graph) {
		free(c);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	c->origin = s;
	c->mode = mode;
	c->thread = pthread_self();
	c->id = __atomic_add_fetch(&next_capture, 1, __ATOMIC_SEQ_CST);
	s->capture = c;
	__atomic_add_fetch(&capturing, 1, __ATOMIC_SEQ_CST);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(CUstream handle, CUgraph *ret)
{
	struct stream *s;
	struct capture *c;
	CUresult r;

	CALL(CALL_CTX);
	s = capture_stream(handle, &r);
	if (!s)
		return r;
	c = s->capture;
	if (!ret || !c || c->origin != s)
		return !ret ? CUDA_ERROR_INVALID_VALUE : c ? CUDA_ERROR_STREAM_CAPTURE_UNMATCHED : CUDA_ERROR_ILLEGAL_STATE;
	if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(c->thread, pthread_self()))
		return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
	stream_capture_end(c);
	*ret = (CUgraph)c->graph;
	__atomic_sub_fetch(&capturing, 1, __ATOMIC_SEQ_CST);
	free(c);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *ret)
{
	struct stream *s;
	CUresult r;

	CALL(CALL_CTX);
	s = stream_from(handle, &r);
	if (!s || !ret)
		return s ? CUDA_ERROR_INVALID_VALUE : r;
	*ret = s->capture ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus *ret, cuuint64_t *id, CUgraph *graph, const CUgraphNode **deps, size_t *n)
{
	struct stream *s;
	CUresult r;

	CALL(CALL_CTX);
	s = stream_from(handle, &r);
	if (!s || !ret)
		return s ? CUDA_ERROR_INVALID_VALUE : r;
	*ret = s->capture ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
	if (s->capture && id)
		*id = s->capture->id;
	if (s->capture && graph)
		*graph = (CUgraph)s->capture->graph;
	if (s->capture && deps)
		*deps = (const CUgraphNode *)&s->capture->graph->last;
	if (s->capture && n)
		*n = s->capture->graph->last ? 1 : 0;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	static __thread CUstreamCaptureMode own = CU_STREAM_CAPTURE_MODE_GLOBAL;
	CUstreamCaptureMode old = own;

	CALL(CALL_INIT);
	if (!mode || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	own = *mode;
	*mode = old;
	return CUDA_SUCCESS;
}
