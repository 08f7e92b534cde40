/* vCPU threads; see vcpus.h. */
#include "vm/vcpus.h"

#include "base/cpulist.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

struct slot {
    struct vcpus *all;
    struct vcpu *vcpu;
    pthread_t thread;
    bool has_thread;
    enum vcpu_power power;
    struct vcpu_start start; /* of VCPU_STARTING */
    bool granted;            /* may be started */
    bool taken_out;          /* with VCPU_STOPPING: by others, and it is to be as new then */
    bool held;       /* does not run: the debugger wants others to */
    bool stopped;    /* for the debugger, who has not been told */
    bool pin;        /* its thread is to go to CPUS */
    cpu_set_t cpus;
    bool asked;      /* for a sample that has not come; of vcpus_sample() */
    uint64_t exits;
};

struct vcpus {
    struct accel *accel;
    vcpus_failed_fn failed;
    vcpus_stopped_fn stopped; /* NULL: nobody debugs */
    void *opaque;
    pthread_mutex_t world; /* recursive, of whoever stops the world; taken before lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* halted, stops, quit, power or inside changed */
    bool halted, quit;
    unsigned stops;  /* vcpus_stop_world(), one in another */
    unsigned inside; /* vCPUs inside accel_vcpu_run() */
    unsigned n;
    struct slot slots[LIMIT_VCPUS];
};

/* --- samples ---------------------------------------------------------------------------------- */

/* From vcpus_sample() alone: anybody may send the signal, but not as this process. */
static void on_sample(int signum, siginfo_t *info, void *context)
{
    if (info->si_code == SI_QUEUE && info->si_pid == getpid())
        accel_vcpu_interrupted(((struct slot *)info->si_value.sival_ptr)->vcpu, context);
}

static bool catch_samples(GError **err)
{
    struct sigaction action = {.sa_sigaction = on_sample, .sa_flags = SA_SIGINFO | SA_RESTART};

    return sigaction(SIGPROF, &action, NULL) == 0 ||
           vmd_set_errno(err, errno, "the signal for samples");
}

static void take_samples(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPROF);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

bool vcpus_sample(struct vcpus *v, unsigned index, struct accel_sample *out)
{
    struct slot *slot = &v->slots[index];
    struct accel_vcpu_info info;
    bool found = accel_vcpu_sample(slot->vcpu, out);

    slot->asked &= !found;
    if (slot->asked || vcpus_power(v, index) != VCPU_ON)
        return found;
    accel_vcpu_info(slot->vcpu, &info);
    if (!info.halted)
        slot->asked = pthread_sigqueue(slot->thread, SIGPROF,
                                       (union sigval){.sival_ptr = slot}) == 0;
    if (found || !info.halted)
        return found;
    *out = (struct accel_sample){.activity = ACCEL_HALTED, .mode = ""};
    return true;
}

/* --- threads ---------------------------------------------------------------------------------- */

/* SLOT has left guest code, in which it was asked to stop. Lock held. */
static void stop_slot(struct slot *slot)
{
    static const struct vcpu_start as_new = {.mode = VCPU_MODE_WAIT};

    slot->power = VCPU_OFF;
    if (slot->taken_out) /* its interrupt controller must take nothing any more */
        accel_vcpu_reset(slot->vcpu, &as_new);
    slot->taken_out = false;
}

/* Gives SLOT the state that it is to start with. Lock held. */
static void start_slot(struct slot *slot)
{
    if (slot->power != VCPU_STARTING)
        return;
    accel_vcpu_reset(slot->vcpu, &slot->start);
    slot->power = VCPU_ON;
}

/* No vCPU may go inside. Lock held. */
static bool stopping(const struct vcpus *v)
{
    return v->halted || v->stops > 0;
}

/* Nor is one. Lock held. */
static bool standing(const struct vcpus *v)
{
    return stopping(v) && v->inside == 0;
}

/* On SLOT's thread, which alone may ask that of the kernel; with the lock held. */
static void settle_pin(struct slot *slot)
{
    /* Processors that went offline since do not matter: the kernel has the last word. */
    if (slot->pin)
        sched_setaffinity(0, sizeof(slot->cpus), &slot->cpus);
    slot->pin = false;
}

/* Waits until SLOT may run guest code; false when its thread must end. Lock held. */
static bool wait_turn(struct vcpus *v, struct slot *slot)
{
    settle_pin(slot);
    while (!v->quit && (stopping(v) || slot->held || slot->power == VCPU_OFF)) {
        pthread_cond_wait(&v->changed, &v->lock);
        settle_pin(slot);
    }
    if (v->quit)
        return false;
    start_slot(slot);
    return true;
}

static void *vcpu_thread(void *arg)
{
    struct slot *slot = arg;
    struct vcpus *v = slot->all;

    take_samples();
    pthread_mutex_lock(&v->lock);
    while (wait_turn(v, slot)) {
        v->inside++;
        pthread_mutex_unlock(&v->lock);

        enum vcpu_exit why = accel_vcpu_run(slot->vcpu);
        if (why == VCPU_EXIT_SHUTDOWN || why == VCPU_EXIT_ERROR) {
            vcpus_halt_async(v);
            v->failed(v->opaque, slot->vcpu->index, why, accel_vcpu_error(slot->vcpu));
        } else if (why == VCPU_EXIT_DEBUG) {
            vcpus_halt_async(v);
        }

        pthread_mutex_lock(&v->lock);
        v->inside--;
        __atomic_add_fetch(&slot->exits, 1, __ATOMIC_RELAXED);
        if (slot->power == VCPU_STOPPING || why == VCPU_EXIT_SHUTDOWN || why == VCPU_EXIT_ERROR)
            stop_slot(slot);
        slot->stopped |= why == VCPU_EXIT_DEBUG;
        pthread_cond_broadcast(&v->changed);
        if (why == VCPU_EXIT_DEBUG && v->stopped) {
            pthread_mutex_unlock(&v->lock);
            v->stopped(v->opaque);
            pthread_mutex_lock(&v->lock);
        }
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

/* Starts SLOT's thread with all signals blocked but those that the accelerator unblocks. */
static int start_thread(struct slot *slot)
{
    sigset_t all, before;
    char name[16];
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&slot->thread, NULL, vcpu_thread, slot);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc)
        return rc;
    slot->has_thread = true;
    g_snprintf(name, sizeof(name), "vcpu%u", slot->vcpu->index);
    pthread_setname_np(slot->thread, name);
    return 0;
}

static void init_recursive(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
}

struct vcpus *vcpus_new(struct accel *accel, vcpus_failed_fn failed, void *opaque, GError **err)
{
    struct vcpus *v = g_new0(struct vcpus, 1);

    v->accel = accel;
    v->failed = failed;
    v->opaque = opaque;
    v->halted = true;
    init_recursive(&v->world);
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->changed, NULL);
    if (!catch_samples(err))
        goto fail;
    for (unsigned i = 0; i < accel->config.vcpus; i++) {
        struct slot *slot = &v->slots[i];
        slot->all = v;
        slot->granted = true;
        if (!accel_vcpu_create(accel, i, &slot->vcpu, err))
            goto fail;
        v->n++;
        int rc = start_thread(slot);
        if (rc) {
            vmd_set_errno(err, rc, "starting the thread of vCPU %u", i);
            goto fail;
        }
    }
    return v;
fail:
    vcpus_free(v);
    return NULL;
}

void vcpus_free(struct vcpus *v)
{
    if (!v)
        return;
    vcpus_halt(v);
    pthread_mutex_lock(&v->lock);
    v->quit = true;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < v->n; i++) {
        if (v->slots[i].has_thread)
            pthread_join(v->slots[i].thread, NULL);
        accel_vcpu_free(v->slots[i].vcpu);
    }
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&v->world);
    g_free(v);
}

static void kick_all(struct vcpus *v)
{
    for (unsigned i = 0; i < v->n; i++)
        accel_vcpu_kick(v->slots[i].vcpu);
}

void vcpus_stop_world(struct vcpus *v, vcpus_world_fn fn, void *opaque)
{
    pthread_mutex_lock(&v->world);
    pthread_mutex_lock(&v->lock);
    v->stops++;
    if (v->inside) {
        pthread_mutex_unlock(&v->lock);
        kick_all(v);
        pthread_mutex_lock(&v->lock);
    }
    while (v->inside)
        pthread_cond_wait(&v->changed, &v->lock);
    for (unsigned i = 0; i < v->n; i++)
        start_slot(&v->slots[i]);
    pthread_mutex_unlock(&v->lock);

    fn(opaque);

    pthread_mutex_lock(&v->lock);
    if (--v->stops == 0)
        pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    pthread_mutex_unlock(&v->world);
}

static void stay_halted(void *opaque)
{
    struct vcpus *v = opaque;

    pthread_mutex_lock(&v->lock);
    v->halted = true;
    pthread_mutex_unlock(&v->lock);
}

void vcpus_halt(struct vcpus *v)
{
    vcpus_stop_world(v, stay_halted, v);
}

void vcpus_halt_async(struct vcpus *v)
{
    stay_halted(v);
    kick_all(v);
}

void vcpus_resume(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    v->halted = false;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
}

void vcpus_on_stop(struct vcpus *v, vcpus_stopped_fn stopped)
{
    v->stopped = stopped;
}

void vcpus_hold(struct vcpus *v, unsigned index, bool held)
{
    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    v->slots[index].held = held;
    pthread_mutex_unlock(&v->lock);
}

bool vcpus_take_stop(struct vcpus *v, unsigned index, struct accel_stop *stop)
{
    struct slot *slot = &v->slots[index];

    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    g_assert(standing(v));
    bool stopped = slot->stopped;
    slot->stopped = false;
    if (stopped)
        accel_vcpu_stop(slot->vcpu, stop);
    pthread_mutex_unlock(&v->lock);
    return stopped;
}

void vcpus_all_off(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    g_assert(standing(v));
    for (unsigned i = 0; i < v->n; i++) {
        v->slots[i].power = VCPU_OFF;
        v->slots[i].taken_out = false;
    }
    pthread_mutex_unlock(&v->lock);
}

void vcpus_grant(struct vcpus *v, unsigned n)
{
    g_assert(n >= 1 && n <= v->n);
    pthread_mutex_lock(&v->lock);
    for (unsigned i = 0; i < v->n; i++)
        v->slots[i].granted = i < n;
    pthread_mutex_unlock(&v->lock);
}

void vcpus_grant_one(struct vcpus *v, unsigned index, bool granted)
{
    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    v->slots[index].granted = granted;
    pthread_mutex_unlock(&v->lock);
}

bool vcpus_is_granted(struct vcpus *v, unsigned index)
{
    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    bool granted = v->slots[index].granted;
    pthread_mutex_unlock(&v->lock);
    return granted;
}

unsigned vcpus_granted(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    unsigned n = 0;
    for (unsigned i = 0; i < v->n; i++)
        n += v->slots[i].granted;
    pthread_mutex_unlock(&v->lock);
    return n;
}

int vcpus_start(struct vcpus *v, unsigned index, const struct vcpu_start *start)
{
    struct slot *slot = &v->slots[index];
    int rc = -EALREADY;

    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    if (slot->power == VCPU_OFF && !slot->granted) {
        rc = -EPERM;
    } else if (slot->power == VCPU_OFF) {
        slot->start = *start;
        slot->power = VCPU_STARTING;
        if (standing(v))
            start_slot(slot);
        pthread_cond_broadcast(&v->changed);
        rc = 0;
    }
    pthread_mutex_unlock(&v->lock);
    return rc;
}

void vcpus_stop_self(struct vcpus *v, unsigned index)
{
    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    v->slots[index].power = VCPU_STOPPING;
    pthread_mutex_unlock(&v->lock);
}

void vcpus_stop(struct vcpus *v, unsigned index)
{
    struct slot *slot = &v->slots[index];

    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    slot->taken_out = slot->power == VCPU_ON || slot->power == VCPU_STOPPING;
    slot->power = slot->taken_out ? VCPU_STOPPING : VCPU_OFF;
    pthread_mutex_unlock(&v->lock);
    accel_vcpu_kick(slot->vcpu);
}

bool vcpus_runs(struct vcpus *v, unsigned index)
{
    struct accel_vcpu_info info;

    if (vcpus_power(v, index) != VCPU_ON)
        return false;
    accel_vcpu_info(v->slots[index].vcpu, &info);
    if (info.waiting)
        accel_vcpu_kick(v->slots[index].vcpu);
    return !info.waiting;
}

enum vcpu_power vcpus_power(struct vcpus *v, unsigned index)
{
    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    enum vcpu_power power = v->slots[index].power;
    pthread_mutex_unlock(&v->lock);
    return power;
}

bool vcpus_pin(struct vcpus *v, unsigned index, const cpu_set_t *cpus, GError **err)
{
    struct slot *slot = &v->slots[index];
    cpu_set_t host, set;

    g_assert(index < v->n);
    if (sched_getaffinity(0, sizeof(host), &host) < 0) /* the calling thread's, which is pinned to none */
        return vmd_set_errno(err, errno, "the host's processors");
    set = host;
    if (cpus)
        CPU_AND(&set, &host, cpus);
    if (CPU_COUNT(&set) == 0) {
        g_autofree char *all = cpulist_format(&host);
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "vCPU %u can run on the host's processors %s, and on none of those", index, all);
    }
    pthread_mutex_lock(&v->lock);
    slot->cpus = set;
    slot->pin = true;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    accel_vcpu_kick(slot->vcpu);
    return true;
}

bool vcpus_pinned(struct vcpus *v, unsigned index, cpu_set_t *out)
{
    struct slot *slot = &v->slots[index];

    g_assert(index < v->n);
    pthread_mutex_lock(&v->lock);
    bool pending = slot->pin;
    if (pending)
        *out = slot->cpus;
    pthread_mutex_unlock(&v->lock);
    return pending || pthread_getaffinity_np(slot->thread, sizeof(*out), out) == 0;
}

unsigned vcpus_count(const struct vcpus *v)
{
    return v->n;
}

struct vcpu *vcpus_get(struct vcpus *v, unsigned index)
{
    return v->slots[index].vcpu;
}

void vcpus_times(struct vcpus *v, unsigned index, struct vcpu_times *out)
{
    struct slot *slot = &v->slots[index];
    clockid_t clock;
    struct timespec ts = {0};

    if (pthread_getcpuclockid(slot->thread, &clock) == 0)
        clock_gettime(clock, &ts);
    out->cpu_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    out->exits = __atomic_load_n(&slot->exits, __ATOMIC_RELAXED);
}
