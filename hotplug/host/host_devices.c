/*
 * The inventory: tables of what was found, and what to do when something was found or not.
 *
 * A device is there when its link in the list of its kind is (/sys/bus/pci/devices, /sys/class/block,
 * /sys/class/net): the kernel removes that before it sends "remove", and makes it before "add". The number
 * of the folder that the link leads to is the device's incarnation: another number is another device, even
 * under the same name, and the same number under another name is the same device renamed.
 */
#include "hotplug/host/host_priv.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static struct host_device *find(const struct host_devices *h, enum host_kind kind, const char *name)
{
    g_autofree char *id = host_device_id(kind, name);

    return g_hash_table_lookup(h->by_id, id);
}

static struct host_device *read_device(struct host_devices *h, enum host_kind kind, const char *name)
{
    if (kind == HOST_PCI && !h->reader)
        h->reader = pci_reader_new(h->root, h->pci_ids);
    return host_device_read(h->root, kind, name, find(h, kind, name), h->reader);
}

static const char *name_of(const struct host_device *d)
{
    return strchr(d->id, ':') + 1;
}

static void enter(struct host_devices *h, struct host_device *d)
{
    g_hash_table_replace(h->by_path, d->path, d);
    g_hash_table_replace(h->by_id, d->id, d);
}

/* Takes D out of the tables; it is the caller's. */
static void leave(struct host_devices *h, struct host_device *d)
{
    if (g_hash_table_lookup(h->by_path, d->path) == d)
        g_hash_table_remove(h->by_path, d->path);
    g_hash_table_steal(h->by_id, d->id);
}

/* --- what happens to a device ----------------------------------------------------------------- */

/* FOUND, which is taken, is what KNOWN, which is in no table any more and is taken too, has become. */
static void become(struct host_devices *h, struct host_device *known, struct host_device *found)
{
    bool renamed = strcmp(known->id, found->id) != 0;

    enter(h, found);
    h->telling++;
    host_claims_follow(h, known, found);
    if (h->listener)
        h->listener->changed(h->arg, found, renamed ? known->id : NULL);
    h->telling--;
    host_device_free(known);
}

/* FOUND, which is taken, is KNOWN as it is now. */
static void renew(struct host_devices *h, struct host_device *known, struct host_device *found)
{
    if (host_device_equal(known, found)) {
        host_device_free(found);
    } else {
        leave(h, known);
        become(h, known, found);
    }
}

/* Virtual functions come and go without a uevent of their physical one, whose count of them changes. */
static void look_at_physfn(struct host_devices *h, const char *physfn)
{
    struct host_device *known = physfn ? g_hash_table_lookup(h->by_id, physfn) : NULL;
    struct host_device *found = known ? read_device(h, HOST_PCI, name_of(known)) : NULL;

    if (found && found->incarnation == known->incarnation)
        renew(h, known, found);
    else
        host_device_free(found);
}

/* Takes D, which is in no table any more. */
static void vanish(struct host_devices *h, struct host_device *d)
{
    h->telling++;
    const char *holder = host_claims_gone(h, d);
    if (h->listener)
        h->listener->gone(h->arg, d, holder);
    h->telling--;
    look_at_physfn(h, d->physfn);
    host_device_free(d);
}

/* Takes D. */
static void appear(struct host_devices *h, struct host_device *d)
{
    if (g_hash_table_size(h->by_id) >= LIMIT_HOST_DEVICES) {
        h->left_out[d->kind]++;
        host_device_free(d);
        return;
    }
    enter(h, d);
    host_claims_appeared(h, d);
    h->telling++;
    if (h->listener)
        h->listener->appeared(h->arg, d);
    h->telling--;
    look_at_physfn(h, d->physfn);
}

/* --- what came, went or was renamed ------------------------------------------------------------ */

/* One kind's list beside what is known. */
struct listing {
    bool usable;
    GHashTable *staying; /* names of known devices that are still there */
    GPtrArray *fresh;    /* struct host_device, owned: those that are not known */
};

static void listing_clear(struct listing *l)
{
    if (l->usable) {
        g_hash_table_destroy(l->staying);
        g_ptr_array_free(l->fresh, TRUE);
    }
}

static void free_device(gpointer d)
{
    host_device_free(d);
}

static bool stays(const struct host_devices *h, enum host_kind kind, const char *dir, const char *name)
{
    const struct host_device *known = find(h, kind, name);
    g_autofree char *link = g_build_filename(dir, name, NULL);
    struct stat st;

    return known && stat(link, &st) == 0 && st.st_ino == known->incarnation;
}

/* A list that cannot be read says nothing of what is known: the host does not lose all of a kind at once,
 * but a mount may be covered. */
static void list_kind(struct host_devices *h, enum host_kind kind, struct listing *l)
{
    g_autofree char *dir = host_device_list_dir(h->root, kind);
    g_autoptr(GPtrArray) names = NULL;

    l->usable = sysfs_names(dir, &names);
    if (!l->usable)
        return;
    l->staying = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    l->fresh = g_ptr_array_new_with_free_func(free_device);
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        struct host_device *found;
        if (stays(h, kind, dir, name))
            g_hash_table_add(l->staying, g_strdup(name));
        else if ((found = read_device(h, kind, name)))
            g_ptr_array_add(l->fresh, found);
    }
}

/* The devices of KIND, by id; the caller frees the array. */
static GPtrArray *known_of(const struct host_devices *h, enum host_kind kind)
{
    GPtrArray *all = host_devices_list(h);

    for (guint i = all->len; i-- > 0;) {
        if (((struct host_device *)g_ptr_array_index(all, i))->kind != kind)
            g_ptr_array_remove_index(all, i);
    }
    return all;
}

/* What KNOWN is now under another name, out of the listing; NULL. */
static struct host_device *take_renamed(struct listing *l, const struct host_device *known)
{
    for (guint i = 0; i < l->fresh->len; i++) {
        const struct host_device *d = g_ptr_array_index(l->fresh, i);
        if (d->incarnation == known->incarnation && strcmp(d->id, known->id) != 0)
            return g_ptr_array_steal_index(l->fresh, i);
    }
    return NULL;
}

/* Those that do not stay go, or are renamed. All leave the tables first, as two may have changed names. */
static void sweep_gone(struct host_devices *h, enum host_kind kind, struct listing *l)
{
    g_autoptr(GPtrArray) missing = g_ptr_array_new();
    g_autoptr(GPtrArray) known = known_of(h, kind);

    for (guint i = 0; l->usable && i < known->len; i++) {
        struct host_device *d = g_ptr_array_index(known, i);
        if (!g_hash_table_contains(l->staying, name_of(d))) {
            leave(h, d);
            g_ptr_array_add(missing, d);
        }
    }
    for (guint i = 0; i < missing->len; i++) {
        struct host_device *d = g_ptr_array_index(missing, i);
        struct host_device *found = take_renamed(l, d);
        if (found)
            become(h, d, found);
        else
            vanish(h, d);
    }
}

static void sweep_fresh(struct host_devices *h, enum host_kind kind, struct listing *l)
{
    if (l->usable)
        h->left_out[kind] = 0;
    while (l->usable && l->fresh->len)
        appear(h, g_ptr_array_steal_index(l->fresh, 0));
}

/* The kinds that are marked. What hangs on others goes before them and comes after them. */
static void sweep(struct host_devices *h)
{
    struct listing listings[HOST_KINDS] = {0};

    for (unsigned kind = 0; kind < HOST_KINDS; kind++) {
        if (h->sweep_wanted[kind])
            list_kind(h, kind, &listings[kind]);
        h->sweep_wanted[kind] = false;
    }
    for (unsigned kind = HOST_KINDS; kind-- > 0;)
        sweep_gone(h, kind, &listings[kind]);
    for (unsigned kind = 0; kind < HOST_KINDS; kind++) {
        sweep_fresh(h, kind, &listings[kind]);
        listing_clear(&listings[kind]);
    }
}

/* --- looking ---------------------------------------------------------------------------------- */

static bool is_sweep_wanted(const struct host_devices *h)
{
    for (unsigned kind = 0; kind < HOST_KINDS; kind++) {
        if (h->sweep_wanted[kind])
            return true;
    }
    return false;
}

void host_devices__look(struct host_devices *h, enum host_kind kind, const char *name)
{
    g_autofree char *dir = host_device_list_dir(h->root, kind);
    struct host_device *known = find(h, kind, name);

    /* A device that is no more waits, so that many that go are listed once; but no other change is told
     * before it. */
    if (known && !stays(h, kind, dir, name)) {
        h->sweep_wanted[kind] = true;
        return;
    }
    if (is_sweep_wanted(h)) {
        sweep(h);
        known = find(h, kind, name);
    }
    struct host_device *found = read_device(h, kind, name);
    if (known && found && found->incarnation == known->incarnation) {
        renew(h, known, found);
    } else if (known && !found && stays(h, kind, dir, name)) {
        /* Still listed, and nothing for a guest any more: a drive without its disk. */
        leave(h, known);
        vanish(h, known);
    } else if (known || (found && g_hash_table_size(h->by_id) >= LIMIT_HOST_DEVICES)) {
        h->sweep_wanted[kind] = true;
        host_device_free(found);
    } else if (found) {
        appear(h, found);
    }
}

void host_devices__settle(struct host_devices *h)
{
    if (is_sweep_wanted(h))
        sweep(h);
    g_clear_pointer(&h->reader, pci_reader_free);
}

void host_devices_rescan(struct host_devices *h)
{
    g_autoptr(GPtrArray) known = host_devices_list(h);
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);

    g_assert(!h->telling);
    for (guint i = 0; i < known->len; i++)
        g_ptr_array_add(ids, g_strdup(((struct host_device *)g_ptr_array_index(known, i))->id));
    h->rescan_wanted = false;
    for (unsigned kind = 0; kind < HOST_KINDS; kind++)
        h->sweep_wanted[kind] = true;
    sweep(h);
    /* Those that stayed. */
    for (guint i = 0; i < ids->len; i++) {
        const char *id = g_ptr_array_index(ids, i);
        const struct host_device *d = host_devices_find(h, id);
        if (d)
            host_devices__look(h, d->kind, strchr(id, ':') + 1);
    }
    host_devices__settle(h);
}

/* --- coming and going ------------------------------------------------------------------------- */

struct host_devices *host_devices_new(uv_loop_t *loop, const struct host_options *options,
                                      const struct host_listener *listener, void *arg)
{
    struct host_devices *h = g_new0(struct host_devices, 1);
    const char *root = options->sysfs ? options->sysfs : "/sys";
    char *real = realpath(root, NULL);

    h->root = g_strdup(real ? real : root);
    free(real);
    h->pci_ids = g_strdup(options->pci_ids);
    h->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_device);
    h->by_path = g_hash_table_new(g_str_hash, g_str_equal);
    h->claims = g_ptr_array_new_with_free_func(host_claim_free);
    /* Uevents are heard first: what happens during the scan is looked at again after it. */
    host_watch_start(h, loop, options->uevents, options->why);
    host_devices_rescan(h);
    h->listener = listener;
    h->arg = arg;
    return h;
}

static void closed(struct host_devices *h)
{
    g_hash_table_destroy(h->by_path);
    g_hash_table_destroy(h->by_id);
    g_ptr_array_free(h->claims, TRUE);
    g_free(h->root);
    g_free(h->pci_ids);
    g_free(h->why);
    g_free(h);
}

void host_devices_free(struct host_devices *h)
{
    if (h)
        host_watch_close(h, closed);
}

/* --- asking ----------------------------------------------------------------------------------- */

unsigned host_devices_left_out(const struct host_devices *h)
{
    unsigned n = 0;

    for (unsigned kind = 0; kind < HOST_KINDS; kind++)
        n += h->left_out[kind];
    return n;
}

const struct host_device *host_devices_find(const struct host_devices *h, const char *id)
{
    return g_hash_table_lookup(h->by_id, id);
}

char *host_devices_block_id(const struct host_devices *h, dev_t number)
{
    g_autofree char *link = g_strdup_printf("%s/dev/block/%u:%u", h->root, major(number), minor(number));
    char *dir = realpath(link, NULL);
    char *id = dir ? host_device_id(HOST_BLOCK, strrchr(dir, '/') + 1) : NULL;

    free(dir);
    return id;
}

static gint by_kind_and_id(gconstpointer a, gconstpointer b)
{
    const struct host_device *x = *(struct host_device *const *)a, *y = *(struct host_device *const *)b;

    return x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->id, y->id);
}

GPtrArray *host_devices_list(const struct host_devices *h)
{
    GPtrArray *all = g_ptr_array_new();
    GHashTableIter it;
    gpointer device;

    g_hash_table_iter_init(&it, h->by_id);
    while (g_hash_table_iter_next(&it, NULL, &device))
        g_ptr_array_add(all, device);
    g_ptr_array_sort(all, by_kind_and_id);
    return all;
}

const struct host_device *host_devices_parent(const struct host_devices *h,
                                              const struct host_device *device)
{
    g_autofree char *path = g_strdup(device->path);
    const struct host_device *parent = NULL;
    char *slash;

    while (!parent && (slash = strrchr(path, '/'))) {
        *slash = '\0';
        parent = g_hash_table_lookup(h->by_path, path);
    }
    return parent;
}
