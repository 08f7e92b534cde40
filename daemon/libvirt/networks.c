/*
 * The one network: user networking, as libvirt's clients look for it. It is of each VM's own, made by its
 * process; so there is nothing to start, to define or to lease addresses from.
 */
#include "daemon/libvirt/bridge_priv.h"
#include "proto/libvirt/xml/xml.h"

enum {
    INACTIVE = 1 << 0,
    ACTIVE = 1 << 1,
    PERSISTENT = 1 << 2,
    TRANSIENT = 1 << 3,
    AUTOSTART = 1 << 4,
    NO_AUTOSTART = 1 << 5,
    ALL = (1 << 6) - 1,
    XML_INACTIVE = 1 << 0,
    SOURCE_LEASE = 0,
};

/* The same everywhere: it is no network of this host's. */
static const char uuid_text[] = "7a6d6475-7365-726e-6574-776f726b0000";

/* The addresses are those of user networking (machine/net/user.c). */
static const char xml_text[] = "<network>\n  <name>" XML_NETWORK "</name>\n  <uuid>%s</uuid>\n"
                               "  <forward mode='nat'/>\n"
                               "  <ip address='10.0.2.2' netmask='255.255.255.0'>\n    <dhcp>\n"
                               "      <range start='10.0.2.15' end='10.0.2.30'/>\n    </dhcp>\n"
                               "  </ip>\n</network>\n";

static struct libvirt_named network(void)
{
    struct libvirt_named out = {.name = (char *)XML_NETWORK};

    bridge_uuid(uuid_text, out.uuid);
    return out;
}

/* Whether the client means it; else REQUEST was answered with an error. */
static bool need(struct libvirt_request *request, const struct libvirt_named *named)
{
    struct libvirt_named own = network();

    if (memcmp(named->uuid, own.uuid, sizeof(own.uuid)) == 0)
        return true;
    libvirt_fail(request, LIBVIRT_ERR_NO_NETWORK, LIBVIRT_FROM_NETWORK, "there is no network %s",
                 named->name);
    return false;
}

static void list_all(struct client *c, struct libvirt_request *request, const void *args)
{
    static const uint32_t groups[] = {INACTIVE | ACTIVE, PERSISTENT | TRANSIENT,
                                      AUTOSTART | NO_AUTOSTART};
    const struct libvirt_list_all *a = args;
    struct libvirt_named own = network();
    struct libvirt_all_named out = {.count = 1, .named = &own};

    if (!bridge_flags(request, a->flags, ALL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(groups); i++) {
        uint32_t wanted = a->flags & groups[i];
        if (wanted && !(wanted & (ACTIVE | PERSISTENT | AUTOSTART)))
            out.count = 0;
    }
    out.named_count = a->need_results ? out.count : 0;
    libvirt_reply(request, &out);
}

static void count(struct client *c, struct libvirt_request *request, const void *args)
{
    bool active = libvirt_request_call(request)->number == LIBVIRT_CONNECT_NUM_OF_NETWORKS;

    libvirt_reply(request, &(struct libvirt_number){.value = active});
}

static void list_names(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_number *most = args;
    bool active = libvirt_request_call(request)->number == LIBVIRT_CONNECT_LIST_NETWORKS;
    char *names[] = {(char *)XML_NETWORK};
    struct libvirt_names out = {.names_count = active && most->value > 0, .names = names};

    libvirt_reply(request, &out);
}

static void lookup_by_name(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_text *a = args;
    struct libvirt_one_named out = {network()};

    if (strcmp(a->value, XML_NETWORK) == 0)
        libvirt_reply(request, &out);
    else
        libvirt_fail(request, LIBVIRT_ERR_NO_NETWORK, LIBVIRT_FROM_NETWORK,
                     "there is no network %s", a->value);
}

static void lookup_by_uuid(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_uuid *a = args;
    struct libvirt_one_named out = {network()};
    struct libvirt_named asked = {.name = (char *)"of that UUID"};

    memcpy(asked.uuid, a->value, sizeof(asked.uuid));
    if (need(request, &asked))
        libvirt_reply(request, &out);
}

static void get_xml(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_named *a = args;

    if (!need(request, &a->named) || !bridge_flags(request, a->flags, XML_INACTIVE))
        return;
    g_autofree char *xml = g_strdup_printf(xml_text, uuid_text);
    libvirt_reply(request, &(struct libvirt_text){.value = xml});
}

/* Active, persistent, started by itself. */
static void yes(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_named *a = args;

    if (need(request, &a->named))
        libvirt_reply(request, &(struct libvirt_number){.value = 1});
}

static void get_bridge(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_named *a = args;

    if (need(request, &a->named))
        libvirt_fail(request, LIBVIRT_ERR_INTERNAL, LIBVIRT_FROM_NETWORK,
                     "the network %s has no bridge", a->named.name);
}

/* The VMs' own: what they lease nobody is told. */
static void get_leases(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_leases *a = args;

    if (need(request, &a->named))
        libvirt_reply(request, &(struct libvirt_leases){0});
}

/* --- addresses of a domain --- */

static void get_addresses(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_get_addresses *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, 0))
        return;
    if (a->source == SOURCE_LEASE)
        libvirt_reply(request, &(struct libvirt_addresses){0});
    else
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_UNSUPPORTED, LIBVIRT_FROM_DOMAIN,
                     "guests are not asked for their addresses, and the host does not see them");
}

const struct bridge_row bridge_network_rows[] = {
    {LIBVIRT_CONNECT_LIST_ALL_NETWORKS, list_all},
    {LIBVIRT_CONNECT_NUM_OF_NETWORKS, count},
    {LIBVIRT_CONNECT_NUM_OF_DEFINED_NETWORKS, count},
    {LIBVIRT_CONNECT_LIST_NETWORKS, list_names},
    {LIBVIRT_CONNECT_LIST_DEFINED_NETWORKS, list_names},
    {LIBVIRT_NETWORK_LOOKUP_BY_NAME, lookup_by_name},
    {LIBVIRT_NETWORK_LOOKUP_BY_UUID, lookup_by_uuid},
    {LIBVIRT_NETWORK_GET_XML_DESC, get_xml},
    {LIBVIRT_NETWORK_IS_ACTIVE, yes},
    {LIBVIRT_NETWORK_IS_PERSISTENT, yes},
    {LIBVIRT_NETWORK_GET_AUTOSTART, yes},
    {LIBVIRT_NETWORK_GET_BRIDGE_NAME, get_bridge},
    {LIBVIRT_NETWORK_GET_DHCP_LEASES, get_leases},
    {LIBVIRT_DOMAIN_INTERFACE_ADDRESSES, get_addresses},
};
const size_t bridge_network_count = G_N_ELEMENTS(bridge_network_rows);
