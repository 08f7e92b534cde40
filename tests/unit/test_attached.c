/* What a run has beyond its configuration: devices come, go, fail, and are known to the next vmd. */
#include "daemon/attached.h"
#include "tests/unit/unit.h"

#include <json-c/json.h>

static struct device_spec *disk(const char *path)
{
    struct device_spec *spec = device_spec_new();

    spec->kind = HOT_KIND_DISK;
    spec->disk = vm_disk_config_new();
    spec->disk->path = g_strdup(path);
    return spec;
}

static struct vm_config *configuration(void)
{
    struct vm_config *c = vm_config_new();
    static const char *const ids[] = {"root", "data"};

    c->name = g_strdup("one");
    c->n_disks = G_N_ELEMENTS(ids);
    c->disks = g_new0(struct vm_disk_config *, c->n_disks);
    for (size_t i = 0; i < c->n_disks; i++) {
        c->disks[i] = vm_disk_config_new();
        c->disks[i]->id = g_strdup(ids[i]);
        c->disks[i]->path = g_strdup_printf("/%s", ids[i]);
    }
    return c;
}

static void news(struct attached *a, const char *device, enum device_state state, uint64_t job)
{
    struct vmi_device_event event = {
        .device = (char *)device, .state = state, .has_job = job != 0, .job = job};

    attached_news(a, &event);
}

/* The ids of the disks, one behind the other. */
static char *disks_of(const struct attached *a)
{
    g_autoptr(vm_config) base = configuration();
    g_autoptr(vm_config) now = attached_apply(a, base);
    g_autoptr(GString) out = g_string_new("");

    for (size_t i = 0; i < now->n_disks; i++)
        g_string_append_printf(out, "%s%s", i ? " " : "", now->disks[i]->id);
    return g_strdup(out->str);
}

static void has(const struct attached *a, const char *want)
{
    g_autofree char *got = disks_of(a);

    ck_assert_str_eq(got, want);
}

/* A, as the next vmd reads it; A is freed. */
static struct attached *again(struct attached *a)
{
    struct json_object *json = attached_encode(a);
    struct attached *next = attached_new();

    attached_free(a);
    attached_decode(next, json);
    json_object_put(json);
    return next;
}

START_TEST(comes_and_goes)
{
    struct attached *a = attached_new();
    g_autoptr(device_spec) spec = disk("/new");

    attached_begin(a, spec, NULL, 7);
    news(a, "disk2", DEVICE_STATE_REQUESTED, 7);
    has(a, "root data");
    a = again(a); /* the job goes on */
    news(a, "disk2", DEVICE_STATE_VISIBLE, 7);
    has(a, "root data disk2");
    attached_over(a, 7);
    a = again(a);
    has(a, "root data disk2");
    news(a, "disk2", DEVICE_STATE_RELEASED, 8);
    has(a, "root data");
    attached_free(a);
}
END_TEST

START_TEST(never_seen)
{
    struct attached *a = attached_new();
    g_autoptr(device_spec) spec = disk("/new");
    g_autoptr(GHashTable) jobs = g_hash_table_new(g_int64_hash, g_int64_equal);
    uint64_t known = 9;

    attached_begin(a, spec, NULL, 7);
    news(a, "disk2", DEVICE_STATE_RELEASED, 7);
    attached_over(a, 7);
    has(a, "root data");
    attached_begin(a, spec, NULL, 8);
    attached_begin(a, spec, NULL, 9);
    g_hash_table_add(jobs, &known);
    attached_keep(a, jobs); /* of 8 nobody knows */
    news(a, "disk2", DEVICE_STATE_VISIBLE, 8);
    has(a, "root data");
    news(a, "disk3", DEVICE_STATE_ACKNOWLEDGED, 9);
    has(a, "root data disk3");
    attached_free(a);
}
END_TEST

/* What the configuration has may go, too; another run has it again. */
START_TEST(configured_goes)
{
    struct attached *a = attached_new();

    news(a, "root", DEVICE_STATE_RELEASED, 3);
    news(a, "root", DEVICE_STATE_RELEASED, 3);
    a = again(a);
    has(a, "data");
    attached_clear(a);
    has(a, "root data");
    attached_free(a);
}
END_TEST

static void add_memory(void *opaque, const struct vm_gpu_config *gpu)
{
    *(uint64_t *)opaque += gpu->memory;
}

/* MiB of the GPU that the run has (0: none), in both ways to ask, and of all that is promised. */
static void has_gpu(const struct attached *a, const struct vm_config *base, unsigned run,
                    unsigned promised)
{
    const struct vm_gpu_config *gpu = attached_gpu(a, base);
    g_autoptr(vm_config) now = attached_apply(a, base);
    uint64_t bytes = 0;

    attached_gpus(a, base, add_memory, &bytes);
    ck_assert_uint_eq(gpu ? gpu->memory : 0, MIB(run));
    ck_assert_uint_eq(now->gpu ? now->gpu->memory : 0, MIB(run));
    ck_assert_uint_eq(bytes, MIB(promised));
}

/* The configuration's GPU goes and another comes, which is promised before it is there. */
START_TEST(gpus)
{
    struct attached *a = attached_new();
    g_autoptr(vm_config) base = configuration();
    g_autoptr(device_spec) spec = device_spec_new();

    base->gpu = vm_gpu_config_new();
    base->gpu->memory = MIB(64);
    spec->kind = HOT_KIND_GPU;
    spec->gpu = vm_gpu_config_new();
    spec->gpu->memory = MIB(32);
    has_gpu(a, base, 64, 64);
    attached_begin(a, spec, NULL, 7); /* queued behind the removal of the first */
    has_gpu(a, base, 64, 96);
    a = again(a);
    news(a, "gpu0", DEVICE_STATE_RELEASED, 6);
    has_gpu(a, base, 0, 32);
    news(a, "gpu0", DEVICE_STATE_REQUESTED, 7);
    has_gpu(a, base, 0, 32);
    news(a, "gpu0", DEVICE_STATE_VISIBLE, 7);
    attached_over(a, 7);
    a = again(a);
    has_gpu(a, base, 32, 32);
    news(a, "gpu0", DEVICE_STATE_RELEASED, 8);
    has_gpu(a, base, 0, 0);
    attached_begin(a, spec, NULL, 9);
    attached_over(a, 9); /* it failed */
    has_gpu(a, base, 0, 0);
    attached_clear(a);
    has_gpu(a, base, 64, 64);
    attached_free(a);
}
END_TEST

/* A GPU that moves is promised at both places, and then, until the run is over or it goes, at the
 * new one, over a restart too; one that was added alike. */
START_TEST(moved)
{
    struct attached *a = attached_new();
    g_autoptr(vm_config) base = configuration();
    g_autoptr(vm_gpu_config) to = vm_gpu_config_new();
    g_autoptr(device_spec) spec = device_spec_new();
    g_autoptr(GHashTable) none = g_hash_table_new(g_int64_hash, g_int64_equal);

    base->gpu = vm_gpu_config_new();
    base->gpu->memory = MIB(64);
    to->memory = MIB(32);
    attached_move_gpu(a, to, 5);
    a = again(a);
    ck_assert(attached_moves_gpu(a));
    has_gpu(a, base, 64, 96);
    ck_assert(!attached_moved_gpu(a, 6) && !attached_move_over(a, 6));
    ck_assert(attached_move_over(a, 5) && !attached_moves_gpu(a));
    has_gpu(a, base, 64, 64);
    attached_move_gpu(a, to, 7);
    ck_assert(attached_moved_gpu(a, 7) && !attached_move_over(a, 7));
    a = again(a);
    has_gpu(a, base, 32, 32);
    attached_limit_gpu(a, 9, 8);
    ck_assert(attached_gpu(a, base)->share == 9 && base->gpu->share != 9);
    attached_move_gpu(a, to, 8);
    attached_keep(a, none); /* nobody knows that job */
    ck_assert(!attached_moves_gpu(a) && !attached_moved_gpu(a, 8));
    news(a, "gpu0", DEVICE_STATE_RELEASED, 9);
    has_gpu(a, base, 0, 0);
    spec->kind = HOT_KIND_GPU;
    spec->gpu = vm_gpu_config_new();
    spec->gpu->memory = MIB(16);
    attached_begin(a, spec, NULL, 10);
    news(a, "gpu0", DEVICE_STATE_VISIBLE, 10);
    attached_move_gpu(a, to, 11);
    ck_assert(attached_moved_gpu(a, 11));
    has_gpu(a, base, 32, 32);
    a = again(a);
    news(a, "gpu0", DEVICE_STATE_RELEASED, 12);
    has_gpu(a, base, 0, 0);
    attached_move_gpu(a, to, 13);
    attached_clear(a);
    has_gpu(a, base, 64, 64);
    attached_free(a);
}
END_TEST

START_TEST(damaged)
{
    static const char *const texts[] = {
        "[]", "3", "{\"came\": 1, \"went\": {}}",
        "{\"moved\": 3, \"moving\": {\"memory\": 1}, \"move\": {}}",
        "{\"came\": [1, {}, {\"device\": {\"kind\": \"boat\"}}, null], \"went\": [1, null]}"};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        struct json_object *json = json_tokener_parse(texts[i]);
        struct attached *a = attached_new();
        attached_decode(a, json);
        has(a, "root data");
        attached_free(a);
        json_object_put(json);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("attached");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, comes_and_goes);
    tcase_add_test(tc, never_seen);
    tcase_add_test(tc, configured_goes);
    tcase_add_test(tc, gpus);
    tcase_add_test(tc, moved);
    tcase_add_test(tc, damaged);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
