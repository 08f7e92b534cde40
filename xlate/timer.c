/*
 * Timers of vCPUs, and sleeping in WFI.
 *
 * Each vCPU has a timerfd; one thread waits for them all and sets XL_REQ_IRQ. Setting one is a cheap
 * system call of the vCPU's own thread, made only when it goes back to guest code with a deadline
 * that has changed. A vCPU that sleeps waits for its deadline itself, with its timerfd off.
 */
#include "xlate/runner.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

enum { STOP = LIMIT_XLATE_VCPUS }; /* in epoll's data: not a vCPU's index */

static void *timer_main(void *opaque)
{
    struct xlate *x = opaque;
    struct epoll_event events[LIMIT_XLATE_VCPUS + 1];
    uint64_t expired;

    for (;;) {
        int n = epoll_wait(x->epoll_fd, events, G_N_ELEMENTS(events), -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == STOP)
                return NULL;
            pthread_mutex_lock(&x->timer_lock);
            struct runner *r = x->runner[events[i].data.u32];
            if (r && read(r->timer_fd, &expired, sizeof(expired)) == sizeof(expired))
                xlate__request(r, XL_REQ_IRQ);
            pthread_mutex_unlock(&x->timer_lock);
        }
        g_assert(n >= 0 || errno == EINTR);
    }
}

static bool watch(struct xlate *x, int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

    return epoll_ctl(x->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool xlate__timers_start(struct xlate *x, GError **err)
{
    x->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    x->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (x->epoll_fd < 0 || x->stop_fd < 0 || !watch(x, x->stop_fd, STOP))
        return vmd_set_errno(err, errno, "timers of virtual CPUs");
    int rc = pthread_create(&x->timer_thread, NULL, timer_main, x);
    if (rc)
        return vmd_set_errno(err, rc, "thread for timers of virtual CPUs");
    x->timer_running = true;
    return true;
}

void xlate__timers_stop(struct xlate *x)
{
    uint64_t one = 1;

    if (x->timer_running) {
        while (write(x->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
        pthread_join(x->timer_thread, NULL);
    }
    if (x->stop_fd >= 0)
        close(x->stop_fd);
    if (x->epoll_fd >= 0)
        close(x->epoll_fd);
}

bool xlate__timer_new(struct runner *r, GError **err)
{
    r->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (r->timer_fd < 0 || !watch(r->x, r->timer_fd, r->cpu->vcpu.index))
        return vmd_set_errno(err, errno, "timer of virtual CPU %u", r->cpu->vcpu.index);
    return true;
}

void xlate__timer_free(struct runner *r)
{
    pthread_mutex_lock(&r->x->timer_lock);
    r->x->runner[r->cpu->vcpu.index] = NULL;
    pthread_mutex_unlock(&r->x->timer_lock);
    if (r->timer_fd < 0)
        return;
    epoll_ctl(r->x->epoll_fd, EPOLL_CTL_DEL, r->timer_fd, NULL);
    close(r->timer_fd);
}

void xlate__timer_set(struct xl_cpu *cpu, uint64_t guest_ns)
{
    struct runner *r = runner_of(cpu);

    r->deadline = guest_ns;
    r->timer_changed = true;
}

static uint64_t host_deadline(const struct runner *r, uint64_t guest_ns)
{
    return guest_ns == UINT64_MAX ? UINT64_MAX
                                  : vm_clock_host_deadline(r->x->accel.config.clock, guest_ns);
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u)};
}

/* HOST_NS 0: off. */
static void set_fd(struct runner *r, uint64_t host_ns)
{
    struct itimerspec when = {.it_value = timespec_of(host_ns)};

    if (r->armed == host_ns)
        return;
    timerfd_settime(r->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    r->armed = host_ns;
}

void xlate__timer_arm(struct runner *r)
{
    uint64_t host_ns;

    if (likely(!r->timer_changed))
        return;
    r->timer_changed = false;
    host_ns = host_deadline(r, r->deadline);
    r->armed = host_ns == UINT64_MAX ? r->armed : 0; /* the same time again must fire again */
    set_fd(r, host_ns == UINT64_MAX ? 0 : MAX(host_ns, 1));
}

void xlate__sleep(struct runner *r)
{
    struct xl_cpu *cpu = r->cpu;
    uint64_t deadline, host_ns;

    set_fd(r, 0);
    r->timer_changed = true;
    pthread_mutex_lock(&r->lock);
    __atomic_store_n(&r->asleep, true, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST)) {
        if (!r->x->sys->idle(cpu, &deadline)) {
            cpu->waiting = false;
            break;
        }
        host_ns = host_deadline(r, deadline);
        if (host_ns == UINT64_MAX) {
            pthread_cond_wait(&r->wake, &r->lock);
        } else {
            struct timespec until = timespec_of(host_ns);
            pthread_cond_timedwait(&r->wake, &r->lock, &until);
        }
    }
    __atomic_store_n(&r->asleep, false, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&r->lock);
}
