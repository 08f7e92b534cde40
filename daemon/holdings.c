/* See holdings.h. */
#include "daemon/holdings.h"

static void holding_free(gpointer p)
{
    struct holding *h = p;

    g_free(h->device);
    g_free(h->host);
    g_free(h);
}

GPtrArray *holdings_new(void)
{
    return g_ptr_array_new_with_free_func(holding_free);
}

void holdings_note(GPtrArray *holdings, const struct vm *vm, const char *device, const char *host,
                   uint64_t job)
{
    uint64_t incarnation = 0;

    if (!hostdevs_incarnation(vm_daemon(vm)->hostdevs, host, &incarnation))
        return;
    struct holding *h = g_new0(struct holding, 1);
    h->device = g_strdup(device);
    h->host = g_strdup(host);
    h->incarnation = incarnation;
    h->adding = job;
    g_ptr_array_add(holdings, h);
}

bool holdings_take(GPtrArray *holdings, const struct vm *vm, const char *device,
                   const struct holding_of *of, uint64_t job, GError **err)
{
    struct hostdevs *devs = vm_daemon(vm)->hostdevs;
    g_autofree char *id = NULL;

    if ((of->disk && !hostdevs_claim_disk(devs, of->disk, vm, &id, err)) ||
        (of->nic && !hostdevs_claim_nic(devs, of->nic, vm, &id, err)) ||
        (of->host && !hostdevs_claim_host(devs, of->host, vm, &id, err)))
        return false;
    if (id)
        holdings_note(holdings, vm, device, id, job);
    return true;
}

void holdings_drop(GPtrArray *holdings, const struct vm *vm, guint index)
{
    struct holding *h = g_ptr_array_steal_index(holdings, index);
    bool shared = false;

    for (guint i = 0; i < holdings->len; i++)
        shared |= strcmp(((struct holding *)g_ptr_array_index(holdings, i))->host, h->host) == 0;
    if (!shared)
        hostdevs_release(vm_daemon(vm)->hostdevs, h->host, vm);
    holding_free(h);
}

bool holding_lost(const struct holding *h, const struct vm *vm)
{
    uint64_t now = 0;

    return !hostdevs_incarnation(vm_daemon(vm)->hostdevs, h->host, &now) || now != h->incarnation;
}

/* --- in vm.json ------------------------------------------------------------------------------- */

struct json_object *holdings_encode(const GPtrArray *holdings)
{
    struct json_object *rows = json_object_new_array();

    for (guint i = 0; i < holdings->len; i++) {
        const struct holding *h = g_ptr_array_index(holdings, i);
        struct json_object *row = json_object_new_object();
        json_object_object_add(row, "device", h->device ? json_object_new_string(h->device) : NULL);
        json_object_object_add(row, "host", json_object_new_string(h->host));
        json_object_object_add(row, "incarnation", json_object_new_uint64(h->incarnation));
        json_object_object_add(row, "adding", json_object_new_uint64(h->adding));
        json_object_object_add(row, "removing", json_object_new_uint64(h->removing));
        json_object_array_add(rows, row);
    }
    return rows;
}

static uint64_t number(struct json_object *row, const char *member)
{
    return json_object_get_uint64(json_object_object_get(row, member));
}

void holdings_decode(GPtrArray *holdings, struct json_object *json)
{
    if (!json_object_is_type(json, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(json); i++) {
        struct json_object *row = json_object_array_get_idx(json, i);
        if (!json_object_is_type(row, json_type_object) ||
            !json_object_is_type(json_object_object_get(row, "host"), json_type_string))
            continue;
        struct holding *h = g_new0(struct holding, 1);
        h->device = g_strdup(json_object_get_string(json_object_object_get(row, "device")));
        h->host = g_strdup(json_object_get_string(json_object_object_get(row, "host")));
        h->incarnation = number(row, "incarnation");
        h->adding = number(row, "adding");
        h->removing = number(row, "removing");
        g_ptr_array_add(holdings, h);
    }
}
