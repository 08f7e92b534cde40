/* Opening and closing, and what a client asks about the daemon itself. */
#include "daemon/libvirt/bridge_priv.h"

#include <stdio.h>
#include <sys/utsname.h>

enum { OPEN_READONLY = 1 << 0 };

/* The release of libvirt whose protocol is spoken here: what clients take "the library" for. */
enum { SPOKEN = 9000000 };

/* Features that clients ask for by number. */
enum {
    REMOTE = 2,
    TYPED_PARAM_STRING = 9,
    KEEPALIVE = 10,
    EVENT_CALLBACK = 14,
    CLOSE_CALLBACK = 15,
    NETWORK_UPDATE_ORDER = 16, /* of arguments: a libvirtd to which networks are left has it right */
};
static const int32_t features[] = {REMOTE, TYPED_PARAM_STRING, KEEPALIVE, EVENT_CALLBACK,
                                   CLOSE_CALLBACK};

/* Names that a client may open: what it is told that the hypervisor is called. */
static const struct {
    const char *uri, *type;
} names[] = {
    {"vmd:///system", "vmd"},
    {"vmd:///session", "vmd"},
    {"qemu:///system", "QEMU"},
    {"qemu:///session", "QEMU"},
};

static const char *type_of(const char *uri)
{
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(uri, names[i].uri) == 0)
            return names[i].type;
    }
    return NULL;
}

static void open_uri(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_open *a = args;
    bool system = c->bridge->daemon->paths.system;
    const char *uri = a->name && *a->name ? a->name : system ? "vmd:///system" : "vmd:///session";

    if (!type_of(uri)) {
        libvirt_fail(request, LIBVIRT_ERR_NO_CONNECT, LIBVIRT_FROM_NONE,
                     "vmd does not answer to the name %s", uri);
        return;
    }
    /* Other bits are the client's own: how it came to this socket. */
    if (a->flags & OPEN_READONLY)
        libvirt_conn_set_readonly(c->conn);
    g_free(c->uri);
    c->uri = g_strdup(uri);
    c->open = true;
    libvirt_reply(request, NULL);
}

static void close_uri(struct client *c, struct libvirt_request *request, const void *args)
{
    c->open = false;
    libvirt_reply(request, NULL);
}

static void supports(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_number *a = args;
    struct libvirt_number out = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        out.value |= features[i] == a->value;
    if (a->value == NETWORK_UPDATE_ORDER)
        out.value = forward_networks(c->bridge->forward);
    libvirt_reply(request, &out);
}

/* A client that is told of the end of the daemon's own connection to a hypervisor: there is none
 * that could end. */
static void close_callback(struct client *c, struct libvirt_request *request, const void *args)
{
    libvirt_reply(request, NULL);
}

static void get_uri(struct client *c, struct libvirt_request *request, const void *args)
{
    libvirt_reply(request, &(struct libvirt_text){.value = c->uri});
}

static void get_type(struct client *c, struct libvirt_request *request, const void *args)
{
    libvirt_reply(request, &(struct libvirt_text){.value = (char *)type_of(c->uri)});
}

static void get_version(struct client *c, struct libvirt_request *request, const void *args)
{
    unsigned major = 0, minor = 0, release = 0;

    if (sscanf(VMD_VERSION, "%u.%u.%u", &major, &minor, &release) < 2)
        major = minor = release = 0;
    struct libvirt_number64 out = {.value = major * 1000000 + minor * 1000 + release};
    libvirt_reply(request, &out);
}

static void get_lib_version(struct client *c, struct libvirt_request *request, const void *args)
{
    libvirt_reply(request, &(struct libvirt_number64){.value = SPOKEN});
}

static void get_hostname(struct client *c, struct libvirt_request *request, const void *args)
{
    struct utsname u;

    uname(&u);
    libvirt_reply(request, &(struct libvirt_text){.value = u.nodename});
}

/* A unix socket of this host. */
static void is_secure(struct client *c, struct libvirt_request *request, const void *args)
{
    libvirt_reply(request, &(struct libvirt_number){.value = 1});
}

static void get_max_vcpus(struct client *c, struct libvirt_request *request, const void *args)
{
    libvirt_reply(request, &(struct libvirt_number){.value = LIMIT_VCPUS});
}

/* No security model labels the VMs. */
static void security_model(struct client *c, struct libvirt_request *request, const void *args)
{
    libvirt_reply(request, &(struct libvirt_security_model){0});
}

static void security_labels(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;

    if (bridge_need(c, request, &a->dom))
        libvirt_reply(request, &(struct libvirt_security_labels){0});
}

const struct bridge_row bridge_connect_rows[] = {
    {LIBVIRT_CONNECT_OPEN, open_uri},
    {LIBVIRT_CONNECT_CLOSE, close_uri},
    {LIBVIRT_CONNECT_SUPPORTS_FEATURE, supports},
    {LIBVIRT_CONNECT_REGISTER_CLOSE_CALLBACK, close_callback},
    {LIBVIRT_CONNECT_UNREGISTER_CLOSE_CALLBACK, close_callback},
    {LIBVIRT_CONNECT_GET_URI, get_uri},
    {LIBVIRT_CONNECT_GET_TYPE, get_type},
    {LIBVIRT_CONNECT_GET_VERSION, get_version},
    {LIBVIRT_CONNECT_GET_LIB_VERSION, get_lib_version},
    {LIBVIRT_CONNECT_GET_HOSTNAME, get_hostname},
    {LIBVIRT_CONNECT_IS_SECURE, is_secure},
    {LIBVIRT_CONNECT_GET_MAX_VCPUS, get_max_vcpus},
    {LIBVIRT_NODE_GET_SECURITY_MODEL, security_model},
    {LIBVIRT_DOMAIN_GET_SECURITY_LABEL_LIST, security_labels},
};
const size_t bridge_connect_count = G_N_ELEMENTS(bridge_connect_rows);
