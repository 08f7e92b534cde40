/* Lists of hot blocks over runs; see warm.h. */
#include "daemon/warm.h"

#include "base/hotlist.h"
#include "base/log.h"
#include "daemon/paths.h"

/* One thing to do with one list. */
struct task {
    char *path;
    uint32_t isa;
    struct hotlist *now; /* to be merged; NULL: the list is removed */
    GError *err;         /* what went wrong: told on the loop */
};

struct warm_lists {
    uv_loop_t *loop;
    char *dir;
    GQueue tasks; /* the first one is under way */
    uv_work_t work;
    bool closing;
};

static void task_free(struct task *task)
{
    g_free(task->path);
    hotlist_free(task->now);
    g_clear_error(&task->err);
    g_free(task);
}

struct warm_lists *warm_lists_new(uv_loop_t *loop, const char *store)
{
    struct warm_lists *lists = g_new0(struct warm_lists, 1);

    lists->loop = loop;
    lists->dir = g_build_filename(store, "warm", NULL);
    g_queue_init(&lists->tasks);
    lists->work.data = lists;
    return lists;
}

static void free_now(struct warm_lists *lists)
{
    g_free(lists->dir);
    g_free(lists);
}

void warm_lists_free(struct warm_lists *lists)
{
    if (!lists)
        return;
    lists->closing = true;
    if (g_queue_is_empty(&lists->tasks))
        free_now(lists);
}

char *warm_lists_path(struct warm_lists *lists, enum vm_arch arch, uid_t owner)
{
    return g_strdup_printf("%s/%s-%u.list", lists->dir, vm_arch_to_string(arch), (unsigned)owner);
}

/* In a worker thread. A list that cannot be read is told of and replaced. */
static void work(uv_work_t *w)
{
    struct warm_lists *lists = w->data;
    struct task *task = g_queue_peek_head(&lists->tasks);
    g_autofree char *dir = g_path_get_dirname(task->path);

    if (!task->now) {
        unlink(task->path);
        return;
    }
    struct hotlist *old = hotlist_read(task->path, task->isa, &task->err);
    if (g_error_matches(task->err, VMD_ERROR, VMD_ERROR_NOT_FOUND))
        g_clear_error(&task->err);
    struct hotlist *merged = hotlist_merge(old, task->now);
    g_autoptr(GError) err = NULL;
    if ((!paths_make_dir(dir, &err) || !hotlist_write(merged, task->path, &err)) && !task->err)
        task->err = g_steal_pointer(&err);
    hotlist_free(old);
    hotlist_free(merged);
}

static void begin(struct warm_lists *lists);

static void work_done(uv_work_t *w, int status)
{
    struct warm_lists *lists = w->data;
    struct task *task = g_queue_pop_head(&lists->tasks);

    if (task->err)
        log_warning("hot blocks: %s", task->err->message);
    task_free(task);
    if (!g_queue_is_empty(&lists->tasks))
        begin(lists);
    else if (lists->closing)
        free_now(lists);
}

static void begin(struct warm_lists *lists)
{
    uv_queue_work(lists->loop, &lists->work, work, work_done);
}

static void add(struct warm_lists *lists, struct task *task)
{
    g_queue_push_tail(&lists->tasks, task);
    if (lists->tasks.length == 1)
        begin(lists);
}

void warm_lists_take(struct warm_lists *lists, enum vm_arch arch, uid_t owner,
                     const char *runtime)
{
    g_autofree char *file = g_build_filename(runtime, HOTLIST_NAME, NULL);
    g_autoptr(GError) err = NULL;
    struct hotlist *now = hotlist_read(file, (uint32_t)arch, &err);

    if (!now) {
        if (!g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND))
            log_warning("hot blocks: %s", err->message);
        return;
    }
    struct task *task = g_new0(struct task, 1);
    task->path = warm_lists_path(lists, arch, owner);
    task->isa = (uint32_t)arch;
    task->now = now;
    add(lists, task);
}

void warm_lists_forget(struct warm_lists *lists, enum vm_arch arch, uid_t owner)
{
    struct task *task = g_new0(struct task, 1);

    task->path = warm_lists_path(lists, arch, owner);
    add(lists, task);
}
