/*
 * Events: what the daemon tells becomes what libvirt's clients have registered for. A client that
 * has registered for anything is subscribed to the daemon's events, once.
 */
#include "daemon/libvirt/bridge_priv.h"

#include <json-c/json.h>

/* Kinds of events, as clients register for them. */
enum {
    LIFECYCLE = 0,
    REBOOT = 1,
    IO_ERROR = 4,
    BALLOON_CHANGE = 13,
    DEVICE_REMOVED = 15,
    TUNABLE = 17,
    DEVICE_ADDED = 19,
    REMOVAL_FAILED = 22,
    METADATA_CHANGE = 23
};
enum { DEFINED, UNDEFINED, STARTED, SUSPENDED, RESUMED, STOPPED };
enum { DEFINED_ADDED, DEFINED_UPDATED };
enum { SUSPENDED_PAUSED = 0, SUSPENDED_IO_ERROR = 2 };
enum { STOPPED_SHUTDOWN, STOPPED_DESTROYED, STOPPED_CRASHED, STOPPED_FAILED = 5 };
enum { ACTION_PAUSE = 1, ACTION_REPORT = 2 };
enum { PARAM_STRING = 7, CALLBACKS_MOST = 256, NO_DOMAINS_EVENT = -1, KIB = 1024 };

static const int32_t stop_details[] = {
    [VM_END_REASON_POWERED_OFF] = STOPPED_SHUTDOWN,
    [VM_END_REASON_RESET] = STOPPED_SHUTDOWN,
    [VM_END_REASON_GUEST_PANIC] = STOPPED_CRASHED,
    [VM_END_REASON_KILLED] = STOPPED_DESTROYED,
    [VM_END_REASON_VM_PROCESS_CRASHED] = STOPPED_CRASHED,
    [VM_END_REASON_START_FAILED] = STOPPED_FAILED,
};

struct callback {
    int32_t id, event;
    bool all;         /* of all domains */
    uint8_t uuid[16]; /* else of this one */
};

/* Which message tells of which kind; the message's struct begins with the callback and the domain.
 */
static const struct {
    int32_t event, procedure;
    const struct libvirt_layout *layout;
} kinds[] = {
    {LIFECYCLE, 318, &libvirt_lifecycle_event_layout},
    {REBOOT, 319, &libvirt_plain_event_layout},
    {IO_ERROR, 322, &libvirt_io_error_event_layout},
    {BALLOON_CHANGE, 331, &libvirt_balloon_event_layout},
    {DEVICE_REMOVED, 333, &libvirt_device_event_layout},
    {TUNABLE, 346, &libvirt_tunable_event_layout},
    {DEVICE_ADDED, 354, &libvirt_device_event_layout},
    {REMOVAL_FAILED, 367, &libvirt_device_event_layout},
    {METADATA_CHANGE, 379, &libvirt_metadata_event_layout},
};

/* Something that happened to a domain. */
struct news {
    struct client *c;
    struct vm *vm; /* NULL: it is gone */
    struct libvirt_dom dom;
};

/* To each callback for EVENT of the domain. MESSAGE is of the kind's struct, whose first member is
 * the callback. */
static void tell(const struct news *n, int32_t event, void *message)
{
    size_t k = 0;

    while (kinds[k].event != event)
        k++;
    for (guint i = 0; i < n->c->callbacks->len; i++) {
        const struct callback *cb = n->c->callbacks->pdata[i];
        if (cb->event != event ||
            (!cb->all && memcmp(cb->uuid, n->dom.uuid, sizeof(cb->uuid)) != 0))
            continue;
        *(int32_t *)message = cb->id;
        libvirt_conn_event(n->c->conn, kinds[k].procedure, kinds[k].layout, message);
    }
}

static void tell_life(const struct news *n, int32_t event, int32_t detail)
{
    struct libvirt_lifecycle_event m = {.dom = n->dom, .event = event, .detail = detail};

    tell(n, LIFECYCLE, &m);
}

static void on_created(const struct news *n, struct json_object *data)
{
    if (n->vm && !vm_config_of(n->vm)->ephemeral)
        tell_life(n, DEFINED, DEFINED_ADDED);
}

static void on_configured(const struct news *n, struct json_object *data)
{
    tell_life(n, DEFINED, DEFINED_UPDATED);
}

static void on_deleted(const struct news *n, struct json_object *data)
{
    tell_life(n, UNDEFINED, 0);
}

static void on_state(const struct news *n, struct json_object *data)
{
    const struct vm_end *end = n->vm ? vm_end_of(n->vm) : NULL;
    struct vm_state_event *e = codec_decode(&vm_state_event_type, data, "data", NULL);

    if (!e)
        return;
    bool io = e->pause && e->pause->disk;
    if (e->from == VM_STATE_STARTING && (e->to == VM_STATE_RUNNING || e->to == VM_STATE_PAUSED))
        tell_life(n, STARTED, 0);
    if (e->to == VM_STATE_PAUSED)
        tell_life(n, SUSPENDED, io ? SUSPENDED_IO_ERROR : SUSPENDED_PAUSED);
    else if (e->to == VM_STATE_RUNNING && e->from == VM_STATE_PAUSED)
        tell_life(n, RESUMED, 0);
    else if (e->to == VM_STATE_STOPPED || e->to == VM_STATE_CRASHED)
        tell_life(n, STOPPED, end ? stop_details[end->reason] : STOPPED_SHUTDOWN);
    codec_free(&vm_state_event_type, e);
}

static void on_reset(const struct news *n, struct json_object *data)
{
    struct libvirt_plain_event m = {.dom = n->dom};

    tell(n, REBOOT, &m);
}

static void on_disk_error(const struct news *n, struct json_object *data)
{
    struct disk_error_event *e = codec_decode(&disk_error_event_type, data, "data", NULL);
    const struct vm_config *config = n->vm ? vm_config_of(n->vm) : NULL;
    const char *path = "";

    if (!e)
        return;
    for (size_t i = 0; config && i < config->n_disks; i++) {
        if (g_strcmp0(config->disks[i]->id, e->disk) == 0)
            path = config->disks[i]->path;
    }
    struct libvirt_io_error_event m = {.dom = n->dom,
                                       .path = (char *)path,
                                       .alias = e->disk,
                                       .action = e->held ? ACTION_PAUSE : ACTION_REPORT};
    tell(n, IO_ERROR, &m);
    codec_free(&disk_error_event_type, e);
}

/* What a guest has after a change of its size. */
static void tell_size(const struct news *n, struct json_object *result)
{
    struct json_object *memory = NULL;

    if (!json_object_object_get_ex(result, "memory", &memory))
        return;
    struct libvirt_balloon_event m = {.dom = n->dom,
                                      .actual = json_object_get_uint64(memory) / KIB};
    tell(n, BALLOON_CHANGE, &m);
}

static void on_balloon(const struct news *n, struct json_object *data)
{
    struct vm_balloon_event *e = codec_decode(&vm_balloon_event_type, data, "data", NULL);

    if (!e)
        return;
    struct libvirt_balloon_event m = {.dom = n->dom, .actual = e->memory_bytes / KIB};
    tell(n, BALLOON_CHANGE, &m);
    codec_free(&vm_balloon_event_type, e);
}

/* As libvirt tells it: a text by the vCPU's name. */
static void on_pinned(const struct news *n, struct json_object *data)
{
    struct vm_pinned_event *e = codec_decode(&vm_pinned_event_type, data, "data", NULL);

    if (!e)
        return;
    g_autofree char *field = g_strdup_printf("cputune.vcpupin%u", e->vcpu);
    g_autofree char *all = bridge_all_cpus();
    struct libvirt_param param = {field, PARAM_STRING, 0, e->cpus ? e->cpus : all};
    struct libvirt_tunable_event m = {.dom = n->dom, .params_count = 1, .params = &param};
    tell(n, TUNABLE, &m);
    codec_free(&vm_pinned_event_type, e);
}

void bridge_tell_metadata(struct bridge *b, struct vm *vm, int32_t kind, const char *uri)
{
    for (guint i = 0; i < b->clients->len; i++) {
        struct news n = {.c = b->clients->pdata[i], .vm = vm};
        bridge_fill(vm, &n.dom);
        struct libvirt_metadata_event m = {.dom = n.dom, .kind = kind, .uri = (char *)uri};
        tell(&n, METADATA_CHANGE, &m);
    }
}

/* Devices come and go by jobs, whose results name them. */
static void on_job(const struct news *n, struct json_object *data)
{
    struct job_ended_event *e = codec_decode(&job_ended_event_type, data, "data", NULL);
    struct json_object *device = NULL;
    int32_t event = -1;

    if (!e)
        return;
    bool done = e->job->state == JOB_STATE_DONE;
    if (strcmp(e->job->kind, "device.add") == 0 && done)
        event = DEVICE_ADDED;
    else if (strcmp(e->job->kind, "device.remove") == 0)
        event = done ? DEVICE_REMOVED : REMOVAL_FAILED;
    if (event >= 0 && json_object_object_get_ex(e->job->result, "device", &device)) {
        struct libvirt_device_event m = {.dom = n->dom,
                                         .alias = (char *)json_object_get_string(device)};
        tell(n, event, &m);
    }
    if (strcmp(e->job->kind, "vm.resize") == 0 && done)
        tell_size(n, e->job->result);
    codec_free(&job_ended_event_type, e);
}

static const struct {
    const char *type;
    void (*handle)(const struct news *n, struct json_object *data);
} handled[] = {
    {"vm.created", on_created}, {"vm.configured", on_configured}, {"vm.deleted", on_deleted},
    {"vm.state", on_state},     {"vm.reset", on_reset},           {"disk.error", on_disk_error},
    {"job.ended", on_job},      {"vm.balloon", on_balloon},       {"vm.pinned", on_pinned},
};

void bridge_event(struct client *c, struct json_object *params)
{
    g_autoptr(event_delivery) delivery = NULL;

    if (!event_delivery_decode(params, &delivery, NULL) || !delivery->event->vm_id)
        return;
    const struct event_record *r = delivery->event;
    struct news n = {.c = c, .vm = registry_find(c->bridge->daemon->registry, r->vm_id)};
    n.dom = (struct libvirt_dom){.name = r->vm, .id = n.vm ? bridge_number(n.vm) : -1};
    bridge_uuid(r->vm_id, n.dom.uuid);
    for (size_t i = 0; i < G_N_ELEMENTS(handled); i++) {
        if (strcmp(handled[i].type, r->type) == 0)
            handled[i].handle(&n, r->data);
    }
}

/* --- registering --- */

static void subscribed(void *arg, const void *result, int fd, const GError *err)
{
}

static void subscribe(struct client *c)
{
    char *types[G_N_ELEMENTS(handled)];
    struct event_subscribe_params p = {.types = types, .n_types = G_N_ELEMENTS(handled)};

    for (size_t i = 0; i < G_N_ELEMENTS(handled); i++)
        types[i] = (char *)handled[i].type;
    if (!c->subscribed)
        rpc_local_call(c->rpc, API_EVENT_SUBSCRIBE, &p, subscribed, NULL);
    c->subscribed = true;
}

/* A new callback; NULL, and REQUEST was answered with an error. */
static struct callback *callback_new(struct client *c, struct libvirt_request *request,
                                     int32_t event)
{
    if (c->callbacks->len >= CALLBACKS_MOST) {
        libvirt_fail(request, LIBVIRT_ERR_OPERATION_FAILED, LIBVIRT_FROM_DOMAIN,
                     "this connection has %d callbacks already", CALLBACKS_MOST);
        return NULL;
    }
    struct callback *cb = g_new0(struct callback, 1);
    cb->id = ++c->last_callback;
    cb->event = event;
    g_ptr_array_add(c->callbacks, cb);
    return cb;
}

/* Kinds that vmd never tells of may be registered for: nothing comes. */
static void register_any(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_register_event *a = args;
    struct callback *cb = callback_new(c, request, a->event);

    if (!cb)
        return;
    cb->all = a->dom_count == 0;
    if (!cb->all)
        memcpy(cb->uuid, a->dom[0].uuid, sizeof(cb->uuid));
    subscribe(c);
    libvirt_reply(request, &(struct libvirt_number){.value = cb->id});
}

/* Nothing happens to the network, and clients hear of a pool by asking. */
static void register_named(struct client *c, struct libvirt_request *request, const void *args)
{
    struct callback *cb = callback_new(c, request, NO_DOMAINS_EVENT);

    if (cb)
        libvirt_reply(request, &(struct libvirt_number){.value = cb->id});
}

static void deregister_any(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_number *a = args;

    for (guint i = 0; i < c->callbacks->len; i++) {
        if (((struct callback *)c->callbacks->pdata[i])->id == a->value) {
            g_ptr_array_remove_index(c->callbacks, i);
            libvirt_reply(request, NULL);
            return;
        }
    }
    libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                 "this connection has no callback %d", a->value);
}

const struct bridge_row bridge_event_rows[] = {
    {LIBVIRT_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY, register_any},
    {LIBVIRT_CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY, deregister_any},
    {LIBVIRT_CONNECT_NETWORK_EVENT_REGISTER_ANY, register_named},
    {LIBVIRT_CONNECT_NETWORK_EVENT_DEREGISTER_ANY, deregister_any},
    {LIBVIRT_CONNECT_STORAGE_POOL_EVENT_REGISTER_ANY, register_named},
    {LIBVIRT_CONNECT_STORAGE_POOL_EVENT_DEREGISTER_ANY, deregister_any},
};
const size_t bridge_event_count = G_N_ELEMENTS(bridge_event_rows);
