/* Counters of one domain that runs, in the forms that single calls have. */
#include "daemon/libvirt/bridge_priv.h"
#include "proto/libvirt/xml/xml.h"

enum { MAXIMUM = 1 << 2, TYPED_STRINGS = 1 << 2, KIB = 1024 };
enum { LLONG = 3 };
/* Tags of memory's counters. */
enum {
    TAG_SWAP_IN,
    TAG_SWAP_OUT,
    TAG_MAJOR_FAULT,
    TAG_MINOR_FAULT,
    TAG_UNUSED,
    TAG_AVAILABLE,
    TAG_ACTUAL,
    TAG_RSS,
    TAG_USABLE,
    TAG_LAST_UPDATE,
    TAG_DISK_CACHES,
    TAGS
};

struct counting {
    struct libvirt_request *request;
    struct vm_config *config;
    void (*answer)(struct counting *c, const struct vm_stats *stats);
};

static void counted(void *arg, const void *result, int fd, const GError *err)
{
    struct counting *c = arg;

    if (err)
        bridge_fail(c->request, err);
    else
        c->answer(c, result);
    vm_config_free(c->config);
    g_free(c);
}

/* Asks the process of DOM's VM; ANSWER answers. */
static void count(struct client *client, struct libvirt_request *request,
                  const struct libvirt_dom *dom,
                  void (*answer)(struct counting *c, const struct vm_stats *stats))
{
    struct vm *vm = bridge_need(client, request, dom);

    if (!vm)
        return;
    struct counting *c = g_new0(struct counting, 1);
    *c = (struct counting){request, bridge_live_config(vm), answer};
    struct vm_stats_params p = {.vm = (char *)vm_id(vm)};
    rpc_local_call(client->rpc, API_VM_STATS, &p, counted, c);
}

/* --- disks --- */

/* Whether NAME, a target, a file or (empty) all, means disk INDEX. */
static bool disk_is(const struct vm_config *config, size_t index, const char *name)
{
    g_autofree char *target = domain_xml_target(config, index);

    return !*name || strcmp(name, target) == 0 || strcmp(name, config->disks[index]->path) == 0;
}

/* The sum of the disks that NAME means; false, and REQUEST was answered with an error, where it
 * means none. */
static bool sum_disks(struct counting *c, const struct vm_stats *stats, const char *name,
                      struct disk_stats *sum)
{
    unsigned found = 0;

    for (size_t i = 0; i < c->config->n_disks; i++) {
        if (!disk_is(c->config, i, name))
            continue;
        found++;
        for (size_t j = 0; j < stats->n_disks; j++) {
            const struct disk_stats *s = stats->disks[j];
            if (strcmp(s->id, c->config->disks[i]->id) != 0)
                continue;
            sum->reads += s->reads;
            sum->read_bytes += s->read_bytes;
            sum->writes += s->writes;
            sum->write_bytes += s->write_bytes;
            sum->flushes += s->flushes;
            sum->errors += s->errors;
        }
    }
    if (!found)
        libvirt_fail(c->request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "the domain has no disk %s", name);
    return found > 0;
}

static void answer_block(struct counting *c, const struct vm_stats *stats)
{
    const struct libvirt_of_device *a = libvirt_request_args(c->request);
    struct disk_stats s = {0};

    if (!sum_disks(c, stats, a->device, &s))
        return;
    struct libvirt_block_stats out = {s.reads, s.read_bytes, s.writes, s.write_bytes, s.errors};
    libvirt_reply(c->request, &out);
}

/* A client asks first how many there are. */
static void answer_block_flags(struct counting *c, const struct vm_stats *stats)
{
    const struct libvirt_block_stats_flags *a = libvirt_request_args(c->request);
    struct disk_stats s = {0};

    if (!sum_disks(c, stats, a->device, &s))
        return;
    struct libvirt_param params[] = {
        {(char *)"rd_operations", LLONG, s.reads, NULL},
        {(char *)"rd_bytes", LLONG, s.read_bytes, NULL},
        {(char *)"wr_operations", LLONG, s.writes, NULL},
        {(char *)"wr_bytes", LLONG, s.write_bytes, NULL},
        {(char *)"flush_operations", LLONG, s.flushes, NULL},
        {(char *)"errs", LLONG, s.errors, NULL},
    };
    struct libvirt_params out = {.params = params, .count = G_N_ELEMENTS(params)};
    if (a->most > 0) {
        out.params_count = MIN((uint32_t)a->most, G_N_ELEMENTS(params));
        out.count = (int32_t)out.params_count;
    }
    libvirt_reply(c->request, &out);
}

static void block_stats(struct client *client, struct libvirt_request *request, const void *args)
{
    const struct libvirt_of_device *a = args;

    count(client, request, &a->dom, answer_block);
}

static void block_stats_flags(struct client *client, struct libvirt_request *request,
                              const void *args)
{
    const struct libvirt_block_stats_flags *a = args;

    if (bridge_flags(request, a->flags, TYPED_STRINGS))
        count(client, request, &a->dom, answer_block_flags);
}

/* --- interfaces, by tap, id or address --- */

static void answer_interface(struct counting *c, const struct vm_stats *stats)
{
    const struct libvirt_of_device *a = libvirt_request_args(c->request);
    const char *id = NULL;

    for (size_t i = 0; i < c->config->n_nics; i++) {
        const struct vm_nic_config *nic = c->config->nics[i];
        if (g_strcmp0(nic->tap, a->device) == 0 || strcmp(nic->id, a->device) == 0 ||
            g_strcmp0(nic->mac, a->device) == 0)
            id = nic->id;
    }
    for (size_t i = 0; id && i < stats->n_nics; i++) {
        const struct nic_stats *s = stats->nics[i];
        if (strcmp(s->id, id) != 0)
            continue;
        struct libvirt_interface_stats out = {.rx_bytes = s->rx_bytes,
                                              .rx_packets = s->rx_packets,
                                              .rx_drop = s->rx_dropped,
                                              .tx_bytes = s->tx_bytes,
                                              .tx_packets = s->tx_packets,
                                              .tx_drop = s->tx_dropped};
        libvirt_reply(c->request, &out);
        return;
    }
    libvirt_fail(c->request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                 "the domain has no interface %s", a->device);
}

static void interface_stats(struct client *client, struct libvirt_request *request,
                            const void *args)
{
    const struct libvirt_of_device *a = args;

    count(client, request, &a->dom, answer_interface);
}

/* --- memory and processors --- */

/* Appends what the guest says to the N rows of OUT. */
static uint32_t guest_rows(const struct guest_memory_stats *s, struct libvirt_memory_stat *out,
                           uint32_t n)
{
    const struct {
        bool has;
        int32_t tag;
        uint64_t value;
    } rows[] = {
        {s->has_swap_in_bytes, TAG_SWAP_IN, s->swap_in_bytes / KIB},
        {s->has_swap_out_bytes, TAG_SWAP_OUT, s->swap_out_bytes / KIB},
        {s->has_major_faults, TAG_MAJOR_FAULT, s->major_faults},
        {s->has_minor_faults, TAG_MINOR_FAULT, s->minor_faults},
        {s->has_free_bytes, TAG_UNUSED, s->free_bytes / KIB},
        {s->has_total_bytes, TAG_AVAILABLE, s->total_bytes / KIB},
        {s->has_available_bytes, TAG_USABLE, s->available_bytes / KIB},
        {true, TAG_LAST_UPDATE, s->time_s},
        {s->has_cache_bytes, TAG_DISK_CACHES, s->cache_bytes / KIB},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].has)
            out[n++] = (struct libvirt_memory_stat){rows[i].tag, rows[i].value};
    }
    return n;
}

static void answer_memory(struct counting *c, const struct vm_stats *stats)
{
    const struct libvirt_get_memory_stats *a = libvirt_request_args(c->request);
    struct libvirt_memory_stat rows[TAGS] = {
        {TAG_ACTUAL, (stats->memory_bytes + stats->plugged_bytes - stats->balloon_bytes) / KIB},
        {TAG_RSS, stats->resident_bytes / KIB},
    };
    uint32_t n = stats->guest_memory ? guest_rows(stats->guest_memory, rows, 2) : 2;
    struct libvirt_memory_stats out = {.stats_count = MIN(a->most, n), .stats = rows};

    libvirt_reply(c->request, &out);
}

static void memory_stats(struct client *client, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_memory_stats *a = args;

    if (bridge_flags(request, a->flags, 0))
        count(client, request, &a->dom, answer_memory);
}

static void get_vcpus_flags(struct client *client, struct libvirt_request *request,
                            const void *args)
{
    const struct libvirt_flagged_dom *a = args;
    struct vm *vm = bridge_need(client, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, BRIDGE_LIVE | BRIDGE_CONFIG | MAXIMUM))
        return;
    bool live = (a->flags & BRIDGE_LIVE) || (!(a->flags & BRIDGE_CONFIG) && vm_active(vm));
    const struct vm_config *config = live ? vm_config_of(vm) : vm_next_config_of(vm);
    const struct resize_result *size = live && vm_active(vm) ? vm_size_of(vm) : NULL;
    uint32_t most = config->has_max_cpus ? config->max_cpus : config->cpus;
    uint32_t now = size ? size->cpus : config->cpus;
    if ((a->flags & BRIDGE_LIVE) && !vm_active(vm)) {
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_INVALID, LIBVIRT_FROM_DOMAIN,
                     "the domain is not running");
        return;
    }
    struct libvirt_number out = {.value = (int32_t)(a->flags & MAXIMUM ? most : now)};
    libvirt_reply(request, &out);
}

const struct bridge_row bridge_counter_rows[] = {
    {LIBVIRT_DOMAIN_BLOCK_STATS, block_stats},
    {LIBVIRT_DOMAIN_BLOCK_STATS_FLAGS, block_stats_flags},
    {LIBVIRT_DOMAIN_INTERFACE_STATS, interface_stats},
    {LIBVIRT_DOMAIN_MEMORY_STATS, memory_stats},
    {LIBVIRT_DOMAIN_GET_VCPUS_FLAGS, get_vcpus_flags},
};
const size_t bridge_counter_count = G_N_ELEMENTS(bridge_counter_rows);
