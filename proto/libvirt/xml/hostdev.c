/* PCI functions of the host in domain XML: <hostdev mode='subsystem' type='pci'>. See xml_priv.h. */
#include "proto/libvirt/xml/xml_priv.h"

static const struct xml_rule hostdev_rules[] = {
    {.name = "source"},
    {.name = "driver"},
    {.name = "alias"},
    {.name = "address"},
    {.name = "boot", .refused = "firmware starts disks alone"},
    {.name = "teaming", .refused = "guests have no pairs of interfaces"},
    {.name = "readonly", .refused = "of a PCI function nothing is left out"},
    {.name = "shareable", .refused = "a function has one guest"},
    {.name = "rom"},
};

/* The member NAME of ADDRESS, at most MOST, or 0 where it has none; libvirt writes them as 0x1a, and people as 26. */
static bool read_part(const xmlNode *address, const char *name, unsigned most, unsigned *out,
                      GError **err)
{
    g_autofree char *text = xml_attr(address, name);
    char *end = NULL;
    guint64 n = text && g_ascii_isdigit(*text) ? g_ascii_strtoull(text, &end, 0) : 0;

    *out = (unsigned)n;
    return !text || (end && *end == 0 && n <= most) ||
           vmd_fail(err, VMD_ERROR_INVALID,
                    "<hostdev>: '%s' is no %s of a PCI function, of which 0x%x is the last", text,
                    name, most);
}

char *xml_read_host_address(const xmlNode *node, GError **err)
{
    static const struct {
        const char *name;
        unsigned most;
    } parts[] = {{"domain", 0xffff}, {"bus", 0xff}, {"slot", 0x1f}, {"function", 7}};
    const xmlNode *source = xml_child(node, "source");
    const xmlNode *address = source ? xml_child(source, "address") : NULL;
    unsigned n[G_N_ELEMENTS(parts)];

    if (!address) {
        vmd_fail(err, VMD_ERROR_INVALID, "<hostdev> has no <source><address .../></source>");
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (!read_part(address, parts[i].name, parts[i].most, &n[i], err))
            return NULL;
    }
    return g_strdup_printf("%04x:%02x:%02x.%x", n[0], n[1], n[2], n[3]);
}

static bool check_kind(xmlNode *node, GError **err)
{
    g_autofree char *mode = xml_attr(node, "mode"), *type = xml_attr(node, "type");
    g_autofree char *driver = xml_child_attr(node, "driver", "name");
    g_autofree char *rom = xml_child_attr(node, "rom", "file");

    if (g_strcmp0(mode ? mode : "subsystem", "subsystem") != 0 || g_strcmp0(type, "pci") != 0)
        return xml_refuse(err, "<hostdev mode='%s' type='%s'>: guests have PCI functions of the host",
                          mode ? mode : "", type ? type : "");
    if (driver && strcmp(driver, "vfio") != 0)
        return xml_refuse(err, "<hostdev>: <driver name='%s'>: there is vfio", driver);
    return !rom || xml_refuse(err, "<hostdev>: <rom file=...>: guests see no ROM");
}

struct vm_host_config *xml_read_hostdev(xmlNode *node, GError **err)
{
    if (!check_kind(node, err) ||
        !xml_apply(hostdev_rules, G_N_ELEMENTS(hostdev_rules), NULL, node, err))
        return NULL;
    char *address = xml_read_host_address(node, err);
    if (!address)
        return NULL;
    struct vm_host_config *host = vm_host_config_new();
    host->device = address;
    return host;
}
