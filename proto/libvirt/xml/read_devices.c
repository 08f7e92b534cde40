/* Elements of <devices>, and devices that come alone. */
#include "proto/libvirt/xml/xml_priv.h"

static const char *const types[] = {"file", "block", "volume"}, *const buses[] = {"virtio"};

static bool any_of(const char *text, const char *const *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, all[i]) == 0)
            return true;
    }
    return false;
}

/* --- disks --- */

bool xml_is_empty_drive(const xmlNode *node)
{
    xmlNode *source = xml_child(node, "source");
    g_autofree char *file = xml_attr(source, "file"), *dev = xml_attr(source, "dev"),
                    *volume = xml_attr(source, "volume");
    bool drive = xml_attr_is(node, "device", "cdrom") || xml_attr_is(node, "device", "floppy");

    return drive && !file && !dev && !volume;
}

static bool read_shareable(struct vm_config *config, xmlNode *node, GError **err)
{
    return xml_child(node->parent, "readonly") ||
           xml_refuse(err, "<shareable>: a disk is one guest's, or read-only");
}

static const struct xml_rule disk_rules[] = {
    {.name = "driver"},
    {.name = "source"},
    {.name = "target"},
    {.name = "readonly"},
    {.name = "serial"},
    {.name = "boot"},
    {.name = "alias"},
    {.name = "address"},
    {.name = "backingStore"},
    {.name = "geometry"},
    {.name = "blockio"},
    {.name = "wwn"},
    {.name = "vendor"},
    {.name = "product"},
    {.name = "acpi"},
    {.name = "iotune", .refused = "disks are not limited by vmd"},
    {.name = "shareable", .read = read_shareable},
    {.name = "transient", .refused = "what a guest writes stays"},
    {.name = "encryption", .refused = "vmd reads no encrypted images"},
    {.name = "auth", .refused = "disks are files or block devices"},
    {.name = "mirror", .refused = "vmd mirrors no disks"},
};

static bool check_disk(xmlNode *node, const char *target, GError **err)
{
    g_autofree char *type = xml_attr(node, "type"), *device = xml_attr(node, "device"),
                    *bus = xml_child_attr(node, "target", "bus");
    bool cdrom = g_strcmp0(device, "cdrom") == 0;

    if (!type || !any_of(type, types, G_N_ELEMENTS(types)))
        return xml_refuse(err, "disk %s: type='%s': disks are of type file, block or volume",
                          target, type ? type : "");
    if (device && !cdrom && strcmp(device, "disk") != 0)
        return xml_refuse(err, "disk %s: device='%s': there are disk and cdrom", target, device);
    /* A drive is a disk that cannot be written, whatever it would hang on elsewhere. */
    if (bus && !cdrom && !any_of(bus, buses, G_N_ELEMENTS(buses)))
        return xml_refuse(err, "disk %s: bus='%s': use bus='virtio'", target, bus);
    return xml_apply(disk_rules, G_N_ELEMENTS(disk_rules), NULL, node, err);
}

static bool read_format(struct vm_disk_config *disk, const xmlNode *node, const char *target,
                        GError **err)
{
    g_autofree char *format = xml_child_attr(node, "driver", "type");

    disk->format = format ? VM_DISK_FORMAT_RAW : VM_DISK_FORMAT_AUTO;
    if (g_strcmp0(format, "qcow2") == 0)
        disk->format = VM_DISK_FORMAT_QCOW2;
    return !format || disk->format == VM_DISK_FORMAT_QCOW2 || strcmp(format, "raw") == 0 ||
           xml_refuse(err, "disk %s: type='%s': images are raw or qcow2", target, format);
}

static void read_policy(struct vm_disk_config *disk, const xmlNode *node)
{
    g_autofree char *policy = xml_child_attr(node, "driver", "error_policy");

    if (g_strcmp0(policy, "stop") == 0)
        disk->onerror = VM_DISK_ONERROR_PAUSE;
    else if (g_strcmp0(policy, "report") == 0)
        disk->onerror = VM_DISK_ONERROR_REPORT;
}

/* Where the disk NODE lies, the caller's to free; NULL with ERR. */
static char *read_source(const xmlNode *node, const char *target, GError **err)
{
    const xmlNode *source = xml_child(node, "source");
    const struct xml_options *options = xml_options(node);
    g_autofree char *pool = NULL, *volume = NULL;
    char *path = xml_attr(source, "file");

    if (!path)
        path = xml_attr(source, "dev");
    if (path)
        return path;
    pool = xml_attr(source, "pool");
    volume = xml_attr(source, "volume");
    if (pool && volume && options->volume)
        return options->volume(options->user, pool, volume, err);
    vmd_fail(err, VMD_ERROR_INVALID, "disk %s has no <source>", target);
    return NULL;
}

struct vm_disk_config *xml_read_disk(xmlNode *node, GError **err)
{
    g_autofree char *target = xml_child_attr(node, "target", "dev");

    if (!target) {
        vmd_fail(err, VMD_ERROR_INVALID, "a <disk> has no <target dev=...>");
        return NULL;
    }
    if (!xml_is_target(target)) {
        vmd_fail(err, VMD_ERROR_INVALID, "<target dev='%s'>: disks are vda, vdb and so on", target);
        return NULL;
    }
    if (!check_disk(node, target, err))
        return NULL;
    struct vm_disk_config *disk = vm_disk_config_new();
    disk->path = read_source(node, target, err);
    disk->readonly = xml_child(node, "readonly") || xml_attr_is(node, "device", "cdrom");
    disk->serial = xml_child_text(node, "serial");
    read_policy(disk, node);
    if (!disk->path || !read_format(disk, node, target, err)) {
        vm_disk_config_free(disk);
        return NULL;
    }
    disk->id = g_steal_pointer(&target);
    return disk;
}

static bool read_disk(struct vm_config *config, xmlNode *node, GError **err)
{
    if (xml_is_empty_drive(node))
        return true;
    if (config->n_disks >= LIMIT_DISKS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "more than %d disks", LIMIT_DISKS);
    struct vm_disk_config *disk = xml_read_disk(node, err);
    if (!disk)
        return false;
    config->disks = g_renew(struct vm_disk_config *, config->disks, config->n_disks + 1);
    config->disks[config->n_disks++] = disk;
    return true;
}

/* --- interfaces --- */

static const struct xml_rule nic_rules[] = {
    {.name = "mac"},
    {.name = "model"},
    {.name = "target"},
    {.name = "source"},
    {.name = "alias"},
    {.name = "address"},
    {.name = "driver"},
    {.name = "link"},
    {.name = "boot"},
    {.name = "rom"},
    {.name = "backend"},
    {.name = "acpi"},
    {.name = "script", .refused = "vmd runs no scripts"},
    {.name = "bandwidth", .refused = "interfaces are not limited by vmd"},
    {.name = "filterref", .refused = "vmd filters no packets"},
    {.name = "virtualport", .refused = "there is none on a tap"},
    {.name = "vlan", .refused = "vmd tags no packets"},
    {.name = "mtu", .refused = "a tap's own is taken"},
    {.name = "portForward", .refused = "forwards are members of vmd's own configuration (hostfwd)"},
};

/* The one network that there is: the VM's own, behind NAT. */
static bool read_network(struct vm_nic_config *nic, const xmlNode *node, GError **err)
{
    nic->kind = VM_NIC_KIND_USER;
    nic->network = xml_child_attr(node, "source", "network");
    return g_strcmp0(nic->network, XML_NETWORK) == 0 ||
           xml_refuse(err, "<source network='%s'>: the network that there is is " XML_NETWORK,
                      nic->network ? nic->network : "");
}

static bool read_link(struct vm_nic_config *nic, xmlNode *node, GError **err)
{
    g_autofree char *type = xml_attr(node, "type");

    if (g_strcmp0(type, "ethernet") == 0) {
        nic->kind = VM_NIC_KIND_TAP;
        nic->tap = xml_child_attr(node, "target", "dev");
        if (!nic->tap)
            return vmd_fail(err, VMD_ERROR_INVALID,
                            "<interface type='ethernet'> has no <target dev=...>, a tap");
    } else if (g_strcmp0(type, "user") == 0) {
        nic->kind = VM_NIC_KIND_USER;
    } else if (g_strcmp0(type, "network") == 0) {
        if (!read_network(nic, node, err))
            return false;
    } else {
        return xml_refuse(
            err, "<interface type='%s'>: there are user, network, and ethernet, which is a tap",
            type ? type : "");
    }
    xmlNode *link = xml_child(node, "link");
    if (link && xml_attr_is(link, "state", "down")) {
        nic->kind = VM_NIC_KIND_NONE;
        g_clear_pointer(&nic->tap, g_free);
        g_clear_pointer(&nic->network, g_free);
    }
    return true;
}

/* A port whose link is down until an interface is attached. */
static bool is_port(const xmlNode *node)
{
    g_autofree char *tap = xml_child_attr(node, "target", "dev");
    const xmlNode *link = xml_child(node, "link");

    return xml_attr_is(node, "type", "ethernet") && !tap && link &&
           xml_attr_is(link, "state", "down");
}

struct vm_nic_config *xml_read_nic(xmlNode *node, GError **err)
{
    g_autofree char *model = xml_child_attr(node, "model", "type");

    if (model && strcmp(model, "virtio") != 0) {
        xml_refuse(err, "<interface>: model='%s': use model type='virtio'", model);
        return NULL;
    }
    struct vm_nic_config *nic = vm_nic_config_new();
    nic->mac = xml_child_attr(node, "mac", "address");
    if (nic->mac) {
        char *small = g_ascii_strdown(nic->mac, -1);
        g_free(nic->mac);
        nic->mac = small;
    }
    if (xml_apply(nic_rules, G_N_ELEMENTS(nic_rules), NULL, node, err) && read_link(nic, node, err))
        return nic;
    vm_nic_config_free(nic);
    return NULL;
}

static bool read_nic(struct vm_config *config, xmlNode *node, GError **err)
{
    if (config->n_nics + config->hotplug->nics >= LIMIT_NICS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "more than %d interfaces", LIMIT_NICS);
    if (is_port(node)) {
        config->hotplug->nics++;
        return true;
    }
    struct vm_nic_config *nic = xml_read_nic(node, err);
    if (!nic)
        return false;
    config->nics = g_renew(struct vm_nic_config *, config->nics, config->n_nics + 1);
    config->nics[config->n_nics++] = nic;
    return true;
}

static bool read_hostdev(struct vm_config *config, xmlNode *node, GError **err)
{
    if (config->n_host_devices >= LIMIT_HOST_FUNCTIONS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "more than %d <hostdev>", LIMIT_HOST_FUNCTIONS);
    struct vm_host_config *host = xml_read_hostdev(node, err);
    if (!host)
        return false;
    config->host_devices =
        g_renew(struct vm_host_config *, config->host_devices, config->n_host_devices + 1);
    config->host_devices[config->n_host_devices++] = host;
    return true;
}

/* --- others --- */

static bool read_rng(struct vm_config *config, xmlNode *node, GError **err)
{
    config->devices->rng = true;
    return true;
}

enum { MEMORY_PERIOD_MOST = 86400 };

static bool read_balloon(struct vm_config *config, xmlNode *node, GError **err)
{
    g_autofree char *period = xml_child_attr(node, "stats", "period");
    uint64_t seconds = 0;

    if (period && (!xml_number(period, &seconds) || seconds > MEMORY_PERIOD_MOST))
        return vmd_fail(err, VMD_ERROR_INVALID, "<stats period='%s'>: 0 to %d seconds", period,
                        MEMORY_PERIOD_MOST);
    config->devices->balloon = !xml_attr_is(node, "model", "none");
    config->devices->memory_period_s = (uint32_t)seconds;
    return true;
}

/* The serial port is always there. */
static bool read_console(struct vm_config *config, xmlNode *node, GError **err)
{
    xmlNode *target = xml_child(node, "target");

    config->devices->console |= target && xml_attr_is(target, "type", "virtio");
    return true;
}

static const struct xml_rule channel_rules[] = {
    {.name = "source"},
    {.name = "target"},
    {.name = "alias"},
    {.name = "address"},
    {.name = "protocol", .refused = "bytes go as they are"},
    {.name = "log", .refused = "what goes through channels is not kept"},
};

/* vmd listens, at a path of its own, which may be written back as it was shown. */
static bool check_channel_source(const xmlNode *node, GError **err)
{
    const xmlNode *source = xml_child(node, "source");
    const struct xml_options *options = xml_options(node);
    g_autofree char *mode = xml_attr(source, "mode"), *path = xml_attr(source, "path");

    if (mode && strcmp(mode, "bind") != 0)
        return xml_refuse(err, "<channel>: mode='%s': there is bind", mode);
    return !path || (options->sockets && g_str_has_prefix(path, options->sockets)) ||
           xml_refuse(err, "<channel>: path='%s': vmd chooses the socket itself", path);
}

/* A port of the virtio console, which there is then. What a screen's client has is dropped. */
static bool read_channel(struct vm_config *config, xmlNode *node, GError **err)
{
    g_autofree char *type = xml_attr(node, "type"), *target = xml_child_attr(node, "target", "type"),
                    *name = xml_child_attr(node, "target", "name");

    if (g_strcmp0(type, "spicevmc") == 0)
        return true;
    if (g_strcmp0(type, "unix") != 0)
        return xml_refuse(err, "<channel type='%s'>: use type='unix'", type ? type : "");
    if (g_strcmp0(target, "virtio") != 0)
        return xml_refuse(err, "<channel>: target type='%s': use type='virtio'",
                          target ? target : "");
    if (!name)
        return xml_refuse(err, "<channel>: a guest finds it by <target name=...>");
    if (!xml_apply(channel_rules, G_N_ELEMENTS(channel_rules), config, node, err) ||
        !check_channel_source(node, err))
        return false;
    if (config->n_channels >= LIMIT_CHANNELS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "more than %d <channel>", LIMIT_CHANNELS);
    config->channels = g_renew(char *, config->channels, config->n_channels + 2);
    config->channels[config->n_channels++] = g_steal_pointer(&name);
    config->channels[config->n_channels] = NULL;
    config->devices->console = true;
    return true;
}

static bool read_audio(struct vm_config *config, xmlNode *node, GError **err)
{
    return xml_attr_is(node, "type", "none") || xml_refuse(err, "<audio>: guests have no sound");
}

static const struct xml_rule rules[] = {
    {.name = "disk", .read = read_disk},
    {.name = "interface", .read = read_nic},
    {.name = "rng", .read = read_rng},
    {.name = "memballoon", .read = read_balloon},
    {.name = "console", .read = read_console},
    {.name = "channel", .read = read_channel},
    {.name = "audio", .read = read_audio, .screen = true},
    {.name = "emulator"},
    {.name = "serial"},
    {.name = "controller"},
    {.name = "input"},
    {.name = "graphics", .refused = "guests have no screen; use --graphics none", .screen = true},
    {.name = "video", .refused = "guests have no screen", .screen = true},
    {.name = "sound", .refused = "guests have no sound", .screen = true},
    {.name = "redirdev", .refused = "guests have no USB", .screen = true},
    {.name = "hub", .refused = "guests have no USB"},
    {.name = "parallel", .refused = "guests have no parallel port"},
    {.name = "hostdev", .read = read_hostdev},
    {.name = "filesystem", .refused = "folders of the host are not shared with guests"},
    {.name = "vsock", .refused = "guests have none"},
    {.name = "watchdog", .refused = "guests have none"},
    {.name = "tpm", .refused = "guests have none"},
    {.name = "smartcard", .refused = "guests have none"},
    {.name = "shmem", .refused = "guests have none"},
    {.name = "panic", .refused = "guests tell of a panic by the serial port"},
    {.name = "memory",
     .refused = "memory that comes later is what <memory> has beyond <currentMemory>"},
    {.name = "iommu", .refused = "guests have none"},
    {.name = "lease", .refused = "disks are locked by vmd"},
};

bool xml_read_devices(struct vm_config *config, xmlNode *node, GError **err)
{
    return xml_apply(rules, G_N_ELEMENTS(rules), config, node, err);
}

/* --- a device alone --- */

struct device_spec *device_xml_read(const char *text, const struct xml_options *options,
                                    GError **err)
{
    xmlNode *root = xml_open(text, NULL, err);

    if (!root)
        return NULL;
    xml_set_options(root, options);
    struct device_spec *spec = device_spec_new();
    if (xml_is(root, "disk")) {
        spec->kind = HOT_KIND_DISK;
        spec->disk = xml_read_disk(root, err);
    } else if (xml_is(root, "interface")) {
        spec->kind = HOT_KIND_NIC;
        spec->nic = xml_read_nic(root, err);
    } else if (xml_is(root, "hostdev")) {
        spec->kind = HOT_KIND_HOST;
        spec->host = xml_read_hostdev(root, err);
    } else {
        xml_refuse(err, "<%s>: disks, interfaces and PCI functions come and go while a guest runs",
                   root->name);
    }
    xml_close(root);
    if (spec->disk || spec->nic || spec->host)
        return spec;
    device_spec_free(spec);
    return NULL;
}

/* The id that the alias of ROOT names, where CONFIG has such a device of ROOT's kind. */
static char *find_alias(const xmlNode *root, const struct vm_config *config)
{
    g_autofree char *alias = xml_child_attr(root, "alias", "name");

    for (size_t i = 0; i < config->n_disks && alias && xml_is(root, "disk"); i++) {
        if (g_strcmp0(config->disks[i]->id, alias) == 0)
            return g_steal_pointer(&alias);
    }
    for (size_t i = 0; i < config->n_nics && alias && xml_is(root, "interface"); i++) {
        if (g_strcmp0(config->nics[i]->id, alias) == 0)
            return g_steal_pointer(&alias);
    }
    for (size_t i = 0; i < config->n_host_devices && alias && xml_is(root, "hostdev"); i++) {
        if (g_strcmp0(config->host_devices[i]->id, alias) == 0)
            return g_steal_pointer(&alias);
    }
    return NULL;
}

static char *find_hostdev(const xmlNode *root, const struct vm_config *config)
{
    g_autofree char *address = xml_read_host_address(root, NULL);

    for (size_t i = 0; i < config->n_host_devices && address; i++) {
        if (strcmp(config->host_devices[i]->device, address) == 0)
            return g_strdup(config->host_devices[i]->id);
    }
    return NULL;
}

static char *find_disk(const xmlNode *root, const struct vm_config *config)
{
    g_autofree char *target = xml_child_attr(root, "target", "dev");

    for (size_t i = 0; i < config->n_disks && target; i++) {
        g_autofree char *name = domain_xml_target(config, i);
        if (strcmp(name, target) == 0)
            return g_strdup(config->disks[i]->id);
    }
    return NULL;
}

static char *find_nic(const xmlNode *root, const struct vm_config *config)
{
    g_autofree char *mac = xml_child_attr(root, "mac", "address");

    for (size_t i = 0; i < config->n_nics && mac; i++) {
        if (config->nics[i]->mac && g_ascii_strcasecmp(config->nics[i]->mac, mac) == 0)
            return g_strdup(config->nics[i]->id);
    }
    return !mac && config->n_nics == 1 ? g_strdup(config->nics[0]->id) : NULL;
}

char *device_xml_find(const char *text, const struct vm_config *config, GError **err)
{
    xmlNode *root = xml_open(text, NULL, err);
    char *id = NULL;

    if (!root)
        return NULL;
    id = find_alias(root, config);
    if (!id && xml_is(root, "disk"))
        id = find_disk(root, config);
    else if (!id && xml_is(root, "interface"))
        id = find_nic(root, config);
    else if (!id && xml_is(root, "hostdev"))
        id = find_hostdev(root, config);
    if (!id)
        vmd_fail(err, VMD_ERROR_NOT_FOUND, "the domain has no such <%s>", root->name);
    xml_close(root);
    return id;
}
