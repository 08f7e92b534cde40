/*
 * Requests: from the loop to the workers and back.
 *
 * `lock` guards the two queues, what the workers are doing, and `stop`; `image` is safe for several
 * workers by its own locks; all else belongs to the loop's thread. Workers are started as requests
 * find no idle one, and stay until the image is closed.
 */
#include "machine/block/image.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

/* Deep enough for a format's walk down its backing files, each with its buffers on the heap. */
#define WORKER_STACK KIB(256)

/* The kind of `grow`, which no client can submit. */
enum { BLOCK__GROW = BLOCK_KINDS };

struct queue {
    struct block_req *head, **tail;
};

struct drain {
    void (*drained)(void *opaque);
    void *opaque;
};

struct block {
    struct block_image *image;
    uv_loop_t *loop;
    uv_async_t wake;  /* a request is done, or something waits to be told from the loop */
    uv_timer_t timer; /* runs while completed writes could be lost by a kill */
    unsigned handles; /* of the two, those not yet closed */
    unsigned inflight;
    bool committing; /* `commit` is under way */
    bool growing;    /* `grow` is, and counts as in flight */
    unsigned grow_rounds;   /* of flushes before it */
    uint64_t grow_began_ns; /* the latest of them */
    bool closing;
    bool flushed; /* closing, and the last flush is done */
    struct block_req commit, grow;
    void (*grown)(void *opaque, int status);
    void *grown_opaque;
    GArray *drains; /* struct drain */
    struct block_stats stats;
    void (*closed)(void *opaque, int status);
    void *closed_opaque;
    int close_status;

    uv_mutex_t lock;
    uv_cond_t work; /* `waiting` is not empty, or `stop` */
    uv_cond_t idle; /* nothing waits and no worker runs */
    struct queue waiting, done;
    unsigned running, workers;
    bool alone; /* the one that runs must be: others wait */
    bool stop;
    uv_thread_t threads[LIMIT_BLOCK_WORKERS];
};

static void queue__init(struct queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

static void queue__push(struct queue *q, struct block_req *req)
{
    req->next = NULL;
    *q->tail = req;
    q->tail = &req->next;
}

static struct block_req *queue__pop(struct queue *q)
{
    struct block_req *req = q->head;

    if (req) {
        q->head = req->next;
        if (!q->head)
            q->tail = &q->head;
    }
    return req;
}

/* --- workers ------------------------------------------------------------------------------ */

static int block__execute(struct block_image *img, const struct block_req *req)
{
    int r = 0;

    switch ((int)req->kind) {
    case BLOCK_READ:
        r = req->length ? img->ops->read(img, req->offset, req->iov, req->iovcnt) : 0;
        break;
    case BLOCK_WRITE:
        r = req->length ? img->ops->write(img, req->offset, req->iov, req->iovcnt) : 0;
        break;
    case BLOCK_FLUSH:
        return img->ops->flush(img);
    case BLOCK_DISCARD:
        r = req->length ? img->ops->discard(img, req->offset, req->length) : 0;
        break;
    case BLOCK_WRITE_ZEROES:
        r = req->length
                ? img->ops->zero(img, req->offset, req->length, req->flags & BLOCK_UNMAP)
                : 0;
        break;
    case BLOCK__GROW:
        r = img->ops->grow(img, req->length);
        if (r == 0)
            __atomic_store_n(&img->geometry.size, req->length, __ATOMIC_RELAXED);
        return r;
    default:
        return -EINVAL;
    }
    if (r == 0 && req->kind != BLOCK_READ && (req->flags & BLOCK_FUA))
        r = img->ops->flush(img);
    return r;
}

/* Called and returns with the lock held. */
static void block__run_one(struct block *b, struct block_req *req)
{
    b->running++;
    uv_mutex_unlock(&b->lock);
    /* A bad request has its error already. */
    if (req->status == 0)
        req->status = block__execute(b->image, req);
    uv_mutex_lock(&b->lock);
    b->running--;
    queue__push(&b->done, req);
    if (b->running == 0 && !b->waiting.head)
        uv_cond_broadcast(&b->idle);
    /* Under the lock, so that the loop cannot close `wake` before. */
    uv_async_send(&b->wake);
}

/*
 * What may run now; NULL: nothing. With the lock held. A change of the size is alone: whoever looks at the size
 * would else go on with what it was.
 */
static struct block_req *block__next(struct block *b)
{
    const struct block_req *head = b->waiting.head;

    bool grows = head && (int)head->kind == BLOCK__GROW;
    if (!head || b->alone || (grows && b->running > 0))
        return NULL;
    b->alone = grows;
    return queue__pop(&b->waiting);
}

static void block__worker(void *opaque)
{
    struct block *b = opaque;

    uv_mutex_lock(&b->lock);
    while (true) {
        struct block_req *req = block__next(b);
        if (req) {
            block__run_one(b, req);
            if (b->alone) /* it was this one */
                uv_cond_broadcast(&b->work);
            b->alone = false;
        } else if (b->stop) {
            break;
        } else {
            uv_cond_wait(&b->work, &b->lock);
        }
    }
    uv_mutex_unlock(&b->lock);
}

/* Starts one more worker where all are busy; with the lock held. False: there is none at all. */
static bool block__need_worker(struct block *b)
{
    static const uv_thread_options_t options = {UV_THREAD_HAS_STACK_SIZE, WORKER_STACK};
    unsigned wanted = b->running;
    sigset_t all, old;

    if (b->workers == LIMIT_BLOCK_WORKERS)
        return true;
    for (struct block_req *req = b->waiting.head; req; req = req->next)
        wanted++;
    if (wanted < b->workers)
        return true;
    /* Signals are for the program's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (uv_thread_create_ex(&b->threads[b->workers], &options, block__worker, b) == 0)
        b->workers++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return b->workers > 0;
}

static void block__enqueue(struct block *b, struct block_req *req)
{
    uv_mutex_lock(&b->lock);
    if (block__need_worker(b)) {
        queue__push(&b->waiting, req);
        uv_cond_signal(&b->work);
    } else {
        req->status = -ENOMEM;
        queue__push(&b->done, req);
        uv_async_send(&b->wake);
    }
    uv_mutex_unlock(&b->lock);
}

void block_wait_idle(struct block *b)
{
    uv_mutex_lock(&b->lock);
    while (b->running > 0 || b->waiting.head)
        uv_cond_wait(&b->idle, &b->lock);
    uv_mutex_unlock(&b->lock);
}

/* --- the loop's side ---------------------------------------------------------------------- */

static int block__check(const struct block *b, const struct block_req *req)
{
    const struct block_geometry *g = &b->image->geometry;
    uint64_t size = block_size(b);

    if (req->kind == BLOCK_FLUSH)
        return 0;
    if ((unsigned)req->kind >= BLOCK_KINDS || (req->offset | req->length) % BLOCK_SECTOR != 0 ||
        req->offset > size || req->length > size - req->offset)
        return -EINVAL;
    if (req->kind != BLOCK_READ && g->readonly)
        return -EROFS;
    if ((req->kind == BLOCK_READ || req->kind == BLOCK_WRITE) &&
        block_iov__length(req->iov, req->iovcnt) != req->length)
        return -EINVAL;
    return 0;
}

int block_submit(struct block *b, struct block_req *req)
{
    g_assert(!b->closing);
    if (b->inflight >= LIMIT_BLOCK_INFLIGHT)
        return -EAGAIN;
    req->block = b;
    req->status = block__check(b, req);
    if (b->inflight++ == 0)
        uv_ref((uv_handle_t *)&b->wake);
    block__enqueue(b, req);
    return 0;
}

static void block__grow_done(struct block_req *req, int status)
{
    struct block *b = req->block;

    b->growing = false;
    b->grown(b->grown_opaque, status);
}

/* What is left to write out is as much as was written meanwhile. So that the change itself, for
 * which all others wait, is short, that is flushed as well, until it is little or a guest writes as
 * fast as it is flushed. */
static void block__written_out(struct block_req *req, int status)
{
    enum { ROUNDS = 4, SHORT_MS = 300 };
    struct block *b = req->block;
    bool is_short = uv_hrtime() - b->grow_began_ns < SHORT_MS * UINT64_C(1000000);

    if (status < 0) {
        block__grow_done(req, status);
        return;
    }
    if (is_short || ++b->grow_rounds == ROUNDS) {
        req->kind = (enum block_kind)BLOCK__GROW;
        req->done = block__grow_done;
    }
    req->status = 0;
    b->grow_began_ns = uv_hrtime();
    b->inflight++;
    block__enqueue(b, req);
}

int block_grow(struct block *b, uint64_t size, void (*grown)(void *opaque, int status),
               void *opaque)
{
    const struct block_geometry *g = &b->image->geometry;

    g_assert(!b->closing);
    if (g->readonly)
        return -EROFS;
    if (size % BLOCK_SECTOR || size < block_size(b) || size > (uint64_t)INT64_MAX - BLOCK_SECTOR)
        return -EINVAL;
    if (b->growing)
        return -EBUSY;
    b->growing = true;
    b->grown = grown;
    b->grown_opaque = opaque;
    b->grow_rounds = 0;
    b->grow_began_ns = uv_hrtime();
    b->grow = (struct block_req){
        .kind = BLOCK_FLUSH, .length = size, .done = block__written_out, .block = b};
    if (b->inflight++ == 0)
        uv_ref((uv_handle_t *)&b->wake);
    block__enqueue(b, &b->grow);
    return 0;
}

unsigned block_inflight(const struct block *b)
{
    return b->inflight;
}

static void block__commit_done(struct block_req *req, int status)
{
    /* A failure meets the guest again at its next flush. */
    req->block->committing = false;
}

/* Writes out what a kill of this process would lose, when nobody has asked for a flush. */
static void block__on_timer(uv_timer_t *timer)
{
    struct block *b = timer->data;

    if (b->committing || b->closing || !b->image->ops->unsaved(b->image))
        return;
    b->committing = true;
    b->commit = (struct block_req){
        .kind = BLOCK_FLUSH, .done = block__commit_done, .block = b};
    block__enqueue(b, &b->commit);
}

static void block__count(struct block *b, const struct block_req *req)
{
    b->stats.kind[req->kind].requests++;
    if (req->status < 0)
        b->stats.kind[req->kind].errors++;
    else if (req->kind != BLOCK_FLUSH)
        b->stats.kind[req->kind].bytes += req->length;
}

/* REQ is done: tells its owner. */
static void block__finish(struct block *b, struct block_req *req)
{
    bool modifies = req->kind != BLOCK_READ && req->kind != BLOCK_FLUSH;

    if (req != &b->commit && req != &b->grow && (unsigned)req->kind < BLOCK_KINDS)
        block__count(b, req);
    if (req != &b->commit)
        b->inflight--;
    if (modifies && b->image->ops->unsaved && !b->closing &&
        !uv_is_active((uv_handle_t *)&b->timer)) {
        uv_timer_start(&b->timer, block__on_timer, LIMIT_BLOCK_COMMIT_MS, 0);
        uv_unref((uv_handle_t *)&b->timer);
    }
    req->done(req, req->status);
}

static void block__close_step(struct block *b);

static void block__on_wake(uv_async_t *wake)
{
    struct block *b = wake->data;
    struct queue done;

    uv_mutex_lock(&b->lock);
    done = b->done;
    queue__init(&b->done);
    uv_mutex_unlock(&b->lock);
    if (!done.head)
        done.tail = &done.head;
    for (struct block_req *req; (req = queue__pop(&done));)
        block__finish(b, req);

    while (b->inflight == 0 && !b->committing && b->drains->len > 0) {
        struct drain d = g_array_index(b->drains, struct drain, 0);
        g_array_remove_index(b->drains, 0);
        d.drained(d.opaque);
    }
    if (b->inflight == 0 && !b->committing && b->closing)
        block__close_step(b);
    else if (b->inflight == 0 && b->drains->len == 0 && !b->closing)
        uv_unref((uv_handle_t *)&b->wake);
}

void block_drain(struct block *b, void (*drained)(void *opaque), void *opaque)
{
    struct drain d = {drained, opaque};

    g_array_append_val(b->drains, d);
    uv_ref((uv_handle_t *)&b->wake);
    uv_async_send(&b->wake);
}

/* --- open and close ----------------------------------------------------------------------- */

static void block__free(struct block *b)
{
    block_image__close(b->image);
    g_array_free(b->drains, TRUE);
    uv_cond_destroy(&b->work);
    uv_cond_destroy(&b->idle);
    uv_mutex_destroy(&b->lock);
    g_free(b);
}

static void block__on_handle_closed(uv_handle_t *handle)
{
    struct block *b = handle->data;

    if (--b->handles > 0)
        return;
    void (*closed)(void *, int) = b->closed;
    void *opaque = b->closed_opaque;
    int status = b->close_status;
    block__free(b);
    if (closed)
        closed(opaque, status);
}

static void block__final_flush_done(struct block_req *req, int status)
{
    req->block->close_status = status;
    req->block->committing = false;
}

/* Closing, and nothing is under way: first the last flush, then the workers and handles end. */
static void block__close_step(struct block *b)
{
    if (!b->flushed && !b->image->geometry.readonly) {
        b->flushed = true;
        b->committing = true;
        b->commit = (struct block_req){
            .kind = BLOCK_FLUSH, .done = block__final_flush_done, .block = b};
        block__enqueue(b, &b->commit);
        return;
    }
    uv_mutex_lock(&b->lock);
    b->stop = true;
    uv_cond_broadcast(&b->work);
    uv_mutex_unlock(&b->lock);
    for (unsigned i = 0; i < b->workers; i++)
        uv_thread_join(&b->threads[i]);
    uv_close((uv_handle_t *)&b->wake, block__on_handle_closed);
    uv_close((uv_handle_t *)&b->timer, block__on_handle_closed);
}

void block_close(struct block *b, void (*closed)(void *opaque, int status), void *opaque)
{
    g_assert(!b->closing);
    b->closing = true;
    b->closed = closed;
    b->closed_opaque = opaque;
    uv_timer_stop(&b->timer);
    uv_ref((uv_handle_t *)&b->wake);
    uv_async_send(&b->wake);
}

struct block *block_open(const char *path, enum block_format format, bool readonly, uv_loop_t *loop,
                         const struct block_given *given, GError **err)
{
    struct block_image *image = block_image__open(path, format, readonly, given, NULL, err);

    if (!image)
        return NULL;
    struct block *b = g_new0(struct block, 1);
    b->image = image;
    b->loop = loop;
    b->drains = g_array_new(FALSE, FALSE, sizeof(struct drain));
    queue__init(&b->waiting);
    queue__init(&b->done);
    uv_mutex_init(&b->lock);
    uv_cond_init(&b->work);
    uv_cond_init(&b->idle);
    int r = uv_async_init(loop, &b->wake, block__on_wake);
    if (r < 0) {
        block__free(b);
        vmd_set_errno(err, -r, "disk image %s", path);
        return NULL;
    }
    uv_timer_init(loop, &b->timer);
    b->handles = 2;
    b->wake.data = b->timer.data = b;
    uv_unref((uv_handle_t *)&b->wake);
    return b;
}

const struct block_geometry *block_geometry(const struct block *b)
{
    return &b->image->geometry;
}

uint64_t block_size(const struct block *b)
{
    return __atomic_load_n(&b->image->geometry.size, __ATOMIC_RELAXED);
}

enum block_format block_format(const struct block *b)
{
    return b->image->ops->format;
}

const char *block_path(const struct block *b)
{
    return b->image->file->path;
}

const char *block_fault(const struct block *b)
{
    return b->image->ops->fault ? b->image->ops->fault(b->image) : NULL;
}

const char *block_notice(const struct block *b)
{
    return b->image->ops->notice ? b->image->ops->notice(b->image) : NULL;
}

void block_stats(const struct block *b, struct block_stats *out)
{
    *out = b->stats;
}
