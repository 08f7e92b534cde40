/* See hotplug.h. */
#include "vm/hotplug.h"

#include "vm/pull.h"
#include "vm/road.h"

enum { ROADS = 6 };

struct hotplug {
    const struct vm_config *config;
    struct devices *devices;
    struct agent *agent; /* NULL: none */
    struct slots *slots;
    struct road *roads[ROADS]; /* by enum device_road; NULL: the VM has none of it */
    const struct hotplug_ops *ops;
    void *opaque;
};

/* What slots carry for us: an addition before it is made. */
struct order {
    struct device_spec *spec;
    char *mac;                   /* of an interface that has none of its own; NULL */
    struct hotplug_files *files; /* NULL: none */
};

/* --- files ------------------------------------------------------------------------------------ */

struct hotplug_files *hotplug_files_new(void)
{
    struct hotplug_files *f = g_new0(struct hotplug_files, 1);

    f->paths = g_ptr_array_new_with_free_func(g_free);
    f->fds = g_array_new(FALSE, FALSE, sizeof(int));
    f->tap = -1;
    return f;
}

void hotplug_files_free(struct hotplug_files *f)
{
    if (!f)
        return;
    for (guint i = 0; i < f->fds->len; i++)
        base__close_fd(&g_array_index(f->fds, int, i));
    if (f->tap >= 0)
        close(f->tap);
    g_array_free(f->fds, TRUE);
    g_ptr_array_free(f->paths, TRUE);
    g_free(f);
}

/* --- roads ------------------------------------------------------------------------------------ */

static struct road *road_of(struct hotplug *h, const struct vm_device *device)
{
    return h->roads[device->road];
}

/* The road that suits SPEC best; one whose places are all taken is passed over. */
static struct road *choose(struct hotplug *h, struct device_spec *spec, struct vm_device *place,
                           GError **err)
{
    struct road *best = NULL;
    int best_fitness = -1;
    bool full = false;
    g_autoptr(GString) missing = g_string_new(NULL);

    for (unsigned i = 0; i < ROADS; i++) {
        struct road *road = h->roads[i];
        const char *why = NULL;
        if (!road || !road->ops->fitness || (spec->has_road && spec->road != i))
            continue;
        int fitness = road->ops->fitness(road, spec, &why);
        full |= fitness == ROAD_FULL;
        if (fitness < 0) {
            g_string_append_printf(missing, "%s%s: %s", missing->len ? "; " : "",
                                   device_road_to_string((enum device_road)i), why);
        } else if (fitness > best_fitness) {
            best = road;
            best_fitness = fitness;
        }
    }
    if (best && best->ops->reserve(best, spec, place))
        return best;
    if (best)
        vmd_fail(err, VMD_ERROR_LIMIT, "no place for a device is free on the road %s",
                 device_road_to_string(best->ops->road));
    else
        vmd_fail(err, full ? VMD_ERROR_LIMIT : VMD_ERROR_UNSUPPORTED, "no road for this device into the guest: %s",
                 missing->len ? missing->str : "the VM was started without any");
    return NULL;
}

bool vm_device_taken(const struct vm_device *device)
{
    return device->frontend ? virtio_running(device->frontend) : device->taken;
}

void hotplug_signal(struct hotplug *h, struct vm_device *device, enum slot_event event,
                    const char *why)
{
    if (device->slot)
        slots_signal(h->slots, device->slot, event, why);
}

static void running(void *opaque, bool on)
{
    struct vm_device *device = opaque;
    enum slot_event event = on ? SLOT_EV_TAKEN : SLOT_EV_LEFT;

    if (device->hotplug)
        hotplug_signal(device->hotplug, device, event, NULL);
    if (device->hotplug && device->carrier)
        device->carrier->ops->carrier_running(device->carrier, device, on);
}

/* Of a function of the host: its driver has it reach memory. */
static void host_running(void *opaque, bool on)
{
    struct vm_device *device = opaque;

    device->taken = on;
    running(device, on);
}

static void host_wanted(void *opaque, bool failed)
{
    struct vm_device *device = opaque;
    const struct vmi_device_wanted_event event = {.device = device->id, .failed = failed};

    if (device->hotplug)
        device->hotplug->ops->wanted(device->hotplug->opaque, &event);
}

static void watch_driver(struct vm_device *device)
{
    static const struct vfio_watch host = {.changed = host_running, .wanted = host_wanted};

    if (device->frontend)
        virtio_watch_running(device->frontend, running, device);
    else if (device->host)
        vfio_device_watch(device->host, &host, device);
}

void hotplug_found(struct hotplug *h, struct vm_device *device)
{
    if (!pci_function_placed(vm_device_function(device))) {
        hotplug_signal(h, device, SLOT_EV_REFUSED,
                       "the guest's kernel found no addresses for the device's memory");
        return;
    }
    device->taken = true;
    hotplug_signal(h, device, SLOT_EV_TAKEN, NULL);
}

/* --- the agent -------------------------------------------------------------------------------- */

/* What the agent was asked on behalf of a device; it ends with the device. */
struct question {
    struct hotplug *h;
    struct vm_device *device;
    int64_t number;
    enum slot_event means; /* what the answer that it is done says; SLOT_EVENTS: nothing */
};

static void answered(void *opaque, const struct agent_reply *reply)
{
    struct question *q = opaque;
    g_autofree char *why = g_strdup_printf("the agent in the guest: %s",
                                           reply->error ? reply->text : "done");
    struct hotplug *h = q->h;
    struct vm_device *device = q->device;
    enum slot_event event = reply->error ? SLOT_EV_REFUSED : q->means;

    device->question = NULL;
    g_free(q);
    device->removed |= event == SLOT_EV_LET_GO;
    if (event == SLOT_EV_TAKEN)
        hotplug_found(h, device);
    else if (event != SLOT_EVENTS)
        hotplug_signal(h, device, event, why);
}

static void forget_question(struct vm_device *device)
{
    struct question *q = g_steal_pointer(&device->question);

    if (!q)
        return;
    agent_cancel(q->h->agent, q->number);
    g_free(q);
}

struct agent *hotplug_agent(const struct hotplug *h)
{
    return h->agent;
}

bool hotplug_agent_can(const struct hotplug *h, const char *verb)
{
    return h->agent && agent_can(h->agent, verb);
}

bool hotplug_ask_agent(struct hotplug *h, struct vm_device *device, const char *const *words,
                       enum slot_event means)
{
    struct question *q = g_new0(struct question, 1);

    forget_question(device);
    *q = (struct question){.h = h, .device = device, .means = means};
    q->number = h->agent ? agent_ask(h->agent, words, SLOT_GUEST_MS, answered, q) : -1;
    if (q->number >= 0)
        device->question = q;
    else
        g_free(q);
    return device->question != NULL;
}

/* --- what slots ask of us --------------------------------------------------------------------- */

static void order_free(struct order *o)
{
    device_spec_free(o->spec);
    hotplug_files_free(o->files);
    g_free(o->mac);
    g_free(o);
}

static void free_spec(void *opaque, void *spec)
{
    order_free(spec);
}

static unsigned disks_of(struct hotplug *h);

struct same_mac {
    uint8_t mac[6];
    const struct vm_device *found;
};

static void compare_mac(void *opaque, struct vm_device *device)
{
    struct same_mac *s = opaque;

    if (device->has_mac && memcmp(device->mac, s->mac, sizeof(s->mac)) == 0)
        s->found = device;
}

/* Whether no other device has the address MAC. */
static bool is_free_mac(struct hotplug *h, const char *mac, GError **err)
{
    struct same_mac s = {.found = NULL};

    vm_device_mac(mac, s.mac);
    devices_each(h->devices, compare_mac, &s);
    return !s.found || vmd_fail(err, VMD_ERROR_EXISTS, "device %s has the address %s already",
                                s.found->id, mac);
}

/* The three files of a function of the host, as process_open_host() had them. */
static void take_host(struct hotplug_files *files, struct vfio_files *out)
{
    int *to[] = {&out->container, &out->group, &out->lease};

    for (guint i = 0; i < files->fds->len && i < G_N_ELEMENTS(to); i++) {
        *to[i] = g_array_index(files->fds, int, i);
        g_array_index(files->fds, int, i) = -1;
    }
}

static void *make(void *opaque, struct slot *slot, void *spec, GError **err)
{
    struct hotplug *h = opaque;
    struct order *o = spec;
    struct vm_device place = {.id = (char *)slot_id(slot)};
    struct device_files files = {.tap = -1, .host = {-1, -1, -1}};

    if (o->spec->kind == HOT_KIND_DISK && disks_of(h) >= LIMIT_DISKS) {
        vmd_fail(err, VMD_ERROR_LIMIT, "the VM has %d disks, and no more", LIMIT_DISKS);
        order_free(o);
        return NULL;
    }
    struct road *road = choose(h, o->spec, &place, err);
    if (!road) {
        order_free(o);
        return NULL;
    }
    if (road->ops->frontend && o->spec->nic) {
        if (!o->spec->nic->mac)
            o->spec->nic->mac = g_steal_pointer(&o->mac);
        if (!is_free_mac(h, o->spec->nic->mac, err)) {
            road->ops->drop(road, &place);
            order_free(o);
            return NULL;
        }
    }
    if (o->files) {
        files.disk = (struct block_given){(const char *const *)o->files->paths->pdata,
                                          (const int *)(void *)o->files->fds->data,
                                          o->files->fds->len};
        files.tap = o->files->tap;
        o->files->tap = -1;
        if (o->spec->host)
            take_host(o->files, &files.host);
    }
    struct vm_device *device = vm_device_new(devices_env(h->devices), g_steal_pointer(&o->spec),
                                             &files, road->ops->frontend, err);
    order_free(o);
    if (!device) {
        road->ops->drop(road, &place);
        return NULL;
    }
    device->road = road->ops->road;
    device->place = place.place;
    device->slot = slot;
    device->hotplug = h;
    devices_join(h->devices, device);
    watch_driver(device);
    return device;
}

static bool publish(void *opaque, void *p, GError **err)
{
    struct vm_device *device = p;
    struct road *road = road_of(opaque, device);

    device->shown = road->ops->publish(road, device, err);
    return device->shown;
}

static void ask(void *opaque, void *p)
{
    struct road *road = road_of(opaque, p);

    road->ops->ask(road, p);
}

static bool unask(void *opaque, void *p)
{
    struct road *road = road_of(opaque, p);

    return road->ops->unask(road, p);
}

static const char *late(void *opaque, void *p)
{
    struct road *road = road_of(opaque, p);

    return road->ops->late ? road->ops->late(road, p) : NULL;
}

struct leaver {
    struct hotplug *h;
    struct road *road;
    struct vm_device place; /* as the road knows it */
    struct slot *slot;
};

/* Takes DEVICE off its road, where it still is on it. */
static void take_off(struct hotplug *h, struct vm_device *device)
{
    struct road *road = road_of(h, device);

    if (device->shown) {
        if (device->gpu)
            gpu_going(device->gpu);
        road->ops->withdraw(road, device);
    }
    device->shown = false;
}

/* The guest has understood that the disk is lost, or its time is over. */
static void pulled(void *opaque)
{
    struct vm_device *device = opaque;

    pull_free(g_steal_pointer(&device->pull));
    take_off(device->leaver->h, device);
    device->held = false;
    hotplug_released(device);
}

static void withdraw(void *opaque, void *p)
{
    struct vm_device *device = p;
    struct hotplug *h = opaque;

    if (!device->shown || !device->disk || !device->frontend || !vm_device_taken(device)) {
        take_off(h, device);
        return;
    }
    /* close_device() comes next, and finds it held. */
    device->held = true;
    device->pull = pull_begin(devices_env(h->devices)->virtio.loop, device->disk, pulled, device);
}

static void closed(void *opaque)
{
    struct leaver *l = opaque;

    if (l->h->slots) {
        l->road->ops->drop(l->road, &l->place);
        slots_signal(l->h->slots, l->slot, SLOT_EV_CLOSED, NULL);
    }
    g_free(l);
}

static void close_device(void *opaque, struct slot *slot, void *p)
{
    struct hotplug *h = opaque;
    struct vm_device *device = p;
    struct leaver *l = g_new0(struct leaver, 1);

    *l = (struct leaver){.h = h, .road = road_of(h, device), .place = {.place = device->place},
                         .slot = slot};
    device->hotplug = NULL;
    forget_question(device);
    if (device->held)
        device->leaver = l;
    else
        devices_close(h->devices, device, closed, l);
}

void hotplug_released(struct vm_device *device)
{
    struct leaver *l = g_steal_pointer(&device->leaver);

    if (l)
        devices_close(l->h->devices, device, closed, l);
    else if (device->hotplug && slot_state(device->slot) == SLOT_LEAVING)
        hotplug_signal(device->hotplug, device, SLOT_EV_LET_GO, NULL);
    else if (device->hotplug)
        hotplug_signal(device->hotplug, device, SLOT_EV_LOST, "the guest let go of it, too late");
}

static const enum device_state states[] = {
    [SLOT_FREE] = DEVICE_STATE_RELEASED,
    [SLOT_REQUESTED] = DEVICE_STATE_REQUESTED,
    [SLOT_VISIBLE] = DEVICE_STATE_VISIBLE,
    [SLOT_ACKNOWLEDGED] = DEVICE_STATE_ACKNOWLEDGED,
    [SLOT_LEAVING] = DEVICE_STATE_LEAVING,
    [SLOT_RELEASING] = DEVICE_STATE_RELEASING,
};

static const struct vm_device *device_of(const struct slot *slot)
{
    return slot_device(slot);
}

static void changed(void *opaque, const struct slot *slot, const char *why)
{
    struct hotplug *h = opaque;
    const struct vm_device *device = device_of(slot);
    struct vmi_device_event event = {
        .device = (char *)slot_id(slot),
        .state = states[slot_state(slot)],
        .has_road = device != NULL,
        .road = device ? device->road : DEVICE_ROAD_FIXED,
        .has_job = slot_job(slot) != 0,
        .job = slot_job(slot),
        .text = (char *)(why ? why : ""),
    };

    h->ops->changed(h->opaque, &event);
}

static void ended(void *opaque, uint64_t job, const char *id, enum slot_outcome outcome,
                  const GError *err)
{
    static const enum device_outcome outcomes[] = {
        [SLOT_DONE] = DEVICE_OUTCOME_DONE,
        [SLOT_REFUSED] = DEVICE_OUTCOME_REFUSED,
        [SLOT_TIMED_OUT] = DEVICE_OUTCOME_TIMED_OUT,
        [SLOT_SURPRISE_REMOVED] = DEVICE_OUTCOME_SURPRISE_REMOVED,
        [SLOT_CANCELLED] = DEVICE_OUTCOME_CANCELLED,
    };
    struct hotplug *h = opaque;
    bool known = err && err->domain == VMD_ERROR;
    struct vmi_job_ended_event event = {
        .job = job,
        .device = (char *)id,
        .outcome = outcomes[outcome],
        .kind = err ? (char *)vmd_error_name(known ? (enum vmd_error)err->code : VMD_ERROR_INTERNAL)
                    : NULL,
        .text = err ? err->message : (char *)"",
    };

    h->ops->ended(h->opaque, &event);
}

static const struct slots_ops slots_ops = {
    .make = make,
    .free_spec = free_spec,
    .publish = publish,
    .ask = ask,
    .unask = unask,
    .withdraw = withdraw,
    .close = close_device,
    .late = late,
    .changed = changed,
    .ended = ended,
};

/* --- beginning and end ------------------------------------------------------------------------ */

static void adopt(void *opaque, struct vm_device *device)
{
    struct hotplug *h = opaque;

    device->hotplug = h;
    device->slot = slots_adopt(h->slots, device->id, device);
    watch_driver(device);
}

struct hotplug *hotplug_new(uv_loop_t *loop, const struct vm_config *config,
                            struct devices *devices, struct pci_host *pci, struct pci_plug *plug,
                            struct agent *agent, const struct hotplug_ops *ops, void *opaque,
                            GError **err)
{
    struct hotplug *h = g_new0(struct hotplug, 1);

    h->config = config;
    h->devices = devices;
    h->agent = agent;
    h->ops = ops;
    h->opaque = opaque;
    h->slots = slots_new(loop, &slots_ops, h);
    h->roads[DEVICE_ROAD_FIXED] = road_fixed_new(h);
    slots_hold(h->slots, true); /* until the machine runs */
    if (!road_pcie_new(h, loop, pci, plug, config->hotplug->ports, h->roads, err)) {
        hotplug_free(h);
        return NULL;
    }
    devices_each(devices, adopt, h);
    struct vm_device *adapter = devices_find(devices, SCSI_ID);
    if (adapter)
        h->roads[DEVICE_ROAD_SCSI] =
            road_scsi_new(h, adapter, config->arch == VM_ARCH_RISCV64);
    h->roads[DEVICE_ROAD_LINK] = road_link_new(h, devices, config->hotplug->nics);
    return h;
}

static void detach(void *opaque, struct vm_device *device)
{
    forget_question(device);
    g_clear_pointer(&device->leaver, g_free);
    /* Before it is withdrawn: a road that lets go of it would begin a removal. */
    device->hotplug = NULL;
    device->slot = NULL;
    pull_free(g_steal_pointer(&device->pull));
    if (device->road != DEVICE_ROAD_FIXED)
        take_off(opaque, device);
}

void hotplug_detach(struct hotplug *h)
{
    if (!h || !h->slots)
        return;
    devices_each(h->devices, detach, h);
    slots_free(g_steal_pointer(&h->slots));
}

void hotplug_free(struct hotplug *h)
{
    if (!h)
        return;
    hotplug_detach(h);
    for (unsigned i = 0; i < ROADS; i++) {
        if (h->roads[i])
            h->roads[i]->ops->free(h->roads[i]);
    }
    g_free(h);
}

void hotplug_reset(struct hotplug *h)
{
    slots_reset(h->slots);
    for (unsigned i = 0; i < ROADS; i++) {
        if (h->roads[i] && h->roads[i]->ops->reset)
            h->roads[i]->ops->reset(h->roads[i]);
    }
}

void hotplug_hold(struct hotplug *h, bool hold)
{
    slots_hold(h->slots, hold);
}

/* --- requests --------------------------------------------------------------------------------- */

static void count_disk(void *opaque, struct vm_device *device)
{
    *(unsigned *)opaque += device->disk != NULL;
}

static unsigned disks_of(struct hotplug *h)
{
    unsigned n = 0;

    devices_each(h->devices, count_disk, &n);
    return n;
}

/* The first free name of its kind. */
static char *free_id(struct hotplug *h, enum hot_kind kind)
{
    static const char *const stems[] = {
        [HOT_KIND_DISK] = "disk",
        [HOT_KIND_NIC] = "net",
        [HOT_KIND_RNG] = "rng",
        [HOT_KIND_CONSOLE] = "hvc",
        [HOT_KIND_HOST] = "host",
    };

    for (unsigned i = 0;; i++) {
        g_autofree char *id = g_strdup_printf("%s%u", stems[kind], i);
        if (!slots_find(h->slots, id))
            return g_steal_pointer(&id);
    }
}

/* What SPEC leaves open is filled in, and what does not go together refused. */
static bool settle(struct hotplug *h, struct device_spec *spec, const char *mac, GError **err)
{
    char **inner = spec->disk   ? &spec->disk->id
                   : spec->nic  ? &spec->nic->id
                   : spec->host ? &spec->host->id
                                : NULL;

    if ((spec->kind == HOT_KIND_HOST) != (spec->host != NULL))
        return vmd_fail(err, VMD_ERROR_INVALID, "device.host: goes with kind host, and only that");
    if (spec->host && !devices_host(h->config))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "device.host: a VM that was started without functions of the host, and without the "
                        "right to take them later (hotplug.host), gave that up");
    if (spec->kind == HOT_KIND_GPU && !spec->id)
        spec->id = g_strdup(GPU_ID);
    if ((spec->kind == HOT_KIND_DISK) != (spec->disk != NULL))
        return vmd_fail(err, VMD_ERROR_INVALID, "device.disk: goes with kind disk, and only that");
    if ((spec->kind == HOT_KIND_NIC) != (spec->nic != NULL))
        return vmd_fail(err, VMD_ERROR_INVALID, "device.nic: goes with kind nic, and only that");
    if ((spec->kind == HOT_KIND_GPU) != (spec->gpu != NULL))
        return vmd_fail(err, VMD_ERROR_INVALID, "device.gpu: goes with kind gpu, and only that");
    if ((spec->kind == HOT_KIND_GPU) != (g_strcmp0(spec->id, GPU_ID) == 0))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "device.id: %s is the GPU of a VM, which has one at a time", GPU_ID);
    if (spec->nic && spec->nic->kind == VM_NIC_KIND_USER && !devices_user_net(h->config))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "device.nic: a VM that was started without user networking, and without ports for "
                        "later networks (hotplug.nics), may make no sockets");
    if (spec->nic && !spec->nic->mac && !mac)
        return vmd_fail(err, VMD_ERROR_INVALID, "device.nic: an interface needs an address");
    if (spec->kind == HOT_KIND_CONSOLE && g_strcmp0(spec->id, "serial0") == 0)
        return vmd_fail(err, VMD_ERROR_EXISTS, "device.id: serial0 is the serial port");
    if (!spec->id)
        spec->id = inner && *inner ? g_strdup(*inner) : free_id(h, spec->kind);
    if (inner && *inner && strcmp(*inner, spec->id) != 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "device.id: %s, and %s within", spec->id, *inner);
    if (inner && !*inner)
        *inner = g_strdup(spec->id);
    return true;
}

bool hotplug_add(struct hotplug *h, uint64_t job, const struct device_spec *spec, const char *mac,
                 bool visible, unsigned timeout_ms, struct hotplug_files *files, char **id,
                 GError **err)
{
    struct order *o = g_new0(struct order, 1);
    struct slot_request request = {.job = job, .kind = SLOT_ADD, .visible = visible,
                                   .timeout_ms = timeout_ms, .spec = o};

    o->spec = device_spec_copy(spec);
    o->mac = g_strdup(mac);
    o->files = files;
    if (settle(h, o->spec, mac, err)) {
        request.id = o->spec->id;
        if (slots_request(h->slots, &request, err)) {
            *id = g_strdup(request.id);
            return true;
        }
    }
    order_free(o);
    return false;
}

bool hotplug_remove(struct hotplug *h, uint64_t job, const char *id, bool force, unsigned timeout_ms,
                    GError **err)
{
    const struct slot_request request = {.job = job, .kind = SLOT_REMOVE, .id = id, .force = force,
                                         .timeout_ms = timeout_ms};

    const struct vm_device *device = devices_find(h->devices, id);
    if (device && device->carrier)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s is what other devices come by: it stays", id);
    if (device && device->frontend && device->frontend == devices_memory(h->devices))
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s has some of the guest's memory: it stays",
                        id);
    return slots_request(h->slots, &request, err);
}

bool hotplug_cancel(struct hotplug *h, uint64_t job, GError **err)
{
    return slots_cancel(h->slots, job, err);
}

static void add_job(void *opaque, uint64_t job)
{
    g_array_append_val((GArray *)opaque, job);
}

GArray *hotplug_jobs(struct hotplug *h)
{
    GArray *jobs = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    slots_each_job(h->slots, add_job, jobs);
    return jobs;
}

/* --- what can be asked ------------------------------------------------------------------------ */

GPtrArray *hotplug_slots(struct hotplug *h)
{
    GPtrArray *rows = g_ptr_array_new();

    for (unsigned i = 0; i < ROADS; i++) {
        if (h->roads[i] && h->roads[i]->ops->slots)
            h->roads[i]->ops->slots(h->roads[i], rows);
    }
    for (guint i = 0; i < rows->len; i++) {
        struct slot_info *row = g_ptr_array_index(rows, i);
        struct slot *slot = row->device ? slots_find(h->slots, row->device) : NULL;
        row->has_state = slot != NULL;
        if (slot)
            row->state = states[slot_state(slot)];
    }
    return rows;
}

struct listing {
    struct hotplug *h;
    GPtrArray *rows;
};

/* What there is to say of DEVICE at this moment. */
static char *text_of(const struct hotplug *h, const struct vm_device *device)
{
    if (h->agent && strcmp(device->id, "hvc0") == 0 && agent_present(h->agent))
        return g_strdup_printf("agent %s, %s", agent_version(h->agent), agent_kernel(h->agent));
    const char *text = device->disk ? disk_text(device->disk) : device->text;
    return g_strndup(text ? text : "", LONG_TEXT_MAX);
}

static void describe(void *opaque, struct vm_device *device)
{
    struct listing *l = opaque;
    struct road *road = road_of(l->h, device);
    struct device_info *info = device_info_new();

    info->id = g_strdup(device->id);
    info->kind = g_strdup(device->kind);
    road->ops->describe(road, device, info);
    info->has_driver_ok = device->frontend || device->host;
    info->driver_ok = vm_device_taken(device);
    info->has_state = true;
    info->state = states[slot_state(device->slot)];
    info->has_road = true;
    info->road = device->road;
    info->why = g_strdup(road->ops->leaving(road, device));
    info->has_job = slot_job(device->slot) != 0;
    info->job = slot_job(device->slot);
    g_free(info->text);
    info->text = text_of(l->h, device);
    g_ptr_array_add(l->rows, info);
}

struct disk *hotplug_disk(struct hotplug *h, const char *id)
{
    const struct vm_device *device = devices_find(h->devices, id);

    return device ? device->disk : NULL;
}

GPtrArray *hotplug_devices(struct hotplug *h)
{
    struct listing l = {h, g_ptr_array_new()};

    devices_each(h->devices, describe, &l);
    return l.rows;
}
