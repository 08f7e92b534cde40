/* Processors of a domain one by one, and what its disks take on the host. vmd pins no processor: each may be
 * on any of the host's. */
#include "daemon/libvirt/bridge_priv.h"
#include "daemon/image.h"
#include "proto/libvirt/xml/xml.h"

#include <unistd.h>

enum { OFFLINE, RUNS, BLOCKED };
enum { MAPS_MOST = 1 << 20, MAP_BYTES_MOST = 2048, UNKNOWN = -2 };
enum { ULLONG = 4, TOTAL = -1, TYPED_STRINGS = 1 << 2, LIVE_CONFIG = 3 };

/* N maps of BYTES, each with all processors of the host, which the caller frees. */
static uint8_t *all_cpus(uint32_t n, uint32_t bytes)
{
    uint8_t *maps = g_malloc0_n(n ? n : 1, bytes ? bytes : 1);
    uint32_t cpus = (uint32_t)MIN(sysconf(_SC_NPROCESSORS_CONF), (long)bytes * 8);

    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t cpu = 0; cpu < cpus; cpu++)
            maps[i * bytes + cpu / 8] |= (uint8_t)(1 << cpu % 8);
    }
    return maps;
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
    g_autofree uint8_t *maps = all_cpus(n, (uint32_t)a->map_bytes);
    for (uint32_t i = 0; i < n; i++) {
        const struct vcpu_stats *v = stats->vcpus[i];
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

static void get_pins(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_pins *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, LIVE_CONFIG) ||
        !check_maps(request, a->most, a->map_bytes))
        return;
    const struct vm_config *config = vm_config_of(vm);
    uint32_t n = MIN(config->has_max_cpus ? config->max_cpus : config->cpus, (uint32_t)a->most);
    g_autofree uint8_t *maps = all_cpus(n, (uint32_t)a->map_bytes);
    struct libvirt_pins out = {
        .maps_count = n * (uint32_t)a->map_bytes, .maps = maps, .count = (int32_t)n};
    libvirt_reply(request, &out);
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

/* Whoever may see the domain sees the sizes; the file is opened as at its start. */
static void get_block_info(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_of_device_flags *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);
    struct image_sizes sizes;
    g_autoptr(GError) err = NULL;

    if (!vm || !bridge_flags(request, a->flags, 0))
        return;
    g_autoptr(vm_config) config = bridge_live_config(vm);
    const struct vm_disk_config *disk = bridge_find_disk(request, config, a->device);
    if (!disk)
        return;
    if (!image_measure(disk->path, disk->format == VM_DISK_FORMAT_QCOW2, &sizes, &err)) {
        bridge_fail(request, err);
        return;
    }
    struct libvirt_block_info out = {sizes.allocation, sizes.capacity, sizes.physical};
    libvirt_reply(request, &out);
}

const struct bridge_row bridge_vcpu_rows[] = {
    {LIBVIRT_DOMAIN_GET_VCPUS, get_vcpus},
    {LIBVIRT_DOMAIN_GET_VCPU_PIN_INFO, get_pins},
    {LIBVIRT_DOMAIN_GET_CPU_STATS, get_cpu_stats},
    {LIBVIRT_DOMAIN_GET_BLOCK_INFO, get_block_info},
};
const size_t bridge_vcpu_count = G_N_ELEMENTS(bridge_vcpu_rows);
