/* Domain XML into a configuration. Elements are a table; what a rule takes it checks, ranges are
 * the schema's to check. */
#include "proto/libvirt/xml/xml_priv.h"

#include "base/cpulist.h"

#include <sys/utsname.h>

/* Firmware that starts disks, where Debian's packages put it. */
static const struct {
    enum vm_arch arch;
    const char *path, *package;
} firmware[] = {
    {VM_ARCH_AARCH64, "/usr/share/AAVMF/AAVMF_CODE.fd", "qemu-efi-aarch64"},
    {VM_ARCH_RISCV64, "/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "qemu-efi-riscv64"},
    {VM_ARCH_X86_64, "/usr/share/seabios/bios-256k.bin", "seabios"},
};

static void set_text(char **at, char *value)
{
    g_free(*at);
    *at = value;
}

static bool read_memory(struct vm_config *config, xmlNode *node, GError **err)
{
    uint64_t most = 0, now = 0;
    xmlNode *current = xml_child(node->parent, "currentMemory");

    if (!xml_bytes(node, &most, err) || (current && !xml_bytes(current, &now, err)))
        return false;
    /* Whole pages, as a guest's memory is. */
    most = most > UINT64_MAX - MEMORY_GRAIN ? most : ALIGN_UP(most, (uint64_t)MEMORY_GRAIN);
    now = now > most - MEMORY_GRAIN + 1 ? most : ALIGN_UP(now, (uint64_t)MEMORY_GRAIN);
    config->memory = current && now ? now : most;
    config->has_max_memory = config->memory < most;
    config->max_memory = config->has_max_memory ? most : 0;
    return true;
}

static bool read_vcpu(struct vm_config *config, xmlNode *node, GError **err)
{
    g_autofree char *text = xml_text(node), *current = xml_attr(node, "current");
    uint64_t most = 0, now = 0;

    if (!xml_number(text, &most) || most == 0 || most > UINT32_MAX)
        return vmd_fail(err, VMD_ERROR_INVALID, "<vcpu> is no number of processors: '%s'", text);
    now = most;
    if (current && (!xml_number(current, &now) || now == 0 || now > most))
        return vmd_fail(err, VMD_ERROR_INVALID, "<vcpu current='%s'> of %s processors", current,
                        text);
    config->cpus = (uint32_t)now;
    config->has_max_cpus = now < most;
    config->max_cpus = config->has_max_cpus ? (uint32_t)most : 0;
    return true;
}

/* --- where processors run --- */

static const struct vm_pin_config *pin_of(const struct vm_config *config, uint64_t vcpu)
{
    for (size_t i = 0; i < config->n_pins; i++) {
        if (config->pins[i]->vcpu == vcpu)
            return config->pins[i];
    }
    return NULL;
}

static void add_pin(struct vm_config *config, uint64_t vcpu, const cpu_set_t *cpus)
{
    struct vm_pin_config *pin = vm_pin_config_new();

    pin->vcpu = (uint32_t)vcpu;
    g_free(pin->cpus);
    pin->cpus = cpulist_format(cpus);
    config->pins = g_renew(struct vm_pin_config *, config->pins, config->n_pins + 1);
    config->pins[config->n_pins++] = pin;
}

static bool read_cpuset(const xmlNode *node, cpu_set_t *out, GError **err)
{
    g_autofree char *text = xml_attr(node, "cpuset");
    g_auto(GStrv) words = g_strsplit(text ? text : "", " ", -1);
    g_autofree char *list = g_strjoinv("", words);

    if (cpulist_parse(list, out, err))
        return true;
    g_prefix_error(err, "<%s cpuset>: ", node->name);
    return false;
}

static bool read_vcpupin(struct vm_config *config, xmlNode *node, GError **err)
{
    g_autofree char *text = xml_attr(node, "vcpu");
    uint64_t vcpu;
    cpu_set_t cpus;

    if (!xml_number(text, &vcpu) || vcpu >= LIMIT_VCPUS || pin_of(config, vcpu))
        return vmd_fail(err, VMD_ERROR_INVALID, "<vcpupin vcpu='%s'>: no such processor, or one twice",
                        text ? text : "");
    if (!read_cpuset(node, &cpus, err))
        return false;
    add_pin(config, vcpu, &cpus);
    return true;
}

static const char not_limited[] = "processors of guests are not limited by vmd";
static const struct xml_rule cputune_rules[] = {
    {.name = "vcpupin", .read = read_vcpupin},
    {.name = "emulatorpin", .refused = "vmd pins virtual processors alone"},
    {.name = "iothreadpin", .refused = "vmd pins virtual processors alone"},
    {.name = "shares", .refused = not_limited},
    {.name = "period", .refused = not_limited},
    {.name = "quota", .refused = not_limited},
    {.name = "global_period", .refused = not_limited},
    {.name = "global_quota", .refused = not_limited},
    {.name = "emulator_period", .refused = not_limited},
    {.name = "emulator_quota", .refused = not_limited},
    {.name = "iothread_period", .refused = not_limited},
    {.name = "iothread_quota", .refused = not_limited},
    {.name = "vcpusched", .refused = not_limited},
    {.name = "iothreadsched", .refused = not_limited},
    {.name = "emulatorsched", .refused = not_limited},
    {.name = "cachetune", .refused = not_limited},
    {.name = "memorytune", .refused = not_limited},
};

static bool read_cputune(struct vm_config *config, xmlNode *node, GError **err)
{
    return xml_apply(cputune_rules, G_N_ELEMENTS(cputune_rules), config, node, err);
}

/* Those that have no pin of their own are where <vcpu cpuset> says; none is of a processor that is not there. */
static bool settle_pins(struct vm_config *config, const xmlNode *vcpu, GError **err)
{
    uint32_t most = config->has_max_cpus ? config->max_cpus : config->cpus;
    g_autofree char *usual = xml_attr(vcpu, "cpuset");
    cpu_set_t cpus;

    for (size_t i = 0; i < config->n_pins; i++) {
        if (config->pins[i]->vcpu >= most)
            return vmd_fail(err, VMD_ERROR_INVALID, "<vcpupin vcpu='%u'> of %u processors",
                            config->pins[i]->vcpu, most);
    }
    if (!usual)
        return true;
    if (!read_cpuset(vcpu, &cpus, err))
        return false;
    for (uint32_t i = 0; i < MIN(most, LIMIT_VCPUS); i++) {
        if (!pin_of(config, i))
            add_pin(config, i, &cpus);
    }
    return true;
}

static void drop_pins(struct vm_config *config)
{
    for (size_t i = 0; i < config->n_pins; i++)
        vm_pin_config_free(config->pins[i]);
    g_clear_pointer(&config->pins, g_free);
    config->n_pins = 0;
}

/* --- what boots --- */

static bool read_type(struct vm_config *config, xmlNode *os, GError **err)
{
    xmlNode *type = xml_child(os, "type");
    g_autofree char *text = xml_text(type), *arch = xml_attr(type, "arch");
    struct utsname u;

    if (text && strcmp(text, "hvm") != 0)
        return xml_refuse(err, "<type>%s</type>: guests are hvm", text);
    uname(&u);
    if (!vm_arch_from_string(arch ? arch : u.machine, &config->arch, NULL))
        return xml_refuse(err, "arch='%s': guests are riscv64, aarch64 or x86_64",
                          arch ? arch : u.machine);
    return true;
}

/* A loader that was named, or what starts a disk where the XML leaves it to us. */
static bool settle_firmware(struct vm_config *config, xmlNode *os, GError **err)
{
    const char *path = NULL, *package = "";

    set_text(&config->firmware, xml_child_text(os, "loader"));
    set_text(&config->firmware_vars, xml_child_text(os, "nvram"));
    if (config->firmware && !*config->firmware)
        g_clear_pointer(&config->firmware, g_free);
    if (!config->firmware || (config->firmware_vars && !*config->firmware_vars))
        g_clear_pointer(&config->firmware_vars, g_free);
    if (config->firmware || config->kernel)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(firmware); i++) {
        if (firmware[i].arch == config->arch) {
            path = firmware[i].path;
            package = firmware[i].package;
        }
    }
    if (!path || !g_file_test(path, G_FILE_TEST_EXISTS))
        return xml_refuse(err,
                          "<os>: no kernel and no loader, and %s, which would start a disk, is not "
                          "there (package %s)",
                          path, package);
    config->firmware = g_strdup(path);
    return true;
}

static bool read_boot(struct vm_config *config, xmlNode *node, GError **err)
{
    return !xml_attr_is(node, "dev", "network") ||
           xml_refuse(err, "<boot dev='network'>: guests start from disks or a kernel");
}

static const struct xml_rule os_rules[] = {
    {.name = "type"},
    {.name = "loader"},
    {.name = "nvram"},
    {.name = "kernel"},
    {.name = "initrd"},
    {.name = "cmdline"},
    {.name = "boot", .read = read_boot},
    {.name = "bootmenu"},
    {.name = "bios"},
    {.name = "smbios"},
    {.name = "firmware"},
    {.name = "dtb", .refused = "vmd makes device trees itself"},
    {.name = "acpi", .refused = "vmd makes ACPI tables itself"},
    {.name = "init", .refused = "guests are machines, no containers"},
};

static bool read_os(struct vm_config *config, xmlNode *node, GError **err)
{
    if (!xml_apply(os_rules, G_N_ELEMENTS(os_rules), config, node, err) ||
        !read_type(config, node, err))
        return false;
    set_text(&config->kernel, xml_child_text(node, "kernel"));
    set_text(&config->initrd, xml_child_text(node, "initrd"));
    set_text(&config->append, xml_child_text(node, "cmdline"));
    return settle_firmware(config, node, err);
}

/* --- the rest --- */

static bool read_on_reboot(struct vm_config *config, xmlNode *node, GError **err)
{
    g_autofree char *text = xml_text(node);

    config->on_reset = g_strcmp0(text, "destroy") == 0 ? VM_ON_RESET_END : VM_ON_RESET_RESET;
    return true;
}

static bool read_name(struct vm_config *config, xmlNode *node, GError **err)
{
    set_text(&config->name, xml_text(node));
    return true;
}

/* Verbatim, one behind the other. */
static bool keep(struct vm_config *config, xmlNode *node, GError **err)
{
    g_autofree char *own = xml_dump(node);
    size_t len = strlen(own) + (config->libvirt_xml ? strlen(config->libvirt_xml) : 0);

    if (len > XML_KEPT_MAX)
        return vmd_fail(err, VMD_ERROR_LIMIT,
                        "title, description and metadata have more than %d bytes", XML_KEPT_MAX);
    char *all = g_strconcat(config->libvirt_xml ? config->libvirt_xml : "", own, NULL);

    set_text(&config->libvirt_xml, all);
    return true;
}

/* Elements of <domain>. Names, sizes and tunings that change nothing a guest can rely on are
 * dropped. */
static const struct xml_rule rules[] = {
    {.name = "name", .read = read_name, .once = true},
    {.name = "uuid"},
    {.name = "title", .read = keep, .once = true},
    {.name = "description", .read = keep, .once = true},
    {.name = "metadata", .read = keep, .once = true},
    {.name = "memory", .read = read_memory, .once = true},
    {.name = "currentMemory"},
    {.name = "vcpu", .read = read_vcpu, .once = true},
    {.name = "os", .read = read_os, .once = true},
    {.name = "on_reboot", .read = read_on_reboot, .once = true},
    {.name = "devices", .read = xml_read_devices, .once = true},
    {.name = "memoryBacking"},
    {.name = "numatune"},
    {.name = "features"},
    {.name = "clock"},
    {.name = "cpu"},
    {.name = "pm"},
    {.name = "on_poweroff"},
    {.name = "on_crash"},
    {.name = "sysinfo"},
    {.name = "resource"},
    {.name = "seclabel"},
    {.name = "iothreads"},
    {.name = "vcpus"},
    {.name = "maxMemory",
     .refused = "memory that comes later is what <memory> has beyond <currentMemory>"},
    {.name = "bootloader", .refused = "guests start from a kernel or a firmware"},
    {.name = "genid", .refused = "guests have no generation id"},
    {.name = "cputune", .read = read_cputune, .once = true},
    {.name = "memtune", .refused = "memory of guests is not limited by vmd"},
    {.name = "blkiotune", .refused = "disks of guests are not limited by vmd"},
    {.name = "launchSecurity", .refused = "guests are not encrypted"},
};

static bool read_uuid(const xmlNode *root, char **uuid, GError **err)
{
    g_autofree char *text = xml_child_text(root, "uuid");

    if (text) {
        g_autofree char *small = g_ascii_strdown(text, -1);
        if (!g_uuid_string_is_valid(small))
            return vmd_fail(err, VMD_ERROR_INVALID, "<uuid> is none: '%s'", text);
        *uuid = g_steal_pointer(&small);
    }
    return true;
}

static bool read_domain(struct vm_config *config, xmlNode *root, GError **err)
{
    g_autofree char *type = xml_attr(root, "type");

    if (g_strcmp0(type, "kvm") != 0 && g_strcmp0(type, "qemu") != 0 && g_strcmp0(type, "vmd") != 0)
        return xml_refuse(err, "<domain type='%s'>: there are kvm and qemu, which is translated",
                          type ? type : "");
    if (g_strcmp0(type, "qemu") == 0)
        config->accel = VM_ACCEL_XLATE;
    else if (config->accel == VM_ACCEL_XLATE)
        config->accel = VM_ACCEL_AUTO;
    if (!xml_child(root, "name"))
        return vmd_fail(err, VMD_ERROR_INVALID, "the domain has no <name>");
    if (!xml_child(root, "memory") || !xml_child(root, "os"))
        return vmd_fail(err, VMD_ERROR_INVALID, "the domain has no <%s>",
                        xml_child(root, "os") ? "memory" : "os");
    config->cpus = 1;
    config->has_max_cpus = false;
    g_clear_pointer(&config->libvirt_xml, g_free);
    drop_pins(config);
    return xml_apply(rules, G_N_ELEMENTS(rules), config, root, err) &&
           settle_pins(config, xml_child(root, "vcpu"), err);
}

/* Without <devices> there are none. */
static void drop_devices(struct vm_config *config)
{
    for (size_t i = 0; i < config->n_disks; i++)
        vm_disk_config_free(config->disks[i]);
    for (size_t i = 0; i < config->n_nics; i++)
        vm_nic_config_free(config->nics[i]);
    for (size_t i = 0; i < config->n_host_devices; i++)
        vm_host_config_free(config->host_devices[i]);
    for (size_t i = 0; i < config->n_channels; i++)
        g_free(config->channels[i]);
    g_clear_pointer(&config->channels, g_free);
    g_clear_pointer(&config->disks, g_free);
    g_clear_pointer(&config->nics, g_free);
    g_clear_pointer(&config->host_devices, g_free);
    config->n_disks = config->n_nics = config->n_host_devices = config->n_channels = 0;
    config->devices->rng = config->devices->console = false;
    config->devices->memory_period_s = 0;
    config->hotplug->nics = 0;
}

/* What XML cannot say of an interface or a function stays what it was: the one of the same address. */
static void take_over(struct vm_config *config, const struct vm_config *base)
{
    for (size_t i = 0; i < config->n_host_devices; i++) {
        struct vm_host_config *host = config->host_devices[i];
        for (size_t j = 0; base && j < base->n_host_devices && !host->id; j++) {
            if (strcmp(base->host_devices[j]->device, host->device) == 0)
                host->id = g_strdup(base->host_devices[j]->id);
        }
    }
    for (size_t i = 0; i < config->n_nics; i++) {
        for (size_t j = 0; base && j < base->n_nics; j++) {
            struct vm_nic_config *now = config->nics[i], *was = base->nics[j];
            if (g_strcmp0(now->mac, was->mac) != 0 || now->kind != was->kind || now->n_hostfwd)
                continue;
            struct vm_nic_config *copy = vm_nic_config_copy(was);
            set_text(&copy->tap, g_steal_pointer(&now->tap));
            set_text(&copy->network, g_steal_pointer(&now->network));
            vm_nic_config_free(now);
            config->nics[i] = copy;
            break;
        }
    }
}

struct vm_config *domain_xml_read(const char *text, const struct xml_options *options,
                                  const struct vm_config *base, char **uuid, GError **err)
{
    xmlNode *root = xml_open(text, "domain", err);
    g_autofree char *id = NULL;

    if (!root)
        return NULL;
    xml_set_options(root, options);
    struct vm_config *config = base ? vm_config_copy(base) : vm_config_new();
    drop_devices(config);
    bool ok = read_uuid(root, &id, err) && read_domain(config, root, err);
    xml_close(root);
    if (!ok) {
        vm_config_free(config);
        return NULL;
    }
    take_over(config, base);
    *uuid = g_steal_pointer(&id);
    return config;
}

bool domain_xml_identity(const char *text, char **name, char **uuid, GError **err)
{
    xmlNode *root = xml_open(text, "domain", err);
    g_autofree char *id = NULL;

    if (!root)
        return false;
    bool ok = read_uuid(root, &id, err);
    if (ok) {
        *name = xml_child_text(root, "name");
        *uuid = g_steal_pointer(&id);
    }
    xml_close(root);
    return ok;
}
