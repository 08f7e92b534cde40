/* Requests to disks' images, and holding those that the host failed. See storage.h. */
#include "machine/virtio/storage.h"

#include <errno.h>

/* Whether ERROR is the host's: what the guest asked wrongly is told to it whatever the policy is.
 */
static bool is_hosts(int error)
{
    return error != -EINVAL && error != -EROFS && error != -ENOTSUP && error != -EPERM &&
           error != -EAGAIN;
}

/* Keeps R for another try; false: its request is to be ended. */
static bool hold(struct storage_request *r, int error)
{
    struct storage *s = r->storage;
    struct storage_disk *disk = r->disk;
    struct storage_request **at;

    if (r->unheld || !disk->failed || !is_hosts(error) || !virtio_running(s->dev) ||
        !disk->failed(disk->opaque, &r->io, error) || !virtqueue_park(&r->element))
        return false;
    for (at = &s->held; *at; at = &(*at)->next)
        ;
    r->next = NULL;
    *at = r;
    disk->held++;
    return true;
}

struct wanted {
    bool (*pick)(const struct storage_request *r, const void *opaque);
    const void *opaque;
};

/* Takes the held requests that are wanted off the device's hands; returns them as a list. */
static struct storage_request *take(struct storage *s, const struct wanted *w)
{
    struct storage_request *taken = NULL, **to = &taken;

    for (struct storage_request **at = &s->held; *at;) {
        struct storage_request *r = *at;
        if (w && !w->pick(r, w->opaque)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        r->next = NULL;
        *to = r;
        to = &r->next;
        r->disk->held--;
        virtqueue_unpark(&r->element);
    }
    return taken;
}

static void kick_all(struct storage *s)
{
    for (unsigned i = 0; i < s->dev->n_queues; i++)
        virtqueue_kick(virtio_queue(s->dev, i));
}

static void io_done(struct block_req *io, int status)
{
    struct storage_request *r = io->opaque;
    struct storage *s = r->storage;

    if (s->stalled) {
        s->stalled = false;
        kick_all(s);
    }
    if (status == 0 || !hold(r, status))
        s->done(r, status);
}

void storage_submit(struct storage_request *r)
{
    r->io.done = io_done;
    r->io.opaque = r;
    int error = block_submit(r->disk->block, &r->io);
    if (error < 0)
        r->storage->done(r, error);
}

void storage_resume(struct storage *s)
{
    struct storage_request *next;

    for (struct storage_request *r = take(s, NULL); r; r = next) {
        next = r->next;
        storage_submit(r);
    }
}

static bool is_of_queue(const struct storage_request *r, const void *vq)
{
    return !vq || r->element.vq == vq;
}

void storage_drop(struct storage *s, const struct virtqueue *vq)
{
    const struct wanted w = {is_of_queue, vq};
    struct storage_request *next;

    for (struct storage_request *r = take(s, &w); r; r = next) {
        next = r->next;
        virtqueue_drop(&r->element);
    }
}

void storage_cancel(struct storage *s,
                    bool (*pick)(const struct storage_request *r, const void *opaque),
                    const void *opaque)
{
    const struct wanted w = {pick, opaque};
    struct storage_request *next;

    for (struct storage_request *r = take(s, &w); r; r = next) {
        next = r->next;
        s->done(r, -ECANCELED);
    }
    if (!s->held)
        kick_all(s);
}
