/*
 * A row a device: its frontend on the bus, its backend, and what is asked of them. Rows are made in the
 * order in which the guest shall find them: disks, interfaces, then the rest.
 */
#include "vm/devices.h"

#include "guest/agent/line.h"
#include "machine/net/net.h"
#include "machine/virtio/balloon.h"
#include "machine/virtio/console.h"
#include "machine/virtio/net.h"
#include "machine/virtio/rng.h"
#include "vm/helper/client.h"
#include "vm/helper/protocol.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>

enum { PORT_CONSOLE, PORT_AGENT };

struct row {
    char *id;
    const char *kind;
    struct virtio_device *virtio;
    struct virtio_pci *pci; /* owns virtio */
    unsigned slot;
    bool plugged;
    struct disk *disk; /* NULL: it is none */
    char *text;
};

struct devices {
    struct devices_env env;
    const struct vm_config *config;
    GPtrArray *rows;
    struct virtio_device *console, *balloon; /* borrowed of their rows; NULL */
    struct agent *agent;                     /* at a port of the console; NULL without one */
    bool quiet;
    unsigned closing; /* disks whose backends are being closed, and one more */
    void (*done)(void *opaque);
    void *done_opaque;
};

/* --- the console's backend -------------------------------------------------------------------- */

static size_t console_out(void *opaque, const uint8_t *data, size_t n)
{
    struct devices *d = opaque;

    console_output(d->env.console, data, n);
    return n;
}

static void console_room(void *opaque)
{
    struct devices *d = opaque;

    console_input_room(d->env.console);
}

static const struct virtio_console_ops console_ops = {.output = console_out,
                                                      .input_room = console_room};

size_t devices_console_input(struct devices *d, const uint8_t *data, size_t n)
{
    return d->console ? virtio_console_input(d->console, PORT_CONSOLE, data, n) : n;
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

    return virtio_console_input(d->console, PORT_AGENT, data, n);
}

static void agent_connect(void *opaque, bool connected)
{
    struct devices *d = opaque;

    virtio_console_connect(d->console, PORT_AGENT, connected);
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

/* Puts VIRTIO, which the row owns from here on, into the next free slot. */
static struct row *plug(struct devices *d, const char *id, const char *kind,
                        struct virtio_device *virtio, GError **err)
{
    struct row *row = g_new0(struct row, 1);
    int slot = pci_host_free_slot(d->env.pci);

    row->id = g_strdup(id);
    row->kind = kind;
    row->virtio = virtio;
    row->pci = virtio_pci_new(virtio);
    g_ptr_array_add(d->rows, row);
    if (slot < 0) {
        vmd_fail(err, VMD_ERROR_LIMIT, "device %s: no PCI slot is free", id);
        return NULL;
    }
    row->slot = (unsigned)slot;
    row->plugged = pci_host_add(d->env.pci, virtio_pci_function(row->pci), row->slot, 0, err);
    return row->plugged ? row : NULL;
}

static struct virtio_env virtio_env_of(const struct devices *d)
{
    return (struct virtio_env){.loop = d->env.loop, .mem = d->env.mem, .clock = d->env.clock};
}

static void disk_failed(void *opaque, const struct disk_failure *failure)
{
    struct devices *d = opaque;

    if (d->env.disk_failed)
        d->env.disk_failed(d->env.opaque, failure);
}

static bool add_disk(struct devices *d, const struct vm_disk_config *c, GError **err)
{
    struct virtio_env env = virtio_env_of(d);
    struct disk *disk = disk_new(c, &env, d->config->cpus, NULL, disk_failed, d, err);

    if (!disk)
        return false;
    struct row *row = plug(d, c->id, "virtio-blk", disk_frontend(disk), err);
    /* The last row is the disk's even where it found no slot. */
    struct row *made = g_ptr_array_index(d->rows, d->rows->len - 1);
    made->disk = disk;
    made->text = g_strdup(disk_text(disk));
    if (disk_notice(disk) && d->env.warning)
        d->env.warning(d->env.opaque, disk_notice(disk));
    return row != NULL;
}

static char *hostfwd_text(const struct vm_hostfwd_config *c)
{
    bool v6 = strchr(c->host_addr, ':') != NULL;

    return g_strdup_printf("%s:%s%s%s:%u-%s:%u", net_proto_to_string(c->proto), v6 ? "[" : "",
                           c->host_addr, v6 ? "]" : "", c->host_port,
                           c->guest_addr ? c->guest_addr : "", c->guest_port);
}

static struct net_backend *user_backend(struct devices *d, const struct vm_nic_config *c,
                                        GError **err)
{
    struct net_user_config config = {.hostname = d->config->name};
    struct net_backend *b = net_user_new(d->env.loop, &config, err);

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

static struct net_backend *tap_backend(struct devices *d, const struct vm_nic_config *c,
                                       GError **err)
{
    int fd = d->env.files ? d->env.files->take(d->env.files->opaque, c->id) : -1;

    if (fd < 0)
        fd = helper_open_tap(HELPER_SOCKET, c->tap, err);
    return fd < 0 ? NULL : net_tap_new(d->env.loop, fd, err);
}

static bool add_nic(struct devices *d, const struct vm_nic_config *c, GError **err)
{
    struct virtio_env env = virtio_env_of(d);
    struct net_backend *b = c->kind == VM_NIC_KIND_TAP    ? tap_backend(d, c, err)
                            : c->kind == VM_NIC_KIND_USER ? user_backend(d, c, err)
                                                          : net_null_new();
    unsigned m[6];
    uint8_t mac[6];

    if (!b) {
        g_prefix_error(err, "interface %s: ", c->id);
        return false;
    }
    /* The schema has checked its form. */
    sscanf(c->mac, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]);
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)m[i];
    struct row *row = plug(d, c->id, "virtio-net", virtio_net_new(&env, b, mac), err);
    if (!row)
        return false;
    if (c->kind == VM_NIC_KIND_NONE)
        virtio_net_set_link(row->virtio, false);
    row->text = g_strdup_printf("%s%s%s, %s", vm_nic_kind_to_string(c->kind), c->tap ? " " : "",
                                c->tap ? c->tap : "", c->mac);
    return true;
}

static bool add_rest(struct devices *d, GError **err)
{
    const struct vm_device_config *c = d->config->devices;
    struct virtio_env env = virtio_env_of(d);

    if (d->env.console) {
        const struct virtio_console_port ports[] = {
            [PORT_CONSOLE] = {NULL, &console_ops, d}, [PORT_AGENT] = {LINE_PORT, &agent_port_ops, d}};
        d->agent = agent_new(d->env.loop, d->env.clock, &agent_ops, d);
        d->console = virtio_console_new(&env, ports, G_N_ELEMENTS(ports));
        if (!plug(d, "console0", "virtio-console", d->console, err))
            return false;
    }
    if (c->rng && !plug(d, "rng0", "virtio-rng", virtio_rng_new(&env), err))
        return false;
    if (c->balloon) {
        d->balloon = virtio_balloon_new(&env);
        if (!plug(d, "balloon0", "virtio-balloon", d->balloon, err))
            return false;
    }
    return true;
}

struct devices *devices_new(const struct vm_config *config, const struct devices_env *env,
                            GError **err)
{
    struct devices *d = g_new0(struct devices, 1);
    bool ok = true;

    d->env = *env;
    d->config = config;
    d->rows = g_ptr_array_new();
    for (size_t i = 0; ok && i < config->n_disks; i++)
        ok = add_disk(d, config->disks[i], err);
    for (size_t i = 0; ok && i < config->n_nics; i++)
        ok = add_nic(d, config->nics[i], err);
    if (!ok || !add_rest(d, err)) {
        devices_free(d, NULL, NULL);
        return NULL;
    }
    return d;
}

/* --- files ------------------------------------------------------------------------------------ */

bool devices_files(const struct vm_config *config, struct sandbox_files *files, GError **err)
{
    for (size_t i = 0; i < config->n_disks; i++) {
        if (!disk_files(config->disks[i], files, err))
            return false;
    }
    for (size_t i = 0; i < config->n_nics; i++) {
        if (config->nics[i]->kind == VM_NIC_KIND_USER)
            sandbox_files_add_resolver(files);
        else if (config->nics[i]->kind == VM_NIC_KIND_TAP)
            sandbox_files_add(files, "/dev/net/tun", SANDBOX_CHANGE);
    }
    return true;
}

/* --- freeing ---------------------------------------------------------------------------------- */

static void part_closed(struct devices *d)
{
    void (*done)(void *) = d->done;
    void *opaque = d->done_opaque;

    if (--d->closing)
        return;
    g_ptr_array_free(d->rows, TRUE);
    g_free(d);
    if (done)
        done(opaque);
}

static void disk_closed(void *opaque, const char *warning)
{
    struct devices *d = opaque;

    if (warning && d->env.warning)
        d->env.warning(d->env.opaque, warning);
    part_closed(d);
}

void devices_free(struct devices *d, void (*done)(void *opaque), void *opaque)
{
    if (!d) {
        if (done)
            done(opaque);
        return;
    }
    d->done = done;
    d->done_opaque = opaque;
    d->closing = 1;
    for (guint i = 0; i < d->rows->len; i++) {
        struct row *row = g_ptr_array_index(d->rows, i);
        if (row->plugged)
            pci_host_remove(virtio_pci_function(row->pci));
        virtio_pci_free(row->pci);
        if (row->disk) {
            d->closing++;
            disk_close(row->disk, disk_closed, d);
        }
        g_free(row->id);
        g_free(row->text);
        g_free(row);
    }
    agent_free(d->agent);
    part_closed(d);
}

/* --- standing still --------------------------------------------------------------------------- */

static void host_quiet(void *opaque)
{
    struct devices *d = opaque;
    void (*done)(void *) = d->done;

    d->quiet = true;
    d->done = NULL;
    done(d->done_opaque);
}

void devices_quiesce(struct devices *d, void (*done)(void *opaque), void *opaque)
{
    if (d->quiet) {
        done(opaque);
        return;
    }
    d->done = done;
    d->done_opaque = opaque;
    pci_host_quiesce(d->env.pci, host_quiet, d);
}

void devices_resume(struct devices *d)
{
    if (!d->quiet)
        return;
    d->quiet = false;
    pci_host_resume(d->env.pci);
}

/* --- what can be asked ------------------------------------------------------------------------ */

static void nic_row(const struct row *row, struct vm_stats *out)
{
    struct nic_stats *s = nic_stats_new();
    struct virtio_net_counts c;

    virtio_net_counts(row->virtio, &c);
    s->id = g_strdup(row->id);
    s->rx_packets = c.rx_frames;
    s->rx_bytes = c.rx_bytes;
    s->rx_dropped = c.rx_dropped;
    s->tx_packets = c.tx_frames;
    s->tx_bytes = c.tx_bytes;
    s->tx_dropped = c.tx_dropped;
    out->nics[out->n_nics++] = s;
}

bool devices_balloon(struct devices *d, uint64_t bytes, uint64_t *target, uint64_t *actual)
{
    if (!d->balloon)
        return false;
    virtio_balloon_set_target(d->balloon, bytes);
    *target = virtio_balloon_target(d->balloon);
    *actual = virtio_balloon_actual(d->balloon);
    return true;
}

void devices_stats(struct devices *d, struct vm_stats *out)
{
    out->disks = g_new0(struct disk_stats *, d->config->n_disks + 1);
    out->nics = g_new0(struct nic_stats *, d->config->n_nics + 1);
    for (guint i = 0; i < d->rows->len; i++) {
        const struct row *row = g_ptr_array_index(d->rows, i);
        if (row->disk)
            out->disks[out->n_disks++] = disk_stats_of(row->disk);
        else if (row->virtio->ops->id == VIRTIO_ID_NET)
            nic_row(row, out);
    }
    out->balloon_bytes = d->balloon ? virtio_balloon_actual(d->balloon) : 0;
}

/* What there is to say of a row at this moment. */
static char *text_of(const struct devices *d, const struct row *row)
{
    if (d->agent && row->virtio == d->console && agent_present(d->agent))
        return g_strdup_printf("agent %s, %s", agent_version(d->agent), agent_kernel(d->agent));
    return g_strndup(row->text ? row->text : "", LONG_TEXT_MAX);
}

GPtrArray *devices_list(struct devices *d)
{
    GPtrArray *list = g_ptr_array_new();

    for (guint i = 0; i < d->rows->len; i++) {
        const struct row *row = g_ptr_array_index(d->rows, i);
        struct device_info *info = device_info_new();
        info->id = g_strdup(row->id);
        info->kind = g_strdup(row->kind);
        info->bus = g_strdup("pci");
        info->address = g_strdup_printf("00:%02x.0", row->slot);
        info->has_driver_ok = true;
        info->driver_ok = virtio_running(row->virtio);
        g_free(info->text);
        info->text = text_of(d, row);
        g_ptr_array_add(list, info);
    }
    return list;
}
