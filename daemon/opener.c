/*
 * See opener.h. The process is an ordinary VM process, asked over an ordinary link, that gets no
 * VM. It opens the files of one device and ends, so that what it read of one image never meets
 * another. As its start takes some milliseconds, one that has started waits for the next device.
 */
#include "daemon/opener.h"

#include "daemon/spawn.h"
#include "proto/vmipc/vmipc.h"

#include <signal.h>

/* SPARE_MS: the start of a spare is kept out of the way of the addition that took the last one. */
enum { OPEN_MS = 10000, SPARE_MS = 50 };

struct openers {
    struct daemon *daemon;
    struct opener *spare; /* without a device; NULL: none is there */
    uv_timer_t timer;     /* a spare is due */
};

struct opener {
    struct openers *all;
    const struct device_spec *spec; /* NULL: it is a spare */
    bool ready;                     /* the process answered */
    struct spawned process;
    struct vmipc_link *link;
    struct opened files;
    bool over;    /* DONE was called, or is not wanted */
    bool leaving; /* freed when the process is dead */
    void (*done)(void *opaque, const struct opened *files, const GError *err);
    void *opaque;
};

static void finish(struct opener *o, const GError *err)
{
    if (o->over || !o->spec)
        return;
    o->over = true;
    o->done(o->opaque, err ? NULL : &o->files, err);
}

static void next(struct opener *o);

/* One more is open. */
static void file_opened(void *arg, const void *result, int fd, const GError *err)
{
    struct opener *o = arg;
    autofd file = fd;
    g_autoptr(GError) none = NULL;

    if (o->over)
        return;
    if (!err && file < 0)
        none = g_error_new_literal(VMD_ERROR, VMD_ERROR_IO, "a file of the device did not come");
    if (err || none) {
        finish(o, err ? err : none);
        return;
    }
    g_array_append_val(o->files.fds, file);
    steal_fd(&file);
    next(o);
}

static void next(struct opener *o)
{
    struct vmi_open_file_params file = {.index = o->files.fds->len};
    struct vmi_open_tap_params tap = {.tap = o->spec->nic ? o->spec->nic->tap : NULL};

    if (o->files.fds->len < o->files.paths->len)
        vmipc_link_call(o->link, VMI_OPEN_FILE, &file, OPEN_MS, file_opened, o);
    else if (tap.tap && o->files.fds->len == 0)
        vmipc_link_call(o->link, VMI_OPEN_TAP, &tap, OPEN_MS, file_opened, o);
    else
        finish(o, NULL);
}

/* The process has N files open, FILES. */
static void have(struct opener *o, char *const *files, size_t n, const GError *err)
{
    if (o->over)
        return;
    if (err) {
        finish(o, err);
        return;
    }
    for (size_t i = 0; i < n; i++)
        g_ptr_array_add(o->files.paths, g_strdup(files[i]));
    next(o);
}

static void disk_opened(void *arg, const void *result, int fd, const GError *err)
{
    const struct vmi_open_disk_result *r = result;

    have(arg, err ? NULL : r->files, err ? 0 : r->n_files, err);
}

static void host_opened(void *arg, const void *result, int fd, const GError *err)
{
    const struct vmi_open_host_result *r = result;

    have(arg, err ? NULL : r->files, err ? 0 : r->n_files, err);
}

static void begin(struct opener *o)
{
    struct vmi_open_disk_params params = {.disk = o->spec->disk};
    struct vmi_open_host_params host = {.device = o->spec->host ? o->spec->host->device : NULL};

    if (o->spec->disk)
        vmipc_link_call(o->link, VMI_OPEN_DISK, &params, OPEN_MS, disk_opened, o);
    else if (o->spec->host)
        vmipc_link_call(o->link, VMI_OPEN_HOST, &host, OPEN_MS, host_opened, o);
    else
        next(o);
}

static void on_ready(void *user, const struct vmi_hello_result *hello)
{
    struct opener *o = user;

    o->ready = true;
    if (o->spec)
        begin(o);
}

static void on_event(void *user, uint64_t seq, uint64_t time_ns, enum vmi_event event,
                     const void *data)
{
}

static void on_lost(void *user, const GError *why)
{
    struct opener *o = user;

    finish(o, why);
    o->over = true;
}

static const struct vmipc_link_ops link_ops = {
    .ready = on_ready,
    .event = on_event,
    .lost = on_lost,
};

static void free_now(struct opener *o)
{
    spawned_forget(&o->process);
    g_free(o);
}

static void process_gone(void *opaque)
{
    struct opener *o = opaque;

    if (o->all && o->all->spare == o) {
        o->all->spare = NULL; /* the next device starts its own */
        opener_free(o);
        return;
    }
    if (o->leaving) {
        free_now(o);
        return;
    }
    g_autoptr(GError) err = g_error_new_literal(VMD_ERROR, VMD_ERROR_IO,
                                                "the process that opens files of devices died");
    finish(o, err);
}

/* Starts a process. */
static struct opener *start(struct openers *all, GError **err)
{
    struct opener *o = g_new0(struct opener, 1);
    struct daemon *daemon = all->daemon;
    int fd;

    o->all = all;
    o->files.paths = g_ptr_array_new_with_free_func(g_free);
    o->files.fds = g_array_new(FALSE, FALSE, sizeof(int));
    spawned_init(&o->process);
    fd = spawn_vm_process(&o->process, daemon->loop, daemon->paths.vm_program, "--fd", "/dev/null",
                          process_gone, o, err);
    if (fd >= 0) {
        o->link = vmipc_link_new(daemon->loop, NULL, 0, &link_ops, o);
        if (vmipc_link_open_fd(o->link, fd, err))
            return o;
    }
    opener_free(o);
    return NULL;
}

static void on_timer(uv_timer_t *timer)
{
    struct openers *all = timer->data;
    g_autoptr(GError) err = NULL; /* then the next device's own process tells of it */

    if (!all->spare)
        all->spare = start(all, &err);
}

struct opener *opener_new(struct openers *all, const struct device_spec *spec,
                          void (*done)(void *opaque, const struct opened *files, const GError *err),
                          void *opaque, GError **err)
{
    struct opener *o = g_steal_pointer(&all->spare);

    if (o && o->over)
        opener_free(g_steal_pointer(&o)); /* it is ending */
    if (!o)
        o = start(all, err);
    uv_timer_start(&all->timer, on_timer, SPARE_MS, 0);
    if (!o)
        return NULL;
    o->spec = spec;
    o->done = done;
    o->opaque = opaque;
    if (o->ready)
        begin(o);
    return o;
}

void opener_free(struct opener *o)
{
    if (!o)
        return;
    bool leaving = o->all->daemon->leaving;
    o->over = true;
    o->all = NULL;
    /* The process ends with its connection. */
    vmipc_link_free(o->link);
    for (guint i = 0; i < o->files.fds->len; i++) {
        if (g_array_index(o->files.fds, int, i) >= 0)
            close(g_array_index(o->files.fds, int, i));
    }
    g_array_free(o->files.fds, TRUE);
    g_ptr_array_free(o->files.paths, TRUE);
    o->leaving = true;
    if (spawned_watched(&o->process) && !leaving)
        return; /* process_gone() ends it */
    spawned_kill(&o->process, SIGKILL);
    free_now(o);
}

struct openers *openers_new(struct daemon *daemon)
{
    struct openers *all = g_new0(struct openers, 1);

    all->daemon = daemon;
    uv_timer_init(daemon->loop, &all->timer);
    all->timer.data = all;
    return all;
}

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle->data);
}

void openers_free(struct openers *all)
{
    if (!all)
        return;
    opener_free(g_steal_pointer(&all->spare));
    uv_close((uv_handle_t *)&all->timer, timer_closed);
}
