/*
 * The table of devices. Those of the configuration are made in the order in which the guest shall find
 * them: disks, interfaces, then the rest.
 *
 * A device that leaves stays counted until it is closed, since what it has under way may still reach guest
 * memory: a standstill is one when nothing is closing any more.
 */
#include "vm/devices.h"

#include "base/log.h"
#include "guest/agent/line.h"
#include "machine/virtio/balloon.h"
#include "machine/virtio/memory.h"
#include "machine/virtio/net.h"
#include "machine/virtio/scsi.h"

#include <errno.h>

enum { CONSOLE_MS = 1000, PORT_AGENT = 1, PORT_NEXT };

struct devices {
    struct device_env env;
    struct pci_host *pci;
    const struct vm_config *config;
    struct mem_ram *room; /* NULL: none */
    GPtrArray *all; /* struct vm_device */
    const char *socket_dir;
    struct channels *channels;   /* NULL: there are none */
    struct agent *agent;         /* NULL: there was no console from the start */
    struct vm_device *agent_at;  /* the console whose port it is at; NULL: that is gone */
    bool quiet;
    unsigned closing; /* devices that leave */
    bool freeing;
    void (*done)(void *opaque); /* of a standstill or of devices_free(), under way */
    void *done_opaque;
};

/* A device that is being closed. */
struct closing {
    struct devices *devices;
    struct vm_device *device;
    void (*closed)(void *opaque);
    void *opaque;
};

const struct device_env *devices_env(const struct devices *d)
{
    return &d->env;
}

void devices_each(struct devices *d, void (*each)(void *opaque, struct vm_device *device),
                  void *opaque)
{
    for (guint i = 0; i < d->all->len; i++)
        each(opaque, g_ptr_array_index(d->all, i));
}

struct vm_device *devices_find(struct devices *d, const char *id)
{
    for (guint i = 0; i < d->all->len; i++) {
        struct vm_device *device = g_ptr_array_index(d->all, i);
        if (strcmp(device->id, id) == 0)
            return device;
    }
    return NULL;
}

void devices_join(struct devices *d, struct vm_device *device)
{
    g_ptr_array_add(d->all, device);
}

/* --- the agent's port ------------------------------------------------------------------------- */

static size_t agent_port_out(void *opaque, const uint8_t *data, size_t n)
{
    struct devices *d = opaque;

    agent_input(d->agent, data, n);
    return n;
}

static void agent_port_room(void *opaque)
{
    struct devices *d = opaque;

    agent_room(d->agent);
}

static void agent_port_opened(void *opaque, bool open)
{
    struct devices *d = opaque;

    agent_opened(d->agent, open);
}

static const struct virtio_console_ops agent_port_ops = {
    .output = agent_port_out, .input_room = agent_port_room, .opened = agent_port_opened};

static size_t agent_send(void *opaque, const uint8_t *data, size_t n)
{
    struct devices *d = opaque;

    return d->agent_at ? virtio_console_input(d->agent_at->frontend, PORT_AGENT, data, n) : n;
}

static void agent_connect(void *opaque, bool connected)
{
    struct devices *d = opaque;

    if (d->agent_at)
        virtio_console_connect(d->agent_at->frontend, PORT_AGENT, connected);
}

static const struct agent_ops agent_ops = {.send = agent_send, .connect = agent_connect};

struct agent *devices_agent(const struct devices *d)
{
    return d->agent;
}

void devices_clock_changed(struct devices *d)
{
    if (d->agent)
        agent_clock_changed(d->agent);
}

/* --- making ----------------------------------------------------------------------------------- */

/* Puts DEVICE, which is taken, into the next free slot of the root bus. */
static bool plug(struct devices *d, struct vm_device *device, GError **err)
{
    int slot = pci_host_free_slot(d->pci);

    if (!device)
        return false;
    devices_join(d, device);
    if (slot < 0)
        return vmd_fail(err, VMD_ERROR_LIMIT, "device %s: no PCI slot is free", device->id);
    device->road = DEVICE_ROAD_FIXED;
    device->place = (unsigned)slot;
    device->shown = pci_host_add(d->pci, vm_device_function(device), device->place, 0, err);
    return device->shown;
}

static bool add_nic(struct devices *d, const struct vm_nic_config *c,
                    const struct machine_files *files, GError **err)
{
    struct device_files own = {.tap = files && c->kind == VM_NIC_KIND_TAP
                                          ? files->take(files->opaque, c->id)
                                          : -1};

    return plug(d, vm_device_nic(&d->env, c, &own, true, err), err);
}

/* The first console, with a port for the agent, others for a GPU where there may be one, and the channels. */
static bool add_console(struct devices *d, GError **err)
{
    struct virtio_console_port ports[1 + WORKER_PORTS + LIMIT_CHANNELS] = {
        {LINE_PORT, &agent_port_ops, d}};
    const struct vm_config *c = d->config;
    unsigned n = 1;

    G_STATIC_ASSERT(G_N_ELEMENTS(ports) < VIRTIO_CONSOLE_PORTS);
    if (c->n_channels) {
        d->channels =
            channels_new(d->env.virtio.loop, d->socket_dir, c->channels, c->n_channels, err);
        if (!d->channels)
            return false;
    }
    if (c->gpu || c->hotplug->ports) {
        d->env.gpu_ports = gpu_ports_new(d->env.virtio.loop);
        gpu_ports_fill(d->env.gpu_ports, ports + n);
        n += WORKER_PORTS;
    }
    unsigned channels = n;
    n += channels_fill(d->channels, ports + n);
    d->agent = agent_new(d->env.virtio.loop, d->env.virtio.clock, &agent_ops, d);
    d->agent_at = vm_device_console(&d->env, "hvc0", ports, n, err);
    if (d->agent_at && d->env.gpu_ports)
        gpu_ports_at(d->env.gpu_ports, d->agent_at->frontend, PORT_NEXT);
    if (d->agent_at)
        channels_at(d->channels, d->agent_at->frontend, 1 + channels);
    return plug(d, d->agent_at, err);
}

static struct vm_device *scsi_adapter(struct devices *d)
{
    return vm_device_of(&d->env, SCSI_ID, "virtio-scsi",
                        virtio_scsi_new(&d->env.virtio, MIN(d->env.cpus, LIMIT_BLK_QUEUES)));
}

static struct vm_device *memory_device(struct devices *d)
{
    return vm_device_of(&d->env, MEMORY_ID, "virtio-mem", virtio_mem_new(&d->env.virtio, d->room));
}

/* Network ports without a cable. Their addresses follow from the VM's name, so that they stay the same over
 * its runs. */
static bool add_ports(struct devices *d, GError **err)
{
    guint hash = g_str_hash(d->config->name);

    for (unsigned i = 0; i < d->config->hotplug->nics; i++) {
        const uint8_t mac[6] = {0x52, 0x54, 0x01, (uint8_t)(hash >> 8), (uint8_t)hash, (uint8_t)i};
        g_autofree char *id = g_strdup_printf(LINK_ID "%u", i);
        struct vm_device *port = vm_device_of(&d->env, id, "virtio-net",
                                              virtio_net_new_port(&d->env.virtio, mac));
        port->has_mac = true;
        memcpy(port->mac, mac, sizeof(mac));
        port->text = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                                     mac[4], mac[5]);
        if (!plug(d, port, err))
            return false;
    }
    return true;
}

/* Any thread: VFIO's container tells of memory as it comes. */
static void host_warning(void *opaque, const char *text)
{
    log_warning("%s", text);
}

static bool add_host(struct devices *d, const struct vm_host_config *c, GError **err)
{
    return plug(d, vm_device_host(&d->env, c, NULL, true, err), err);
}

static bool add_all(struct devices *d, const struct machine_files *files, GError **err)
{
    const struct vm_config *c = d->config;

    for (size_t i = 0; i < c->n_disks; i++) {
        if (!plug(d, vm_device_disk(&d->env, c->disks[i], NULL, true, err), err))
            return false;
    }
    for (size_t i = 0; i < c->n_nics; i++) {
        if (!add_nic(d, c->nics[i], files, err))
            return false;
    }
    for (size_t i = 0; i < c->n_host_devices; i++) {
        if (!add_host(d, c->host_devices[i], err))
            return false;
    }
    return (!c->devices->console || add_console(d, err)) &&
           (!c->devices->rng || plug(d, vm_device_rng(&d->env, "rng0"), err)) &&
           (!c->devices->balloon || plug(d, vm_device_balloon(&d->env, "balloon0"), err)) &&
           (!d->room || plug(d, memory_device(d), err)) &&
           (!c->hotplug->scsi || plug(d, scsi_adapter(d), err)) && add_ports(d, err) &&
           (!c->gpu || plug(d, vm_device_gpu(&d->env, GPU_ID, c->gpu, err), err));
}

struct devices *devices_new(const struct vm_config *config, const struct devices_env *env,
                            GError **err)
{
    struct devices *d = g_new0(struct devices, 1);

    d->env = (struct device_env){
        .virtio = {.loop = env->loop, .mem = env->mem, .clock = env->clock},
        .vm_name = config->name,
        .cpus = config->cpus,
        .log_dir = env->log_dir,
        .console_ms = CONSOLE_MS,
        .disk_failed = env->disk_failed,
        .warning = env->warning,
        .gpu = env->gpu,
        .opaque = env->opaque,
    };
    d->pci = env->pci;
    d->socket_dir = env->socket_dir;
    d->config = config;
    d->room = env->room;
    d->all = g_ptr_array_new();
    if (devices_host(config))
        d->env.host = vfio_container_new(env->mem, pci_host_has_msi(env->pci), &vfio_kernel, host_warning, NULL);
    if (add_all(d, env->files, err)) {
        devices_ask_memory(d, config->devices->memory_period_s);
        return d;
    }
    devices_free(d, 0, NULL, NULL);
    return NULL;
}

/* --- files ------------------------------------------------------------------------------------ */

bool devices_files(const struct vm_config *config, struct sandbox_files *files, GError **err)
{
    for (size_t i = 0; i < config->n_disks; i++) {
        if (!disk_files(config->disks[i], files, err))
            return false;
    }
    for (size_t i = 0; i < config->n_nics; i++) {
        if (config->nics[i]->kind == VM_NIC_KIND_TAP)
            sandbox_files_add(files, "/dev/net/tun", SANDBOX_CHANGE);
    }
    if (config->n_host_devices)
        sandbox_files_add(files, "/dev/vfio", SANDBOX_CHANGE);
    if (devices_user_net(config))
        sandbox_files_add_resolver(files);
    return true;
}

bool devices_host(const struct vm_config *config)
{
    return config->n_host_devices > 0 || config->hotplug->host;
}

bool devices_user_net(const struct vm_config *config)
{
    bool has = config->hotplug->nics > 0;

    for (size_t i = 0; i < config->n_nics; i++)
        has |= config->nics[i]->kind == VM_NIC_KIND_USER;
    return has;
}

/* --- closing ---------------------------------------------------------------------------------- */

static void finish(struct devices *d)
{
    void (*done)(void *) = d->done;
    void *opaque = d->done_opaque;

    d->done = NULL;
    if (d->freeing) {
        agent_free(d->agent);
        gpu_ports_free(d->env.gpu_ports);
        channels_free(d->channels);
        vfio_container_free(d->env.host);
        g_ptr_array_free(d->all, TRUE);
        g_free(d);
    } else {
        d->quiet = true;
    }
    if (done)
        done(opaque);
}

static void on_closed(void *opaque)
{
    struct closing *c = opaque;
    struct devices *d = c->devices;

    if (c->closed)
        c->closed(c->opaque);
    g_free(c);
    if (--d->closing == 0 && d->done)
        finish(d);
}

static void on_quiet(void *opaque)
{
    struct closing *c = opaque;

    vm_device_close(c->device, on_closed, c);
}

void devices_close(struct devices *d, struct vm_device *device, void (*closed)(void *opaque),
                   void *opaque)
{
    struct closing *c = g_new0(struct closing, 1);

    *c = (struct closing){d, device, closed, opaque};
    g_ptr_array_remove(d->all, device);
    d->closing++;
    if (device == d->agent_at) {
        d->agent_at = NULL;
        agent_opened(d->agent, false);
        if (d->env.gpu_ports)
            gpu_ports_at(d->env.gpu_ports, NULL, 0);
        channels_at(d->channels, NULL, 0);
    }
    struct pci_function *function = vm_device_function(device);
    if (function && !d->quiet)
        pci_function_quiesce(function, on_quiet, c);
    else
        on_quiet(c);
}

void devices_unplug(struct vm_device *device)
{
    if (device->shown)
        pci_host_remove(vm_device_function(device));
    device->shown = false;
}

static void nothing(void *opaque)
{
}

void devices_free(struct devices *d, unsigned console_ms, void (*done)(void *opaque), void *opaque)
{
    if (!d) {
        if (done)
            done(opaque);
        return;
    }
    d->env.console_ms = console_ms;
    d->freeing = true;
    d->quiet = true; /* or none of them ever ran */
    d->done = done ? done : nothing;
    d->done_opaque = opaque;
    d->closing++;
    while (d->all->len) {
        struct vm_device *device = g_ptr_array_index(d->all, 0);
        devices_unplug(device);
        devices_close(d, device, NULL, NULL);
    }
    if (--d->closing == 0)
        finish(d);
}

/* --- standing still --------------------------------------------------------------------------- */

static void host_quiet(void *opaque)
{
    struct devices *d = opaque;

    if (--d->closing == 0)
        finish(d);
}

void devices_quiesce(struct devices *d, void (*done)(void *opaque), void *opaque)
{
    if (d->quiet) {
        done(opaque);
        return;
    }
    d->done = done;
    d->done_opaque = opaque;
    d->closing++; /* one more, for the bus */
    pci_host_quiesce(d->pci, host_quiet, d);
}

void devices_resume(struct devices *d)
{
    if (!d->quiet)
        return;
    d->quiet = false;
    pci_host_resume(d->pci);
}

/* --- what can be asked ------------------------------------------------------------------------ */

struct console *devices_console(struct devices *d, const char *name)
{
    struct vm_device *device = devices_find(d, name);

    return device ? device->console : NULL;
}

struct channels *devices_channels(const struct devices *d)
{
    return d->channels;
}

static struct nic_stats *nic_row(const struct vm_device *device)
{
    struct nic_stats *s = nic_stats_new();
    struct virtio_net_counts c;

    virtio_net_counts(device->frontend, &c);
    s->id = g_strdup(device->id);
    s->rx_packets = c.rx_frames;
    s->rx_bytes = c.rx_bytes;
    s->rx_dropped = c.rx_dropped;
    s->tx_packets = c.tx_frames;
    s->tx_bytes = c.tx_bytes;
    s->tx_dropped = c.tx_dropped;
    return s;
}

static struct virtio_device *frontend_of(const struct devices *d, uint16_t virtio_id)
{
    for (guint i = 0; i < d->all->len; i++) {
        const struct vm_device *device = g_ptr_array_index(d->all, i);
        if (device->frontend && device->frontend->ops->id == virtio_id)
            return device->frontend;
    }
    return NULL;
}

static struct virtio_device *balloon_of(const struct devices *d)
{
    return frontend_of(d, VIRTIO_ID_BALLOON);
}

struct virtio_device *devices_memory(const struct devices *d)
{
    return frontend_of(d, VIRTIO_ID_MEM);
}

void devices_memory_reset(struct devices *d)
{
    if (devices_memory(d))
        virtio_mem_system_reset(devices_memory(d));
}

bool devices_balloon(struct devices *d, uint64_t bytes, uint64_t *target, uint64_t *actual)
{
    struct virtio_device *balloon = balloon_of(d);

    if (!balloon)
        return false;
    virtio_balloon_set_target(balloon, bytes);
    *target = virtio_balloon_target(balloon);
    *actual = virtio_balloon_actual(balloon);
    return true;
}

bool devices_has_balloon(const struct devices *d)
{
    return balloon_of(d) != NULL;
}

uint64_t devices_balloon_bytes(const struct devices *d)
{
    struct virtio_device *balloon = balloon_of(d);

    return balloon ? virtio_balloon_actual(balloon) : 0;
}

void devices_watch_balloon(struct devices *d, void (*changed)(void *opaque), void *opaque)
{
    if (balloon_of(d))
        virtio_balloon_watch(balloon_of(d), changed, opaque);
}

bool devices_ask_memory(struct devices *d, unsigned seconds)
{
    struct virtio_device *balloon = balloon_of(d);

    if (balloon)
        virtio_balloon_ask_every(balloon, seconds);
    return balloon != NULL;
}

/* What the guest says of its memory; NULL: it was not asked, or has not answered. */
static struct guest_memory_stats *guest_memory(const struct devices *d)
{
    struct virtio_device *balloon = balloon_of(d);
    struct balloon_stats b;
    uint64_t when;

    if (!balloon || !virtio_balloon_latest(balloon, &b, &when))
        return NULL;
    struct guest_memory_stats *s = guest_memory_stats_new();
    const struct {
        bool *has;
        uint64_t *to, from;
    } rows[] = {
        {&s->has_swap_in_bytes, &s->swap_in_bytes, b.swap_in},
        {&s->has_swap_out_bytes, &s->swap_out_bytes, b.swap_out},
        {&s->has_major_faults, &s->major_faults, b.major_faults},
        {&s->has_minor_faults, &s->minor_faults, b.minor_faults},
        {&s->has_free_bytes, &s->free_bytes, b.free},
        {&s->has_total_bytes, &s->total_bytes, b.total},
        {&s->has_available_bytes, &s->available_bytes, b.available},
        {&s->has_cache_bytes, &s->cache_bytes, b.caches},
    };
    s->time_s = when;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        *rows[i].has = rows[i].from != UINT64_MAX;
        *rows[i].to = *rows[i].has ? rows[i].from : 0;
    }
    return s;
}

struct gpu *devices_gpu(struct devices *d)
{
    struct vm_device *device = devices_find(d, GPU_ID);

    return device ? device->gpu : NULL;
}

void devices_stats(struct devices *d, struct vm_stats *out)
{
    out->disks = g_new0(struct disk_stats *, d->all->len + 1);
    out->nics = g_new0(struct nic_stats *, d->all->len + 1);
    for (guint i = 0; i < d->all->len; i++) {
        const struct vm_device *device = g_ptr_array_index(d->all, i);
        if (device->disk)
            out->disks[out->n_disks++] = disk_stats_of(device->disk);
        else if (device->frontend && device->frontend->ops->id == VIRTIO_ID_NET)
            out->nics[out->n_nics++] = nic_row(device);
    }
    out->gpu = devices_gpu(d) ? gpu_counts(devices_gpu(d), GPU_ID) : NULL;
    out->balloon_bytes = devices_balloon_bytes(d);
    out->memory_period_s = balloon_of(d) ? virtio_balloon_asked_every(balloon_of(d)) : 0;
    out->guest_memory = guest_memory(d);
    out->plugged_bytes = devices_memory(d) ? virtio_mem_plugged(devices_memory(d)) : 0;
}
