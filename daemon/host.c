/* From uname and /proc. */
#include "daemon/host.h"

#include <sys/utsname.h>

/* The value of the first line "KEY : value" of a /proc file's text; NULL. */
static char *proc_value(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *line = text; line && *line;) {
        const char *end = strchrnul(line, '\n');
        if (strncmp(line, key, n) == 0) {
            const char *colon = memchr(line, ':', (size_t)(end - line));
            if (colon)
                return g_strstrip(g_strndup(colon + 1, (size_t)(end - colon - 1)));
        }
        line = *end ? end + 1 : NULL;
    }
    return NULL;
}

static struct host_cpu *describe_cpu(const struct utsname *u)
{
    struct host_cpu *cpu = host_cpu_new();
    g_autofree char *text = NULL;

    g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL);
    g_autofree char *model = text ? proc_value(text, "model name") : NULL;
    g_autofree char *cores = text ? proc_value(text, "cpu cores") : NULL;
    cpu->arch = g_strdup(u->machine);
    cpu->model = g_strndup(model ? model : u->machine, SHORT_TEXT_MAX);
    cpu->threads = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    cpu->cores = cores ? (uint32_t)g_ascii_strtoull(cores, NULL, 10) : cpu->threads;
    return cpu;
}

static uint64_t meminfo(const char *text, const char *key)
{
    g_autofree char *value = text ? proc_value(text, key) : NULL;

    return value ? g_ascii_strtoull(value, NULL, 10) * 1024 : 0;
}

static struct host_memory *describe_memory(void)
{
    struct host_memory *m = host_memory_new();
    g_autofree char *text = NULL;

    g_file_get_contents("/proc/meminfo", &text, NULL, NULL);
    m->total_bytes = meminfo(text, "MemTotal");
    m->available_bytes = meminfo(text, "MemAvailable");
    return m;
}

struct host_info_result *host_describe(void)
{
    struct host_info_result *r = host_info_result_new();
    struct utsname u;

    uname(&u);
    r->hostname = g_strndup(u.nodename, SHORT_TEXT_MAX);
    r->kernel = g_strndup(u.release, SHORT_TEXT_MAX);
    r->cpu = describe_cpu(&u);
    r->memory = describe_memory();
    return r;
}
