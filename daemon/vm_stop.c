/* Ending, rebooting and awaiting a VM, and what is passed on to its process. See vm_priv.h. */
#include "daemon/vm_priv.h"

#include "base/log.h"
#include "daemon/hostdevs.h"
#include "daemon/pins.h"
#include "daemon/registry.h"
#include "daemon/warm.h"

#include <signal.h>

/* --- stopping --------------------------------------------------------------------------------- */

static void kill_now(struct vm *vm)
{
    vm->killed = true;
    if (vm->awaits_gpus) {
        vm__fail_start(vm, g_error_new(VMD_ERROR, VMD_ERROR_GONE, "VM %s was killed as it started",
                                   vm->config->name));
        return;
    }
    vm__start_timer(vm, vm__kill_timeout, KILL_MS);
    if (vm->link && vmipc_link_ready(vm->link) && !vm->starting_process)
        vmipc_link_call(vm->link, VMI_QUIT, NULL, CALL_MS, NULL, NULL);
    else
        spawned_kill(&vm->process, SIGKILL);
}

static bool need_active(struct vm *vm, struct rpc_call *call)
{
    if (vm_active(vm))
        return true;
    rpc_call_error(call, VMD_ERROR_STATE, "VM %s is not running", vm->config->name);
    return false;
}

void vm_kill(struct vm *vm, struct rpc_call *call)
{
    if (!need_active(vm, call))
        return;
    waiters_add(vm->waiters, call, WAIT_KILLED, 0, "");
    kill_now(vm);
}

void vm__stop_over(struct vm *vm, bool cancelled, const GError *err)
{
    vm__stop_timer(vm);
    vm__end_stop_job(vm, cancelled, err);
    if (vm->state == VM_STATE_STOPPING)
        vm__set_state(vm, VM_STATE_RUNNING);
}

static void stop_timeout(uv_timer_t *timer)
{
    struct vm *vm = timer->data;

    if (vm->stop_force) {
        job_progress(vm->stop_job, 90, "the guest did not power off; killing it");
        kill_now(vm);
        return;
    }
    g_autoptr(GError) err =
        g_error_new(VMD_ERROR, VMD_ERROR_TIMEOUT,
                    "the guest of VM %s was asked to power off and has not done so in "
                    "%u s; it goes on",
                    vm->config->name, vm->stop_timeout_s);
    vm__stop_over(vm, false, err);
}

static void stop_cancelled(void *opaque)
{
    vm__stop_over(opaque, true, NULL);
}

static void powerdown_answered(void *arg, const void *result, int fd, const GError *err)
{
    struct vm *vm = arg;

    if (!vm->stop_job || vm->leaving)
        return;
    if (!err) {
        job_progress(vm->stop_job, 10, "the guest was asked to power off");
    } else if (vm->stop_force) {
        job_progress(vm->stop_job, 90, "the guest cannot be asked to power off; killing it");
        kill_now(vm);
    } else {
        vm__stop_over(vm, false, err);
    }
}

/* Begins the job KIND of asking the guest to power off, which CALL is answered with by REPLY. */
static bool begin_stop(struct vm *vm, const char *kind, uint32_t timeout_s, struct rpc_call *call,
                       void (*reply)(struct rpc_call *call, const struct job_ref *ref))
{
    if (!need_active(vm, call))
        return false;
    if (vm->stop_job || vm->state == VM_STATE_STARTING) {
        rpc_call_error(call, VMD_ERROR_STATE, "VM %s is %s", vm->config->name,
                       vm->rebooting ? "being rebooted" : vm_state_to_string(vm->state));
        return false;
    }
    vm->stop_job =
        jobs_begin(vm->daemon->jobs, kind, vm->config->name, vm->id, rpc_call_peer(call)->uid,
                   "asking the guest to power off", stop_cancelled, vm);
    struct job_ref ref = {.job = job_id(vm->stop_job)};
    vm->stop_timeout_s = timeout_s;
    reply(call, &ref);
    vm__start_timer(vm, stop_timeout, (uint64_t)timeout_s * 1000);
    return true;
}

void vm_stop(struct vm *vm, const struct vm_stop_params *params, struct rpc_call *call)
{
    bool force = params->force; /* the answer frees PARAMS */

    if (!begin_stop(vm, "vm.stop", params->timeout_s, call, vm_stop_reply))
        return;
    vm->stop_force = force;
    vm->rebooting = false;
    if (vm->state == VM_STATE_RUNNING)
        vm__set_state(vm, VM_STATE_STOPPING);
    vmipc_link_call(vm->link, VMI_POWERDOWN, NULL, CALL_MS, powerdown_answered, vm);
}

/* The machine's reset is the end of it (on_event()). */
void vm_reboot(struct vm *vm, const struct vm_reboot_params *params, struct rpc_call *call)
{
    struct vmi_powerdown_params p = {.has_reset_ms = true, .reset_ms = params->timeout_s * 1000};

    if (!begin_stop(vm, "vm.reboot", params->timeout_s, call, vm_reboot_reply))
        return;
    vm->stop_force = false;
    vm->rebooting = true;
    vmipc_link_call(vm->link, VMI_POWERDOWN, &p, CALL_MS, powerdown_answered, vm);
}

void vm_wait(struct vm *vm, const struct vm_wait_params *params, struct rpc_call *call)
{
    bool end = params->until == VM_WAIT_FOR_END;

    if (end ? !vm_active(vm) : vm->state == VM_STATE_RUNNING)
        vm__reply_info(call, vm);
    else if (params->has_timeout_ms && params->timeout_ms == 0)
        rpc_call_error(call, VMD_ERROR_TIMEOUT, "VM %s is %s", vm->config->name,
                       vm_state_to_string(vm->state));
    else
        waiters_add(vm->waiters, call, end ? WAIT_END : WAIT_RUNNING,
                    params->has_timeout_ms ? params->timeout_ms : 0,
                    "the VM has not reached that state in the time allowed");
}

void vm_delete(struct vm *vm, bool force, struct rpc_call *call)
{
    if (!vm_active(vm)) {
        registry_drop(vm->daemon->registry, vm);
        vm_delete_reply(call);
        return;
    }
    if (!force) {
        rpc_call_error(call, VMD_ERROR_STATE, "VM %s is %s; stop it first, or use force",
                       vm->config->name, vm_state_to_string(vm->state));
        return;
    }
    vm->deleting = true;
    waiters_add(vm->waiters, call, WAIT_DELETED, 0, "");
    kill_now(vm);
}

void vm_made_by(struct vm *vm, const struct rpc_conn *conn)
{
    if (vm->config->ephemeral)
        vm->maker = conn;
}

void vm_connection_gone(struct vm *vm, const struct rpc_conn *conn)
{
    if (vm->maker != conn)
        return;
    log_info("VM %s: who made it is gone before its run began", vm->config->name);
    vm->maker = NULL;
    if (!vm_active(vm)) {
        registry_drop(vm->daemon->registry, vm);
        return;
    }
    vm->deleting = true;
    kill_now(vm);
}

void vm_deleted(struct vm *vm)
{
    vm__emit(vm, API_EVENT_VM_DELETED, NULL);
    waiters_answer(vm->waiters, WAIT_DELETED, vm__reply_deleted, vm);
    vm__forget_process(vm);
    hostdevs_forget(vm->daemon->hostdevs, vm);
    vm_erase(vm);
}

/* --- passing on ------------------------------------------------------------------------------- */

static void forwarded(void *arg, const void *result, int fd, const GError *err)
{
    struct rpc_call *call = arg;

    if (err)
        rpc_call_fail(call, g_error_copy(err));
    else
        rpc_call_reply_typed(call, rpc_call_method(call)->result, result, fd);
}

bool vm_reachable(const struct vm *vm)
{
    return vm_active(vm) && vm->state != VM_STATE_STARTING && vm->link &&
           vmipc_link_ready(vm->link) && !vm->end_known;
}

static void call_within(struct vm *vm, enum vmi_method method, const void *params, unsigned ms,
                        rpc_client_reply reply, void *arg)
{
    if (vm_active(vm) && vm->link && vm->state != VM_STATE_STARTING) {
        vmipc_link_call(vm->link, method, params, ms, reply, arg);
        return;
    }
    g_autoptr(GError) err = g_error_new(VMD_ERROR, VMD_ERROR_STATE, "VM %s is %s", vm->config->name,
                                        vm_state_to_string(vm->state));
    reply(arg, NULL, -1, err);
}

void vm_call(struct vm *vm, enum vmi_method method, const void *params, rpc_client_reply reply,
             void *arg)
{
    call_within(vm, method, params, CALL_MS, reply, arg);
}

void vm_send_fd(struct vm *vm, const char *name, int fd, rpc_client_reply reply, void *arg)
{
    if (vm->link) {
        vmipc_link_send_fd(vm->link, name, fd, reply, arg);
        return;
    }
    g_autoptr(GError) err = g_error_new_literal(VMD_ERROR, VMD_ERROR_GONE, "the VM is over");
    close(fd);
    reply(arg, NULL, -1, err);
}

void vm_forward(struct vm *vm, enum vmi_method method, const void *params, struct rpc_call *call)
{
    vm_call(vm, method, params, forwarded, call);
}

/* What is under way in the VM process goes on whoever waits. */
static void disk_resized(void *arg, const void *result, int fd, const GError *err)
{
    static const char text[] = "the disk is still being given its size; device.list says which it has";
    g_autoptr(GError) late = g_error_matches(err, VMD_ERROR, VMD_ERROR_TIMEOUT)
                                 ? g_error_new_literal(VMD_ERROR, VMD_ERROR_TIMEOUT, text)
                                 : NULL;

    forwarded(arg, result, fd, late ? late : err);
}

void vm_resize_disk(struct vm *vm, const char *disk, uint64_t bytes, struct rpc_call *call)
{
    const struct vmi_device_resize_params p = {.device = (char *)disk, .bytes = bytes};

    call_within(vm, VMI_DEVICE_RESIZE, &p, RESIZE_MS, disk_resized, call);
}

struct period_call {
    struct vm *vm;
    struct rpc_call *call;
    uint32_t period_s;
};

/* VM is there, or there would be an error. */
static void memory_asked(void *arg, const void *result, int fd, const GError *err)
{
    struct period_call *p = arg;

    if (!err) {
        p->vm->has_memory_period = true;
        p->vm->memory_period_s = p->period_s;
        vm_store(p->vm);
    }
    forwarded(p->call, result, fd, err);
    g_free(p);
}

void vm_ask_memory(struct vm *vm, uint32_t period_s, struct rpc_call *call)
{
    const struct vmi_ask_memory_params q = {.period_s = period_s};
    struct period_call *p = g_new0(struct period_call, 1);

    *p = (struct period_call){vm, call, period_s};
    vm_call(vm, VMI_ASK_MEMORY, &q, memory_asked, p);
}

struct pin_call {
    struct vm *vm;
    struct rpc_call *call;
    struct vm_pin_params params; /* vcpu and cpus, its own */
};

/* VM is there, or there would be an error. */
static void pinned(void *arg, const void *result, int fd, const GError *err)
{
    struct pin_call *p = arg;

    if (!err) {
        if (!p->vm->pins)
            p->vm->pins = pins_of_config(p->vm->config);
        pins_set(&p->vm->pins->pins, &p->vm->pins->n_pins, p->params.vcpu, p->params.cpus);
        vm_store(p->vm);
        struct vm_pinned_event event = {.vcpu = p->params.vcpu, .cpus = p->params.cpus};
        vm__emit(p->vm, API_EVENT_VM_PINNED, &event);
    }
    forwarded(p->call, result, fd, err);
    g_free(p->params.cpus);
    g_free(p);
}

void vm_pin(struct vm *vm, const struct vm_pin_params *params, struct rpc_call *call)
{
    const struct vmi_pin_params q = {.vcpu = params->vcpu, .cpus = params->cpus};
    struct pin_call *p = g_new0(struct pin_call, 1);

    *p = (struct pin_call){.vm = vm, .call = call};
    p->params.vcpu = params->vcpu;
    p->params.cpus = g_strdup(params->cpus);
    vm_call(vm, VMI_PIN, &q, pinned, p);
}

struct warm_call {
    struct vm *vm;
    struct rpc_call *call;
};

/* The VM process has written its list: VM is there, or there would be an error. */
static void warm_written(void *arg, const void *result, int fd, const GError *err)
{
    struct warm_call *w = arg;

    if (!err) {
        g_autofree char *runtime = paths_vm_runtime(&w->vm->daemon->paths, w->vm->id);
        warm_lists_take(w->vm->daemon->warm, w->vm->config->arch, w->vm->uid, runtime);
    }
    forwarded(w->call, result, fd, err);
    g_free(w);
}

void vm_warm(struct vm *vm, struct rpc_call *call)
{
    struct warm_call *w = g_new0(struct warm_call, 1);

    *w = (struct warm_call){.vm = vm, .call = call};
    vm_call(vm, VMI_XLATE_WARM, NULL, warm_written, w);
}
