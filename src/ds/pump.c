/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "pump.h"

#define CREW_BYTES (128u << 10)         /* what is shorter is copied from the page cache at once */
#define CREW_EACH 4                     /* pieces given to a crew, for each of its threads */
#define SPINS 64                        /* looks at both sides before waiting for the device alone: some 30 us */
#define POOL_DEPTH 16                   /* I/Os of a synchronous operation at a time */
#define SUBMIT_EACH 8                   /* I/Os that the kernel is told of together: the drive begins while others are made */
#define AHEAD 8                         /* operations begun early: an I/O that ends is followed by the next before anything else is done */
#define ENDED_EACH 8                    /* operations ended before who waits is told of them: others may follow from there */

/* ---- begin and end ---- */

/* the kernel's cheapest ways first; each came with a release. Who leaves what it began to another thread has its completions made wherever it is, for which it is interrupted. */
static bool uring_open(struct pump *p, unsigned entries, enum pump_use use)
{
	const unsigned cheapest[] = { [PUMP_THREAD] = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, [PUMP_OPERATION] = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, [PUMP_SHARED] = 0 };
	const unsigned ways[] = { cheapest[use], 0 };

	if (ds_fault(p->ds, "ds.uring"))
		return false;
	for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++) {
		struct io_uring_params params = { .flags = ways[k] | IORING_SETUP_CLAMP };

		if (io_uring_queue_init_params(entries, &p->uring, &params) == 0) {
			p->uring.ring_fd = p->uring.enter_ring_fd = fd_move_up(p->uring.ring_fd);
			(void)io_uring_register_buffers_sparse(&p->uring, PUMP_BUFFERS);
			return true;
		}
	}
	return false;
}

int pump_init(struct pump *p, struct hearth_ds *ds, unsigned depth, enum pump_use use, struct hearth_err *err)
{
	*p = (struct pump){ .ds = ds, .depth = depth, .submit_each = 1 };
	p->wake = fd_move_up(eventfd(0, EFD_CLOEXEC));
	if (p->wake < 0)
		return err_set(err, -errno, "eventfd: %s", strerror(errno));
	/* one more, for the eventfd */
	p->has_uring = uring_open(p, depth + 1, use);
	if (!p->has_uring && !atomic_flag_test_and_set(&ds->without_uring))
		ds_warn(ds, "io_uring cannot be used here (a sandbox, or kernel.io_uring_disabled): reads are made by %u threads of each device", crew_threads(ds));
	return 0;
}

static void disarm(struct pump *p)
{
	if (!p->armed || eventfd_write(p->wake, 1) < 0)
		return;
	/* it may not even have been submitted */
	while (io_uring_submit_and_wait(&p->uring, 1) == -EINTR)
		;
}

void pump_done(struct pump *p)
{
	uses_wait_none(&p->lent);
	while (p->lanes) {
		struct lane *l = p->lanes;

		p->lanes = l->next;
		lane_free(p, l);
	}
	if (p->has_uring) {
		disarm(p);
		io_uring_queue_exit(&p->uring);
	}
	fd_close(&p->wake);
	while (p->slabs) {
		struct slab *s = p->slabs;

		p->slabs = s->next;
		free(s);
	}
}

int pump_get(struct hearth_ds *ds, struct pump **ret, struct hearth_err *err)
{
	struct pump *p;
	int r;

	pthread_mutex_lock(&ds->pumps_lock);
	p = ds->pumps;
	if (p)
		ds->pumps = p->next;
	pthread_mutex_unlock(&ds->pumps_lock);
	if (!p) {
		p = malloc(sizeof(*p));
		r = p ? pump_init(p, ds, POOL_DEPTH, PUMP_OPERATION, err) : err_set(err, -ENOMEM, "out of memory");
		if (r < 0) {
			free(p);
			return r;
		}
	}
	*ret = p;
	return 0;
}

void pump_put(struct hearth_ds *ds, struct pump *p)
{
	for (struct lane *l = p->lanes; l; l = l->next)
		lane_rest(l);
	p->current = NULL;
	pthread_mutex_lock(&ds->pumps_lock);
	p->next = ds->pumps;
	ds->pumps = p;
	pthread_mutex_unlock(&ds->pumps_lock);
}

void pumps_free(struct hearth_ds *ds)
{
	while (ds->pumps) {
		struct pump *p = ds->pumps;
		struct cuda_device *entered = NULL;

		ds->pumps = p->next;
		/* its lanes make contexts current as they go */
		for (struct lane *l = p->lanes; l && !entered; l = l->next)
			if (l->device->cuda && cuda_enter(l->device->cuda, NULL) == 0)
				entered = l->device->cuda;
		pump_done(p);
		if (entered)
			cuda_leave(entered);
		free(p);
	}
}

/* ---- operations ---- */

void pump_begin(struct pump *p, struct op *op)
{
	p->under_way++;
	op->issued = 0;
	op->pieces = 0;
	op->chained = NULL;
	op->error = 0;
	op->blamed = HEARTH_DS_AUTO;
	if (!op->write) {
		if (p->sized != op->file) {
			p->size = file_bytes(op->file);
			p->sized = op->file;
		}
		if (p->size < 0)
			op->error = (int)p->size;
		else
			op->bytes = op_clip_to(op->file, p->size, op->file_offset, op->bytes);
	}
	op->end = op->bytes;
	todo_add(p, op);
}

unsigned pump_room(const struct pump *p)
{
	unsigned has = p->in_uring + p->todo_n, most = p->depth + AHEAD;

	return has < most ? most - has : 0;
}

static bool quiet(const struct pump *p)
{
	bool busy = p->in_uring || p->working;

	for (const struct lane *l = p->lanes; l && !busy; l = l->next)
		busy = l->n || l->ready.head;
	return !busy;
}

/* ---- a piece is made and sent on its way ---- */

/* what the next piece is of: the first operation's next part, or that operation and neighbours that are short */
struct plan { struct op *op; struct lane *lane; uint64_t at; size_t n; unsigned ops; bool in_place; };

static bool neighbours(const struct op *a, const struct op *b, bool in_place)
{
	if (b->write || b->issued || b->error || b->bytes == 0 || a->file != b->file || a->path != b->path || a->memory->device != b->memory->device || a->file_offset + a->bytes != b->file_offset)
		return false;
	return !in_place || (a->memory == b->memory && a->memory_offset + a->bytes == b->memory_offset);
}

static struct plan plan_next(struct op *op, struct lane *lane)
{
	struct plan plan = { .op = op, .lane = lane, .at = op->file_offset + op->issued, .in_place = op->path != HEARTH_DS_STAGE };
	uint64_t edge = plan.at - plan.at % PIECE_BYTES + PIECE_BYTES;

	plan.n = piece_at(plan.at, op->bytes - op->issued);
	plan.ops = 1;
	if (op->write || op->path == HEARTH_DS_CUFILE || plan.n < op->bytes)
		return plan;
	for (const struct op *last = op, *next = op->next; next && neighbours(last, next, plan.in_place) && next->file_offset + next->bytes <= edge; last = next, next = next->next) {
		plan.n += next->bytes;
		plan.ops++;
	}
	return plan;
}

/* from here on it is under way */
static struct piece *commit(struct pump *p, const struct plan *plan)
{
	struct piece *piece = piece_new(p);
	struct op *op = plan->op;
	struct op **chain;

	if (!piece)
		return NULL;
	piece->lane = plan->lane;
	piece->file = op->file;
	piece->path = op->path;
	piece->write = op->write;
	piece->at = plan->at;
	piece->n = (uint32_t)plan->n;
	chain = &piece->ops;
	for (unsigned k = 0; k < plan->ops; k++) {
		op = p->todo.head;
		op->pieces++;
		op->issued = plan->ops == 1 ? op->issued + plan->n : op->bytes;
		/* one with several pieces is in all of them, and alone in each */
		op->chained = NULL;
		*chain = op;
		chain = &op->chained;
		if (op->issued == op->bytes)
			todo_pop(p);
	}
	return piece;
}

/* Return: true, so that it ends at the next look */
static bool out_of_memory(struct op *op)
{
	op->error = -ENOMEM;
	return true;
}

static bool give(struct pump *p, const struct plan *plan, bool cached)
{
	struct piece *piece;

	if (p->working >= CREW_EACH * crew_threads(p->ds))
		return false;
	piece = commit(p, plan);
	if (!piece)
		return out_of_memory(plan->op);
	piece->cached = cached;
	p->working++;
	if (crew_give(piece->lane->device, piece) < 0) {
		p->working--;
		piece->got = -EAGAIN;
		piece_end(p, piece);
	}
	return true;
}

static uint8_t *place_of(const struct plan *plan)
{
	return plan->op->memory->cpu + plan->op->memory_offset + (plan->at - plan->op->file_offset);
}

/* one whose byte at @low goes to @to, which is in @slot if there is one: given back where there is no memory */
static struct piece *commit_into(struct pump *p, const struct plan *plan, struct slot *slot, uint8_t *to, uint64_t low)
{
	struct piece *piece = commit(p, plan);

	if (piece) {
		piece->slot = slot;
		piece->to = to;
		piece->low = low;
	} else if (slot) {
		lane_room_put(plan->lane, slot);
	}
	return piece;
}

/* a short one from the page cache: done before it could be given to anybody */
static bool read_now(struct pump *p, const struct plan *plan)
{
	struct slot *slot = NULL;
	uint8_t *to = plan->in_place ? place_of(plan) : NULL;
	struct piece *piece;

	if (!plan->in_place && lane_room(plan->lane, plan->n, 1, quiet(p), &slot, &to) < 0)
		return false;
	piece = commit_into(p, plan, slot, to, plan->at);
	if (!piece)
		return out_of_memory(plan->op);
	piece->got = ds_file_read(piece->file, false, to, piece->n, piece->at);
	piece_read(p, piece);
	return true;
}

static void submit(struct pump *p, struct piece *piece)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&p->uring);
	int buffer = REGISTERED_NEVER, fd = file_direct(piece->file);

	if (!sqe) {
		(void)io_uring_submit(&p->uring);
		sqe = io_uring_get_sqe(&p->uring);
	}
	if (piece->slot)
		buffer = lane_buffer(p, piece->lane, piece->slot);
	/* -1: it has no O_DIRECT any more; it fails, and is then done otherwise */
	if (piece->write)
		io_uring_prep_write(sqe, fd, piece->to, piece->n, piece->at);
	else if (buffer >= 0)
		io_uring_prep_read_fixed(sqe, fd, piece->to, piece->cover, piece->low, buffer);
	else
		io_uring_prep_read(sqe, fd, piece->to, piece->cover, piece->low);
	io_uring_sqe_set_data(sqe, piece);
	p->in_uring++;
	if (io_uring_sq_ready(&p->uring) < p->submit_each)
		return;
	(void)io_uring_submit(&p->uring);
	p->submit_each = p->submit_each < SUBMIT_EACH ? p->submit_each * 2 : SUBMIT_EACH;
}

static bool read_direct(struct pump *p, const struct plan *plan)
{
	struct hearth_ds_file *f = plan->op->file;
	uint64_t low = plan->at - plan->at % f->offset_align, high = plan->at + plan->n + f->offset_align - 1;
	struct slot *slot = NULL;
	uint8_t *to = NULL;
	struct piece *piece;

	if (p->in_uring >= p->depth)
		return false;
	high -= high % f->offset_align;
	if (plan->in_place && low == plan->at && high == plan->at + plan->n && (uintptr_t)place_of(plan) % f->memory_align == 0)
		to = place_of(plan);
	else if (lane_room(plan->lane, high - low, f->memory_align, quiet(p), &slot, &to) < 0)
		return false;
	piece = commit_into(p, plan, slot, to, low);
	if (!piece)
		return out_of_memory(plan->op);
	piece->cover = (uint32_t)(high - low);
	submit(p, piece);
	return true;
}

/* whole pages, which no other way of writing touches */
static bool can_write_direct(const struct pump *p, const struct plan *plan)
{
	struct hearth_ds_file *f = plan->op->file;

	return p->has_uring && plan->op->path == HEARTH_DS_HOST && f->ds->o.cache != HEARTH_DS_CACHE_ALWAYS && (plan->at | plan->n) % BLOCK_BYTES == 0 && file_direct(f) >= 0 &&
	       (uintptr_t)place_of(plan) % f->memory_align == 0;
}

static bool write_direct(struct pump *p, const struct plan *plan)
{
	struct piece *piece;

	if (p->in_uring >= p->depth)
		return false;
	piece = commit_into(p, plan, NULL, place_of(plan), plan->at);
	if (!piece)
		return out_of_memory(plan->op);
	if (ds_fault(p->ds, "ds.eio")) {
		piece->got = -EIO;
		piece_end(p, piece);
	} else {
		submit(p, piece);
	}
	return true;
}

/* Return: false, nothing more can begin now */
static bool start_one(struct pump *p)
{
	struct op *op = p->todo.head;
	struct lane *lane = NULL;
	struct plan plan;

	if (op->error == 0 && op->bytes && op->end >= op->issued) {
		lane = lane_get(p, op->memory->device);
		if (!lane)
			op->error = p->failed;
	}
	if (!lane) {
		op->issued = op->bytes;
		todo_pop(p);
		if (op->pieces == 0)
			op_end(p, op);
		return true;
	}
	plan = plan_next(op, lane);
	if (op->write && can_write_direct(p, &plan))
		return write_direct(p, &plan);
	if (op->write || op->path == HEARTH_DS_CUFILE)
		return give(p, &plan, false);
	if (op->path == HEARTH_DS_MAP ? file_direct(op->file) < 0 : cache_serves(op->file, plan.at, plan.n))
		return plan.n < CREW_BYTES ? read_now(p, &plan) : give(p, &plan, true);
	return p->has_uring ? read_direct(p, &plan) : give(p, &plan, false);
}

/* ---- what comes back ---- */

static void left(struct pump *p, struct piece *piece, ssize_t put)
{
	size_t done = put > 0 ? (size_t)put : 0;

	if (put == -EINVAL || put == -EBADF || (put >= 0 && done < piece->n))
		put = ds_file_write(piece->file, done % piece->file->offset_align == 0, piece->to + done, piece->n - done, piece->at + done);
	piece->got = put < 0 ? put : piece->n;
	piece_end(p, piece);
}

static void arrived(struct pump *p, struct piece *piece, ssize_t r)
{
	struct hearth_ds_file *f = piece->file;
	ssize_t want = (ssize_t)(piece->at + piece->n - piece->low);

	if ((r == -EINVAL && piece->path != HEARTH_DS_MAP) || r == -EBADF) {
		file_no_direct(f, "its file system refuses O_DIRECT reads");
		r = file_short(f, piece->to, (size_t)want, piece->low, 0);
	} else if (r >= 0 && r < want) {
		r = file_short(f, piece->to, (size_t)want, piece->low, (size_t)r);
	}
	if (r >= 0) {
		r = (r < want ? r : want) - (ssize_t)(piece->at - piece->low);
		r = r > 0 ? r : 0;
	}
	piece->got = r;
	piece_read(p, piece);
}

static void completed(struct pump *p, struct piece *piece, ssize_t r)
{
	p->in_uring--;
	/* -ECANCELED: the thread that submitted it has ended */
	if (r == -EAGAIN || r == -EINTR || r == -ECANCELED) {
		submit(p, piece);
		return;
	}
	if (!piece->write && ds_fault(p->ds, "ds.eio"))
		r = -EIO;
	else if (r > 512 && ds_fault(p->ds, "ds.short"))
		r = r / 2 & ~(ssize_t)511;
	if (piece->write)
		left(p, piece, r);
	else
		arrived(p, piece, r);
}

static bool collect(struct pump *p)
{
	size_t under_way = p->under_way;
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	if (!p->has_uring)
		return false;
	if (p->in_uring && !io_uring_cq_ready(&p->uring)) {
		(void)io_uring_submit_and_get_events(&p->uring);
		/* the drive may have nothing left to do: it is told of the first at once */
		if (io_uring_cq_ready(&p->uring) * 2 > p->in_uring)
			p->submit_each = 1;
	}
	while (n < p->depth && under_way - p->under_way < ENDED_EACH && io_uring_peek_cqe(&p->uring, &cqe) == 0) {
		struct piece *piece = io_uring_cqe_get_data(cqe);
		int r = cqe->res;

		n++;
		io_uring_cqe_seen(&p->uring, cqe);
		if (piece)
			completed(p, piece, r);
		else
			p->armed = false;
		while (p->todo.head && p->in_uring < p->depth && start_one(p))
			;
	}
	return n > 0;
}

static bool take_returned(struct pump *p)
{
	struct piece *piece = atomic_exchange_explicit(&p->returned, NULL, memory_order_acquire);
	bool any = piece != NULL;

	while (piece) {
		struct piece *next = piece->next;

		p->working--;
		piece_end(p, piece);
		piece = next;
	}
	return any;
}

/* ---- waiting ---- */

void pump_wake(struct pump *p)
{
	if (atomic_exchange(&p->mood, PUMP_CALLED) == PUMP_ASLEEP && eventfd_write(p->wake, 1) < 0)
		abort();        /* an eventfd that is open takes ones until there are 2^64 */
}

static void arm(struct pump *p)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&p->uring);

	if (!sqe) {
		(void)io_uring_submit(&p->uring);
		sqe = io_uring_get_sqe(&p->uring);
	}
	io_uring_prep_read(sqe, p->wake, &p->woken, sizeof(p->woken), 0);
	io_uring_sqe_set_data(sqe, NULL);
	p->armed = true;
}

static void sleep_until_called(struct pump *p)
{
	struct pollfd pfd = { .fd = p->wake, .events = POLLIN };
	int awake = PUMP_AWAKE;

	if (p->has_uring && !p->armed)
		arm(p);
	/* called meanwhile: whoever did has left something */
	if (!atomic_compare_exchange_strong(&p->mood, &awake, PUMP_ASLEEP)) {
		atomic_store(&p->mood, PUMP_AWAKE);
		return;
	}
	p->submit_each = 1;
	if (p->has_uring)
		(void)io_uring_submit_and_wait(&p->uring, 1);
	else if (poll(&pfd, 1, -1) == 1 && eventfd_read(p->wake, &p->woken) < 0)
		abort();
	atomic_store(&p->mood, PUMP_AWAKE);
}

static void wait_for_some(struct pump *p)
{
	struct lane *busy;

	for (busy = p->lanes; busy && !busy->n; busy = busy->next)
		;
	if (!busy) {
		for (struct lane *l = p->lanes; l; l = l->next)
			lane_rest(l);
		sleep_until_called(p);
		return;
	}
	/* a copy takes some 10 us: both sides are looked at, and then only the device, as it is sure to end */
	for (int k = 0; k < SPINS && (p->in_uring || p->working); k++)
		if (lane_poll(p, busy, false) || take_returned(p) || collect(p))
			return;
	(void)lane_poll(p, busy, true);
}

void pump_step(struct pump *p, bool wait)
{
	bool any = false;

	/* the drive has its next reads before what arrived in the step before is copied */
	while (p->todo.head && start_one(p))
		any = true;
	if (p->has_uring && io_uring_sq_ready(&p->uring))
		(void)io_uring_submit(&p->uring);
	for (struct lane *l = p->lanes; l; l = l->next) {
		any |= lane_copy(p, l);
		any |= lane_poll(p, l, false);
	}
	any |= collect(p);
	any |= take_returned(p);
	p->sized = NULL;
	if (!any && wait)
		wait_for_some(p);
}
