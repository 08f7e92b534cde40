/* The host, and which guests it can run: capabilities as libvirt's XML, and numbers. */
#include "daemon/libvirt/bridge_priv.h"

#include "daemon/host.h"

#include <sys/utsname.h>

enum { KIB = 1024 };

/* Machines and emulator of an instruction set, as domain XML names them. */
static const struct {
    enum vm_arch arch;
    const char *machine;
    unsigned bits, cpus;
} machines[] = {
    {VM_ARCH_RISCV64, "virt", 64, LIMIT_XLATE_VCPUS},
    {VM_ARCH_AARCH64, "virt", 64, LIMIT_XLATE_VCPUS},
    {VM_ARCH_X86_64, "pc", 64, LIMIT_VCPUS},
};

/* Whether the accelerator KIND runs guests of ARCH here. */
static bool runs(const struct host_capabilities_result *r, enum vm_accel kind, enum vm_arch arch)
{
    for (size_t i = 0; i < r->n_accels; i++) {
        const struct accel_info *a = r->accels[i];
        bool works = a->fitness == ACCEL_FITNESS_FIT || a->fitness == ACCEL_FITNESS_EMULATING;
        for (size_t j = 0; a->accel == kind && works && j < a->n_archs; j++) {
            if (a->archs[j] == arch)
                return true;
        }
    }
    return false;
}

static char *host_xml(void)
{
    struct host_info_result *h = host_describe();
    char *out = g_markup_printf_escaped(
        "  <host>\n    <cpu>\n      <arch>%s</arch>\n"
        "      <topology sockets='1' dies='1' cores='%u' threads='1'/>\n    </cpu>\n"
        "    <topology>\n      <cells num='1'>\n        <cell id='0'>\n"
        "          <memory unit='KiB'>%" G_GUINT64_FORMAT "</memory>\n"
        "        </cell>\n      </cells>\n    </topology>\n  </host>\n",
        h->cpu->arch, h->cpu->threads, h->memory->total_bytes / KIB);

    host_info_result_free(h);
    return out;
}

static void put_guest(GString *xml, const struct host_capabilities_result *r, size_t i)
{
    bool xlate = runs(r, VM_ACCEL_XLATE, machines[i].arch),
         kvm = runs(r, VM_ACCEL_KVM, machines[i].arch);

    if (!xlate && !kvm)
        return;
    g_string_append_printf(
        xml,
        "  <guest>\n    <os_type>hvm</os_type>\n    <arch name='%s'>\n"
        "      <wordsize>%u</wordsize>\n      <emulator>/usr/sbin/vmd</emulator>\n"
        "      <machine maxCpus='%u'>%s</machine>\n%s"
        "      <domain type='kvm'/>\n    </arch>\n  </guest>\n",
        vm_arch_to_string(machines[i].arch), machines[i].bits, machines[i].cpus,
        machines[i].machine, xlate ? "      <domain type='qemu'/>\n" : "");
}

static void capabilities_known(void *arg, const void *result, int fd, const GError *err)
{
    if (err) {
        bridge_fail(arg, err);
    } else {
        g_autofree char *host = host_xml();
        g_autoptr(GString) xml = g_string_new("<capabilities>\n");
        g_string_append(xml, host);
        for (size_t i = 0; i < G_N_ELEMENTS(machines); i++)
            put_guest(xml, result, i);
        g_string_append(xml, "</capabilities>\n");
        libvirt_reply(arg, &(struct libvirt_text){.value = xml->str});
    }
}

static void get_capabilities(struct client *c, struct libvirt_request *request, const void *args)
{
    rpc_local_call(c->rpc, API_HOST_CAPABILITIES, NULL, capabilities_known, request);
}

/* What a domain of one instruction set may have. */
static const char domain_caps[] =
    "<domainCapabilities>\n  <path>%s</path>\n  <domain>%s</domain>\n  <machine>%s</machine>\n"
    "  <arch>%s</arch>\n  <vcpu max='%u'/>\n  <iothreads supported='no'/>\n"
    "  <os supported='yes'>\n    <loader supported='yes'>\n      <enum name='type'>\n        "
    "<value>pflash</value>\n"
    "      </enum>\n    </loader>\n  </os>\n"
    "  <cpu>\n    <mode name='host-passthrough' supported='yes'/>\n"
    "    <mode name='maximum' supported='no'/>\n"
    "    <mode name='host-model' supported='no'/>\n    <mode name='custom' supported='no'/>\n  "
    "</cpu>\n"
    "  <devices>\n    <disk supported='yes'>\n"
    "      <enum name='diskDevice'>\n        <value>disk</value>\n        <value>cdrom</value>\n   "
    "   </enum>\n"
    "      <enum name='bus'>\n        <value>virtio</value>\n      </enum>\n"
    "      <enum name='model'>\n        <value>virtio</value>\n      </enum>\n    </disk>\n"
    "    <graphics supported='no'/>\n    <video supported='no'/>\n    "
    "<hostdev supported='yes'>\n"
    "      <enum name='mode'>\n        <value>subsystem</value>\n      </enum>\n"
    "      <enum name='startupPolicy'>\n        <value>default</value>\n      </enum>\n"
    "      <enum name='subsysType'>\n        <value>pci</value>\n      </enum>\n"
    "      <enum name='capsType'/>\n"
    "      <enum name='pciBackend'>\n        <value>vfio</value>\n      </enum>\n"
    "    </hostdev>\n"
    "    <rng supported='yes'>\n      <enum name='model'>\n        <value>virtio</value>\n      "
    "</enum>\n"
    "      <enum name='backendModel'>\n        <value>random</value>\n      </enum>\n    </rng>\n  "
    "</devices>\n"
    "  <features>\n    <gic supported='no'/>\n  </features>\n</domainCapabilities>\n";

static void get_domain_capabilities(struct client *c, struct libvirt_request *request,
                                    const void *args)
{
    const struct libvirt_get_domain_capabilities *a = args;
    struct utsname u;
    enum vm_arch arch;

    uname(&u);
    const char *name = a->arch ? a->arch : u.machine;
    if (!bridge_flags(request, a->flags, 0))
        return;
    if (!vm_arch_from_string(name, &arch, NULL)) {
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "there are no guests of the architecture %s", name);
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
        if (machines[i].arch != arch)
            continue;
        g_autofree char *xml = g_markup_printf_escaped(
            domain_caps, a->emulator ? a->emulator : "/usr/sbin/vmd", a->type ? a->type : "kvm",
            machines[i].machine, name, machines[i].cpus);
        libvirt_reply(request, &(struct libvirt_text){.value = xml});
    }
}

static void get_node_info(struct client *c, struct libvirt_request *request, const void *args)
{
    struct host_info_result *h = host_describe();
    struct libvirt_node_info out = {.memory = h->memory->total_bytes / KIB,
                                    .cpus = (int32_t)h->cpu->threads,
                                    .nodes = 1,
                                    .sockets = 1,
                                    .cores = (int32_t)h->cpu->threads,
                                    .threads = 1};

    g_strlcpy(out.model, h->cpu->arch, sizeof(out.model));
    libvirt_reply(request, &out);
    host_info_result_free(h);
}

static void get_free_memory(struct client *c, struct libvirt_request *request, const void *args)
{
    struct host_info_result *h = host_describe();

    libvirt_reply(request, &(struct libvirt_number64){.value = h->memory->available_bytes});
    host_info_result_free(h);
}

const struct bridge_row bridge_host_rows[] = {
    {LIBVIRT_CONNECT_GET_CAPABILITIES, get_capabilities},
    {LIBVIRT_CONNECT_GET_DOMAIN_CAPABILITIES, get_domain_capabilities},
    {LIBVIRT_NODE_GET_INFO, get_node_info},
    {LIBVIRT_NODE_GET_FREE_MEMORY, get_free_memory},
};
const size_t bridge_host_count = G_N_ELEMENTS(bridge_host_rows);
