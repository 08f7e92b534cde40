/* Warm start: the list of hot blocks and its file, and blocks compiled ahead while pages change. */
#include "base/hotlist.h"
#include "tests/unit/unit.h"
#include "xlate/front/riscv64/rv_mode.h"
#include "xlate/warm.h"
#include "xlate/xlate.h"

#include <sched.h>
#include <sys/stat.h>

/* --- the list --------------------------------------------------------------------------------- */

static void fill(uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < HOTLIST_PAGE; i++)
        bytes[i] = (uint8_t)(i * 7 + n + (n >> 8) * (i % 13));
}

static struct hotlist_page *page(struct hotlist *list, unsigned n)
{
    uint8_t bytes[HOTLIST_PAGE] __attribute__((aligned(8))), digest[HOTLIST_DIGEST];

    fill(bytes, n);
    hotlist_digest(bytes, digest);
    return hotlist_page(list, hotlist_quick(bytes), digest, (uint64_t)n * HOTLIST_PAGE);
}

static unsigned heat(struct hotlist *list, unsigned n, uint16_t offset, uint32_t mode)
{
    const struct hotlist_page *p = page(list, n);

    for (uint32_t i = 0; p && i < p->n; i++)
        if (p->blocks[i].offset == offset && p->blocks[i].mode == mode)
            return p->blocks[i].heat;
    return 0;
}

static struct hotlist *sample(void)
{
    struct hotlist *list = hotlist_new(0);

    hotlist_block(list, page(list, 3), 8, 9, 5);
    hotlist_block(list, page(list, 1), 4, 8, 100);
    hotlist_block(list, page(list, 1), 2, 8, 7);
    hotlist_block(list, page(list, 1), 4, 9, 1);
    hotlist_block(list, page(list, 1), 4, 8, 11);
    return list;
}

START_TEST(list_adds)
{
    struct hotlist *list = sample();

    ck_assert_uint_eq(list->pages->len, 2);
    ck_assert_uint_eq(list->n_blocks, 4);
    ck_assert_uint_eq(heat(list, 1, 4, 8), 111);
    ck_assert_uint_eq(heat(list, 1, 2, 8), 7);
    ck_assert_uint_eq(heat(list, 1, 6, 8), 0);
    hotlist_block(list, page(list, 1), 4, 8, 1000000);
    ck_assert_uint_eq(heat(list, 1, 4, 8), HOTLIST_HEAT_MOST);
    hotlist_free(list);
}
END_TEST

START_TEST(list_merges)
{
    struct hotlist *old = sample(), *now = hotlist_new(0);

    hotlist_block(now, page(now, 7), 0, 8, 1);
    hotlist_block(now, page(now, 1), 2, 8, 3);
    struct hotlist *all = hotlist_merge(old, now);
    /* The run's pages first. */
    ck_assert_uint_eq(((struct hotlist_page *)all->pages->pdata[0])->place, 7 * HOTLIST_PAGE);
    ck_assert_uint_eq(heat(all, 1, 2, 8), 10);
    ck_assert_uint_eq(heat(all, 1, 4, 8), 111 - 111 / 4); /* its page was seen, it was not */
    ck_assert_uint_eq(heat(all, 1, 4, 9), 0);
    ck_assert_uint_eq(heat(all, 3, 8, 9), 5); /* nothing is known of its page */
    ck_assert_uint_eq(all->n_blocks, 4);
    hotlist_free(all);
    hotlist_free(old);
    hotlist_free(now);
}
END_TEST

/* At its bounds a list keeps what is hot, and forgets first what has not run for long. */
START_TEST(list_is_bounded)
{
    enum { EACH = 2000, PAGES = LIMIT_XLATE_WARM_BLOCKS / EACH + 1 };
    struct hotlist *old = hotlist_new(0), *now = hotlist_new(0);

    for (unsigned n = 0; n < PAGES; n++)
        for (unsigned i = 0; i < EACH; i++)
            hotlist_block(old, page(old, n), (uint16_t)(i * 2), 8, n ? 4 : 3000);
    ck_assert_uint_eq(old->n_blocks, LIMIT_XLATE_WARM_BLOCKS);
    for (unsigned i = 0; i < EACH; i++)
        hotlist_block(now, page(now, PAGES), (uint16_t)(i * 2), 8, 3);
    struct hotlist *all = hotlist_merge(old, now);
    ck_assert_uint_eq(all->n_blocks, LIMIT_XLATE_WARM_BLOCKS);
    ck_assert_uint_eq(heat(all, PAGES, 0, 8), 3);
    ck_assert_uint_eq(heat(all, 0, 0, 8), 1500);
    ck_assert_uint_eq(heat(all, 1, 0, 8), 2);
    ck_assert_uint_eq(heat(all, PAGES - 1, 0, 8), 0);
    g_autoptr(GByteArray) bytes = hotlist_encode(all);
    ck_assert_uint_le(bytes->len, hotlist_file_most());
    hotlist_free(all);
    hotlist_free(old);
    hotlist_free(now);
}
END_TEST

START_TEST(pages_are_bounded)
{
    struct hotlist *list = hotlist_new(0);
    uint8_t digest[HOTLIST_DIGEST] = {0};

    for (uint32_t i = 0; i < LIMIT_XLATE_WARM_PAGES; i++) {
        memcpy(digest, &i, sizeof(i));
        ck_assert_ptr_nonnull(hotlist_page(list, i, digest, 0));
    }
    digest[31] = 1;
    ck_assert_ptr_null(hotlist_page(list, 1, digest, 0));
    hotlist_free(list);
}
END_TEST

START_TEST(file_round_trip)
{
    g_autofree char *dir = g_dir_make_tmp("vmd-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "x.list", NULL);
    g_autoptr(GError) err = NULL;
    struct hotlist *list = sample();
    struct stat st;

    ck_assert_ptr_null(hotlist_read(path, 0, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_NOT_FOUND));
    ck_assert(hotlist_write(list, path, NULL));
    ck_assert(hotlist_write(list, path, NULL)); /* over itself */
    ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    struct hotlist *got = hotlist_read(path, 0, NULL);
    ck_assert_ptr_nonnull(got);
    g_autoptr(GByteArray) a = hotlist_encode(list), b = hotlist_encode(got);
    ck_assert_uint_eq(a->len, b->len);
    ck_assert_mem_eq(a->data, b->data, a->len);
    unlink(path);
    rmdir(dir);
    hotlist_free(got);
    hotlist_free(list);
}
END_TEST

/* Any bit that flips, any byte that is missing or too many: refused. */
START_TEST(damage_is_refused)
{
    struct hotlist *list = sample();
    g_autoptr(GByteArray) bytes = hotlist_encode(list);
    g_autoptr(GError) err = NULL;

    for (guint i = 0; i < bytes->len; i++) {
        bytes->data[i] ^= 1u << i % 8;
        ck_assert_msg(!hotlist_decode(bytes->data, bytes->len, 0, NULL), "byte %u", i);
        bytes->data[i] ^= 1u << i % 8;
        ck_assert_msg(!hotlist_decode(bytes->data, i, 0, NULL), "cut to %u", i);
    }
    ck_assert_ptr_null(hotlist_decode(bytes->data, bytes->len, 1, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    g_byte_array_append(bytes, (const uint8_t *)"", 1);
    ck_assert_ptr_null(hotlist_decode(bytes->data, bytes->len, 0, NULL));
    hotlist_free(list);
}
END_TEST

/* --- the translator --------------------------------------------------------------------------- */

#define RAM UINT64_C(0x80000000)

enum {
    PAGES = 8,
    ADDI_A0 = 0x00150513, /* addi a0, a0, 1 */
    RET = 0x00008067,
    ECALL = 0x00000073,
    LI_A7_1 = 0x00100893,
    MODE = RV_MODE(RV_TLB_S, RV_PRIV_S, RV_FS_OFF, RV_FRM_HOST),
};

static struct {
    struct mem_map *map;
    struct mem_ram *ram;
    struct vm_clock *clock;
    struct accel *accel;
    struct vcpu *vcpu;
    struct xlate *x;
} t;

static bool leave_on_call(void *opaque, unsigned vcpu, uint64_t args[8])
{
    return false;
}

static void open_with(const struct hotlist *list, unsigned threads)
{
    struct accel_config config = {.isa = ISA_RISCV64, .vcpus = 1, .mem = t.map, .clock = t.clock,
                                  .timebase_hz = 10000000, .hypercall = leave_on_call, .tier = 1,
                                  .warm_threads = threads, .hot = list};

    ck_assert(accel_create(&xlate_accel_ops, &config, &t.accel, NULL));
    ck_assert(accel_vcpu_create(t.accel, 0, &t.vcpu, NULL));
    t.x = container_of(t.accel, struct xlate, accel);
}

static void close_again(void)
{
    accel_vcpu_free(t.vcpu);
    accel_free(t.accel);
}

static void setup(void)
{
    memset(&t, 0, sizeof(t));
    t.map = mem_map_new();
    t.ram = mem_map_add_ram(t.map, RAM, MIB(1), "ram", false, NULL);
    t.clock = vm_clock_new(0);
}

static void teardown(void)
{
    close_again();
    vm_clock_free(t.clock);
    mem_map_free(t.map);
}

/* Writes as another vCPU's stores do, then says so as a device does. */
static void write_page(unsigned n, const uint64_t *words)
{
    uint64_t *to = (uint64_t *)(void *)(t.ram->host + n * MEM_PAGE_SIZE);

    for (unsigned i = 0; i < MEM_PAGE_SIZE / 8; i++)
        __atomic_store_n(&to[i], words[i], __ATOMIC_RELAXED);
    mem_map_written(t.map, RAM + n * MEM_PAGE_SIZE, MEM_PAGE_SIZE);
}

/* A page of functions of LENGTH additions and a return, the last eight words a name. */
static void make_page(uint32_t *words, unsigned length, uint32_t name)
{
    for (unsigned i = 0; i < MEM_PAGE_SIZE / 4; i++)
        words[i] = i % (length + 1) == length ? RET : ADDI_A0;
    for (unsigned i = 1016; i < 1024; i++)
        words[i] = name;
}

static void list_page(struct hotlist *list, const uint32_t *words, unsigned length, unsigned n)
{
    const uint8_t *bytes = (const uint8_t *)words;
    uint8_t digest[HOTLIST_DIGEST];

    hotlist_digest(bytes, digest);
    struct hotlist_page *p = hotlist_page(list, hotlist_quick(bytes), digest,
                                          RAM + n * MEM_PAGE_SIZE);
    for (unsigned i = 0; i + length < 1000; i += length + 1)
        hotlist_block(list, p, (uint16_t)(i * 4), MODE, 20);
}

static struct warm_stats stats(void)
{
    struct warm_stats s;

    xlate__warm_stats(t.x->warm, &s);
    return s;
}

static void run_program(void)
{
    const uint32_t code[] = {ADDI_A0, 0x00000463 /* beqz zero, +8 */, 0, LI_A7_1, ECALL};

    mem_map_write(t.map, RAM, code, sizeof(code));
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM});
    xlate__warm_drain(t.x->warm);
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
}

/* What one run lists is compiled before the next one comes to it; other content is not. */
START_TEST(second_run_is_warm)
{
    const uint64_t other = 1;

    open_with(NULL, 1);
    run_program();
    xlate__warm_drain(t.x->warm);
    struct hotlist *list = accel_hot_list(t.accel);
    ck_assert_uint_ge(list->n_blocks, 2);
    ck_assert_uint_eq(list->pages->len, 1);
    ck_assert_uint_eq(stats().blocks, 0);
    ck_assert_uint_eq(stats().unmatched, 1);
    close_again();

    open_with(list, 2);
    run_program();
    ck_assert_uint_eq(stats().listed, list->n_blocks);
    ck_assert_uint_eq(stats().blocks, list->n_blocks);
    ck_assert_uint_eq(stats().used, list->n_blocks);
    ck_assert_uint_eq(stats().pages, 1);
    /* Heat grows by what is run, and the list stays the same. */
    struct hotlist *again = accel_hot_list(t.accel);
    ck_assert_uint_eq(again->n_blocks, list->n_blocks);
    hotlist_free(again);
    close_again();

    mem_map_write(t.map, RAM + 4000, &other, sizeof(other));
    open_with(list, 2);
    run_program();
    xlate__warm_drain(t.x->warm);
    ck_assert_uint_eq(stats().pages, 0);
    ck_assert_uint_eq(stats().blocks, 0);
    ck_assert_uint_eq(stats().unmatched, 1);
    hotlist_free(list);
}
END_TEST

/* The same page elsewhere is found when it runs, whatever place the list has. */
START_TEST(moved_page_is_found)
{
    uint64_t words[MEM_PAGE_SIZE / 8];
    struct hotlist *list = hotlist_new(ISA_RISCV64);

    make_page((uint32_t *)words, 3, 1);
    list_page(list, (uint32_t *)words, 3, 5);
    open_with(list, 1);
    write_page(2, words);
    xlate__warm_again(t.x->warm);
    xlate__warm_drain(t.x->warm);
    ck_assert_uint_eq(stats().blocks, 0);
    mem_page_set(t.ram, 2, MEM_PAGE_CODE);
    xlate__warm_ask(t.x->warm, RAM + 2 * MEM_PAGE_SIZE, MODE);
    xlate__warm_drain(t.x->warm);
    ck_assert_uint_eq(stats().blocks, list->n_blocks);
    hotlist_free(list);
}
END_TEST

START_TEST(bad_modes_are_passed_over)
{
    uint64_t words[MEM_PAGE_SIZE / 8];
    struct hotlist *list = hotlist_new(ISA_RISCV64);

    make_page((uint32_t *)words, 3, 1);
    list_page(list, (uint32_t *)words, 3, 0);
    struct hotlist_page *p = g_ptr_array_index(list->pages, 0);
    for (uint32_t i = 0; i < p->n; i++)
        p->blocks[i].mode = i % 4 == 0 ? 7 : i % 4 == 1 ? 2 << 3 : i % 4 == 2 ? UINT32_MAX : 3 << 5;
    open_with(list, 1);
    write_page(0, words);
    xlate__warm_again(t.x->warm);
    xlate__warm_drain(t.x->warm);
    ck_assert_uint_eq(stats().pages, 1);
    ck_assert_uint_eq(stats().blocks, 0);
    hotlist_free(list);
}
END_TEST

static struct {
    struct xl_front front;
    const struct xl_front *real;
    unsigned calls;
    uint64_t other[MEM_PAGE_SIZE / 8];
} meddler;

/* A guest that writes a page just after some of it was read to be translated. */
static void meddle(const struct xl_source *source, struct ir_unit *unit)
{
    meddler.real->translate(source, unit);
    if (++meddler.calls == 5)
        write_page(0, meddler.other);
}

START_TEST(page_changes_while_it_is_compiled)
{
    uint64_t words[MEM_PAGE_SIZE / 8];
    struct hotlist *list = hotlist_new(ISA_RISCV64);

    make_page((uint32_t *)words, 3, 1);
    make_page((uint32_t *)meddler.other, 31, 2);
    list_page(list, (uint32_t *)words, 3, 0);
    open_with(list, 1);
    meddler.real = t.x->front;
    meddler.front = *t.x->front;
    meddler.front.translate = meddle;
    meddler.calls = 0;
    t.x->front = &meddler.front;
    write_page(0, words);
    mem_page_set(t.ram, 0, MEM_PAGE_CODE);
    xlate__warm_ask(t.x->warm, RAM, MODE);
    xlate__warm_drain(t.x->warm);
    /* All that were to be published together go, and what else the page had is not begun. */
    ck_assert_uint_eq(stats().blocks, 0);
    ck_assert_uint_ge(meddler.calls, 5);
    ck_assert_uint_eq(stats().refused, meddler.calls);
    struct cache_user *user = cache_user_new(t.x->cache, NULL);
    cache_join(user);
    for (unsigned i = 0; i < 1000; i++)
        ck_assert_ptr_null(cache_lookup(t.x->cache, RAM + i * 4, MODE));
    cache_leave(user);
    cache_user_free(user);
    t.x->front = meddler.real;
    hotlist_free(list);
}
END_TEST

START_TEST(off)
{
    open_with(NULL, 0);
    ck_assert_ptr_null(accel_hot_list(t.accel));
}
END_TEST

enum { ROUNDS = 400, KINDS = 3 };

struct writer {
    struct cache_user *user;
    unsigned first;
    uint64_t words[PAGES][KINDS][MEM_PAGE_SIZE / 8];
    unsigned bad, found;
};

/* Every unit that is found of page N is of functions with LENGTH additions. */
static void look(struct writer *w, unsigned n, unsigned length)
{
    cache_join(w->user);
    for (unsigned i = 0; i < 1000; i++) {
        struct cache_unit *unit = cache_lookup(t.x->cache, RAM + n * MEM_PAGE_SIZE + i * 4, MODE);
        if (!unit || i - i % (length + 1) + length >= 1000)
            continue;
        w->found++;
        w->bad += unit->n_guest != length - i % (length + 1) + 1;
    }
    cache_leave(w->user);
}

/* Waits for LEAST blocks more: then the threads are in the middle of a page, as a rule of this one. */
static void wait_for_some(uint64_t before, unsigned least)
{
    while (stats().blocks < before + least)
        sched_yield();
}

/* Pages change while they are compiled: what was made of old bytes must never be found. */
static void *change_pages(void *arg)
{
    struct writer *w = arg;
    unsigned seed = w->first;

    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned n = w->first + 2 * (round / 8 % (PAGES / 2)), kind = (unsigned)rand_r(&seed) % KINDS;
        uint64_t before = stats().blocks;
        write_page(n, w->words[n][kind]);
        look(w, n, 2 + 29 * kind);
        mem_page_set(t.ram, n, MEM_PAGE_CODE);
        __atomic_fetch_add(&t.x->marks, 1, __ATOMIC_SEQ_CST);
        xlate__warm_ask(t.x->warm, RAM + n * MEM_PAGE_SIZE, MODE);
        if (round % 7 == 0)
            xlate__warm_again(t.x->warm);
        wait_for_some(before, 1 + (unsigned)rand_r(&seed) % 4);
        look(w, n, 2 + 29 * kind);
    }
    return NULL;
}

START_TEST(pages_change_meanwhile)
{
    g_autofree struct writer *w = g_new0(struct writer, 2);
    struct hotlist *list = hotlist_new(ISA_RISCV64);
    pthread_t thread[2];

    for (unsigned n = 0; n < PAGES; n++) {
        for (unsigned kind = 0; kind < KINDS; kind++) {
            uint32_t *words = (uint32_t *)w[n % 2].words[n][kind];
            make_page(words, 2 + 29 * kind, n * KINDS + kind);
            list_page(list, words, 2 + 29 * kind, n);
        }
    }
    open_with(list, 2);
    for (unsigned i = 0; i < 2; i++) {
        w[i].first = i;
        w[i].user = cache_user_new(t.x->cache, NULL);
        ck_assert_int_eq(pthread_create(&thread[i], NULL, change_pages, &w[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_uint_eq(w[i].bad, 0);
    }
    xlate__warm_again(t.x->warm);
    xlate__warm_drain(t.x->warm);
    for (unsigned i = 0; i < 2; i++) {
        cache_user_free(w[i].user);
    }
    ck_assert_uint_gt(stats().pages, PAGES);
    ck_assert_uint_gt(stats().blocks, 100);
    hotlist_free(list);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("warm");
    TCase *list = tcase_create("list"), *run = tcase_create("translator");

    tcase_add_test(list, list_adds);
    tcase_add_test(list, list_merges);
    tcase_add_test(list, list_is_bounded);
    tcase_add_test(list, pages_are_bounded);
    tcase_add_test(list, file_round_trip);
    tcase_add_test(list, damage_is_refused);
    tcase_set_timeout(list, 60);
    suite_add_tcase(s, list);
    tcase_add_checked_fixture(run, setup, teardown);
    tcase_set_timeout(run, 120);
    tcase_add_test(run, second_run_is_warm);
    tcase_add_test(run, moved_page_is_found);
    tcase_add_test(run, bad_modes_are_passed_over);
    tcase_add_test(run, off);
    tcase_add_test(run, page_changes_while_it_is_compiled);
    tcase_add_test(run, pages_change_meanwhile);
    suite_add_tcase(s, run);
    return unit_run(s);
}
