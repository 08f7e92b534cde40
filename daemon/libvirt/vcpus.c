/* Processors of a domain one by one, where they may run, and what its disks take on the host. */
#include "daemon/libvirt/bridge_priv.h"
#include "base/cpulist.h"
#include "daemon/disks.h"
#include "daemon/pins.h"
#include "proto/libvirt/xml/xml.h"

#include <unistd.h>

enum { OFFLINE, RUNS, BLOCKED };
enum { MAPS_MOST = 1 << 20, MAP_BYTES_MOST = 2048, UNKNOWN = -2 };
enum { ULLONG = 4, TOTAL = -1, TYPED_STRINGS = 1 << 2 };

/* All processors of the host. */
static void all_cpus(cpu_set_t *out)
{
    long n = CLAMP(sysconf(_SC_NPROCESSORS_CONF), 1, CPU_SETSIZE);

    CPU_ZERO(out);
    for (long cpu = 0; cpu < n; cpu++)
        CPU_SET(cpu, out);
}

char *bridge_all_cpus(void)
{
    cpu_set_t all;

    all_cpus(&all);
    return cpulist_format(&all);
}

/* LIST, of base/cpulist, or all of the host's for NULL, into MAP of BYTES, which is zero. */
static void put_map(uint8_t *map, uint32_t bytes, const char *list)
{
    cpu_set_t set;

    if (!list || !cpulist_parse(list, &set, NULL))
        all_cpus(&set);
    for (uint32_t cpu = 0; cpu < MIN(bytes * 8, (uint32_t)CPU_SETSIZE); cpu++) {
        if (CPU_ISSET(cpu, &set))
            map[cpu / 8] |= (uint8_t)(1 << cpu % 8);
    }
}

/* N maps of BYTES, which the caller frees. */
static uint8_t *new_maps(uint32_t n, uint32_t bytes)
{
    return g_malloc0_n(n ? n : 1, bytes ? bytes : 1);
}

/* Whether a client that takes MOST maps of BYTES makes sense; else REQUEST was answered with an error. */
static bool check_maps(struct libvirt_request *request, int32_t most, int32_t bytes)
{
    if (most >= 0 && bytes >= 0 && bytes <= MAP_BYTES_MOST &&
        (int64_t)MIN(most, LIMIT_VCPUS) * bytes <= MAPS_MOST)
        return true;
    libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN, "%d maps of %d bytes", most,
                 bytes);
    return false;
}

/* --- vCPUs --- */

static void vcpus_counted(void *arg, const void *result, int fd, const GError *err)
{
    struct libvirt_request *request = arg;
    const struct libvirt_get_vcpus *a = libvirt_request_args(request);
    const struct vm_stats *stats = result;

    if (err) {
        bridge_fail(request, err);
        return;
    }
    uint32_t n = (uint32_t)MIN(stats->n_vcpus, (size_t)a->most);
    g_autofree struct libvirt_vcpu *rows = g_new0(struct libvirt_vcpu, n + 1);
    g_autofree uint8_t *maps = new_maps(n, (uint32_t)a->map_bytes);
    for (uint32_t i = 0; i < n; i++) {
        const struct vcpu_stats *v = stats->vcpus[i];
        put_map(maps + i * (uint32_t)a->map_bytes, (uint32_t)a->map_bytes, v->cpus);
        int32_t state = v->state == VCPU_STATE_OFF       ? OFFLINE
                        : v->state == VCPU_STATE_RUNNING ? RUNS
                                                         : BLOCKED;
        rows[i] = (struct libvirt_vcpu){v->index, state, v->cpu_ns, UNKNOWN};
    }
    struct libvirt_vcpu_infos out = {.infos_count = n,
                                     .infos = rows,
                                     .maps_count = n * (uint32_t)a->map_bytes,
                                     .maps = maps};
    libvirt_reply(request, &out);
}

static void get_vcpus(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_vcpus *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !check_maps(request, a->most, a->map_bytes))
        return;
    struct vm_stats_params p = {.vm = (char *)vm_id(vm)};
    rpc_local_call(c->rpc, API_VM_STATS, &p, vcpus_counted, request);
}

/* --- where they may run --- */

static void reply_pins(struct libvirt_request *request, uint32_t n, const char *const *lists)
{
    const struct libvirt_get_pins *a = libvirt_request_args(request);
    uint32_t bytes = (uint32_t)a->map_bytes;
    g_autofree uint8_t *maps = new_maps(n, bytes);

    for (uint32_t i = 0; i < n; i++)
        put_map(maps + i * bytes, bytes, lists[i]);
    struct libvirt_pins out = {.maps_count = n * bytes, .maps = maps, .count = (int32_t)n};
    libvirt_reply(request, &out);
}

/* Of a run: what the kernel says. */
static void pins_counted(void *arg, const void *result, int fd, const GError *err)
{
    struct libvirt_request *request = arg;
    const struct libvirt_get_pins *a = libvirt_request_args(request);
    const struct vm_stats *stats = result;
    const char *lists[LIMIT_VCPUS];

    if (err) {
        bridge_fail(request, err);
        return;
    }
    uint32_t n = (uint32_t)MIN(stats->n_vcpus, (size_t)a->most);
    for (uint32_t i = 0; i < n; i++)
        lists[i] = stats->vcpus[i]->cpus;
    reply_pins(request, n, lists);
}

static void get_pins(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_pins *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    uint32_t of = vm ? bridge_affected(request, vm, a->flags) : 0;
    const char *lists[LIMIT_VCPUS];

    if (!of || !check_maps(request, a->most, a->map_bytes))
        return;
    if (of & BRIDGE_LIVE) {
        struct vm_stats_params p = {.vm = (char *)vm_id(vm)};
        rpc_local_call(c->rpc, API_VM_STATS, &p, pins_counted, request);
        return;
    }
    const struct vm_config *config = vm_next_config_of(vm);
    uint32_t n = MIN(config->has_max_cpus ? config->max_cpus : config->cpus, (uint32_t)a->most);
    for (uint32_t i = 0; i < n; i++)
        lists[i] = pins_of(config->pins, config->n_pins, i);
    reply_pins(request, n, lists);
}

/* MAP as a list, which the caller frees; NULL for all of the host's processors. False: there is none in it. */
static bool list_of(const uint8_t *map, uint32_t bytes, char **list)
{
    cpu_set_t set, all, both;

    CPU_ZERO(&set);
    for (uint32_t cpu = 0; cpu < MIN(bytes * 8, (uint32_t)CPU_SETSIZE); cpu++) {
        if (map[cpu / 8] & 1 << cpu % 8)
            CPU_SET(cpu, &set);
    }
    all_cpus(&all);
    CPU_AND(&both, &set, &all);
    *list = CPU_EQUAL(&both, &all) ? NULL : cpulist_format(&set);
    return CPU_COUNT(&set) > 0;
}

static bool apply_pin(struct vm_config *next, const struct bridge_wish *wish, GError **err)
{
    pins_set(&next->pins, &next->n_pins, wish->vcpu, wish->pin);
    return true;
}

static void pin(struct client *c, struct libvirt_request *request,
                const struct libvirt_pin_vcpu_flags *a)
{
    struct vm *vm = bridge_need(c, request, &a->dom);
    uint32_t affects = vm ? bridge_affected(request, vm, a->flags) : 0;
    g_autofree char *list = NULL;

    if (!affects)
        return;
    if (!list_of(a->map, a->map_count, &list)) {
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "a processor runs on one of the host's at least");
        return;
    }
    struct change *ch = bridge_change_new(c, request, vm, affects);
    ch->apply = apply_pin;
    ch->wish.vcpu = a->vcpu;
    ch->wish.pin = g_strdup(list);
    if (!(affects & BRIDGE_LIVE)) {
        bridge_change_definition(ch);
        return;
    }
    struct vm_pin_params p = {.vm = ch->id, .vcpu = a->vcpu, .cpus = list};
    rpc_local_call(c->rpc, API_VM_PIN, &p, bridge_change_done, ch);
}

static void pin_vcpu(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_pin_vcpu *a = args;
    const struct libvirt_pin_vcpu_flags of_run = {
        .dom = a->dom, .vcpu = a->vcpu, .map_count = a->map_count, .map = a->map, .flags = BRIDGE_LIVE};

    pin(c, request, &of_run);
}

static void pin_vcpu_flags(struct client *c, struct libvirt_request *request, const void *args)
{
    pin(c, request, args);
}

/* The time of all processors together: of each of the host's it is not known. */
static void time_counted(void *arg, const void *result, int fd, const GError *err)
{
    struct libvirt_request *request = arg;
    const struct libvirt_get_cpu_stats *a = libvirt_request_args(request);
    const struct vm_stats *stats = result;

    if (err) {
        bridge_fail(request, err);
        return;
    }
    struct libvirt_param param = {(char *)"cpu_time", ULLONG, stats->cpu_ns, NULL};
    struct libvirt_params out = {.params_count = a->most > 0, .params = &param, .count = 1};
    libvirt_reply(request, &out);
}

static void get_cpu_stats(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_cpu_stats *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, TYPED_STRINGS))
        return;
    if (a->first != TOTAL) {
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_UNSUPPORTED, LIBVIRT_FROM_DOMAIN,
                     "a domain's time is counted in total, not by processors of the host");
        return;
    }
    struct vm_stats_params p = {.vm = (char *)vm_id(vm)};
    rpc_local_call(c->rpc, API_VM_STATS, &p, time_counted, request);
}

/* --- disks on the host --- */

const struct vm_disk_config *bridge_find_disk(struct libvirt_request *request,
                                              const struct vm_config *config, const char *name)
{
    for (size_t i = 0; i < config->n_disks; i++) {
        g_autofree char *target = domain_xml_target(config, i);
        if (strcmp(name, target) == 0 || strcmp(name, config->disks[i]->path) == 0)
            return config->disks[i];
    }
    libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN, "the domain has no disk %s",
                 name);
    return NULL;
}

static void measured(void *arg, struct disks_answer *answer)
{
    const struct image_sizes *sizes = &answer->sizes;
    struct libvirt_block_info out = {sizes->allocation, sizes->capacity, sizes->physical};

    if (answer->err)
        bridge_fail(arg, answer->err);
    else
        libvirt_reply(arg, &out);
}

/* Whoever may see the domain sees the sizes; the file is opened as at its start. */
static void get_block_info(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_of_device_flags *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, 0))
        return;
    g_autoptr(vm_config) config = bridge_live_config(vm);
    const struct vm_disk_config *disk = bridge_find_disk(request, config, a->device);
    if (disk)
        disks_measure(c->bridge->daemon->disks, disk, measured, request);
}

const struct bridge_row bridge_vcpu_rows[] = {
    {LIBVIRT_DOMAIN_GET_VCPUS, get_vcpus},
    {LIBVIRT_DOMAIN_GET_VCPU_PIN_INFO, get_pins},
    {LIBVIRT_DOMAIN_PIN_VCPU, pin_vcpu},
    {LIBVIRT_DOMAIN_PIN_VCPU_FLAGS, pin_vcpu_flags},
    {LIBVIRT_DOMAIN_GET_CPU_STATS, get_cpu_stats},
    {LIBVIRT_DOMAIN_GET_BLOCK_INFO, get_block_info},
};
const size_t bridge_vcpu_count = G_N_ELEMENTS(bridge_vcpu_rows);
