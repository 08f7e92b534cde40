/* Lists of domains. What the flags ask for is a table: of each group that has a bit set, one bit
 * must be true. */
#include "daemon/libvirt/bridge_priv.h"

enum {
    ACTIVE = 1 << 0,
    INACTIVE = 1 << 1,
    PERSISTENT = 1 << 2,
    TRANSIENT = 1 << 3,
    RUNNING = 1 << 4,
    PAUSED = 1 << 5,
    SHUTOFF = 1 << 6,
    OTHER = 1 << 7,
    MANAGED_SAVE = 1 << 8,
    NO_MANAGED_SAVE = 1 << 9,
    AUTOSTART = 1 << 10,
    NO_AUTOSTART = 1 << 11,
    SNAPSHOT = 1 << 12,
    NO_SNAPSHOT = 1 << 13,
    CHECKPOINT = 1 << 14,
    NO_CHECKPOINT = 1 << 15,
    ALL = (1 << 16) - 1,
};

static const uint32_t groups[] = {
    ACTIVE | INACTIVE,
    PERSISTENT | TRANSIENT,
    RUNNING | PAUSED | SHUTOFF | OTHER,
    MANAGED_SAVE | NO_MANAGED_SAVE,
    AUTOSTART | NO_AUTOSTART,
    SNAPSHOT | NO_SNAPSHOT,
    CHECKPOINT | NO_CHECKPOINT,
};

/* By the protocol's number of a state. */
static const uint32_t state_bits[] = {OTHER, RUNNING, OTHER, PAUSED, OTHER, SHUTOFF, OTHER, OTHER};

uint32_t bridge_list_bits(const struct vm *vm)
{
    uint32_t bits = NO_MANAGED_SAVE | NO_SNAPSHOT | NO_CHECKPOINT;

    bits |= bridge_number(vm) != -1 ? ACTIVE : INACTIVE;
    bits |= vm_config_of(vm)->ephemeral ? TRANSIENT : PERSISTENT;
    bits |= vm_config_of(vm)->autostart ? AUTOSTART : NO_AUTOSTART;
    return bits | state_bits[bridge_state(vm).state];
}

static bool wanted(const struct vm *vm, uint32_t flags)
{
    uint32_t bits = bridge_list_bits(vm);

    for (size_t i = 0; i < G_N_ELEMENTS(groups); i++) {
        if ((flags & groups[i]) && !(flags & groups[i] & bits))
            return false;
    }
    return true;
}

GPtrArray *bridge_list(struct client *c, uint32_t flags)
{
    GPtrArray *all = registry_list(c->bridge->daemon->registry);

    for (guint i = all->len; i-- > 0;) {
        if (!wanted(g_ptr_array_index(all, i), flags))
            g_ptr_array_remove_index(all, i);
    }
    return all;
}

/* What LIST_ALL_DOMAINS answers, written. */
static GByteArray *write_list(struct client *c, const struct libvirt_list_all *a)
{
    g_autoptr(GPtrArray) all = bridge_list(c, a->flags);
    g_autofree struct libvirt_dom *rows = g_new0(struct libvirt_dom, all->len);
    struct libvirt_doms out = {.count = all->len};
    GByteArray *written = g_byte_array_new();

    if (a->need_results) {
        out.doms = rows;
        out.doms_count = all->len;
        for (guint i = 0; i < all->len; i++)
            bridge_fill(g_ptr_array_index(all, i), &rows[i]);
    }
    if (libvirt_write(&libvirt_doms_layout, &out, written) < 0)
        g_assert_not_reached(); /* LIMIT_VMS of them */
    return written;
}

/* The latest answer holds for the same question until something happens to a VM. */
static void list_all(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_list_all *a = args;
    struct bridge_list_cache *cache = &c->bridge->list;
    uint64_t now = events_last(c->bridge->daemon->events);

    if (!bridge_flags(request, a->flags, ALL))
        return;
    if (!cache->written || cache->event != now || cache->flags != a->flags ||
        cache->need_results != a->need_results) {
        g_clear_pointer(&cache->written, g_byte_array_unref);
        *cache = (struct bridge_list_cache){now, a->flags, a->need_results, write_list(c, a)};
    }
    libvirt_reply_written(request, cache->written);
}

static void count(struct client *c, struct libvirt_request *request, const void *args)
{
    bool active = libvirt_request_call(request)->number == LIBVIRT_CONNECT_NUM_OF_DOMAINS;
    g_autoptr(GPtrArray) all = bridge_list(c, active ? ACTIVE : INACTIVE);
    struct libvirt_number out = {.value = (int32_t)all->len};

    libvirt_reply(request, &out);
}

/* How many of ALL a client that takes MOST gets. */
static uint32_t at_most(const GPtrArray *all, int32_t most)
{
    return MIN(all->len, (uint32_t)MAX(most, 0));
}

static void list_ids(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_number *a = args;
    g_autoptr(GPtrArray) all = bridge_list(c, ACTIVE);
    g_autofree int32_t *ids = g_new0(int32_t, all->len);
    struct libvirt_ids out = {.ids_count = at_most(all, a->value), .ids = ids};

    for (uint32_t i = 0; i < out.ids_count; i++)
        ids[i] = bridge_number(g_ptr_array_index(all, i));
    libvirt_reply(request, &out);
}

static void list_names(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_number *a = args;
    g_autoptr(GPtrArray) all = bridge_list(c, INACTIVE);
    g_autofree char **names = g_new0(char *, all->len);
    struct libvirt_names out = {.names_count = at_most(all, a->value), .names = names};

    for (uint32_t i = 0; i < out.names_count; i++)
        names[i] = (char *)vm_name(g_ptr_array_index(all, i));
    libvirt_reply(request, &out);
}

const struct bridge_row bridge_list_rows[] = {
    {LIBVIRT_CONNECT_LIST_ALL_DOMAINS, list_all},       {LIBVIRT_CONNECT_NUM_OF_DOMAINS, count},
    {LIBVIRT_CONNECT_NUM_OF_DEFINED_DOMAINS, count},    {LIBVIRT_CONNECT_LIST_DOMAINS, list_ids},
    {LIBVIRT_CONNECT_LIST_DEFINED_DOMAINS, list_names},
};
const size_t bridge_list_count = G_N_ELEMENTS(bridge_list_rows);
