/* A VM as the registry has it: what it is, what is known of it, and where that is kept. See vm.h. */
#include "daemon/vm_priv.h"

#include "base/log.h"
#include "daemon/store.h"
#include "proto/jsonrpc/json.h"

#include <pwd.h>

static const char *const state_file = "vm.json";

uint64_t vm__now_ns(void)
{
    return (uint64_t)g_get_real_time() * 1000;
}

struct daemon *vm_daemon(const struct vm *vm)
{
    return vm->daemon;
}

struct vm_gpu *vm_gpu_of(const struct vm *vm)
{
    return vm->gpu;
}

struct vm_devices *vm_devices_of(const struct vm *vm)
{
    return vm->devices;
}

const char *vm_id(const struct vm *vm)
{
    return vm->id;
}

const char *vm_name(const struct vm *vm)
{
    return vm->config->name;
}

uid_t vm_owner(const struct vm *vm)
{
    return vm->uid;
}

enum vm_state vm_state(const struct vm *vm)
{
    return vm->state;
}

const struct vm_config *vm_config_of(const struct vm *vm)
{
    return vm->config;
}

const struct vm_gpu_config *vm_run_gpu(const struct vm *vm)
{
    return vm_active(vm) ? vm_devices_gpu(vm->devices) : vm->config->gpu;
}

bool vm_active(const struct vm *vm)
{
    return vm->state == VM_STATE_STARTING || vm->state == VM_STATE_RUNNING ||
           vm->state == VM_STATE_PAUSED || vm->state == VM_STATE_STOPPING;
}

pid_t vm_pid(const struct vm *vm)
{
    return vm->process.pid;
}

const struct vm_end *vm_end_of(const struct vm *vm)
{
    return vm->end;
}

const struct vm_pause_info *vm_pause_of(const struct vm *vm)
{
    return vm->pause;
}

uint32_t vm_memory_period_of(const struct vm *vm)
{
    return vm->has_memory_period ? vm->memory_period_s : vm->config->devices->memory_period_s;
}

const struct vm_pins *vm_pins_of(const struct vm *vm)
{
    return vm->pins;
}

const struct resize_result *vm_size_of(const struct vm *vm)
{
    return vm->size;
}

char *vm_log_dir(const struct vm *vm)
{
    return paths_vm_store(&vm->daemon->paths, vm->id);
}

static char *user_name(uid_t uid)
{
    struct passwd *pw = getpwuid(uid);

    return pw ? g_strdup(pw->pw_name) : g_strdup_printf("%u", (unsigned)uid);
}

struct vm_info *vm_describe(const struct vm *vm)
{
    struct vm_info *info = vm_info_new();

    info->id = g_strdup(vm->id);
    info->name = g_strdup(vm->config->name);
    info->state = vm->state;
    info->has_accel = vm->has_accel;
    info->accel = vm->accel;
    info->accel_text = g_strdup(vm->accel_text);
    info->owner_uid = vm->uid;
    info->owner = user_name(vm->uid);
    info->has_pid = vm_active(vm) && vm->process.pid > 0;
    info->pid = (uint32_t)vm->process.pid;
    info->created_ns = vm->created_ns;
    info->has_started_ns = vm->started_ns != 0;
    info->started_ns = vm->started_ns;
    info->runs = vm->runs;
    info->end = vm_end_copy(vm->end);
    info->pause = vm_pause_info_copy(vm->pause);
    info->size = vm_active(vm) ? resize_result_copy(vm->size) : NULL;
    info->pins = vm_active(vm) ? vm_pins_copy(vm->pins) : NULL;
    info->has_memory_period_s = vm_active(vm) && vm->has_memory_period;
    info->memory_period_s = vm->memory_period_s;
    vm_config_free(info->config);
    info->config = vm_config_copy(vm->config);
    info->next = vm_config_copy(vm->next);
    return info;
}

/* --- the store -------------------------------------------------------------------------------- */

static struct json_object *encode(const struct vm *vm)
{
    g_autoptr(vm_info) info = vm_describe(vm);
    struct json_object *json = vm_info_encode(info);

    json_object_object_add(json, "acked", json_object_new_uint64(vm->acked));
    vm_devices_save(vm->devices, json);
    json_object_object_add(json, "gpu_worker", vm_gpu_save(vm->gpu));
    json_object_object_add(json, "process_start", json_object_new_uint64(vm->process.start_time));
    return json;
}

/* SYNC for what must survive the host's crash: that a VM exists, and what it is. */
bool vm__save(struct vm *vm, bool sync, GError **err)
{
    g_autofree char *dir = paths_vm_store(&vm->daemon->paths, vm->id);
    g_autofree char *path = g_build_filename(dir, state_file, NULL);
    g_autoptr(json_object) json = encode(vm);

    return paths_make_dir(dir, err) && store_write(path, json, sync, err);
}

void vm_store(struct vm *vm)
{
    g_autoptr(GError) err = NULL;

    if (!vm__save(vm, false, &err))
        log_error("VM %s: %s", vm->config->name, err->message);
}

static struct vm *vm_alloc(struct daemon *daemon)
{
    struct vm *vm = g_new0(struct vm, 1);

    vm->daemon = daemon;
    vm->waiters = waiters_new(daemon->loop);
    vm->devices = vm_devices_new(vm);
    vm->gpu = vm_gpu_new(vm);
    spawned_init(&vm->process);
    return vm;
}

struct vm *vm_new(struct daemon *daemon, const char *id, struct vm_config *config, uid_t uid,
                  GError **err)
{
    struct vm *vm = vm_alloc(daemon);

    vm->id = id ? g_strdup(id) : g_uuid_string_random();
    vm->config = config;
    vm->uid = uid;
    vm->created_ns = vm__now_ns();
    vm->state = VM_STATE_DEFINED;
    if (!vm__save(vm, true, err)) {
        vm_erase(vm);
        vm_free(vm);
        return NULL;
    }
    return vm;
}

static uint64_t take_number(struct json_object *json, const char *member)
{
    struct json_object *value = NULL;
    uint64_t n = 0;

    if (json_object_object_get_ex(json, member, &value))
        n = json_object_get_uint64(value);
    json_object_object_del(json, member);
    return n;
}

/* Of an end that was told the events know best: vm.json is written after them. */
static void take_told_end(struct vm *vm)
{
    const struct event_record *told = events_vm_ended(vm->daemon->events, vm->id);
    struct json_object *json = NULL;
    struct vm_end *end = NULL;

    if (!told || !json_object_object_get_ex(told->data, "end", &json) ||
        !vm_end_decode(json, &end, NULL))
        return;
    vm_end_free(vm->end);
    vm->end = end;
}

struct vm *vm_load(struct daemon *daemon, const char *id, GError **err)
{
    g_autofree char *dir = paths_vm_store(&daemon->paths, id);
    g_autofree char *path = g_build_filename(dir, state_file, NULL);
    g_autoptr(json_object) json = NULL;
    g_autoptr(vm_info) info = NULL;

    if (!store_read(path, &json, err))
        return NULL;
    if (!json || !json_object_is_type(json, json_type_object)) {
        vmd_fail(err, VMD_ERROR_INVALID, "%s is missing or empty", path);
        return NULL;
    }
    uint64_t acked = take_number(json, "acked");
    uint64_t process_start = take_number(json, "process_start");
    g_autoptr(json_object) worker = json_object_get(json_object_object_get(json, "gpu_worker"));
    json_object_object_del(json, "gpu_worker");
    struct vm *vm = vm_alloc(daemon);
    vm_devices_load(vm->devices, json);
    if (!vm_info_decode(json, &info, err)) {
        vm_free(vm);
        return NULL;
    }
    vm_gpu_load(vm->gpu, worker);
    vm->id = g_strdup(id);
    vm->config = g_steal_pointer(&info->config);
    vm->next = g_steal_pointer(&info->next);
    vm->uid = info->owner_uid;
    vm->state = info->state;
    events_vm_state(daemon->events, id, &vm->state);
    vm->created_ns = info->created_ns;
    vm->started_ns = info->started_ns;
    vm->runs = info->runs;
    vm->has_accel = info->has_accel;
    vm->accel = info->accel;
    vm->accel_text = g_steal_pointer(&info->accel_text);
    vm->end = g_steal_pointer(&info->end);
    vm->pause = g_steal_pointer(&info->pause);
    vm->size = g_steal_pointer(&info->size);
    vm->pins = g_steal_pointer(&info->pins);
    vm->has_memory_period = info->has_memory_period_s;
    vm->memory_period_s = info->memory_period_s;
    take_told_end(vm);
    vm->in_file = acked;
    vm->acked = MAX(acked, events_vm_seq(daemon->events, id));
    if (info->has_pid)
        spawned_adopt(&vm->process, (pid_t)info->pid, process_start);
    return vm;
}

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    vm->leaving = true;
    if (vm->starting)
        rpc_call_error(vm->starting, VMD_ERROR_GONE, "the daemon is ending");
    waiters_free(vm->waiters);
    vm_devices_free(vm->devices);
    vm__stop_timer(vm);
    vmipc_link_free(g_steal_pointer(&vm->link));
    spawned_forget(&vm->process);
    vm_gpu_free(vm->gpu);
    g_clear_error(&vm->start_err);
    vm_config_free(vm->config);
    vm_config_free(vm->next);
    vm_end_free(vm->end);
    resize_result_free(vm->size);
    vm_pins_free(vm->pins);
    vm_pause_info_free(vm->pause);
    g_free(vm->accel_text);
    g_free(vm->id);
    g_free(vm);
}

void vm_erase(struct vm *vm)
{
    g_autofree char *store = paths_vm_store(&vm->daemon->paths, vm->id);
    g_autofree char *runtime = paths_vm_runtime(&vm->daemon->paths, vm->id);

    paths_remove_dir(store);
    paths_remove_dir(runtime);
}

/* --- another configuration -------------------------------------------------------------------- */

const struct vm_config *vm_next_config_of(const struct vm *vm)
{
    return vm->next ? vm->next : vm->config;
}

/* A copy of CONFIG with what can change during a run as FROM has it. */
static struct vm_config *with_changes(const struct vm_config *config, const struct vm_config *from)
{
    struct vm_config *out = vm_config_copy(config);

    out->autostart = from->autostart;
    out->ephemeral = from->ephemeral;
    g_free(out->libvirt_xml);
    out->libvirt_xml = g_strdup(from->libvirt_xml);
    if (out->gpu && from->gpu) {
        out->gpu->share = from->gpu->share;
        out->gpu->launches = from->gpu->launches;
    }
    return out;
}

static bool same(const struct vm_config *a, const struct vm_config *b)
{
    g_autoptr(json_object) x = vm_config_encode(a), y = vm_config_encode(b);

    return json_object_equal(x, y);
}

bool vm_configure(struct vm *vm, struct vm_config *config, GError **err)
{
    struct vm_config *was = vm->config, *was_next = vm->next;

    vm->next = NULL;
    if (!vm_active(vm)) {
        vm->config = config;
    } else {
        vm->config = with_changes(was, config);
        vm->next = same(vm->config, config) ? NULL : config;
    }
    if (!vm__save(vm, true, err)) {
        if (vm->config != config)
            vm_config_free(vm->config);
        vm->config = was;
        vm->next = was_next;
        return false;
    }
    if (vm->config != config && vm->next != config)
        vm_config_free(config);
    vm_gpu_limit(vm->gpu);
    if (!vm->config->ephemeral)
        vm->maker = NULL;
    vm_config_free(was);
    vm_config_free(was_next);
    vm__emit(vm, API_EVENT_VM_CONFIGURED, &(struct vm_configured_event){.pending = vm->next != NULL});
    return true;
}
