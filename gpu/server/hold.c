/* Parked sessions. See hold.h. */
#include "gpu/server/hold.h"

#include <pthread.h>
#include <time.h>

struct hold {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted; /* atomic: looked at without the lock as well */
    unsigned seats;
    bool *parked;
    /* The job at hand; NULL. */
    hold_job_fn job;
    void *arg;
    unsigned seat;
    bool done, result;
};

struct hold *hold_new(unsigned seats, bool wanted)
{
    struct hold *h = g_new0(struct hold, 1);
    pthread_condattr_t monotonic;

    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&h->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    h->wanted = wanted;
    h->seats = seats;
    h->parked = g_new0(bool, seats);
    return h;
}

void hold_free(struct hold *h)
{
    if (!h)
        return;
    pthread_mutex_destroy(&h->lock);
    pthread_cond_destroy(&h->changed);
    g_free(h->parked);
    g_free(h);
}

bool hold_wanted(const struct hold *h)
{
    return h && __atomic_load_n(&h->wanted, __ATOMIC_ACQUIRE);
}

static void want(struct hold *h, bool wanted)
{
    pthread_mutex_lock(&h->lock);
    __atomic_store_n(&h->wanted, wanted, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

void hold_begin(struct hold *h)
{
    want(h, true);
}

void hold_end(struct hold *h)
{
    want(h, false);
}

void hold_park(struct hold *h, unsigned seat, void *parked)
{
    pthread_mutex_lock(&h->lock);
    h->parked[seat] = true;
    pthread_cond_broadcast(&h->changed);
    while (h->wanted) {
        if (h->job && h->seat == seat) {
            hold_job_fn job = h->job;
            void *arg = h->arg;
            h->job = NULL;
            pthread_mutex_unlock(&h->lock);
            bool result = job(parked, arg);
            pthread_mutex_lock(&h->lock);
            h->result = result;
            h->done = true;
            pthread_cond_broadcast(&h->changed);
        } else {
            pthread_cond_wait(&h->changed, &h->lock);
        }
    }
    h->parked[seat] = false;
    pthread_mutex_unlock(&h->lock);
}

/* The first seat that is empty; their number where there is none. Locked. */
static unsigned first_empty(const struct hold *h)
{
    unsigned seat = 0;

    while (seat < h->seats && h->parked[seat])
        seat++;
    return seat;
}

bool hold_wait(struct hold *h, unsigned ms, unsigned *late)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&h->lock);
    while ((*late = first_empty(h)) < h->seats && !rc)
        rc = pthread_cond_timedwait(&h->changed, &h->lock, &until);
    bool all = *late == h->seats;
    pthread_mutex_unlock(&h->lock);
    return all;
}

bool hold_do(struct hold *h, unsigned seat, hold_job_fn job, void *arg)
{
    pthread_mutex_lock(&h->lock);
    h->job = job;
    h->arg = arg;
    h->seat = seat;
    h->done = false;
    pthread_cond_broadcast(&h->changed);
    while (!h->done)
        pthread_cond_wait(&h->changed, &h->lock);
    bool result = h->result;
    pthread_mutex_unlock(&h->lock);
    return result;
}
