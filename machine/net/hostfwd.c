/* Port-forward rules as text. */
#include "machine/net/net.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define FORMS "write tcp:HOSTPORT:PORT or tcp:[ADDR]:HOSTPORT-[GUEST]:PORT, or udp: likewise"

static bool wrong(GError **err, const char *text, const char *why)
{
    return vmd_fail(err, VMD_ERROR_INVALID, "port forward '%s': %s; " FORMS, text, why);
}

/* A port, 1..65535, at the start of AT; returns what follows, or NULL. */
static const char *take_port(const char *at, uint16_t *port)
{
    char *end;

    if (!g_ascii_isdigit(*at))
        return NULL;
    unsigned long v = strtoul(at, &end, 10);
    if (v < 1 || v > 65535 || end - at > 5)
        return NULL;
    *port = (uint16_t)v;
    return end;
}

/* An address, perhaps empty, up to its colon; returns what follows that, or NULL. */
static const char *take_address(const char *at, struct sockaddr_storage *out, bool *given)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    const char *end = *at == '[' ? strchr(at, ']') : strchr(at, ':');
    g_autofree char *text = NULL;

    *out = (struct sockaddr_storage){.ss_family = AF_INET};
    if (!end)
        return NULL;
    *given = end != at;
    if (*at == '[') {
        text = g_strndup(at + 1, (gsize)(end - at - 1));
        out->ss_family = AF_INET6;
        if (end[1] != ':' || inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
            return NULL;
        return end + 2;
    }
    text = g_strndup(at, (gsize)(end - at));
    if (*given && inet_pton(AF_INET, text, &in->sin_addr) != 1)
        return NULL;
    return end + 1;
}

/* The port is at the same place in both families. */
static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    ((struct sockaddr_in *)address)->sin_port = htons(port);
}

static bool parse_short(const char *at, struct net_hostfwd *rule)
{
    uint16_t host, guest;

    at = take_port(at, &host);
    if (!at || *at != ':')
        return false;
    at = take_port(at + 1, &guest);
    if (!at || *at)
        return false;
    rule->host = rule->guest = (struct sockaddr_storage){.ss_family = AF_INET};
    ((struct sockaddr_in *)&rule->host)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    set_port(&rule->host, host);
    set_port(&rule->guest, guest);
    return true;
}

/* Returns what is wrong, or NULL. */
static const char *parse_long(const char *at, struct net_hostfwd *rule)
{
    bool host_given, guest_given;
    uint16_t port;

    at = take_address(at, &rule->host, &host_given);
    if (!at)
        return "the host's address is wrong";
    at = take_port(at, &port);
    if (!at || *at != '-')
        return "the host's port is wrong";
    set_port(&rule->host, port);
    at = take_address(at + 1, &rule->guest, &guest_given);
    if (!at)
        return "the guest's address is wrong";
    at = take_port(at, &port);
    if (!at || *at)
        return "the guest's port is wrong";
    set_port(&rule->guest, port);
    if (!guest_given && rule->host.ss_family == AF_INET6)
        return "the guest's address is missing";
    if (!host_given)
        rule->host.ss_family = rule->guest.ss_family; /* all zeros is "any" in both */
    if (rule->host.ss_family != rule->guest.ss_family)
        return "the two addresses are of different families";
    return NULL;
}

bool net_hostfwd_parse(const char *text, struct net_hostfwd *out, GError **err)
{
    struct net_hostfwd rule = {0};
    const char *at = strchr(text, ':');
    const char *why;

    if (g_str_has_prefix(text, "udp:"))
        rule.udp = true;
    else if (!g_str_has_prefix(text, "tcp:"))
        return wrong(err, text, "it begins with neither tcp: nor udp:");
    if (!strchr(at + 1, '-')) {
        if (!parse_short(at + 1, &rule))
            return wrong(err, text, "that is no pair of ports from 1 to 65535");
    } else if ((why = parse_long(at + 1, &rule))) {
        return wrong(err, text, why);
    }
    *out = rule;
    return true;
}

static char *format_address(const struct sockaddr_storage *address)
{
    char text[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;

    if (address->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof(text));
        return g_strdup_printf("[%s]:%u", text, ntohs(in->sin_port));
    }
    if (in->sin_addr.s_addr)
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    return g_strdup_printf("%s:%u", text, ntohs(in->sin_port));
}

char *net_hostfwd_format(const struct net_hostfwd *rule)
{
    g_autofree char *host = format_address(&rule->host), *guest = format_address(&rule->guest);

    return g_strdup_printf("%s:%s-%s", rule->udp ? "udp" : "tcp", host, guest);
}
