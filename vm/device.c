/* Devices of each kind, made of what the configuration says. See device.h. */
#include "vm/device.h"

#include "machine/virtio/balloon.h"
#include "machine/virtio/net.h"
#include "machine/virtio/rng.h"
#include "vm/helper/client.h"
#include "vm/helper/protocol.h"

#include <stdio.h>

static struct vm_device *device_new(const struct device_env *env, const char *id, const char *kind)
{
    struct vm_device *d = g_new0(struct vm_device, 1);

    d->env = env;
    d->id = g_strdup(id);
    d->kind = kind;
    return d;
}

static void set_frontend(struct vm_device *d, struct virtio_device *frontend)
{
    d->frontend = frontend;
    d->pci = virtio_pci_new(frontend);
}

struct vm_device *vm_device_of(const struct device_env *env, const char *id, const char *kind,
                               struct virtio_device *frontend)
{
    struct vm_device *d = device_new(env, id, kind);

    set_frontend(d, frontend);
    return d;
}

struct vm_device *vm_device_rng(const struct device_env *env, const char *id)
{
    return vm_device_of(env, id, "virtio-rng", virtio_rng_new(&env->virtio));
}

struct vm_device *vm_device_balloon(const struct device_env *env, const char *id)
{
    return vm_device_of(env, id, "virtio-balloon", virtio_balloon_new(&env->virtio));
}

/* --- disks ------------------------------------------------------------------------------------ */

struct vm_device *vm_device_disk(const struct device_env *env, const struct vm_disk_config *c,
                                 const struct device_files *files, bool frontend, GError **err)
{
    struct disk *disk = disk_new(c, &env->virtio, env->cpus, files ? &files->disk : NULL,
                                 env->disk_failed, env->opaque, err);

    if (!disk)
        return NULL;
    struct vm_device *d = device_new(env, c->id, frontend ? "virtio-blk" : "scsi-disk");
    d->disk = disk;
    d->text = g_strdup(disk_text(disk));
    if (frontend)
        set_frontend(d, disk_frontend(disk));
    if (disk_notice(disk))
        env->warning(env->opaque, disk_notice(disk));
    return d;
}

/* --- interfaces ------------------------------------------------------------------------------- */

static char *hostfwd_text(const struct vm_hostfwd_config *c)
{
    bool v6 = strchr(c->host_addr, ':') != NULL;

    return g_strdup_printf("%s:%s%s%s:%u-%s:%u", net_proto_to_string(c->proto), v6 ? "[" : "",
                           c->host_addr, v6 ? "]" : "", c->host_port,
                           c->guest_addr ? c->guest_addr : "", c->guest_port);
}

static struct net_backend *user_backend(const struct device_env *env, const struct vm_nic_config *c,
                                        GError **err)
{
    struct net_user_config config = {.hostname = env->vm_name};
    struct net_backend *b = net_user_new(env->virtio.loop, &config, err);

    for (size_t i = 0; b && i < c->n_hostfwd; i++) {
        g_autofree char *text = hostfwd_text(c->hostfwd[i]);
        struct net_hostfwd rule;
        if (!net_hostfwd_parse(text, &rule, err) || !net_user_add_hostfwd(b, &rule, err)) {
            net_free(b);
            return NULL;
        }
    }
    return b;
}

static struct net_backend *tap_backend(const struct device_env *env, const struct vm_nic_config *c,
                                       int fd, GError **err)
{
    if (fd < 0)
        fd = helper_open_tap(HELPER_SOCKET, c->tap, err);
    return fd < 0 ? NULL : net_tap_new(env->virtio.loop, fd, err);
}

void vm_device_mac(const char *text, uint8_t mac[6])
{
    unsigned m[6];

    sscanf(text, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]);
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)m[i];
}

struct vm_device *vm_device_nic(const struct device_env *env, const struct vm_nic_config *c,
                                const struct device_files *files, bool frontend, GError **err)
{
    struct net_backend *b = c->kind == VM_NIC_KIND_TAP
                                ? tap_backend(env, c, files ? files->tap : -1, err)
                            : c->kind == VM_NIC_KIND_USER ? user_backend(env, c, err)
                                                          : net_null_new();

    if (!b) {
        g_prefix_error(err, "interface %s: ", c->id);
        return NULL;
    }
    struct vm_device *d = device_new(env, c->id, "virtio-net");
    if (!frontend) {
        d->net = b;
        d->text = g_strdup_printf("%s%s%s", vm_nic_kind_to_string(c->kind), c->tap ? " " : "",
                                  c->tap ? c->tap : "");
        return d;
    }
    d->text = g_strdup_printf("%s%s%s, %s", vm_nic_kind_to_string(c->kind), c->tap ? " " : "",
                              c->tap ? c->tap : "", c->mac);
    vm_device_mac(c->mac, d->mac);
    d->has_mac = true;
    set_frontend(d, virtio_net_new(&env->virtio, b, d->mac));
    if (c->kind == VM_NIC_KIND_NONE)
        virtio_net_set_link(d->frontend, false);
    return d;
}

/* --- consoles --------------------------------------------------------------------------------- */

static size_t console_out(void *opaque, const uint8_t *data, size_t n)
{
    struct vm_device *d = opaque;

    console_output(d->console, data, n);
    return n;
}

static void console_room(void *opaque)
{
    struct vm_device *d = opaque;

    console_input_room(d->console);
}

static const struct virtio_console_ops frontend_ops = {.output = console_out,
                                                       .input_room = console_room};

static size_t console_in(void *opaque, const uint8_t *data, size_t n)
{
    struct vm_device *d = opaque;

    return d->frontend ? virtio_console_input(d->frontend, 0, data, n) : n;
}

static const struct console_ops console_ops = {.input = console_in};

struct vm_device *vm_device_console(const struct device_env *env, const char *id,
                                    const struct virtio_console_port *more, unsigned n,
                                    GError **err)
{
    struct vm_device *d = device_new(env, id, "virtio-console");
    struct virtio_console_port ports[VIRTIO_CONSOLE_PORTS] = {{NULL, &frontend_ops, d}};

    g_assert(n < VIRTIO_CONSOLE_PORTS);
    d->console = console_new(env->virtio.loop, id, env->log_dir, &console_ops, d, err);
    if (!d->console) {
        vm_device_close(d, NULL, NULL);
        return NULL;
    }
    for (unsigned i = 0; i < n; i++)
        ports[1 + i] = more[i];
    set_frontend(d, virtio_console_new(&env->virtio, ports, 1 + n));
    return d;
}

/* --- GPUs ------------------------------------------------------------------------------------- */

struct vm_device *vm_device_gpu(const struct device_env *env, const char *id,
                                const struct vm_gpu_config *c, GError **err)
{
    struct gpu *gpu =
        gpu_new(env->virtio.loop, c, env->gpu_ports, &env->gpu, env->opaque, err);

    if (!gpu)
        return NULL;
    struct vm_device *d = device_new(env, id, "gpu");
    g_autofree char *memory = size_format(c->memory);
    d->gpu = gpu;
    d->text = g_strdup_printf("%s, %s", vm_gpu_backend_to_string(c->backend), memory);
    return d;
}

/* --- functions of the host -------------------------------------------------------------------- */

static bool open_host(const char *address, struct vfio_files *out, GError **err)
{
    struct helper_host host;

    if (!helper_open_host(HELPER_SOCKET, address, &host, err))
        return false;
    *out = (struct vfio_files){host.container, host.group, host.lease};
    return true;
}

struct vm_device *vm_device_host(const struct device_env *env, const struct vm_host_config *c,
                                 struct device_files *files, bool on_root, GError **err)
{
    struct vfio_files own = {-1, -1, -1};

    if (!files && !open_host(c->device, &own, err))
        return NULL;
    struct vfio_device *host = vfio_device_new(env->host, env->virtio.loop, c->device,
                                               files ? &files->host : &own, on_root, err);
    if (!host)
        return NULL;
    struct vm_device *d = device_new(env, c->id, "host");
    d->host = host;
    d->text = g_strdup(vfio_device_text(host));
    return d;
}

/* --- any -------------------------------------------------------------------------------------- */

struct vm_device *vm_device_new(const struct device_env *env, struct device_spec *spec,
                                struct device_files *files, bool frontend, GError **err)
{
    struct vm_device *d = NULL;

    switch (spec->kind) {
    case HOT_KIND_DISK:
        d = vm_device_disk(env, spec->disk, files, frontend, err);
        break;
    case HOT_KIND_NIC:
        d = vm_device_nic(env, spec->nic, files, frontend, err);
        break;
    case HOT_KIND_RNG:
        d = vm_device_rng(env, spec->id);
        break;
    case HOT_KIND_CONSOLE:
        d = vm_device_console(env, spec->id, NULL, 0, err);
        break;
    case HOT_KIND_HOST:
        d = vm_device_host(env, spec->host, files, false, err);
        break;
    case HOT_KIND_GPU:
        d = vm_device_gpu(env, spec->id, spec->gpu, err);
        break;
    }
    if (d)
        d->spec = spec;
    else
        device_spec_free(spec);
    return d;
}

struct pci_function *vm_device_function(const struct vm_device *d)
{
    if (d->host)
        return vfio_device_pci(d->host);
    return d->gpu ? gpu_pci(d->gpu) : d->pci ? virtio_pci_function(d->pci) : NULL;
}

static void free_rest(struct vm_device *d)
{
    void (*closed)(void *) = d->closed;
    void *opaque = d->closed_opaque;

    device_spec_free(d->spec);
    g_free(d->text);
    g_free(d->id);
    g_free(d);
    if (closed)
        closed(opaque);
}

static void disk_closed(void *opaque, const char *warning)
{
    struct vm_device *d = opaque;

    if (warning)
        d->env->warning(d->env->opaque, warning);
    free_rest(d);
}

static void console_drained(void *opaque)
{
    struct vm_device *d = opaque;

    console_free(d->console);
    free_rest(d);
}

static void close_host(struct vm_device *d)
{
    g_autoptr(GError) err = NULL;

    if (!vfio_device_free(d->host, &err))
        d->env->warning(d->env->opaque, err->message);
}

void vm_device_close(struct vm_device *d, void (*closed)(void *opaque), void *opaque)
{
    if (!d) {
        if (closed)
            closed(opaque);
        return;
    }
    d->closed = closed;
    d->closed_opaque = opaque;
    virtio_pci_free(d->pci);
    d->frontend = NULL;
    net_free(d->net);
    if (d->gpu)
        mem_map_forget_ram(d->env->virtio.mem, gpu_window(d->gpu));
    gpu_free(d->gpu);
    close_host(d);
    if (d->disk)
        disk_close(d->disk, disk_closed, d);
    else if (d->console)
        console_drain(d->console, d->env->console_ms, console_drained, d);
    else
        free_rest(d);
}
