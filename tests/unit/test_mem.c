/* mem: the map, device ranges that come and go under running vCPUs, DMA, and the clock. */
#include "base/large.h"
#include "mem/clock.h"
#include "mem/mem.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096 };

struct device {
    struct mem_map *map;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool inside, hold; /* a reader is inside; it stays there */
    gpa_t remove_self; /* a write removes the range that starts here */
    uint64_t last;
};

static int dev_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct device *d = opaque;

    pthread_mutex_lock(&d->lock);
    d->inside = true;
    pthread_cond_broadcast(&d->changed);
    while (d->hold)
        pthread_cond_wait(&d->changed, &d->lock);
    d->inside = false;
    pthread_mutex_unlock(&d->lock);
    *value = offset * 16 + size;
    return offset == 0xff0 ? -EIO : 0;
}

static int dev_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct device *d = opaque;

    d->last = value;
    return d->remove_self ? mem_map_remove_device(d->map, d->remove_self) : 0;
}

static const struct mem_device_ops ops = {.read = dev_read, .write = dev_write, .sizes = 4 | 8};

#define DEVICE(map_)                                                                               \
    {                                                                                              \
        .map = (map_), .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,     \
    }

static const struct {
    const char *name;
    gpa_t gpa;
    uint64_t size;
    int rc;
} overlaps[] = {
    {"below", 0, 0x1000, 0},
    {"touching from below", 0xf000, 0x1000, 0},
    {"one byte into it", 0xf001, 0x1000, -EEXIST},
    {"inside", 0x10800, 0x10, -EEXIST},
    {"around", 0x1000, 0x100000, -EEXIST},
    {"touching from above", 0x12000, 0x1000, 0},
    {"beyond the end of the space", UINT64_MAX - 10, 0x1000, -EEXIST},
    {"up to the end of the space", UINT64_MAX - 0xfff, 0x1000, 0},
};

START_TEST(overlap_rows)
{
    struct mem_map *map = mem_map_new();
    struct device d = DEVICE(map);

    ck_assert_ptr_nonnull(mem_map_add_ram(map, 0x10000, 0x2000, "ram", false, NULL));
    int rc = mem_map_add_device(map, overlaps[_i].gpa, overlaps[_i].size, "dev", &ops, &d);
    ck_assert_msg(rc == overlaps[_i].rc, "%s: %d", overlaps[_i].name, rc);
    mem_map_free(map);
}
END_TEST

START_TEST(lookup_and_dma)
{
    struct mem_map *map = mem_map_new();
    struct mem_view v;
    uint32_t word = 0x12345678, got = 0;

    mem_map_add_ram(map, 0x10000, 4 * PAGE, "ram", false, NULL);
    mem_map_add_ram(map, 0x20000, PAGE, "rom", true, NULL);
    mem_map_lookup(map, 0x11004, &v);
    ck_assert_int_eq(v.kind, MEM_RAM);
    ck_assert_uint_eq(v.length, 4 * PAGE - 0x1004);
    mem_map_lookup(map, 0x8000, &v);
    ck_assert_int_eq(v.kind, MEM_NONE);
    ck_assert_uint_eq(v.length, 0x8000);
    ck_assert_int_eq(mem_map_write(map, 0x13ffc, &word, 4), 0);
    ck_assert_int_eq(mem_map_read(map, 0x13ffc, &got, 4), 0);
    ck_assert_uint_eq(got, word);
    ck_assert_int_eq(mem_map_write(map, 0x13ffd, &word, 4), -EFAULT);
    ck_assert_int_eq(mem_map_write(map, 0x20000, &word, 4), -EFAULT);
    ck_assert_int_eq(mem_map_read(map, 0x20000, &got, 4), 0);
    mem_map_free(map);
}
END_TEST

struct heard {
    unsigned code, changed;
    gpa_t gpa;
};

static void on_code(void *opaque, gpa_t gpa, uint64_t length)
{
    struct heard *h = opaque;

    h->code++;
    h->gpa = gpa;
}

static void on_changed(void *opaque, gpa_t gpa, uint64_t length, enum mem_kind kind, bool added)
{
    ((struct heard *)opaque)->changed++;
}

START_TEST(listeners)
{
    struct mem_map *map = mem_map_new();
    struct heard h = {0};
    struct device d = DEVICE(map);

    mem_map_add_listener(
        map, &(struct mem_listener){.code_written = on_code, .changed = on_changed, .opaque = &h});
    struct mem_ram *ram = mem_map_add_ram(map, 0x10000, 4 * PAGE, "ram", false, NULL);
    mem_map_add_device(map, 0, 0x100, "dev", &ops, &d);
    mem_map_remove_device(map, 0);
    ck_assert_uint_eq(h.changed, 3);
    mem_page_set(ram, 1, MEM_PAGE_CODE);
    mem_map_write(map, 0x10000, "x", 1);
    ck_assert_uint_eq(h.code, 0);
    mem_map_write(map, 0x10fff, "xy", 2); /* the second byte lies in the page */
    ck_assert_uint_eq(h.code, 1);
    ck_assert_uint_eq(h.gpa, 0x10fff);
    ck_assert(mem_page_flags(ram, 0) & MEM_PAGE_DIRTY);
    ck_assert(mem_page_flags(ram, 1) & MEM_PAGE_DIRTY);
    ck_assert(!(mem_page_flags(ram, 2) & MEM_PAGE_DIRTY));
    mem_map_free(map);
}
END_TEST

/* The pages of RAM that the host holds, of the first 64; a bit each. */
static uint64_t resident(const struct mem_ram *ram)
{
    unsigned char there[64];
    uint64_t bits = 0;

    ck_assert_int_eq(mincore(ram->host, sizeof(there) * PAGE, there), 0);
    for (unsigned i = 0; i < sizeof(there); i++)
        bits |= (uint64_t)(there[i] & 1) << i;
    return bits;
}

START_TEST(backing)
{
    struct mem_map *map = mem_map_new();
    struct mem_ram *ram = mem_map_add_ram(map, 0, 64 * PAGE, "ram", false, NULL);

    /* Kernels before 5.14 give no memory ahead. */
    bool ahead = madvise(ram->host, PAGE, MADV_POPULATE_WRITE) == 0;
    ck_assert(mem_ram_discard(ram, 0, PAGE));
    ck_assert_uint_eq(resident(ram), 0);
    mem_ram_back(ram, 5);
    ck_assert_uint_eq(resident(ram), ahead ? 0xfffe : 0); /* page 0 was given back */
    mem_ram_back(ram, 63);
    ck_assert_uint_eq(resident(ram), ahead ? UINT64_C(0xffff00000000fffe) : 0);
    memset(ram->host + 4 * PAGE, 1, 4 * PAGE);
    ck_assert(mem_ram_discard(ram, 4 * PAGE, 4 * PAGE));
    mem_ram_back(ram, 6);
    ck_assert_uint_eq(resident(ram) & 0xf0, 0);
    ck_assert_int_eq(ram->host[5 * PAGE], 0);
    mem_map_back(map, 20 * PAGE - 1, PAGE + 2); /* of three pages */
    ck_assert_uint_eq(resident(ram) >> 16 & 0xffff, ahead ? 0x0038 : 0);
    mem_map_back(map, 64 * PAGE, PAGE); /* nothing is there */
    mem_map_free(map);
}
END_TEST

/* A large page comes whole, or what was asked for alone, and never where something was given back.
 * Whether the host has one may differ from call to call. */
/* A look at what nobody touched takes no memory. */
START_TEST(peeking)
{
    enum { PAGES = 64, TOUCHED = 5 };
    struct mem_map *map = mem_map_new();
    struct mem_ram *ram = mem_map_add_ram(map, 0x100000, PAGES * PAGE, "ram", false, NULL);
    g_autofree uint8_t *bytes = g_malloc(PAGES * PAGE), *zeros = g_malloc0(PAGE);
    struct stat st;

    memset(bytes, 1, PAGES * PAGE);
    ck_assert_int_eq(mem_map_peek(map, 0x100000, bytes, PAGES * PAGE), 0);
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert_mem_eq(bytes + i * PAGE, zeros, PAGE);
    ck_assert_int_eq(fstat(ram->fd, &st), 0);
    ck_assert_int_eq(st.st_blocks, 0);
    ck_assert_int_eq(mem_map_write(map, 0x100000 + TOUCHED * PAGE - 1, "here", 4), 0);
    ck_assert_int_eq(mem_map_peek(map, 0x100000 + TOUCHED * PAGE - 2, bytes, 6), 0);
    ck_assert_mem_eq(bytes, "\0here\0", 6);
    ck_assert_int_eq(mem_map_peek(map, 0x100000 + PAGES * PAGE - 1, bytes, 2), -EFAULT);
    ck_assert_int_eq(mem_map_peek(map, 0x0ff000, bytes, 2), -EFAULT);
    mem_map_free(map);
}
END_TEST

START_TEST(backing_large)
{
    enum { LARGE = LARGE_PAGE / PAGE };
    struct mem_map *map = mem_map_new();
    struct mem_ram *ram = mem_map_add_ram(map, 0, 5 * LARGE_PAGE + 8 * PAGE, "ram", false, NULL);
    unsigned backed[5] = {0};

    ck_assert(mem_ram_discard(ram, LARGE_PAGE + PAGE, PAGE));
    mem_ram_back(ram, 3);
    mem_ram_back(ram, LARGE + 3);
    mem_ram_back(ram, 5 * LARGE + 3); /* no whole one */
    mem_map_back(map, 3 * LARGE_PAGE - PAGE, 2 * PAGE);
    for (unsigned i = 0; i < 5 * LARGE; i++)
        backed[i / LARGE] += !!(mem_page_flags(ram, i) & MEM_PAGE_BACKED);
    ck_assert(backed[0] == LARGE || backed[0] == 16);
    ck_assert_uint_eq(backed[1], 15); /* 14 and the one that was given back: it stays away */
    ck_assert(backed[2] == LARGE || backed[2] == 1);
    ck_assert(backed[3] == LARGE || backed[3] == 1);
    ck_assert_uint_eq(backed[4], 0);
    ck_assert(mem_page_flags(ram, 5 * LARGE) & MEM_PAGE_BACKED);
    for (unsigned i = 0; i < 5 * LARGE_PAGE + 8 * PAGE; i += 64)
        ck_assert_uint_eq(ram->host[i], 0);
    mem_map_free(map);
}
END_TEST

static const struct {
    const char *name;
    gpa_t gpa;
    unsigned size;
    int rc;
} accesses[] = {
    {"first word", 0x1000, 4, 0},
    {"last doubleword", 0x1ff8, 8, 0},
    {"a size it lacks", 0x1000, 2, -EINVAL},
    {"misaligned", 0x1002, 4, -EINVAL},
    {"beyond it", 0x2000, 4, -EFAULT},
    {"RAM", 0x10000, 4, -EFAULT},
    {"its own error", 0x1ff0, 4, -EIO},
};

/* A bus's window: nothing answers, and nobody faults. */
static const struct {
    const char *name;
    gpa_t gpa;
    unsigned size;
    int rc;
    uint64_t value;
} windows[] = {
    {"before it", 0x1ffc, 4, -EFAULT, 7},          {"first byte", 0x2000, 1, 0, 0},
    {"first halfword", 0x2000, 2, 0, 0},      {"first word", 0x2000, 4, 0, 0},
    {"last doubleword", 0x4ff8, 8, 0, 0}, {"after it", 0x5000, 4, -EFAULT, 7},
    {"a device in it", 0x3000, 4, 0, 0x4},         {"a size that one lacks", 0x3000, 2, -EINVAL, 7},
};

START_TEST(window_rows)
{
    struct mem_map *map = mem_map_new();
    struct device d = DEVICE(map);
    uint64_t v = 7;

    mem_map_add_window(map, 0x2000, 0x3000);
    mem_map_add_window(map, 0x8000, 0x1000);
    mem_map_add_device(map, 0x3000, 0x1000, "dev", &ops, &d);
    int rc = mem_map_device_read(map, windows[_i].gpa, windows[_i].size, &v);
    ck_assert_msg(rc == windows[_i].rc, "%s: %d", windows[_i].name, rc);
    ck_assert_uint_eq(v, windows[_i].value);
    v = 0;
    rc = mem_map_device_write(map, windows[_i].gpa, windows[_i].size, 0);
    ck_assert_msg(rc == windows[_i].rc, "%s: %d of a write", windows[_i].name, rc);
    mem_map_remove_window(map, 0x2000);
    ck_assert_int_eq(mem_map_device_read(map, 0x2000, 4, &v), -EFAULT);
    ck_assert_int_eq(mem_map_device_read(map, 0x8000, 4, &v), 0);
    mem_map_free(map);
}
END_TEST

START_TEST(access_rows)
{
    struct mem_map *map = mem_map_new();
    struct device d = DEVICE(map);
    uint64_t v = 0;

    mem_map_add_ram(map, 0x10000, PAGE, "ram", false, NULL);
    mem_map_add_device(map, 0x1000, 0x1000, "dev", &ops, &d);
    int rc = mem_map_device_read(map, accesses[_i].gpa, accesses[_i].size, &v);
    ck_assert_msg(rc == accesses[_i].rc, "%s: %d", accesses[_i].name, rc);
    if (!rc)
        ck_assert_uint_eq(v, (accesses[_i].gpa - 0x1000) * 16 + accesses[_i].size);
    mem_map_free(map);
}
END_TEST

static void *reader(void *opaque)
{
    struct device *d = opaque;
    uint64_t v;

    ck_assert_int_eq(mem_map_device_read(d->map, 0x1000, 4, &v), 0);
    return NULL;
}

static void *remover(void *opaque)
{
    struct device *d = opaque;

    ck_assert_int_eq(mem_map_remove_device(d->map, 0x1000), 0);
    pthread_mutex_lock(&d->lock);
    ck_assert(!d->inside);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

START_TEST(removal_waits_for_those_inside)
{
    struct mem_map *map = mem_map_new();
    struct device d = DEVICE(map);
    pthread_t r, w;
    uint64_t v;

    d.hold = true;
    mem_map_add_device(map, 0x1000, 0x1000, "dev", &ops, &d);
    pthread_create(&r, NULL, reader, &d);
    pthread_mutex_lock(&d.lock);
    while (!d.inside)
        pthread_cond_wait(&d.changed, &d.lock);
    pthread_mutex_unlock(&d.lock);
    pthread_create(&w, NULL, remover, &d);
    /* Unlinked at once, freed only when the reader has left. */
    struct mem_view view;
    do {
        mem_map_lookup(map, 0x1000, &view);
    } while (view.kind != MEM_NONE);
    ck_assert_int_eq(mem_map_device_read(map, 0x1000, 4, &v), -EFAULT);
    pthread_mutex_lock(&d.lock);
    d.hold = false;
    pthread_cond_broadcast(&d.changed);
    pthread_mutex_unlock(&d.lock);
    pthread_join(r, NULL);
    pthread_join(w, NULL);
    mem_map_free(map);
}
END_TEST

START_TEST(removal_from_inside)
{
    struct mem_map *map = mem_map_new();
    struct device d = DEVICE(map);

    d.remove_self = 0x1000;
    mem_map_add_device(map, 0x1000, 0x1000, "dev", &ops, &d);
    ck_assert_int_eq(mem_map_device_write(map, 0x1000, 8, 7), 0);
    ck_assert_uint_eq(d.last, 7);
    ck_assert_int_eq(mem_map_device_write(map, 0x1000, 8, 8), -EFAULT);
    ck_assert_int_eq(mem_map_remove_device(map, 0x1000), -ENOENT);
    mem_map_free(map);
}
END_TEST

START_TEST(ram_goes)
{
    struct mem_map *map = mem_map_new();
    struct heard h = {0};
    struct mem_view view;

    mem_map_add_ram(map, 0, PAGE, "low", false, NULL);
    mem_map_add_ram(map, 0x10000, 4 * PAGE, "high", false, NULL);
    mem_map_add_listener(map, &(struct mem_listener){.changed = on_changed, .opaque = &h});
    ck_assert_int_eq(mem_map_remove_ram(map, 0x11000), -ENOENT);
    ck_assert_int_eq(mem_map_remove_ram(map, 0x10000), 0);
    ck_assert_int_eq(mem_map_remove_ram(map, 0x10000), -ENOENT);
    ck_assert_int_eq(h.changed, 1);
    mem_map_lookup(map, 0x10000, &view);
    ck_assert_int_eq(view.kind, MEM_NONE);
    mem_map_lookup(map, 0, &view);
    ck_assert_int_eq(view.kind, MEM_RAM);
    ck_assert_ptr_nonnull(mem_map_add_ram(map, 0x11000, PAGE, "again", false, NULL));
    mem_map_free(map);
}
END_TEST

/* A device's memory at one place, at another, and at the first again, with what was written to it.
 */
START_TEST(ram_shown)
{
    const gpa_t places[] = {0x40000, 0x80000, 0x40000};
    struct mem_map *map = mem_map_new();
    struct mem_ram *memory = mem_ram_new("window", 0x10000, NULL);
    struct heard h = {0};
    struct mem_view view;
    uint32_t word = 0;

    mem_map_add_ram(map, 0x60000, PAGE, "ram", false, NULL);
    mem_map_add_listener(map, &(struct mem_listener){.changed = on_changed, .opaque = &h});
    ck_assert_int_eq(mem_map_show_ram(map, 0x60000, memory), -EEXIST);
    ck_assert_int_eq(mem_map_hide_ram(map, 0x40000), -ENOENT);
    for (uint32_t i = 0; i < G_N_ELEMENTS(places); i++) {
        ck_assert_int_eq(mem_map_show_ram(map, places[i], memory), 0);
        mem_map_lookup(map, places[i] + 0x1234, &view);
        ck_assert_int_eq(view.kind, MEM_RAM);
        ck_assert_ptr_eq(view.host, memory->host + 0x1234);
        ck_assert_ptr_null(mem_map_host(map, places[i], 8, false)); /* it may go */
        ck_assert_uint_eq(view.length, 0x10000 - 0x1234);
        ck_assert_int_eq(mem_map_read(map, places[i] + 8, &word, sizeof(word)), 0);
        ck_assert_uint_eq(word, i);
        word = i + 1;
        ck_assert_int_eq(mem_map_write(map, places[i] + 8, &word, sizeof(word)), 0);
        struct mem_ram *ram = view.ram;
        ck_assert(mem_ram_has(ram, 0));
        ck_assert_int_eq(mem_map_hide_ram(map, places[i]), 0);
        ck_assert(!mem_ram_has(ram, 0)); /* for who has it still */
        mem_map_lookup(map, places[i] + 0x1234, &view);
        ck_assert_int_eq(view.kind, MEM_NONE);
    }
    ck_assert_int_eq(h.changed, 2 * G_N_ELEMENTS(places));
    mem_map_free(map);
    mem_ram_free(memory);
}
END_TEST

struct looker {
    struct mem_map *map;
    bool stop;      /* atomic */
    unsigned wrong; /* atomic */
};

static void *look(void *arg)
{
    struct looker *l = arg;
    struct mem_view view;
    uint64_t value;

    while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED)) {
        mem_map_lookup(l->map, 0x123000, &view);
        bool wrong = view.kind != MEM_RAM || view.length != PAGE;
        int rc = mem_map_device_read(l->map, 0x2000, 4, &value);
        wrong |= rc != -EFAULT && (rc != 0 || value != 4);
        __atomic_add_fetch(&l->wrong, wrong, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Who looks sees a whole table, old or new, and never one that was freed (AddressSanitizer tells).
 */
START_TEST(lookups_beside_changes)
{
    struct looker l = {.map = mem_map_new()};
    struct device d = DEVICE(l.map);
    pthread_t threads[3];

    mem_map_add_ram(l.map, 0x123000, PAGE, "ram", false, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        pthread_create(&threads[i], NULL, look, &l);
    for (unsigned i = 0; i < 3000; i++) {
        ck_assert_int_eq(mem_map_add_device(l.map, 0x2000, PAGE, "dev", &ops, &d), 0);
        ck_assert_int_eq(mem_map_add_device(l.map, 0x200000, PAGE, "other", &ops, &d), 0);
        ck_assert_int_eq(mem_map_remove_device(l.map, 0x2000), 0);
        ck_assert_int_eq(mem_map_remove_device(l.map, 0x200000), 0);
    }
    __atomic_store_n(&l.stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(l.wrong, 0);
    mem_map_free(l.map);
}
END_TEST

START_TEST(clock_pauses)
{
    struct vm_clock *clock = vm_clock_new(1000);
    uint64_t at;

    ck_assert_uint_ge(vm_clock_now(clock), 1000);
    vm_clock_pause(clock);
    vm_clock_pause(clock);
    at = vm_clock_now(clock);
    ck_assert_uint_eq(vm_clock_now(clock), at);
    ck_assert_uint_eq(vm_clock_time_of_day(clock, at + 5), vm_clock_time_of_day(clock, at) + 5);
    ck_assert_uint_eq(vm_clock_host_deadline(clock, at + 5), UINT64_MAX);
    vm_clock_resume(clock);
    ck_assert_uint_ge(vm_clock_now(clock), at);
    while (vm_clock_now(clock) == at)
        ;
    ck_assert_uint_ne(vm_clock_host_deadline(clock, at + 1000000000), UINT64_MAX);
    ck_assert_uint_eq(vm_clock_host_deadline(clock, UINT64_MAX), UINT64_MAX);
    vm_clock_free(clock);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mem");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, overlap_rows, 0, G_N_ELEMENTS(overlaps));
    tcase_add_test(tc, lookup_and_dma);
    tcase_add_test(tc, listeners);
    tcase_add_test(tc, backing);
    tcase_add_test(tc, peeking);
    tcase_add_test(tc, backing_large);
    tcase_add_loop_test(tc, access_rows, 0, G_N_ELEMENTS(accesses));
    tcase_add_loop_test(tc, window_rows, 0, G_N_ELEMENTS(windows));
    tcase_add_test(tc, removal_waits_for_those_inside);
    tcase_add_test(tc, removal_from_inside);
    tcase_add_test(tc, ram_goes);
    tcase_add_test(tc, ram_shown);
    tcase_add_test(tc, lookups_beside_changes);
    tcase_add_test(tc, clock_pauses);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
