/* Memory slots that come and go under a running guest, and the dirty log, from rings and from
 * bitmaps. */
#include "tests/guest/x86_64/machine.h"
#include "tests/unit/unit.h"

#include <sys/eventfd.h>

#define PLACE      UINT64_C(0x40000000)
#define PAGES      UINT64_C(0x800000)
#define ROUNDS     20
#define FIRST_PAGE (PAGES >> MEM_PAGE_SHIFT)

START_TEST(slots)
{
    struct machine *m =
        machine_new(&(struct machine_config){.program = "memory", .mode = VCPU_MODE_LONG});

    machine_start(m);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        machine_wait_call(m, 1, i);
        ck_assert_ptr_nonnull(mem_map_add_ram(m->mem, PLACE, MIB(1), "more", false, NULL));
        machine_wait_call(m, 2, i);
        ck_assert_int_eq(mem_map_remove_ram(m->mem, PLACE), 0);
    }
    machine_join(m);
    ck_assert_msg(m->status == 0, "line %u: %s", m->status, accel_vcpu_error(m->vcpus[0]));
    machine_free(m);
}
END_TEST

struct log {
    unsigned round;
    unsigned wrong;
};

/* One page in so many is written; others must not be in the log. */
static const uint32_t steps[] = {1, 7, 64, 2, 512, 0};
static struct log checked;

static bool expected(uint64_t page)
{
    return checked.round > 0 && page >= FIRST_PAGE && page < FIRST_PAGE + 512 &&
           (page - FIRST_PAGE) % steps[checked.round - 1] == 0;
}

/* On the vCPU's thread, so that it does not run. */
static uint32_t next_round(struct machine *m, uint32_t number)
{
    mem_map_dirty_sync(m->mem);
    for (uint64_t page = FIRST_PAGE; page < FIRST_PAGE + 512; page++) {
        bool dirty = mem_page_flags(m->ram, page) & MEM_PAGE_DIRTY;
        checked.wrong += dirty != expected(page);
        mem_page_clear(m->ram, page, MEM_PAGE_DIRTY);
    }
    return steps[checked.round++];
}

START_TEST(dirty_log)
{
    struct machine *m = machine_new(&(struct machine_config){.program = "memory",
                                                             .mode = VCPU_MODE_LONG,
                                                             .arg = 1,
                                                             .call = next_round,
                                                             .bitmap = _i == 1});

    checked = (struct log){0};
    mem_map_dirty_log(m->mem, true);
    machine_pass(m);
    ck_assert_uint_eq(checked.wrong, 0);
    ck_assert_uint_eq(checked.round, G_N_ELEMENTS(steps));

    /* Off: nothing is noted any more. */
    mem_map_dirty_log(m->mem, false);
    checked = (struct log){0};
    m->ended = false;
    machine_reset(m);
    machine_pass(m);
    ck_assert_uint_gt(checked.wrong, 512);
    machine_free(m);
}
END_TEST

static int bell; /* of the next test */

static uint32_t remove_bell(struct machine *m, uint32_t number)
{
    mem_map_remove_doorbell(m->mem, MACHINE_DEVICE + 0x800, bell);
    return 0;
}

START_TEST(doorbell)
{
    struct machine *m = machine_new(&(struct machine_config){
        .program = "memory", .mode = VCPU_MODE_LONG, .arg = 2, .call = remove_bell});
    eventfd_t rings;

    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    mem_map_add_doorbell(m->mem, MACHINE_DEVICE + 0x800, bell);
    machine_pass(m);
    ck_assert_int_eq(eventfd_read(bell, &rings), 0);
    ck_assert_uint_eq(rings, 90);
    ck_assert_uint_eq(m->writes, 2);
    ck_assert_uint_eq(m->last_value, 5);
    close(bell);
    machine_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm-memory");
    TCase *tc = tcase_create("all");

    if (!machine_possible())
        return 77;
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, slots);
    tcase_add_loop_test(tc, dirty_log, 0, 2);
    tcase_add_test(tc, doorbell);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
