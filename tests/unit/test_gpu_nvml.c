/* NVIDIA's management library, with the tests' own in its place: what is asked of it, what it fails
 * to tell, and what of that vmd takes and gpu.list tells. */
#include "daemon/gpus_priv.h"
#include "gpu/server/nvml.h"
#include "tests/unit/unit.h"

#include <sys/socket.h>

enum { MEMORY = WORKER_NVML_MEMORY, MIG = WORKER_NVML_MIG };

struct answer {
    bool there;
    struct gpus_nvml nvml;
};

/* Asks LIBRARY (of the tests' folder, or a path), of which FAILURES fail. */
static struct answer ask(const char *library, const char *failures)
{
    g_autofree char *path =
        g_strdup_printf("%s/libnvml_stand_in%s.so", g_getenv("VMD_NVML_STAND_INS"), library);
    struct answer a;

    memset(&a, 0xee, sizeof(a));
    g_setenv("VMD_NVML", *library == '/' ? library : path, TRUE);
    g_setenv("VMD_NVML_STAND_IN", failures, TRUE);
    a.there = nvml_ask(&a.nvml.head, a.nvml.gpus);
    return a;
}

static const struct {
    const char *name, *library, *failures, *text;
    unsigned count;
    const char *release;
} libraries[] = {
    {"all is well", "", "", "", 3, "999.54.14"},
    {"it does not begin", "", "init=9", "it does not begin: Driver Not Loaded", 0, ""},
    {"no words for errors", "_old", "init=9", "it does not begin: error 9", 0, ""},
    {"a call is missing that is needed", "_too_old", "",
     "it has no nvmlDeviceGetPciInfo_v3: it is too old", 0, ""},
    {"one is missing that is not", "_old", "", "", 3, "999.54.14"},
    {"no count", "", "count=999", "how many GPUs there are: Unknown Error", 0, "999.54.14"},
    {"no release", "", "release=3", "", 3, ""},
    {"no release, and why", "", "release=999", "the driver's release: Unknown Error", 3, ""},
    {"a GPU without a handle", "", "device:1=15", "its GPU 1: its place: GPU is lost", 2,
     "999.54.14"},
    {"a GPU without a place", "", "pci:0=15", "its GPU 0: its place: GPU is lost", 2, "999.54.14"},
    {"none has a handle", "", "device=4", "its GPU 0: its place: Unknown Error", 0, "999.54.14"},
    {"no UUID, and why", "", "uuid:2=4", "its GPU 2: its UUID: Unknown Error", 3, "999.54.14"},
    {"no memory, and why", "", "memory:1=4", "its GPU 1: its memory: Unknown Error", 3,
     "999.54.14"},
    {"the first failure is told", "", "name:1=4 mig:2=4", "its GPU 1: its name: Unknown Error", 3,
     "999.54.14"},
    {"what is not supported is not told", "", "name=3 uuid=3 memory=3 mig=3 release=3", "", 3, ""},
    {"a lost GPU is that GPU's", "", "memory:1=15", "", 3, "999.54.14"},
};

START_TEST(library)
{
    struct answer a = ask(libraries[_i].library, libraries[_i].failures);
    const struct worker_nvml *head = &a.nvml.head;

    ck_assert_msg(a.there, "%s", libraries[_i].name);
    ck_assert_msg(head->magic == WORKER_NVML_MAGIC && head->size == sizeof(*head), "%s",
                  libraries[_i].name);
    ck_assert_str_eq(head->text, libraries[_i].text);
    ck_assert_str_eq(head->release, libraries[_i].release);
    ck_assert_msg(head->count == libraries[_i].count, "%s: %u", libraries[_i].name, head->count);
}
END_TEST

static const struct {
    const char *name, *library, *failures;
    unsigned index;
    struct worker_nvml_gpu gpu;
} devices[] = {
    {"the first",
     "",
     "",
     0,
     {"0000:00:00.0", "NVIDIA Stand-in 80GB", "GPU-5a7c0001-0000-4000-8000-0000000000a1",
      80ull << 30, 79ull << 30, MEMORY | MIG, 0, ""}},
    {"one in instances",
     "",
     "",
     1,
     {"0000:41:00.0", "NVIDIA Stand-in 40GB", "GPU-5a7c0002-0000-4000-8000-0000000000a2",
      40ull << 30, 12ull << 30, MEMORY | MIG, 1, ""}},
    {"one of another domain",
     "",
     "",
     2,
     {"001a:c1:1f.0", "NVIDIA Stand-in 24GB", "GPU-5a7c0003-0000-4000-8000-0000000000a3",
      24ull << 30, 24ull << 30, MEMORY | MIG, 0, ""}},
    {"an old library knows no instances",
     "_old",
     "",
     1,
     {"0000:41:00.0", "NVIDIA Stand-in 40GB", "GPU-5a7c0002-0000-4000-8000-0000000000a2",
      40ull << 30, 12ull << 30, MEMORY, 0, ""}},
    {"nothing but its place",
     "",
     "name=3 uuid=3 memory=3 mig=3",
     1,
     {"0000:41:00.0", "", "", 0, 0, 0, 0, ""}},
    {"one that fell off the bus",
     "",
     "name:1=15 uuid:1=15 memory:1=15 mig:1=15",
     1,
     {"0000:41:00.0", "", "", 0, 0, 0, 0, "GPU is lost"}},
    {"the same, without words",
     "_old",
     "memory:0=15",
     0,
     {"0000:00:00.0", "NVIDIA Stand-in 80GB", "GPU-5a7c0001-0000-4000-8000-0000000000a1", 0, 0, 0,
      0, "error 15"}},
    {"one that has to be reset",
     "",
     "memory:0=16",
     0,
     {"0000:00:00.0", "NVIDIA Stand-in 80GB", "GPU-5a7c0001-0000-4000-8000-0000000000a1", 0, 0, MIG,
      0, "Unknown Error"}},
    {"the others do not suffer",
     "",
     "memory:0=15",
     1,
     {"0000:41:00.0", "NVIDIA Stand-in 40GB", "GPU-5a7c0002-0000-4000-8000-0000000000a2",
      40ull << 30, 12ull << 30, MEMORY | MIG, 1, ""}},
    {"those without a place are left out",
     "",
     "device:0=15",
     0,
     {"0000:41:00.0", "NVIDIA Stand-in 40GB", "GPU-5a7c0002-0000-4000-8000-0000000000a2",
      40ull << 30, 12ull << 30, MEMORY | MIG, 1, ""}},
};

START_TEST(device)
{
    struct answer a = ask(devices[_i].library, devices[_i].failures);
    const struct worker_nvml_gpu *want = &devices[_i].gpu, *gpu = &a.nvml.gpus[devices[_i].index];

    ck_assert_msg(a.there && devices[_i].index < a.nvml.head.count, "%s", devices[_i].name);
    ck_assert_str_eq(gpu->pci, want->pci);
    ck_assert_str_eq(gpu->name, want->name);
    ck_assert_str_eq(gpu->uuid, want->uuid);
    ck_assert_str_eq(gpu->text, want->text);
    ck_assert_msg(gpu->memory == want->memory && gpu->free == want->free &&
                      gpu->known == want->known && gpu->mig == want->mig,
                  "%s", devices[_i].name);
}
END_TEST

START_TEST(absent)
{
    ck_assert(!ask("/nowhere/libnvidia-ml.so.1", "").there);
}
END_TEST

START_TEST(many)
{
    g_setenv("VMD_NVML_STAND_IN_COUNT", "40", TRUE);
    struct answer a = ask("", "");

    ck_assert_uint_eq(a.nvml.head.count, GPU_DEVICES);
    ck_assert_str_eq(a.nvml.gpus[GPU_DEVICES - 1].pci, "0000:00:00.0");
    /* Those that cannot be told leave room for others. */
    a = ask("", "device:0=15");
    ck_assert_uint_eq(a.nvml.head.count, GPU_DEVICES);
}
END_TEST

/* --- what vmd takes ----------------------------------------------------------------------------
 */

/* Whether vmd takes the first BYTES of what NVML is. */
static bool takes(const struct gpus_nvml *nvml, size_t bytes, struct gpus_nvml *out)
{
    int fds[2];

    memset(out, 0xee, sizeof(*out));
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    ck_assert(bytes == 0 || send(fds[1], nvml, bytes, 0) == (ssize_t)bytes);
    close(fds[1]);
    bool took = gpus__take_nvml(fds[0], out);
    close(fds[0]);
    return took;
}

static size_t size_of(const struct gpus_nvml *nvml)
{
    return sizeof(nvml->head) + nvml->head.count * sizeof(nvml->gpus[0]);
}

START_TEST(whole)
{
    const struct gpus_nvml none = {0};
    struct answer a = ask("", "");
    struct gpus_nvml got;

    ck_assert(takes(&a.nvml, size_of(&a.nvml), &got));
    ck_assert(memcmp(&got, &a.nvml, size_of(&a.nvml)) == 0);
    for (size_t bytes = 0; bytes < size_of(&a.nvml); bytes++) {
        ck_assert_msg(!takes(&a.nvml, bytes, &got), "%zu bytes", bytes);
        ck_assert_msg(memcmp(&got, &none, sizeof(got)) == 0, "%zu bytes", bytes);
    }
    a = ask("", "init=9"); /* no GPU, and a text */
    ck_assert(takes(&a.nvml, size_of(&a.nvml), &got));
    ck_assert_str_eq(got.head.text, "it does not begin: Driver Not Loaded");
}
END_TEST

START_TEST(damaged)
{
    const struct gpus_nvml none = {0};
    struct answer a = ask("", "");
    struct gpus_nvml *n = &a.nvml, got;

    switch (_i) {
    case 0:
        n->head.magic++;
        break;
    case 1:
        n->head.size--;
        break;
    case 2:
        n->head.count = GPU_DEVICES + 1;
        break;
    case 3:
        memset(n->head.text, 'x', sizeof(n->head.text));
        break;
    case 4:
        memset(n->head.release, 'x', sizeof(n->head.release));
        break;
    case 5:
        memset(n->gpus[2].name, 'x', sizeof(n->gpus[2].name));
        break;
    case 6:
        memset(n->gpus[1].uuid, 'x', sizeof(n->gpus[1].uuid));
        break;
    case 7:
        memset(n->gpus[0].pci, 'x', sizeof(n->gpus[0].pci));
        break;
    case 8:
        memset(n->gpus[0].text, 'x', sizeof(n->gpus[0].text));
        break;
    case 9:
        n->gpus[1].name[3] = (char)0xff; /* no UTF-8 */
        break;
    case 10:
        n->gpus[2].pci[0] = 0; /* which would be every function's end */
        break;
    }
    ck_assert_msg(!takes(n, sizeof(*n), &got), "case %d", _i);
    ck_assert_msg(memcmp(&got, &none, sizeof(got)) == 0, "case %d", _i);
}
END_TEST

/* --- what gpu.list tells ------------------------------------------------------------------------
 */

/* Adds a GPU at PCI, of a driver or of none. */
static struct host_gpu_info *put(struct gpu_list_result *r, const char *pci, bool driven)
{
    struct host_gpu_info *i = host_gpu_info_new();

    i->id = g_strdup(pci ? pci : "soft");
    i->name = g_strdup("as before");
    i->pci = g_strdup(pci);
    i->has_backend = driven;
    i->has_memory_bytes = driven;
    i->memory_bytes = driven ? 77 : 0;
    i->text = driven ? NULL : g_strdup("no driver has it");
    r->gpus[r->n_gpus++] = i;
    return i;
}

static struct gpu_list_result *list_new(void)
{
    struct gpu_list_result *r = gpu_list_result_new();

    r->gpus = g_new0(struct host_gpu_info *, 4);
    return r;
}

START_TEST(told)
{
    struct answer a = ask("", "memory:2=15");
    g_autoptr(gpu_list_result) r = list_new();
    struct host_gpu_info *soft = put(r, NULL, true), *driven = put(r, "pci:00000000:00:00.0", true),
                         *other = put(r, "pci:0000:41:00.0", false),
                         *lost = put(r, "pci:001a:c1:1f.0", false);

    gpus__tell_nvml(&a.nvml, r);
    ck_assert_str_eq(r->driver_release, "999.54.14");
    ck_assert_ptr_null(r->nvml_text);
    ck_assert(!soft->uuid && !soft->has_free_bytes && !soft->has_mig);
    /* What the driver says stays. */
    ck_assert_str_eq(driven->name, "as before");
    ck_assert_str_eq(driven->uuid, "GPU-5a7c0001-0000-4000-8000-0000000000a1");
    ck_assert(driven->memory_bytes == 77 && driven->has_free_bytes &&
              driven->free_bytes == 79ull << 30 && driven->has_mig && !driven->mig);
    ck_assert_ptr_null(driven->text);
    ck_assert_str_eq(other->name, "NVIDIA Stand-in 40GB");
    ck_assert(other->has_memory_bytes && other->memory_bytes == 40ull << 30 &&
              other->free_bytes == 12ull << 30 && other->has_mig && other->mig);
    ck_assert_str_eq(other->text, "no driver has it");
    ck_assert(!lost->has_memory_bytes && !lost->has_free_bytes);
    ck_assert_str_eq(lost->text, "NVML says: GPU is lost; no driver has it");
}
END_TEST

START_TEST(not_told)
{
    struct answer a = ask("", "init=9");
    g_autoptr(gpu_list_result) r = list_new();
    struct host_gpu_info *other = put(r, "pci:0000:41:00.0", false);

    gpus__tell_nvml(&a.nvml, r);
    ck_assert_str_eq(r->nvml_text, "it does not begin: Driver Not Loaded");
    ck_assert_ptr_null(r->driver_release);
    ck_assert_str_eq(other->name, "as before");
    memset(&a.nvml, 0, sizeof(a.nvml));
    g_clear_pointer(&r->nvml_text, g_free);
    gpus__tell_nvml(&a.nvml, r); /* the library is not there */
    ck_assert(!r->nvml_text && !r->driver_release && !other->uuid && !other->has_free_bytes);
}
END_TEST

START_TEST(long_texts)
{
    struct answer a = ask("", "");
    g_autoptr(gpu_list_result) r = list_new();
    struct host_gpu_info *i = put(r, "pci:0000:41:00.0", false);

    g_free(i->text);
    i->text = g_strnfill(250, 'y');
    memset(a.nvml.gpus[1].text, 'x', sizeof(a.nvml.gpus[1].text) - 1);
    gpus__tell_nvml(&a.nvml, r);
    ck_assert_uint_le(strlen(i->text), 256); /* a short_text */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu_nvml");
    TCase *library_case = tcase_create("library"), *taken = tcase_create("taken"),
          *list = tcase_create("list");

    tcase_add_loop_test(library_case, library, 0, G_N_ELEMENTS(libraries));
    tcase_add_loop_test(library_case, device, 0, G_N_ELEMENTS(devices));
    tcase_add_test(library_case, absent);
    tcase_add_test(library_case, many);
    suite_add_tcase(suite, library_case);
    tcase_add_test(taken, whole);
    tcase_add_loop_test(taken, damaged, 0, 11);
    suite_add_tcase(suite, taken);
    tcase_add_test(list, told);
    tcase_add_test(list, not_told);
    tcase_add_test(list, long_texts);
    suite_add_tcase(suite, list);
    return unit_run(suite);
}
