/* What a worker is told by its VM process, and how all of its sessions move. See worker.h. */
#include "gpu/server/move.h"
#include "gpu/server/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* --- saving and loading ----------------------------------------------------------------------- */

static struct session_move move_of(const struct session_env *env, struct image *image, GError **err)
{
    enum { MAJOR = 75, MINOR = 76 }; /* CUdevice_attribute */
    g_autofree struct gpu_device_info *info = g_new0(struct gpu_device_info, 1);
    struct session_move move = {.image = image, .err = err};

    if (env->backend->ops->device(env->backend, 0, info) == GPU_SUCCESS) {
        move.major = (unsigned)info->attributes[MAJOR];
        move.minor = (unsigned)info->attributes[MINOR];
    }
    return move;
}

static struct image_head head_of(const struct session_env *env)
{
    struct image_head head = {.magic = IMAGE_MAGIC,
                              .version = IMAGE_VERSION,
                              .channels = GPU_CHANNELS,
                              .used = __atomic_load_n(&env->quota->used, __ATOMIC_RELAXED)};

    g_strlcpy(head.backend, env->backend->ops->name, sizeof(head.backend));
    return head;
}

static bool do_all(struct worker_seats *seats, hold_job_fn job, struct session_move *move)
{
    bool ok = true;

    for (unsigned i = 0; ok && i < GPU_CHANNELS; i++)
        ok = hold_do(seats->hold, i, job, move);
    return ok;
}

static bool write_all(const struct session_env *env, struct worker_seats *seats, int fd,
                      GError **err)
{
    const struct image_head head = head_of(env);
    struct image image;
    struct session_move move = move_of(env, &image, err);

    image_init(&image, fd);
    image.most = env->quota->most + MIB(LIMIT_GPU_MOVED_MIB);
    image_begin(&image, &head);
    bool ok = do_all(seats, session_save, &move) && image_finish(&image, err);
    image_clear(&image);
    return ok;
}

int worker_save(const struct session_env *env, struct worker_seats *seats, unsigned ms,
                GError **err)
{
    unsigned late;

    if (!env->backend->ops->move) {
        vmd_fail(err, VMD_ERROR_UNSUPPORTED, "nothing can be moved from the backend %s",
                 env->backend->ops->name);
        return -1;
    }
    autofd fd = memfd_create("gpu-image", MFD_CLOEXEC);
    if (fd < 0) {
        vmd_set_errno(err, errno, "a file for what the GPU's programs have");
        return -1;
    }
    hold_begin(seats->hold);
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        link_wake(seats->seats[i].link);
    if (!hold_wait(seats->hold, ms, &late))
        vmd_fail(err, VMD_ERROR_TIMEOUT,
                 link_full(seats->seats[late].link)
                     ? "the program of channel %u takes no answers, in %u ms"
                     : "what the program of channel %u has the GPU do does not end in %u ms",
                 late, ms);
    else if (write_all(env, seats, fd, err))
        return steal_fd(&fd);
    hold_end(seats->hold);
    return -1;
}

static bool fits(const struct session_env *env, const struct image_head *head, GError **err)
{
    if (head->channels != GPU_CHANNELS)
        return vmd_fail(err, VMD_ERROR_INVALID, "the image is of %u channels", head->channels);
    if (strcmp(env->backend->ops->name, "hip") == 0 || strcmp(head->backend, "hip") == 0)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the backend hip cannot be moved to or from");
    return head->used <= env->quota->most ||
           vmd_fail(err, VMD_ERROR_LIMIT, "the programs have more memory than the GPU is to give");
}

bool worker_load(const struct session_env *env, struct worker_seats *seats, int fd, GError **err)
{
    struct image image;
    struct image_head head;
    struct session_move move = move_of(env, &image, err);
    unsigned late;

    if (!hold_wanted(seats->hold))
        return vmd_fail(err, VMD_ERROR_STATE, "the worker takes calls already");
    if (seats->loaded)
        return vmd_fail(err, VMD_ERROR_STATE, "the worker has loaded an image already");
    seats->loaded = true;
    if (!hold_wait(seats->hold, UINT16_MAX, &late)) /* they park before all else */
        return vmd_fail(err, VMD_ERROR_STATE, "channel %u does not come to rest", late);
    image_init(&image, fd);
    bool ok = image_open(&image, &head, err) && fits(env, &head, err) &&
              do_all(seats, session_load, &move);
    image_clear(&image);
    return ok;
}

/* --- orders ----------------------------------------------------------------------------------- */

/* Sessions are saved and loaded by a thread of its own, so that whoever asks meanwhile whether the
 * worker is there is answered. */
struct orders {
    const struct session_env *env;
    struct worker_seats *seats;
    int fd;
    pthread_mutex_t speaking; /* what is said comes in one piece */
    pthread_t mover;
    bool moves; /* MOVER is to be joined */
    /* What that was told: */
    char order;
    uint32_t ms;
    int image;
};

static bool speak(struct orders *o, const struct msghdr *msg)
{
    pthread_mutex_lock(&o->speaking);
    bool heard = sendmsg(o->fd, msg, MSG_NOSIGNAL) == (ssize_t)msg->msg_iov->iov_len;
    pthread_mutex_unlock(&o->speaking);
    return heard;
}

/* Says what became of a move, with the IMAGE (-1: none). */
static void say(struct orders *o, int image, const GError *why)
{
    struct worker_moved moved = {.magic = WORKER_MOVED_MAGIC,
                                 .size = sizeof(moved),
                                 .done = why == NULL,
                                 .used = __atomic_load_n(&o->env->quota->used, __ATOMIC_RELAXED)};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&moved, sizeof(moved)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (why)
        g_strlcpy(moved.text, why->message, sizeof(moved.text));
    if (image >= 0) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &image, sizeof(int));
    }
    speak(o, &msg); /* where nobody hears it, the worker is about to end */
}

static void save(struct orders *o)
{
    g_autoptr(GError) err = NULL;
    autofd image = -1;

    if (__atomic_load_n(&o->env->quota->programs, __ATOMIC_RELAXED)) /* which have no seats */
        vmd_fail(&err, VMD_ERROR_UNSUPPORTED, "programs that come by serial ports cannot be moved");
    else
        image = worker_save(o->env, o->seats, o->ms, &err);
    say(o, image, err);
}

static void load(struct orders *o)
{
    autofd image = steal_fd(&o->image);
    g_autoptr(GError) err = NULL;

    if (image < 0)
        vmd_fail(&err, VMD_ERROR_INVALID, "there is no image to be loaded");
    else
        worker_load(o->env, o->seats, image, &err);
    say(o, -1, err);
}

static void *move_thread(void *opaque)
{
    struct orders *o = opaque;

    if (o->order == WORKER_SAVE)
        save(o);
    else
        load(o);
    return NULL;
}

/* What was told before has been done. */
static void end_move(struct orders *o)
{
    if (o->moves)
        pthread_join(o->mover, NULL);
    o->moves = false;
}

/* IMAGE is taken. False: the VM process is gone. */
static bool begin_move(struct orders *o, char order, int image)
{
    autofd given = image;
    g_autoptr(GError) err = NULL;

    end_move(o);
    if (order == WORKER_SAVE && recv(o->fd, &o->ms, sizeof(o->ms), MSG_WAITALL) != sizeof(o->ms))
        return false;
    o->order = order;
    o->image = steal_fd(&given);
    int rc = pthread_create(&o->mover, NULL, move_thread, o);
    o->moves = rc == 0;
    if (o->moves)
        return true;
    given = steal_fd(&o->image);
    vmd_set_errno(&err, rc, "starting to move");
    say(o, -1, err);
    return true;
}

static bool report(struct orders *o)
{
    struct worker_report report = {.magic = WORKER_MAGIC,
                                   .size = sizeof(report),
                                   .used = __atomic_load_n(&o->env->quota->used, __ATOMIC_RELAXED)};
    struct iovec iov = {&report, sizeof(report)};

    return speak(o, &(struct msghdr){.msg_iov = &iov, .msg_iovlen = 1});
}

/* The next order, with the descriptor that came along; false: the VM process is gone. */
static bool hear(int fd, char *order, int *with)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {order, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = CMSG_LEN(sizeof(int))}; /* there is no room for two */
    ssize_t n;

    while ((n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    const struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&msg) : NULL;
    *with = -1;
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(with, CMSG_DATA(c), sizeof(int));
    return n == 1;
}

/* Takes SOCKET. */
static void take_stream(const struct session_env *env, int socket, unsigned *streams)
{
    autofd taken = socket;

    if (__atomic_add_fetch(streams, 1, __ATOMIC_RELAXED) > WORKER_STREAMS ||
        !worker_stream(env, steal_fd(&taken), streams, NULL))
        __atomic_fetch_sub(streams, 1, __ATOMIC_RELAXED);
}

void worker_report(const struct session_env *env, struct worker_seats *seats, int fd)
{
    struct orders *o = g_new0(struct orders, 1);
    char order;
    int image;

    *o = (struct orders){.env = env, .seats = seats, .fd = fd, .image = -1};
    pthread_mutex_init(&o->speaking, NULL);
    bool there = report(o);
    while (there && hear(fd, &order, &image)) {
        autofd with = image;
        if (order == WORKER_SAVE || order == WORKER_LOAD) {
            there = begin_move(o, order, steal_fd(&with));
        } else if (order == WORKER_GO) {
            end_move(o);
            hold_end(seats->hold);
        } else if (order == WORKER_STREAM && with >= 0) {
            take_stream(env, steal_fd(&with), &env->quota->programs);
        } else {
            there = report(o);
        }
    }
    if (o->moves) /* its thread may wait for what runs, and ends with the process */
        return;
    pthread_mutex_destroy(&o->speaking);
    g_free(o);
}
