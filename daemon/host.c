/* From uname, /proc and /dev/kvm. */
#include "daemon/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
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

static struct host_kvm *describe_kvm(void)
{
    struct host_kvm *kvm = host_kvm_new();
    autofd fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        kvm->text = g_strdup_printf("/dev/kvm: %s", g_strerror(errno));
        return kvm;
    }
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    kvm->has_api_version = version > 0;
    kvm->api_version = version > 0 ? (uint32_t)version : 0;
    if (version != KVM_API_VERSION) {
        kvm->text = g_strdup("this kernel's KVM speaks another version");
    } else if (access("/sys/module/kvm_pvm", F_OK) == 0) {
        kvm->text = g_strdup("kvm_pvm: privileged guest code is emulated, stock kernels do not run");
    } else {
        kvm->usable = true;
        kvm->text = g_strdup("hardware virtualization");
    }
    return kvm;
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
    r->kvm = describe_kvm();
    return r;
}

struct accel_info **host_accels(size_t *n)
{
    struct accel_info **rows = g_new0(struct accel_info *, 2);
    struct accel_info *kvm = accel_info_new(), *xlate = accel_info_new();
    g_autoptr(host_kvm) host = describe_kvm();

    xlate->accel = VM_ACCEL_XLATE;
    xlate->usable = true;
    xlate->archs = g_new0(enum vm_arch, 2);
    xlate->archs[xlate->n_archs++] = VM_ARCH_RISCV64;
    xlate->archs[xlate->n_archs++] = VM_ARCH_AARCH64;
    xlate->text = g_strdup("vmd's own translator");
    kvm->accel = VM_ACCEL_KVM;
    kvm->text = g_strdup_printf("not offered by this version (host: %s)", host->text);
    rows[0] = xlate;
    rows[1] = kvm;
    *n = 2;
    return rows;
}
