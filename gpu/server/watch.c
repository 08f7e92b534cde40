/* Looks at sessions. See watch.h. */
#include "gpu/server/watch.h"

#include <pthread.h>
#include <time.h>

struct watch {
    void (*hung)(void *opaque, const char *what);
    void *opaque;
    pthread_mutex_t lock;
    GPtrArray *all; /* struct watched */
    bool told;
};

static void *look_thread(void *opaque)
{
    const struct timespec second = {.tv_sec = 1};

    for (;;) {
        nanosleep(&second, NULL);
        watch_look(opaque);
    }
    return NULL;
}

struct watch *watch_new(void (*hung)(void *opaque, const char *what), void *opaque, bool thread,
                        GError **err)
{
    struct watch *w = g_new0(struct watch, 1);
    pthread_t id;

    w->hung = hung;
    w->opaque = opaque;
    pthread_mutex_init(&w->lock, NULL);
    w->all = g_ptr_array_new();
    int rc = thread ? pthread_create(&id, NULL, look_thread, w) : 0;
    if (rc) {
        watch_free(w);
        vmd_set_errno(err, rc, "starting the thread that watches sessions");
        return NULL;
    }
    if (thread)
        pthread_detach(id);
    return w;
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    g_assert(!w->all->len);
    g_ptr_array_free(w->all, TRUE);
    pthread_mutex_destroy(&w->lock);
    g_free(w);
}

void watch_add(struct watch *w, struct watched *watched)
{
    *watched = (struct watched){.watch = w};
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    g_ptr_array_add(w->all, watched);
    pthread_mutex_unlock(&w->lock);
}

void watch_remove(struct watched *watched)
{
    struct watch *w = watched->watch;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    g_ptr_array_remove_fast(w->all, watched);
    pthread_mutex_unlock(&w->lock);
}

/* What of a session is seen at one look. */
struct sight {
    uint32_t number, most;
    const char *what; /* NULL: it is in no call */
};

static struct sight look_at(const struct watched *w)
{
    struct sight s = {.number = __atomic_load_n(&w->number, __ATOMIC_ACQUIRE)};
    uint32_t most = __atomic_load_n(&w->most, __ATOMIC_RELAXED);
    const char *what = __atomic_load_n(&w->what, __ATOMIC_RELAXED);

    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (s.number % 2 && __atomic_load_n(&w->number, __ATOMIC_RELAXED) == s.number) {
        s.most = most ? most : UINT32_MAX;
        s.what = what;
    }
    return s;
}

void watch_look(struct watch *watch)
{
    const char *hung = NULL;
    uint32_t longest = 0;

    pthread_mutex_lock(&watch->lock);
    g_autofree struct sight *sights = g_new(struct sight, watch->all->len);
    for (guint i = 0; i < watch->all->len; i++) {
        sights[i] = look_at(g_ptr_array_index(watch->all, i));
        longest = MAX(longest, sights[i].most);
    }
    for (guint i = 0; i < watch->all->len; i++) {
        struct watched *w = g_ptr_array_index(watch->all, i);
        bool same = sights[i].what && sights[i].number == w->seen;
        w->seen = sights[i].what ? sights[i].number : 0;
        /* One that another may keep waiting is not judged meanwhile. */
        w->looks = same && sights[i].most == longest ? w->looks + 1 : 0;
        if (w->looks > sights[i].most)
            hung = sights[i].what;
    }
    bool tell = hung && !watch->told;
    watch->told |= tell;
    pthread_mutex_unlock(&watch->lock);
    if (tell)
        watch->hung(watch->opaque, hung);
}
