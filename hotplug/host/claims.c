/* Who holds what. There are few claims, so that all are gone through. */
#include "hotplug/host/host_priv.h"

enum { STACK_MOST = 16 }; /* block devices upon block devices */

void host_claim_free(gpointer p)
{
    struct host_claim *c = p;

    g_free(c->device);
    g_free(c->identity);
    g_free(c->vm);
    g_free(c);
}

/* Whether C names D: the same id, and not another device that came under it. */
static bool names(const struct host_claim *c, const struct host_device *d)
{
    return strcmp(c->device, d->id) == 0 && g_strcmp0(c->identity, d->identity) == 0;
}

static const struct host_device *device_of(const struct host_devices *h, const struct host_claim *c)
{
    const struct host_device *d = host_devices_find(h, c->device);

    return d && names(c, d) ? d : NULL;
}

/* Whether A is made of B, of something below B, or of what B is a part of. What two volumes are made of in
 * common is none's alone: they may be two VMs'. */
static bool made_of(const struct host_devices *h, const struct host_device *a,
                    const struct host_device *b, unsigned depth)
{
    g_auto(GStrv) names = g_strsplit(a->slaves ? a->slaves : "", " ", -1);

    for (char **name = names; *name && depth; name++) {
        g_autofree char *id = host_device_id(HOST_BLOCK, *name);
        const struct host_device *slave = host_devices_find(h, id);
        if (slave && (slave == b || host_device_above(slave, b) || host_device_above(b, slave) ||
                      made_of(h, slave, b, depth - 1)))
            return true;
    }
    return false;
}

static bool goes_with(const struct host_devices *h, const struct host_device *a,
                      const struct host_device *b)
{
    return host_device_above(a, b) || host_device_above(b, a) || made_of(h, a, b, STACK_MOST) ||
           made_of(h, b, a, STACK_MOST);
}

/* Whether C covers D, which may be by its group alone when its own device is gone. */
static bool covers(const struct host_devices *h, const struct host_claim *c,
                   const struct host_device *d)
{
    const struct host_device *own = device_of(h, c);

    return names(c, d) || (c->iommu_group >= 0 && c->iommu_group == d->iommu_group) ||
           (own && goes_with(h, own, d));
}

const struct host_claim *host_devices_holder(const struct host_devices *h,
                                             const struct host_device *d)
{
    const struct host_claim *found = NULL;

    for (guint i = 0; i < h->claims->len; i++) {
        const struct host_claim *c = g_ptr_array_index(h->claims, i);
        if (names(c, d))
            return c;
        if (!found && covers(h, c, d))
            found = c;
    }
    return found;
}

/* --- claiming --------------------------------------------------------------------------------- */

static bool refuse(const struct host_devices *h, const struct host_claim *c, const struct host_device *d,
                   char *(*name)(void *arg, const char *vm), GError **err)
{
    g_autofree char *holder = name ? name(h->arg, c->vm) : g_strdup(c->vm);

    if (names(c, d))
        return vmd_fail(err, VMD_ERROR_BUSY, "%s is held by VM %s", d->id, holder);
    if (c->iommu_group >= 0 && c->iommu_group == d->iommu_group)
        return vmd_fail(err, VMD_ERROR_BUSY, "%s is in IOMMU group %d with %s, which is held by VM %s", d->id,
                        d->iommu_group, c->device, holder);
    return vmd_fail(err, VMD_ERROR_BUSY, "%s goes with %s, which is held by VM %s", d->id, c->device, holder);
}

static struct host_claim *add(struct host_devices *h, const char *id, const char *identity,
                              const char *vm, bool run, const struct host_device *d)
{
    struct host_claim *c = g_new0(struct host_claim, 1);

    c->device = g_strdup(id);
    c->identity = g_strdup(identity);
    c->vm = g_strdup(vm);
    c->run = run;
    c->present = d != NULL;
    c->iommu_group = d ? d->iommu_group : -1;
    g_ptr_array_add(h->claims, c);
    return c;
}

/* Looks at ID again; NULL where it is not there. */
static const struct host_device *look_again(struct host_devices *h, const char *id)
{
    for (unsigned kind = 0; kind < HOST_KINDS; kind++) {
        g_autofree char *prefix = host_device_id(kind, "");
        if (g_str_has_prefix(id, prefix)) {
            host_devices__look(h, kind, id + strlen(prefix));
            host_devices__settle(h);
        }
    }
    return host_devices_find(h, id);
}

/* VM holds what C says already. A claim that lasts is more than one of a run. */
static bool hold_on(struct host_devices *h, struct host_claim *c, bool run, GError **err)
{
    if (run || !c->run)
        return true;
    c->run = false;
    if (h->listener->claims_changed(h->arg, err))
        return true;
    c->run = true;
    return false;
}

bool host_devices_claim(struct host_devices *h, const char *id, const char *vm, bool run,
                        char *(*name)(void *arg, const char *vm), GError **err)
{
    g_assert(!h->telling);
    const struct host_device *d = look_again(h, id);
    struct host_claim *held = NULL;

    if (!d)
        return vmd_fail(err, VMD_ERROR_NOT_FOUND, "the host has no device %s", id);
    for (guint i = 0; i < h->claims->len; i++) {
        struct host_claim *c = g_ptr_array_index(h->claims, i);
        if (strcmp(c->vm, vm) != 0 && covers(h, c, d))
            return refuse(h, c, d, name, err);
        if (names(c, d))
            held = c;
    }
    if (held)
        return hold_on(h, held, run, err);
    if (h->claims->len >= LIMIT_HOST_CLAIMS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "there are %d claims on the host's devices already",
                        LIMIT_HOST_CLAIMS);
    struct host_claim *made = add(h, d->id, d->identity, vm, run, d);
    if (h->listener->claims_changed(h->arg, err))
        return true;
    g_ptr_array_remove(h->claims, made);
    return false;
}

unsigned host_devices_release(struct host_devices *h, const char *id, const char *vm, bool run)
{
    unsigned n = 0;

    for (guint i = h->claims->len; i-- > 0;) {
        const struct host_claim *c = g_ptr_array_index(h->claims, i);
        if (strcmp(c->vm, vm) == 0 && (!id || strcmp(c->device, id) == 0) && (c->run || !run)) {
            g_ptr_array_remove_index(h->claims, i);
            n++;
        }
    }
    if (n)
        h->listener->claims_changed(h->arg, NULL);
    return n;
}

bool host_devices_restore(struct host_devices *h, const char *id, const char *identity,
                          const char *vm, bool run)
{
    const struct host_device *d = host_devices_find(h, id);

    for (guint i = 0; i < h->claims->len; i++) {
        const struct host_claim *c = g_ptr_array_index(h->claims, i);
        if (strcmp(c->device, id) == 0 && g_strcmp0(c->identity, identity) == 0)
            return false;
    }
    if (h->claims->len >= LIMIT_HOST_CLAIMS)
        return false;
    add(h, id, identity, vm, run, d && g_strcmp0(d->identity, identity) == 0 ? d : NULL);
    return true;
}

GPtrArray *host_devices_claims(const struct host_devices *h)
{
    GPtrArray *all = g_ptr_array_new();

    for (guint i = 0; i < h->claims->len; i++)
        g_ptr_array_add(all, g_ptr_array_index(h->claims, i));
    return all;
}

/* --- what happens to a claimed device --------------------------------------------------------- */

static struct host_claim *claim_on(const struct host_devices *h, const struct host_device *d)
{
    for (guint i = 0; i < h->claims->len; i++) {
        struct host_claim *c = g_ptr_array_index(h->claims, i);
        if (names(c, d))
            return c;
    }
    return NULL;
}

void host_claims_appeared(struct host_devices *h, const struct host_device *d)
{
    struct host_claim *c = claim_on(h, d);

    if (c) {
        c->present = true;
        c->iommu_group = d->iommu_group;
    }
}

const char *host_claims_gone(struct host_devices *h, const struct host_device *d)
{
    struct host_claim *c = claim_on(h, d);

    if (c)
        c->present = false;
    return c ? c->vm : NULL;
}

void host_claims_follow(struct host_devices *h, const struct host_device *d,
                        const struct host_device *now)
{
    struct host_claim *c = claim_on(h, d);

    if (!c)
        return;
    c->iommu_group = now->iommu_group;
    if (!names(c, now)) {
        g_free(c->device);
        g_free(c->identity);
        c->device = g_strdup(now->id);
        c->identity = g_strdup(now->identity);
        h->listener->claims_changed(h->arg, NULL);
    }
}
