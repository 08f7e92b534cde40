/* Asking drivers, and what is known of the host's GPUs. See gpus.h. */
#include "daemon/gpus_priv.h"

#include "base/log.h"
#include "daemon/hostdevs.h"
#include "daemon/registry.h"
#include "daemon/spawn.h"
#include "daemon/vm_devices.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>

enum {
    FRESH_MS = 30000,
    ASK_MS = 20000, /* drivers of machines with many GPUs take seconds to begin */
    VENDOR_AMD = 0x1002,
    VENDOR_NVIDIA = 0x10de,
};

/* Somebody who wants to know. */
struct want {
    gpus_known_fn fn;
    void *arg;
};

struct gpus {
    struct daemon *daemon;
    struct spawned process;
    int fd;            /* what the process writes to; -1: none runs */
    uv_timer_t *timer; /* when it is ended; freed by its close */
    GArray *wants;     /* struct want */
    bool outdated;     /* a GPU of the host went since FOUND */
    struct gpus_found found;
    struct gpus_book *book;
    GPtrArray *drains; /* struct drain */
};

struct gpus *gpus_new(struct daemon *daemon)
{
    struct gpus *g = g_new0(struct gpus, 1);

    g->daemon = daemon;
    g->fd = -1;
    g->wants = g_array_new(FALSE, FALSE, sizeof(struct want));
    spawned_init(&g->process);
    g->book = gpus__book_new(daemon->paths.store);
    g->drains = g_ptr_array_new();
    return g;
}

const struct gpus_found *gpus__found(const struct gpus *g)
{
    return &g->found;
}

struct daemon *gpus__daemon(const struct gpus *g)
{
    return g->daemon;
}

struct gpus_book *gpus__book(const struct gpus *g)
{
    return g->book;
}

void gpus__drain_began(struct gpus *g, struct drain *drain)
{
    g_ptr_array_add(g->drains, drain);
}

void gpus__drain_over(struct gpus *g, struct drain *drain)
{
    g_ptr_array_remove(g->drains, drain);
}

/* --- asking ----------------------------------------------------------------------------------- */

static void timer_closed(uv_handle_t *handle)
{
    g_free(handle);
}

static void stop_asking(struct gpus *g)
{
    if (g->timer)
        uv_close((uv_handle_t *)g->timer, timer_closed);
    g->timer = NULL;
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
}

static void answer_wants(struct gpus *g, const GError *err)
{
    g_autoptr(GArray) wants = g_steal_pointer(&g->wants);

    g->wants = g_array_new(FALSE, FALSE, sizeof(struct want));
    for (guint i = 0; i < wants->len; i++) {
        const struct want *w = &g_array_index(wants, struct want, i);
        w->fn(g, w->arg, err);
    }
}

void gpus_free(struct gpus *g)
{
    g_autoptr(GError) gone = NULL;

    if (!g)
        return;
    if (g->fd >= 0)
        spawned_kill(&g->process, SIGKILL);
    spawned_forget(&g->process);
    stop_asking(g);
    vmd_fail(&gone, VMD_ERROR_GONE, "the daemon ends");
    answer_wants(g, gone);
    g_array_free(g->wants, TRUE);
    for (guint i = 0; i < g->drains->len; i++)
        gpus__drain_free(g_ptr_array_index(g->drains, i));
    g_ptr_array_free(g->drains, TRUE);
    gpus__book_free(g->book);
    g_free(g);
}

static bool is_text(const char *text, size_t size)
{
    return memchr(text, 0, size) && g_utf8_validate(text, -1, NULL);
}

/* All that the process said, which is dead: it fits the socket. */
static bool take(const struct gpus *g, struct gpus_found *found)
{
    struct worker_gpus *head = &found->head;

    if (recv(g->fd, head, sizeof(*head), MSG_DONTWAIT) != sizeof(*head) ||
        head->magic != WORKER_MAGIC || head->size != sizeof(*head) || head->count > GPU_DEVICES ||
        !is_text(head->text, sizeof(head->text)))
        return false;
    size_t bytes = head->count * sizeof(found->gpus[0]);
    if (bytes && recv(g->fd, found->gpus, bytes, MSG_DONTWAIT) != (ssize_t)bytes)
        return false;
    for (unsigned i = 0; i < head->count; i++) {
        const struct worker_gpu *gpu = &found->gpus[i];
        if (!is_text(gpu->name, sizeof(gpu->name)) || !is_text(gpu->uuid, sizeof(gpu->uuid)) ||
            !is_text(gpu->pci, sizeof(gpu->pci)) || !is_text(gpu->backend, sizeof(gpu->backend)))
            return false;
    }
    gpus__take_nvml(g->fd, &found->nvml);
    return true;
}

/* VMs that began before it was known where their GPUs are hear of it. */
static void set_found(struct gpus *g, const struct gpus_found *found)
{
    g_autoptr(GPtrArray) all = registry_list(g->daemon->registry);

    g->found = *found;
    g->outdated = false;
    for (guint i = 0; i < all->len; i++)
        vm_devices_gpus_known(vm_devices_of(g_ptr_array_index(all, i)));
}

static void process_gone(void *opaque)
{
    struct gpus *g = opaque;
    struct gpus_found found = {.asked = true, .at_ms = uv_now(g->daemon->loop)};
    g_autoptr(GError) err = NULL;

    if (take(g, &found))
        set_found(g, &found);
    else if (g->timer)
        vmd_fail(&err, VMD_ERROR_IO, "%s ended without a word of the host's GPUs",
                 g->daemon->paths.gpu_program);
    else
        vmd_fail(&err, VMD_ERROR_TIMEOUT,
                 "the driver of the host's GPUs did not answer in %d seconds", ASK_MS / 1000);
    spawned_forget(&g->process);
    stop_asking(g);
    answer_wants(g, err);
}

static void too_long(uv_timer_t *timer)
{
    struct gpus *g = timer->data;

    uv_close((uv_handle_t *)timer, timer_closed);
    g->timer = NULL;
    spawned_kill(&g->process, SIGKILL);
}

static bool ask(struct gpus *g, GError **err)
{
    uv_loop_t *loop = g->daemon->loop;

    if (g->fd >= 0)
        return true;
    g->fd = spawn_vm_process(&g->process, loop, g->daemon->paths.gpu_program, "--probe",
                             "/dev/null", process_gone, g, err);
    if (g->fd < 0)
        return false;
    g->timer = g_new0(uv_timer_t, 1);
    uv_timer_init(loop, g->timer);
    g->timer->data = g;
    uv_timer_start(g->timer, too_long, ASK_MS, 0);
    return true;
}

void gpus__when_known(struct gpus *g, gpus_known_fn fn, void *arg)
{
    const struct want want = {fn, arg};
    g_autoptr(GError) err = NULL;

    if (g->found.asked && !g->outdated && uv_now(g->daemon->loop) - g->found.at_ms < FRESH_MS)
        fn(g, arg, NULL);
    else if (ask(g, &err))
        g_array_append_val(g->wants, want);
    else
        fn(g, arg, err);
}

static void known_for(struct gpus *g, void *arg, const GError *err)
{
    g_autofree char *id = arg;
    struct vm *vm = registry_find(g->daemon->registry, id);

    if (err)
        log_warning("the host's GPUs are not known: %s", err->message);
    if (vm)
        vm_gpus_known(vm);
}

bool gpus_ask_for(struct gpus *g, const struct vm *vm)
{
    const struct vm_gpu_config *gpu = vm_config_of(vm)->gpu;
    const struct gpus_found *f = &g->found;
    /* A driver may have come since it was last seen that there is none. */
    bool known = f->asked && (f->head.count || uv_now(g->daemon->loop) - f->at_ms < FRESH_MS);
    const struct want want = {known_for, g_strdup(vm_id(vm))};

    if (gpu && gpu->backend != VM_GPU_BACKEND_SOFT && !known && ask(g, NULL)) {
        g_array_append_val(g->wants, want);
        return true;
    }
    g_free(want.arg);
    return false;
}

void gpus_host_lost(struct gpus *g)
{
    g->outdated = true;
}

/* --- what is promised --------------------------------------------------------------------------
 */

/* What one VM may hold of one GPU. */
struct share {
    const struct gpus *gpus;
    int index;
    bool any;
    uint64_t bytes; /* the most, where one of its GPUs is being replaced by another */
};

static void add_share(void *opaque, const struct vm_gpu_config *gpu)
{
    struct share *s = opaque;

    if (gpus__index(s->gpus, gpu) != s->index)
        return;
    s->any = true;
    s->bytes = MAX(s->bytes, gpu->memory);
}

uint64_t gpus__promised(struct gpus *g, int index, const struct vm *except, GPtrArray *vms)
{
    g_autoptr(GPtrArray) all = registry_list(g->daemon->registry);
    uint64_t bytes = 0;

    for (guint i = 0; i < all->len; i++) {
        const struct vm *vm = g_ptr_array_index(all, i);
        struct share share = {.gpus = g, .index = index};
        if (vm == except || !vm_active(vm))
            continue;
        vm_devices_gpus(vm_devices_of(vm), add_share, &share);
        bytes += share.bytes;
        if (vms && share.any)
            g_ptr_array_add(vms, g_strdup(vm_name(vm)));
    }
    return bytes;
}

/* Whether GPU is there and takes VM, with as much memory as others leave of it. */
static bool check(struct gpus *g, const struct vm *vm, const struct vm_gpu_config *gpu,
                  GError **err)
{
    bool soft = gpu->backend == VM_GPU_BACKEND_SOFT;
    int index = soft ? gpus__index(g, gpu) : gpus__find(&g->found, gpu->backend, gpu->device, err);

    if ((!soft && index < 0) || !gpus__takes(g, index, err)) {
        g_prefix_error(err, "VM %s: ", vm_name(vm));
        return false;
    }
    if (soft)
        return true;
    uint64_t promised = gpus__promised(g, index, vm, NULL), memory = g->found.gpus[index].memory;
    if (promised <= memory && gpu->memory <= memory - promised)
        return true;
    g_autofree char *wanted = size_format(gpu->memory), *there = size_format(memory),
                    *gone = size_format(promised);
    return vmd_fail(err, VMD_ERROR_LIMIT,
                    "VM %s needs %s of GPU memory; %s has %s, of which VMs that run may hold %s",
                    vm_name(vm), wanted, g->found.gpus[index].name, there, gone);
}

bool gpus_check_start(struct gpus *g, const struct vm *vm, GError **err)
{
    const struct vm_gpu_config *gpu = vm_config_of(vm)->gpu;
    const struct gpus_found *f = &g->found;

    if (!gpu)
        return true;
    if (gpu->backend == VM_GPU_BACKEND_SOFT)
        return check(g, vm, gpu, err);
    /* What cannot be asked lets it pass: the worker says then what is wrong. */
    return !f->asked || check(g, vm, gpu, err);
}

/* --- for one that comes to a run ---------------------------------------------------------------
 */

struct checking {
    char *vm; /* its id */
    struct vm_gpu_config *gpu;
    gpus_checked_fn done;
    void *arg;
};

static void check_known(struct gpus *g, void *arg, const GError *unknown)
{
    struct checking *c = arg;
    const struct vm *vm = registry_find(g->daemon->registry, c->vm);
    bool driver = c->gpu->backend != VM_GPU_BACKEND_SOFT;
    g_autoptr(GError) err = driver && unknown ? g_error_copy(unknown) : NULL;

    if (!err && !vm)
        vmd_fail(&err, VMD_ERROR_GONE, "the VM was deleted meanwhile");
    else if (!err && registry_check_gpu(g->daemon->registry, vm, c->gpu, &err))
        check(g, vm, c->gpu, &err);
    c->done(c->arg, err);
    vm_gpu_config_free(c->gpu);
    g_free(c->vm);
    g_free(c);
}

void gpus_check_add(struct gpus *g, const struct vm *vm, const struct vm_gpu_config *gpu,
                    gpus_checked_fn done, void *arg)
{
    struct checking *c = g_new0(struct checking, 1);

    *c = (struct checking){g_strdup(vm_id(vm)), vm_gpu_config_copy(gpu), done, arg};
    if (gpu->backend != VM_GPU_BACKEND_SOFT)
        gpus__when_known(g, check_known, c);
    else
        check_known(g, c, NULL);
}

/* --- gpu.list --------------------------------------------------------------------------------- */

static void set_vms(struct gpus *g, struct host_gpu_info *i, int index)
{
    g_autofree char *name = gpus__name(g, index);
    GPtrArray *vms = g_ptr_array_new();

    i->promised_bytes = gpus__promised(g, index, NULL, vms);
    i->n_vms = vms->len;
    i->vms = (char **)g_ptr_array_free(vms, FALSE);
    i->drained = gpus__drained(g, name);
}

static struct host_gpu_info *describe_soft(struct gpus *g, unsigned number)
{
    struct host_gpu_info *i = host_gpu_info_new();
    struct sysinfo host;

    i->id = gpus__name(g, gpus__soft(number));
    i->has_backend = true;
    i->backend = VM_GPU_BACKEND_SOFT;
    i->name = g_strdup("the host's processors");
    i->has_memory_bytes = sysinfo(&host) == 0;
    i->memory_bytes = i->has_memory_bytes ? (uint64_t)host.totalram * host.mem_unit : 0;
    i->has_number = g->daemon->soft_gpus > 1;
    i->number = number;
    set_vms(g, i, gpus__soft(number));
    return i;
}

static struct host_gpu_info *describe_driven(struct gpus *g, int index)
{
    const struct worker_gpu *gpu = &g->found.gpus[index];
    struct host_gpu_info *i = host_gpu_info_new();
    g_autofree char *pci = g_ascii_strdown(gpu->pci, -1);

    i->id = gpus__id(&g->found, index);
    i->has_backend = true;
    i->backend = gpus__backend(gpu);
    i->name = g_strdup(gpu->name);
    i->has_number = true;
    i->number = gpu->number;
    i->pci = g_strconcat("pci:", pci, NULL);
    i->compute = g_strdup_printf("%u.%u", gpu->major, gpu->minor);
    i->has_memory_bytes = true;
    i->memory_bytes = gpu->memory;
    set_vms(g, i, index);
    return i;
}

/* A display controller or an accelerator, of a maker of GPUs for computing. */
static bool is_gpu(const struct host_device *d)
{
    return d->kind == HOST_PCI &&
           (d->pci.class_code >> 16 == 0x03 || d->pci.class_code >> 16 == 0x12) &&
           (d->pci.vendor == VENDOR_NVIDIA || d->pci.vendor == VENDOR_AMD);
}

static struct host_gpu_info *describe_useless(const struct gpus *g, const struct host_device *d)
{
    struct host_gpu_info *i = host_gpu_info_new();

    i->id = g_strdup(d->id);
    i->pci = g_strdup(d->id);
    i->name =
        d->text ? g_strdup(d->text) : g_strdup_printf("%04x:%04x", d->pci.vendor, d->pci.device);
    i->text = g_strdup_printf("the %s driver does not have it; the kernel's driver is %s",
                              d->pci.vendor == VENDOR_NVIDIA ? "CUDA" : "HIP",
                              d->driver ? d->driver : "none");
    return i;
}

static void list_known(struct gpus *g, void *arg, const GError *err)
{
    enum { MOST = 64 };
    G_STATIC_ASSERT(LIMIT_SOFT_GPUS + GPU_DEVICES <= MOST);
    g_autoptr(GPtrArray) devices = hostdevs_list(g->daemon->hostdevs);
    g_autoptr(gpu_list_result) r = gpu_list_result_new();
    const struct gpus_found *f = &g->found;

    r->gpus = g_new0(struct host_gpu_info *, MOST);
    for (unsigned n = 0; n < g->daemon->soft_gpus; n++)
        r->gpus[r->n_gpus++] = describe_soft(g, n);
    for (unsigned n = 0; !err && n < f->head.count; n++)
        r->gpus[r->n_gpus++] = describe_driven(g, (int)n);
    for (guint n = 0; n < devices->len && r->n_gpus < MOST; n++) {
        const struct host_device *d = g_ptr_array_index(devices, n);
        if (is_gpu(d) && (err || !gpus__driver_has(f, d->id)))
            r->gpus[r->n_gpus++] = describe_useless(g, d);
    }
    if (!err)
        gpus__tell_nvml(&f->nvml, r);
    r->has_driver = !err && f->head.driver;
    r->driver = f->head.driver;
    if (err || !f->head.count)
        r->driver_text = g_strndup(err ? err->message : f->head.text, 250);
    gpu_list_reply(arg, r);
}

void gpus_list(struct gpus *g, struct rpc_call *call)
{
    gpus__when_known(g, list_known, call);
}
