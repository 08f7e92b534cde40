/* A configuration as domain XML. What clients wrote is kept verbatim in it; the rest is made anew.
 */
#include "proto/libvirt/xml/xml_priv.h"

#include <libxml/parser.h>
#include <stdarg.h>

enum { LETTERS = 26 };

/* Where what clients wrote goes, byte by byte. */
#define MARKER "<kept/>"

/* --- small helpers --- */

static void attr(xmlNode *node, const char *name, const char *value)
{
    xmlNewProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

/* A new child with attributes: pairs of name and value, then NULL. */
static xmlNode *add(xmlNode *parent, const char *name, ...) G_GNUC_NULL_TERMINATED;

static xmlNode *add(xmlNode *parent, const char *name, ...)
{
    xmlNode *node = xmlNewChild(parent, NULL, (const xmlChar *)name, NULL);
    const char *key;
    va_list ap;

    va_start(ap, name);
    while ((key = va_arg(ap, const char *)))
        attr(node, key, va_arg(ap, const char *));
    va_end(ap);
    return node;
}

static xmlNode *add_text(xmlNode *parent, const char *name, const char *text)
{
    return xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

static xmlNode *add_number(xmlNode *parent, const char *name, uint64_t n)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, n);

    return add_text(parent, name, text);
}

/* --- disks --- */

bool xml_is_target(const char *id)
{
    size_t n = strlen(id);

    return n >= 3 && n <= 8 && strchr("vsh", id[0]) && id[1] == 'd' &&
           strspn(id + 2, "abcdefghijklmnopqrstuvwxyz") == n - 2;
}

static bool taken(const struct vm_config *config, const char *name)
{
    for (size_t i = 0; i < config->n_disks; i++) {
        if (g_strcmp0(config->disks[i]->id, name) == 0)
            return true;
    }
    return false;
}

/* Where disk I goes among those before it, which are in order. */
static size_t place_of(struct vm_disk_config *const *disks, size_t i)
{
    size_t at = i, length = strlen(disks[i]->id);

    for (size_t j = 0; j < i; j++) {
        size_t other = strlen(disks[j]->id);
        if (strncmp(disks[j]->id, disks[i]->id, 2) != 0)
            continue;
        if (other > length || (other == length && strcmp(disks[j]->id, disks[i]->id) > 0))
            return j;
        at = j + 1;
    }
    return at;
}

void domain_xml_order_disks(struct vm_config *config)
{
    for (size_t i = 0; i < config->n_disks; i++) {
        if (!config->disks[i]->id || !xml_is_target(config->disks[i]->id))
            return; /* its target goes by its place */
    }
    for (size_t i = 1; i < config->n_disks; i++) {
        struct vm_disk_config *disk = config->disks[i];
        size_t at = place_of(config->disks, i);
        memmove(&config->disks[at + 1], &config->disks[at], (i - at) * sizeof(config->disks[0]));
        config->disks[at] = disk;
    }
}

char *domain_xml_target(const struct vm_config *config, size_t index)
{
    const char *id = config->disks[index]->id;
    size_t left = 0;

    if (id && xml_is_target(id))
        return g_strdup(id);
    for (size_t i = 0; i < index; i++)
        left += !config->disks[i]->id || !xml_is_target(config->disks[i]->id);
    for (unsigned n = 0; n < LETTERS * LETTERS; n++) {
        char *name = n < LETTERS ? g_strdup_printf("vd%c", 'a' + (int)n)
                                 : g_strdup_printf("vd%c%c", 'a' + (int)(n / LETTERS) - 1,
                                                   'a' + (int)(n % LETTERS));
        if (!taken(config, name) && left-- == 0)
            return name;
        g_free(name);
    }
    return g_strdup(id);
}

static void write_disk(xmlNode *devices, const struct vm_config *config, size_t index)
{
    static const char *const policies[] = {[VM_DISK_ONERROR_ENOSPC] = "enospace",
                                           [VM_DISK_ONERROR_REPORT] = "report",
                                           [VM_DISK_ONERROR_PAUSE] = "stop"};
    const struct vm_disk_config *disk = config->disks[index];
    g_autofree char *target = domain_xml_target(config, index);
    bool block = g_str_has_prefix(disk->path, "/dev/");
    xmlNode *node = add(devices, "disk", "type", block ? "block" : "file", "device", "disk", NULL);

    xmlNode *driver =
        add(node, "driver", "name", "qemu", "error_policy", policies[disk->onerror], NULL);
    if (disk->format != VM_DISK_FORMAT_AUTO)
        attr(driver, "type", vm_disk_format_to_string(disk->format));
    add(node, "source", block ? "dev" : "file", disk->path, NULL);
    add(node, "target", "dev", target, "bus", "virtio", NULL);
    if (disk->readonly)
        add(node, "readonly", NULL);
    if (disk->serial)
        add_text(node, "serial", disk->serial);
    if (disk->id)
        add(node, "alias", "name", disk->id, NULL);
}

/* --- other devices --- */

static void write_nic(xmlNode *devices, const struct vm_nic_config *nic)
{
    bool tap = nic->kind == VM_NIC_KIND_TAP;
    const char *type = tap ? "ethernet" : nic->network ? "network" : "user";
    xmlNode *node = add(devices, "interface", "type", type, NULL);

    if (nic->mac)
        add(node, "mac", "address", nic->mac, NULL);
    if (tap)
        add(node, "target", "dev", nic->tap, "managed", "no", NULL);
    if (nic->network)
        add(node, "source", "network", nic->network, NULL);
    add(node, "model", "type", "virtio", NULL);
    if (nic->kind == VM_NIC_KIND_NONE)
        add(node, "link", "state", "down", NULL);
    if (nic->id)
        add(node, "alias", "name", nic->id, NULL);
}

/* Ports for interfaces that come later. */
static void write_ports(xmlNode *devices, const struct vm_config *config)
{
    for (uint32_t i = 0; i < config->hotplug->nics; i++) {
        g_autofree char *id = g_strdup_printf("link%u", i);
        xmlNode *node = add(devices, "interface", "type", "ethernet", NULL);
        add(node, "model", "type", "virtio", NULL);
        add(node, "link", "state", "down", NULL);
        add(node, "alias", "name", id, NULL);
    }
}

/* HOST's address is as in 0000:01:00.0. */
static void write_hostdev(xmlNode *devices, const struct vm_host_config *host)
{
    xmlNode *node = add(devices, "hostdev", "mode", "subsystem", "type", "pci", "managed", "yes", NULL);
    g_auto(GStrv) parts = g_strsplit_set(host->device, ":.", 4);

    add(node, "driver", "name", "vfio", NULL);
    xmlNode *address = add(add(node, "source", NULL), "address", NULL);
    for (unsigned i = 0; i < g_strv_length(parts); i++) {
        static const char *const names[] = {"domain", "bus", "slot", "function"};
        g_autofree char *text = g_strconcat("0x", parts[i], NULL);
        attr(address, names[i], text);
    }
    if (host->id)
        add(node, "alias", "name", host->id, NULL);
}

static void write_consoles(xmlNode *devices, const struct vm_config *config)
{
    xmlNode *serial = add(devices, "serial", "type", "pty", NULL);
    xmlNode *console = add(devices, "console", "type", "pty", NULL);

    add(serial, "target", "port", "0", NULL);
    add(serial, "alias", "name", "serial0", NULL);
    add(console, "target", "type", "serial", "port", "0", NULL);
    add(console, "alias", "name", "serial0", NULL);
    if (!config->devices->console)
        return;
    xmlNode *hvc = add(devices, "console", "type", "pty", NULL);
    add(hvc, "target", "type", "virtio", "port", "1", NULL);
    add(hvc, "alias", "name", "hvc0", NULL);
}

/* Of a run, where its socket is. */
static void write_channel(xmlNode *devices, const struct vm_config *config, size_t index,
                          const struct xml_run *run)
{
    xmlNode *node = add(devices, "channel", "type", "unix", NULL);
    g_autofree char *alias = g_strdup_printf("channel%zu", index);

    if (run) {
        g_autofree char *path = g_build_filename(run->dir, alias, NULL);
        add(node, "source", "mode", "bind", "path", path, NULL);
    }
    add(node, "target", "type", "virtio", "name", config->channels[index], NULL);
    add(node, "alias", "name", alias, NULL);
}

static void write_devices(xmlNode *root, const struct vm_config *config, const struct xml_run *run)
{
    xmlNode *devices = add(root, "devices", NULL);

    for (size_t i = 0; i < config->n_disks; i++)
        write_disk(devices, config, i);
    for (size_t i = 0; i < config->n_nics; i++)
        write_nic(devices, config->nics[i]);
    write_ports(devices, config);
    for (size_t i = 0; i < config->n_host_devices; i++)
        write_hostdev(devices, config->host_devices[i]);
    write_consoles(devices, config);
    for (size_t i = 0; i < config->n_channels; i++)
        write_channel(devices, config, i, run);
    xmlNode *balloon =
        add(devices, "memballoon", "model", config->devices->balloon ? "virtio" : "none", NULL);
    if (config->devices->memory_period_s) {
        g_autofree char *period = g_strdup_printf("%u", config->devices->memory_period_s);
        add(balloon, "stats", "period", period, NULL);
    }
    if (config->devices->rng) {
        xmlNode *rng = add(devices, "rng", "model", "virtio", NULL);
        add(rng, "backend", "model", "random", NULL);
        xmlNodeAddContent(rng->children, (const xmlChar *)"/dev/urandom");
    }
}

/* --- the domain --- */

static void write_size(xmlNode *root, const char *name, uint64_t bytes)
{
    attr(add_number(root, name, bytes >> 10), "unit", "KiB");
}

static void write_os(xmlNode *root, const struct vm_config *config)
{
    xmlNode *os = add(root, "os", NULL), *type = add_text(os, "type", "hvm");
    const struct {
        const char *name, *text;
    } texts[] = {
        {"kernel", config->kernel}, {"initrd", config->initrd}, {"cmdline", config->append}};

    attr(type, "arch", vm_arch_to_string(config->arch));
    attr(type, "machine", config->arch == VM_ARCH_X86_64 ? "pc" : "virt");
    if (config->firmware) {
        xmlNode *loader = add_text(os, "loader", config->firmware);
        attr(loader, "readonly", "yes");
        attr(loader, "type", config->arch == VM_ARCH_X86_64 ? "rom" : "pflash");
    }
    if (config->firmware_vars)
        add_text(os, "nvram", config->firmware_vars);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (texts[i].text)
            add_text(os, texts[i].name, texts[i].text);
    }
    if (!config->kernel)
        add(os, "boot", "dev", "hd", NULL);
}

/* TEXT with the elements KEPT in place of the marker, which no name or text can hold: they escape
 * it. */
static char *with_kept(const char *text, const char *kept)
{
    const char *at = strstr(text, MARKER);

    return g_strdup_printf("%.*s%s%s\n", (int)(at - text), text, kept, at + strlen(MARKER));
}

static void write_numbers(xmlNode *root, const struct vm_config *config)
{
    g_autofree char *current = g_strdup_printf("%u", config->cpus);

    write_size(root, "memory", config->has_max_memory ? config->max_memory : config->memory);
    write_size(root, "currentMemory", config->memory);
    xmlNode *vcpu =
        add_number(root, "vcpu", config->has_max_cpus ? config->max_cpus : config->cpus);
    attr(vcpu, "placement", "static");
    if (config->has_max_cpus)
        attr(vcpu, "current", current);
    xmlNode *tune = config->n_pins ? add(root, "cputune", NULL) : NULL;
    for (size_t i = 0; i < config->n_pins; i++) {
        g_autofree char *number = g_strdup_printf("%u", config->pins[i]->vcpu);
        add(tune, "vcpupin", "vcpu", number, "cpuset", config->pins[i]->cpus, NULL);
    }
}

char *domain_xml_write(const struct vm_config *config, const char *id, const struct xml_run *run)
{
    xmlDoc *doc = xmlNewDoc((const xmlChar *)"1.0");
    xmlNode *root = xmlNewNode(NULL, (const xmlChar *)"domain");
    xmlBuffer *buffer = xmlBufferCreate();

    xmlDocSetRootElement(doc, root);
    attr(root, "type", config->accel == VM_ACCEL_XLATE ? "qemu" : "kvm");
    if (run) {
        g_autofree char *text = g_strdup_printf("%d", run->number);
        attr(root, "id", text);
    }
    add_text(root, "name", config->name);
    add_text(root, "uuid", id);
    add(root, "kept", NULL);
    write_numbers(root, config);
    write_os(root, config);
    add(root, "clock", "offset", "utc", NULL);
    add_text(root, "on_poweroff", "destroy");
    add_text(root, "on_reboot", config->on_reset == VM_ON_RESET_END ? "destroy" : "restart");
    add_text(root, "on_crash", "destroy");
    write_devices(root, config, run);
    xmlNodeDump(buffer, doc, root, 0, 1);
    char *out = with_kept((const char *)xmlBufferContent(buffer),
                          config->libvirt_xml ? config->libvirt_xml : "");
    xmlBufferFree(buffer);
    xmlFreeDoc(doc);
    return out;
}
