/* What a worker is told by its VM process, and how all of its sessions move. See worker.h. */
#include "gpu/server/move.h"
#include "gpu/server/worker.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* --- saving and loading ----------------------------------------------------------------------- */

static struct image_head head_of(const struct session_env *env)
{
    enum { MAJOR = 75, MINOR = 76 }; /* CUdevice_attribute */
    g_autofree struct gpu_device_info *info = g_new0(struct gpu_device_info, 1);
    struct image_head head = {.magic = IMAGE_MAGIC,
                              .version = IMAGE_VERSION,
                              .channels = GPU_CHANNELS,
                              .used = __atomic_load_n(&env->quota->used, __ATOMIC_RELAXED)};

    if (env->backend->ops->device(env->backend, 0, info) == GPU_SUCCESS) {
        head.major = (uint32_t)info->attributes[MAJOR];
        head.minor = (uint32_t)info->attributes[MINOR];
    }
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
    struct session_move move = {&image, err};

    image_init(&image, fd);
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
                 "what the program of channel %u has the GPU do does not end in %u ms", late, ms);
    else if (write_all(env, seats, fd, err))
        return steal_fd(&fd);
    hold_end(seats->hold);
    return -1;
}

/* What HEAD's device was, this one can be for programs that know it. */
static bool fits(const struct session_env *env, const struct image_head *head, GError **err)
{
    const struct image_head here = head_of(env);

    if (head->channels != GPU_CHANNELS)
        return vmd_fail(err, VMD_ERROR_INVALID, "the image is of %u channels", head->channels);
    if (here.major < head->major || (here.major == head->major && here.minor < head->minor))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the GPU has compute capability %u.%u, programs have begun with %u.%u",
                        here.major, here.minor, head->major, head->minor);
    if (strcmp(here.backend, "hip") == 0 || strcmp(head->backend, "hip") == 0)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the backend hip cannot be moved to or from");
    return head->used <= env->quota->most ||
           vmd_fail(err, VMD_ERROR_LIMIT, "the programs have more memory than the GPU is to give");
}

bool worker_load(const struct session_env *env, struct worker_seats *seats, int fd, GError **err)
{
    struct image image;
    struct image_head head;
    struct session_move move = {&image, err};
    unsigned late;

    if (!hold_wanted(seats->hold))
        return vmd_fail(err, VMD_ERROR_STATE, "the worker takes calls already");
    if (!hold_wait(seats->hold, UINT16_MAX, &late)) /* they park before all else */
        return vmd_fail(err, VMD_ERROR_STATE, "channel %u does not come to rest", late);
    image_init(&image, fd);
    bool ok = image_open(&image, &head, err) && fits(env, &head, err) &&
              do_all(seats, session_load, &move);
    image_clear(&image);
    return ok;
}

/* --- orders ----------------------------------------------------------------------------------- */

/* Says what became of a move, with the image FD (-1: none). False: nobody hears it. */
static bool say(const struct session_env *env, int fd, int image, const GError *why)
{
    struct worker_moved moved = {.magic = WORKER_MOVED_MAGIC,
                                 .size = sizeof(moved),
                                 .done = why == NULL,
                                 .used = __atomic_load_n(&env->quota->used, __ATOMIC_RELAXED)};
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
    return sendmsg(fd, &msg, MSG_NOSIGNAL) == sizeof(moved);
}

/* STREAMS: programs that come by streams of bytes, which have no seats. */
static bool ordered_to_save(const struct session_env *env, struct worker_seats *seats,
                            const unsigned *streams, int fd)
{
    g_autoptr(GError) err = NULL;
    uint32_t ms;

    if (recv(fd, &ms, sizeof(ms), MSG_WAITALL) != sizeof(ms))
        return false;
    autofd image = -1;
    if (__atomic_load_n(streams, __ATOMIC_RELAXED))
        vmd_fail(&err, VMD_ERROR_UNSUPPORTED, "programs that come by serial ports cannot be moved");
    else
        image = worker_save(env, seats, ms, &err);
    return say(env, fd, image, err);
}

static bool ordered_to_load(const struct session_env *env, struct worker_seats *seats, int fd,
                            int image)
{
    g_autoptr(GError) err = NULL;

    if (image < 0)
        vmd_fail(&err, VMD_ERROR_INVALID, "there is no image to be loaded");
    else
        worker_load(env, seats, image, &err);
    return say(env, fd, -1, err);
}

static bool report(const struct session_env *env, int fd)
{
    const struct worker_report report = {.magic = WORKER_MAGIC,
                                         .size = sizeof(report),
                                         .used =
                                             __atomic_load_n(&env->quota->used, __ATOMIC_RELAXED)};

    return send(fd, &report, sizeof(report), MSG_NOSIGNAL) == sizeof(report);
}

/* The next order, with the descriptor that came along; false: the VM process is gone. */
static bool hear(int fd, char *order, int *with)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {order, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
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
    unsigned *streams = &env->quota->programs;
    char order;
    int image;
    bool there = report(env, fd);

    while (there && hear(fd, &order, &image)) {
        autofd with = image;
        if (order == WORKER_SAVE)
            there = ordered_to_save(env, seats, streams, fd);
        else if (order == WORKER_LOAD)
            there = ordered_to_load(env, seats, fd, with);
        else if (order == WORKER_GO)
            hold_end(seats->hold);
        else if (order == WORKER_STREAM && with >= 0)
            take_stream(env, steal_fd(&with), streams);
        else
            there = report(env, fd);
    }
}
