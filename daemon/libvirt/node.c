/* The host's processors and memory in numbers, from /proc. */
#include "daemon/libvirt/bridge_priv.h"

#include <stdio.h>
#include <unistd.h>

enum { ALL = -1 };

/* The answer to a client that takes MOST values; where it takes none it asks how many there are. */
static void reply_values(struct libvirt_request *request, struct libvirt_node_value *values,
                         uint32_t n, int32_t most)
{
    struct libvirt_node_values out = {.values = values, .count = (int32_t)n};

    if (most > 0) {
        out.values_count = MIN((uint32_t)most, n);
        out.count = (int32_t)out.values_count;
    }
    libvirt_reply(request, &out);
}

/* --- processors --- */

/* The line of /proc/stat for CPU (ALL: of all), after its name; NULL: there is none. */
static const char *stat_line(const char *text, int32_t cpu)
{
    g_autofree char *name = cpu == ALL ? g_strdup("cpu ") : g_strdup_printf("cpu%d ", cpu);

    for (const char *line = text; line && *line;) {
        if (g_str_has_prefix(line, name))
            return line + strlen(name);
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return NULL;
}

static void get_cpu_stats(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_node_cpu_query *a = args;
    unsigned long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0;
    uint64_t tick = 1000000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    g_autofree char *text = NULL;

    if (!bridge_flags(request, a->flags, 0))
        return;
    g_file_get_contents("/proc/stat", &text, NULL, NULL);
    const char *line = stat_line(text, a->cpu);
    if (!line || sscanf(line, "%llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
                        &wait, &irq, &soft) != 7) {
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_NONE,
                     "the host has no processor %d", a->cpu);
        return;
    }
    struct libvirt_node_value values[] = {
        {(char *)"kernel", (system + irq + soft) * tick},
        {(char *)"user", (user + nice) * tick},
        {(char *)"idle", idle * tick},
        {(char *)"iowait", wait * tick},
    };
    reply_values(request, values, G_N_ELEMENTS(values), a->most);
}

static void get_cpu_map(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_cpu_map_query *a = args;
    uint8_t map[2048] = {0};
    struct libvirt_cpu_map out = {.map = map};
    uint32_t n = (uint32_t)MIN(sysconf(_SC_NPROCESSORS_CONF), (long)sizeof(map) * 8);
    g_autofree char *text = NULL;

    if (!bridge_flags(request, a->flags, 0))
        return;
    g_file_get_contents("/proc/stat", &text, NULL, NULL);
    for (uint32_t i = 0; i < n; i++) {
        if (stat_line(text, (int32_t)i)) { /* those that are online */
            map[i / 8] |= (uint8_t)(1 << i % 8);
            out.online++;
        }
    }
    out.map_count = a->need_map ? (n + 7) / 8 : 0;
    out.count = (int32_t)n;
    libvirt_reply(request, &out);
}

/* --- memory --- */

static const struct {
    const char *name, *key; /* ours, the kernel's */
} amounts[] = {{"total", "MemTotal:"},
               {"free", "MemFree:"},
               {"buffers", "Buffers:"},
               {"cached", "Cached:"}};

static uint64_t amount(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *line = text; line && *line;) {
        if (strncmp(line, key, n) == 0)
            return g_ascii_strtoull(line + n, NULL, 10);
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return 0;
}

/* KiB. The host is one cell, number 0. */
static void get_memory_stats(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_node_memory_query *a = args;
    struct libvirt_node_value values[G_N_ELEMENTS(amounts)];
    g_autofree char *text = NULL;

    if (!bridge_flags(request, a->flags, 0))
        return;
    if (a->cell != ALL && a->cell != 0) {
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_NONE,
                     "the host has no memory cell %d", a->cell);
        return;
    }
    g_file_get_contents("/proc/meminfo", &text, NULL, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(amounts); i++)
        values[i] =
            (struct libvirt_node_value){(char *)amounts[i].name, amount(text, amounts[i].key)};
    reply_values(request, values, G_N_ELEMENTS(values), a->most);
}

const struct bridge_row bridge_node_rows[] = {
    {LIBVIRT_NODE_GET_CPU_STATS, get_cpu_stats},
    {LIBVIRT_NODE_GET_CPU_MAP, get_cpu_map},
    {LIBVIRT_NODE_GET_MEMORY_STATS, get_memory_stats},
};
const size_t bridge_node_count = G_N_ELEMENTS(bridge_node_rows);
