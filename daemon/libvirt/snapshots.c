/* What vmd keeps no state of: snapshots, saved images and jobs of a domain. There are none, and that is what
 * clients hear who ask; making one is refused as not supported, by not being offered. */
#include "daemon/libvirt/bridge_priv.h"

enum { COMPLETED = 1 << 0, KEEP = 1 << 1 };

/* All of these begin with the domain. */
static bool need(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_one_dom *a = args;

    return bridge_need(c, request, &a->dom) != NULL;
}

static void nothing(struct client *c, struct libvirt_request *request, const void *args)
{
    if (need(c, request, args))
        libvirt_reply(request, NULL);
}

static void none(struct client *c, struct libvirt_request *request, const void *args)
{
    if (need(c, request, args))
        libvirt_reply(request, &(struct libvirt_number){0});
}

static void no_list(struct client *c, struct libvirt_request *request, const void *args)
{
    if (need(c, request, args))
        libvirt_reply(request, &(struct libvirt_snapshots){0});
}

static void no_names(struct client *c, struct libvirt_request *request, const void *args)
{
    if (need(c, request, args))
        libvirt_reply(request, &(struct libvirt_names){0});
}

static void no_snapshot(struct client *c, struct libvirt_request *request, const void *args)
{
    if (need(c, request, args))
        libvirt_fail(request, LIBVIRT_ERR_NO_SNAPSHOT, LIBVIRT_FROM_SNAPSHOT,
                     "the domain has no such snapshot");
}

/* --- jobs of a domain, such as a migration --- */

static void get_job_info(struct client *c, struct libvirt_request *request, const void *args)
{
    if (need(c, request, args))
        libvirt_reply(request, &(struct libvirt_job_info){0});
}

static void get_job_stats(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;

    if (bridge_flags(request, a->flags, COMPLETED | KEEP) && need(c, request, args))
        libvirt_reply(request, &(struct libvirt_job_stats){0});
}

static void abort_job(struct client *c, struct libvirt_request *request, const void *args)
{
    if (need(c, request, args))
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_INVALID, LIBVIRT_FROM_DOMAIN,
                     "the domain has no job under way");
}

/* The VM's process takes calls at any time. */
static void control_info(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_flagged_dom *a = args;
    struct vm *vm = bridge_flags(request, a->flags, 0) ? bridge_need(c, request, &a->dom) : NULL;

    if (vm && vm_active(vm))
        libvirt_reply(request, &(struct libvirt_control_info){0});
    else if (vm)
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_INVALID, LIBVIRT_FROM_DOMAIN,
                     "the domain is not running");
}

const struct bridge_row bridge_snapshot_rows[] = {
    {LIBVIRT_DOMAIN_LIST_ALL_SNAPSHOTS, no_list},
    {LIBVIRT_DOMAIN_SNAPSHOT_NUM, none},
    {LIBVIRT_DOMAIN_SNAPSHOT_LIST_NAMES, no_names},
    {LIBVIRT_DOMAIN_SNAPSHOT_LOOKUP_BY_NAME, no_snapshot},
    {LIBVIRT_DOMAIN_HAS_CURRENT_SNAPSHOT, none},
    {LIBVIRT_DOMAIN_SNAPSHOT_CURRENT, no_snapshot},
    {LIBVIRT_DOMAIN_MANAGED_SAVE_REMOVE, nothing},
    {LIBVIRT_DOMAIN_GET_JOB_INFO, get_job_info},
    {LIBVIRT_DOMAIN_GET_JOB_STATS, get_job_stats},
    {LIBVIRT_DOMAIN_ABORT_JOB, abort_job},
    {LIBVIRT_DOMAIN_GET_CONTROL_INFO, control_info},
};
const size_t bridge_snapshot_count = G_N_ELEMENTS(bridge_snapshot_rows);
