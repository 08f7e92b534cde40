/*
 * Threads of the host that help with launches, kept from one launch to the next.
 *
 * A job stands in the queue as long as it wants helpers, and on its caller's stack until none works
 * at it any more. All state is under the pool's lock. Threads are made when there are fewer than a
 * job wants, and end with the pool.
 */
#include "gpu/soft/soft_priv.h"

#include <unistd.h>

struct job {
    void (*work)(void *arg);
    void *arg;
    unsigned wanted, working; /* helpers that may still come; that are there */
    struct job *next;
};

struct soft_pool {
    pthread_mutex_t lock;
    pthread_cond_t come, gone; /* a job has come, or the end; a helper has left a job */
    struct job *jobs;
    pthread_t threads[SOFT_HELPERS];
    unsigned n_threads, processors;
    bool ending;
};

/* The processors of the host are one set, and so is what works on them, for all spaces. */
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct soft_pool *shared;
static unsigned shared_users;

static struct soft_pool *pool_new(void)
{
    struct soft_pool *p = g_new0(struct soft_pool, 1);

    p->processors = (unsigned)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->come, NULL);
    pthread_cond_init(&p->gone, NULL);
    return p;
}

unsigned soft_pool_processors(const struct soft_pool *p)
{
    return p->processors;
}

static void pool_free(struct soft_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->come);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->come);
    pthread_cond_destroy(&p->gone);
    pthread_mutex_destroy(&p->lock);
    g_free(p);
}

struct soft_pool *soft_pool_get(void)
{
    pthread_mutex_lock(&shared_lock);
    if (!shared_users++)
        shared = pool_new();
    struct soft_pool *p = shared;
    pthread_mutex_unlock(&shared_lock);
    return p;
}

void soft_pool_put(void)
{
    pthread_mutex_lock(&shared_lock);
    if (!--shared_users)
        pool_free(g_steal_pointer(&shared));
    pthread_mutex_unlock(&shared_lock);
}

/* Takes JOB, which wants no more helpers, out of the queue. Locked. */
static void drop(struct soft_pool *p, struct job *job)
{
    struct job **at = &p->jobs;

    while (*at && *at != job)
        at = &(*at)->next;
    if (*at)
        *at = job->next;
}

static void *help(void *arg)
{
    struct soft_pool *p = arg;

    pthread_mutex_lock(&p->lock);
    while (!p->ending) {
        struct job *job = p->jobs;
        if (!job) {
            pthread_cond_wait(&p->come, &p->lock);
            continue;
        }
        job->working++;
        if (--job->wanted == 0)
            drop(p, job);
        pthread_mutex_unlock(&p->lock);
        job->work(job->arg);
        pthread_mutex_lock(&p->lock);
        if (--job->working == 0)
            pthread_cond_broadcast(&p->gone);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* As many threads as the host gives. Locked. */
static void grow(struct soft_pool *p, unsigned helpers)
{
    while (p->n_threads < MIN(helpers, SOFT_HELPERS) &&
           pthread_create(&p->threads[p->n_threads], NULL, help, p) == 0)
        p->n_threads++;
}

void soft_pool_run(struct soft_pool *p, unsigned helpers, void (*work)(void *arg), void *arg)
{
    struct job job = {.work = work, .arg = arg, .wanted = helpers};

    if (helpers) {
        pthread_mutex_lock(&p->lock);
        grow(p, helpers);
        job.next = p->jobs;
        p->jobs = &job;
        pthread_cond_broadcast(&p->come);
        pthread_mutex_unlock(&p->lock);
    }
    work(arg);
    if (!helpers)
        return;
    pthread_mutex_lock(&p->lock);
    drop(p, &job);
    while (job.working)
        pthread_cond_wait(&p->gone, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
