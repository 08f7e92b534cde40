/*
 * The set is small (two timers a hart and an alarm), so the earliest is found by looking at all.
 * The timerfd is armed for the earliest deadline in host time; when it fires, due timers are
 * disarmed under the lock and called without it.
 */
#include "machine/devices/guest_timer.h"

#include <errno.h>
#include <pthread.h>
#include <sys/timerfd.h>

struct guest_timers {
    pthread_mutex_t lock;
    struct vm_clock *clock;
    GPtrArray *timers; /* struct guest_timer, borrowed */
    uint64_t armed;    /* guest deadline the timerfd stands for; UINT64_MAX: none */
    int fd;
    uv_poll_t poll;
};

/* Arms the timerfd for the earliest timer, unless it already is. Lock held. */
static void arm(struct guest_timers *set, bool force)
{
    uint64_t first = UINT64_MAX, host;
    struct itimerspec its = {0};

    for (guint i = 0; i < set->timers->len; i++) {
        const struct guest_timer *t = g_ptr_array_index(set->timers, i);
        first = MIN(first, t->deadline);
    }
    if (first == set->armed && !force)
        return;
    set->armed = first;
    host = first == UINT64_MAX ? first : vm_clock_host_deadline(set->clock, first);
    if (host != UINT64_MAX) {
        its.it_value.tv_sec = (time_t)(host / 1000000000u);
        its.it_value.tv_nsec = (long)(host % 1000000000u);
        if (!host)
            its.it_value.tv_nsec = 1; /* all zero would disarm it */
    }
    timerfd_settime(set->fd, TFD_TIMER_ABSTIME, &its, NULL);
}

/* Takes one due timer out of the set's deadlines, or NULL. */
static struct guest_timer *take_due(struct guest_timers *set, uint64_t now)
{
    struct guest_timer *due = NULL;

    pthread_mutex_lock(&set->lock);
    for (guint i = 0; i < set->timers->len && !due; i++) {
        struct guest_timer *t = g_ptr_array_index(set->timers, i);
        if (t->deadline <= now) {
            t->deadline = UINT64_MAX;
            due = t;
        }
    }
    if (!due)
        arm(set, true);
    pthread_mutex_unlock(&set->lock);
    return due;
}

static void on_timerfd(uv_poll_t *poll, int status, int events)
{
    struct guest_timers *set = poll->data;
    struct guest_timer *due;
    uint64_t expirations;

    if (read(set->fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
        return;
    uint64_t now = vm_clock_now(set->clock);
    while ((due = take_due(set, now)))
        due->fn(due->opaque);
}

struct guest_timers *guest_timers_new(uv_loop_t *loop, struct vm_clock *clock, GError **err)
{
    autofd fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        vmd_set_errno(err, errno, "making a timer");
        return NULL;
    }
    struct guest_timers *set = g_new0(struct guest_timers, 1);
    int rc = uv_poll_init(loop, &set->poll, fd);
    if (rc < 0) {
        vmd_set_errno(err, -rc, "polling a timer");
        g_free(set);
        return NULL;
    }
    pthread_mutex_init(&set->lock, NULL);
    set->clock = clock;
    set->timers = g_ptr_array_new();
    set->armed = UINT64_MAX;
    set->fd = steal_fd(&fd);
    set->poll.data = set;
    uv_poll_start(&set->poll, UV_READABLE, on_timerfd);
    return set;
}

static void on_closed(uv_handle_t *handle)
{
    struct guest_timers *set = handle->data;

    close(set->fd);
    g_ptr_array_free(set->timers, TRUE);
    pthread_mutex_destroy(&set->lock);
    g_free(set);
}

void guest_timers_free(struct guest_timers *set)
{
    if (!set)
        return;
    g_assert(set->timers->len == 0);
    uv_close((uv_handle_t *)&set->poll, on_closed);
}

void guest_timers_clock_changed(struct guest_timers *set)
{
    pthread_mutex_lock(&set->lock);
    arm(set, true);
    pthread_mutex_unlock(&set->lock);
}

uint64_t guest_timers_now(const struct guest_timers *set)
{
    return vm_clock_now(set->clock);
}

uint64_t guest_timers_time_of_day(const struct guest_timers *set)
{
    return vm_clock_time_of_day(set->clock, vm_clock_now(set->clock));
}

void guest_timer_add(struct guest_timers *set, struct guest_timer *timer)
{
    timer->set = set;
    timer->deadline = UINT64_MAX;
    pthread_mutex_lock(&set->lock);
    g_ptr_array_add(set->timers, timer);
    pthread_mutex_unlock(&set->lock);
}

void guest_timer_remove(struct guest_timer *timer)
{
    struct guest_timers *set = timer->set;

    pthread_mutex_lock(&set->lock);
    g_ptr_array_remove_fast(set->timers, timer);
    arm(set, false);
    pthread_mutex_unlock(&set->lock);
}

void guest_timer_set(struct guest_timer *timer, uint64_t deadline_ns)
{
    struct guest_timers *set = timer->set;

    pthread_mutex_lock(&set->lock);
    timer->deadline = deadline_ns;
    arm(set, false);
    pthread_mutex_unlock(&set->lock);
}
