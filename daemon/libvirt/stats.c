/* Counters of domains, as named values. Those of a domain that runs are its process's to tell: an
 * answer waits for all of them. */
#include "daemon/libvirt/bridge_priv.h"
#include "proto/libvirt/xml/xml.h"

enum {
    STATE = 1 << 0,
    CPU = 1 << 1,
    BALLOON = 1 << 2,
    VCPU = 1 << 3,
    NET = 1 << 4,
    BLOCK = 1 << 5
};
/* Which domains, and that groups that are not there are an error. */
enum { LIST_BITS = 0xff, NOWAIT = 1 << 29, BACKING = 1 << 30 };
enum { GROUPS = STATE | CPU | BALLOON | VCPU | NET | BLOCK, KIB = 1024 };
/* Types of values. */
enum { INT = 1, UINT = 2, ULLONG = 4, STRING = 7 };
/* States of a processor. */
enum { OFFLINE, RUNS, BLOCKED };

struct record {
    struct gathering *g;
    char *name, *id;
    struct vm_config *config;
    struct libvirt_dom dom;
    struct libvirt_state state;
    GArray *params; /* struct libvirt_param, their texts owned */
};

struct gathering {
    struct libvirt_request *request;
    uint32_t groups;
    GPtrArray *records;
    size_t waiting; /* for processes, and one while it is made up */
};

/* --- values --- */

static void put(struct record *r, uint32_t type, uint64_t number, const char *text, const char *fmt,
                va_list ap)
{
    struct libvirt_param p = {
        .field = g_strdup_vprintf(fmt, ap), .type = type, .number = number, .text = g_strdup(text)};

    g_array_append_val(r->params, p);
}

static void number(struct record *r, uint32_t type, uint64_t value, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);

static void number(struct record *r, uint32_t type, uint64_t value, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    put(r, type, value, NULL, fmt, ap);
    va_end(ap);
}

static void text(struct record *r, const char *value, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static void text(struct record *r, const char *value, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    put(r, STRING, 0, value ? value : "", fmt, ap);
    va_end(ap);
}

/* --- groups; STATS is NULL where the domain does not run --- */

static void put_state(struct record *r, const struct vm_stats *stats)
{
    number(r, INT, (uint32_t)r->state.state, "state.state");
    number(r, INT, (uint32_t)r->state.reason, "state.reason");
}

static void put_cpu(struct record *r, const struct vm_stats *stats)
{
    if (stats)
        number(r, ULLONG, stats->cpu_ns, "cpu.time");
}

static void put_guest_memory(struct record *r, const struct guest_memory_stats *s)
{
    const struct {
        bool has;
        const char *name;
        uint64_t value;
    } rows[] = {
        {s->has_swap_in_bytes, "balloon.swap_in", s->swap_in_bytes / KIB},
        {s->has_swap_out_bytes, "balloon.swap_out", s->swap_out_bytes / KIB},
        {s->has_major_faults, "balloon.major_fault", s->major_faults},
        {s->has_minor_faults, "balloon.minor_fault", s->minor_faults},
        {s->has_free_bytes, "balloon.unused", s->free_bytes / KIB},
        {s->has_total_bytes, "balloon.available", s->total_bytes / KIB},
        {s->has_available_bytes, "balloon.usable", s->available_bytes / KIB},
        {true, "balloon.last-update", s->time_s},
        {s->has_cache_bytes, "balloon.disk_caches", s->cache_bytes / KIB},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].has)
            number(r, ULLONG, rows[i].value, "%s", rows[i].name);
    }
}

static void put_balloon(struct record *r, const struct vm_stats *stats)
{
    const struct vm_config *c = r->config;
    uint64_t now =
        stats ? stats->memory_bytes + stats->plugged_bytes - stats->balloon_bytes : c->memory;

    number(r, ULLONG, now / KIB, "balloon.current");
    number(r, ULLONG, (c->has_max_memory ? c->max_memory : c->memory) / KIB, "balloon.maximum");
    if (stats)
        number(r, ULLONG, stats->resident_bytes / KIB, "balloon.rss");
    if (stats && stats->guest_memory)
        put_guest_memory(r, stats->guest_memory);
}

static void put_vcpu(struct record *r, const struct vm_stats *stats)
{
    const struct vm_config *c = r->config;

    number(r, UINT, stats ? stats->cpus : c->cpus, "vcpu.current");
    number(r, UINT, c->has_max_cpus ? c->max_cpus : c->cpus, "vcpu.maximum");
    for (size_t i = 0; stats && i < stats->n_vcpus; i++) {
        const struct vcpu_stats *v = stats->vcpus[i];
        uint64_t state = v->state == VCPU_STATE_OFF       ? OFFLINE
                         : v->state == VCPU_STATE_RUNNING ? RUNS
                                                          : BLOCKED;
        number(r, INT, state, "vcpu.%u.state", v->index);
        number(r, ULLONG, v->cpu_ns, "vcpu.%u.time", v->index);
    }
}

static const struct nic_stats *nic_of(const struct vm_stats *stats, const char *id)
{
    for (size_t i = 0; stats && i < stats->n_nics; i++) {
        if (strcmp(stats->nics[i]->id, id) == 0)
            return stats->nics[i];
    }
    return NULL;
}

static void put_net(struct record *r, const struct vm_stats *stats)
{
    const struct vm_config *c = r->config;

    number(r, UINT, c->n_nics, "net.count");
    for (size_t i = 0; i < c->n_nics; i++) {
        const struct nic_stats *s = nic_of(stats, c->nics[i]->id);
        text(r, c->nics[i]->tap ? c->nics[i]->tap : c->nics[i]->id, "net.%zu.name", i);
        if (!s)
            continue;
        number(r, ULLONG, s->rx_bytes, "net.%zu.rx.bytes", i);
        number(r, ULLONG, s->rx_packets, "net.%zu.rx.pkts", i);
        number(r, ULLONG, s->rx_dropped, "net.%zu.rx.drop", i);
        number(r, ULLONG, s->tx_bytes, "net.%zu.tx.bytes", i);
        number(r, ULLONG, s->tx_packets, "net.%zu.tx.pkts", i);
        number(r, ULLONG, s->tx_dropped, "net.%zu.tx.drop", i);
    }
}

static const struct disk_stats *disk_of(const struct vm_stats *stats, const char *id)
{
    for (size_t i = 0; stats && i < stats->n_disks; i++) {
        if (strcmp(stats->disks[i]->id, id) == 0)
            return stats->disks[i];
    }
    return NULL;
}

static void put_block(struct record *r, const struct vm_stats *stats)
{
    const struct vm_config *c = r->config;

    number(r, UINT, c->n_disks, "block.count");
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct disk_stats *s = disk_of(stats, c->disks[i]->id);
        g_autofree char *target = domain_xml_target(c, i);
        text(r, target, "block.%zu.name", i);
        text(r, c->disks[i]->path, "block.%zu.path", i);
        if (!s)
            continue;
        number(r, ULLONG, s->reads, "block.%zu.rd.reqs", i);
        number(r, ULLONG, s->read_bytes, "block.%zu.rd.bytes", i);
        number(r, ULLONG, s->writes, "block.%zu.wr.reqs", i);
        number(r, ULLONG, s->write_bytes, "block.%zu.wr.bytes", i);
        number(r, ULLONG, s->flushes, "block.%zu.fl.reqs", i);
        number(r, ULLONG, s->errors, "block.%zu.errors", i);
        if (s->has_size_bytes)
            number(r, ULLONG, s->size_bytes, "block.%zu.capacity", i);
    }
}

static const struct {
    uint32_t bit;
    void (*put)(struct record *r, const struct vm_stats *stats);
} groups[] = {
    {STATE, put_state}, {CPU, put_cpu}, {BALLOON, put_balloon},
    {VCPU, put_vcpu},   {NET, put_net}, {BLOCK, put_block},
};

/* --- gathering --- */

static void record_free(gpointer p)
{
    struct record *r = p;

    for (guint i = 0; i < r->params->len; i++) {
        struct libvirt_param *param = &g_array_index(r->params, struct libvirt_param, i);
        g_free(param->field);
        g_free(param->text);
    }
    g_array_free(r->params, TRUE);
    vm_config_free(r->config);
    g_free(r->name);
    g_free(r->id);
    g_free(r);
}

static void answer(struct gathering *g)
{
    g_autofree struct libvirt_domain_stats *rows =
        g_new0(struct libvirt_domain_stats, g->records->len);
    struct libvirt_all_stats out = {.records_count = g->records->len, .records = rows};

    if (--g->waiting > 0)
        return;
    for (guint i = 0; i < g->records->len; i++) {
        struct record *r = g->records->pdata[i];
        rows[i].dom = r->dom;
        rows[i].params_count = r->params->len;
        rows[i].params = &g_array_index(r->params, struct libvirt_param, 0);
    }
    libvirt_reply(g->request, &out);
    g_ptr_array_unref(g->records);
    g_free(g);
}

static void counted(void *arg, const void *result, int fd, const GError *err)
{
    struct record *r = arg;

    for (size_t i = 0; i < G_N_ELEMENTS(groups); i++) {
        if (r->g->groups & groups[i].bit)
            groups[i].put(r, result);
    }
    answer(r->g);
}

static void add(struct client *c, struct gathering *g, struct vm *vm)
{
    struct record *r = g_new0(struct record, 1);

    r->g = g;
    r->name = g_strdup(vm_name(vm));
    r->id = g_strdup(vm_id(vm));
    r->config = bridge_live_config(vm);
    r->state = bridge_state(vm);
    r->params = g_array_new(FALSE, FALSE, sizeof(struct libvirt_param));
    bridge_fill(vm, &r->dom);
    r->dom.name = r->name;
    g_ptr_array_add(g->records, r);
    g->waiting++;
    if (vm_reachable(vm) && (g->groups & ~(uint32_t)STATE)) {
        struct vm_stats_params p = {.vm = r->id};
        rpc_local_call(c->rpc, API_VM_STATS, &p, counted, r);
    } else {
        counted(r, NULL, -1, NULL);
    }
}

static void get_all(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_all_stats *a = args;
    struct registry *registry = c->bridge->daemon->registry;

    if (!bridge_flags(request, a->flags, LIST_BITS | NOWAIT | BACKING))
        return;
    struct gathering *g = g_new0(struct gathering, 1);
    g->request = request;
    g->groups = a->stats ? a->stats : GROUPS;
    g->records = g_ptr_array_new_with_free_func(record_free);
    g->waiting = 1;
    g_autoptr(GPtrArray) all = bridge_list(c, a->flags & LIST_BITS);
    for (guint i = 0; i < all->len && a->doms_count == 0; i++)
        add(c, g, all->pdata[i]);
    for (uint32_t i = 0; i < a->doms_count; i++) {
        g_autofree char *id = bridge_uuid_text(a->doms[i].uuid);
        struct vm *vm = registry_find(registry, id);
        if (vm)
            add(c, g, vm);
    }
    answer(g);
}

const struct bridge_row bridge_stats_rows[] = {
    {LIBVIRT_CONNECT_GET_ALL_DOMAIN_STATS, get_all},
};
const size_t bridge_stats_count = G_N_ELEMENTS(bridge_stats_rows);
