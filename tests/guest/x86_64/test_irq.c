/* Interrupts, several processors, and eventfds on both sides. */
#include "tests/guest/x86_64/machine.h"
#include "tests/unit/unit.h"

#include <sys/eventfd.h>

#define MESSAGE UINT64_C(0xfee00000)
#define COUNT   UINT64_C(0x7000) /* where the guest counts messages */

START_TEST(timers)
{
    struct machine *m =
        machine_new(&(struct machine_config){.program = "irq", .mode = VCPU_MODE_LONG});

    machine_pass(m);
    machine_free(m);
}
END_TEST

static uint32_t answer(struct machine *m, uint32_t number)
{
    if (number == 1)
        accel_msi(m->accel, MESSAGE, 0x41);
    if (number == 4)
        machine_gsi(m, 21, false);
    if (number == 6)
        accel_msi(m->accel, MESSAGE, 0x400); /* NMI */
    return 0;
}

/* Interrupts of an edge merge while one waits, so each waits for its turn. */
static void send_and_wait(struct machine *m, void (*send)(struct machine *m, int fd), int fd)
{
    uint32_t before = machine_word(m, COUNT);

    send(m, fd);
    while (machine_word(m, COUNT) == before)
        ;
}

static void send_message(struct machine *m, int fd)
{
    accel_msi(m->accel, MESSAGE, 0x41);
}

static void send_event(struct machine *m, int fd)
{
    eventfd_write(fd, 1);
}

/* Of KVM's I/O APIC, and of the machine's own. */
START_TEST(inputs)
{
    struct machine *m = machine_new(&(struct machine_config){
        .program = "irq", .mode = VCPU_MODE_LONG, .arg = 1, .call = answer, .split = _i == 1});
    const struct accel_route route = {.address = MESSAGE, .data = 0x41};
    const struct accel_route bad = {.address = MESSAGE | UINT64_C(1) << 32, .data = 0x41};
    autofd fd = eventfd(0, EFD_CLOEXEC);
    struct accel_vcpu_info info;

    machine_start(m);
    machine_wait_call(m, 2, 1);
    do
        accel_vcpu_info(m->vcpus[0], &info);
    while (!info.halted);
    for (unsigned i = 0; i < 10; i++)
        send_and_wait(m, send_message, -1);
    machine_wait_call(m, 3, 1);
    machine_gsi(m, 10, true);
    machine_gsi(m, 10, false);
    machine_gsi(m, 21, true);
    machine_wait_call(m, 5, 1);
    /* One that KVM refuses does no harm to others. */
    ck_assert_int_eq(accel_route(m->accel, 41, &bad), -EINVAL);
    ck_assert_int_eq(accel_route(m->accel, 40, &route), 0);
    ck_assert_int_eq(accel_route(m->accel, 40, &bad), -EINVAL);
    ck_assert_int_eq(accel_irqfd(m->accel, fd, 40, true), 0);
    for (unsigned i = 0; i < 5; i++)
        send_and_wait(m, send_event, fd);
    machine_join(m);
    ck_assert_msg(m->status == 0, "line %u: %s", m->status, accel_vcpu_error(m->vcpus[0]));
    ck_assert_int_eq(accel_irqfd(m->accel, fd, 40, false), 0);
    ck_assert_int_eq(accel_route(m->accel, 40, NULL), 0);
    if (!m->ioapic)
        ck_assert_int_eq(accel_route(m->accel, 5, &route), -EINVAL);
    ck_assert_int_eq(accel_route(m->accel, 100000, &route), -EINVAL);
    machine_free(m);
}
END_TEST

static const unsigned counts[] = {2, 4, 8};

START_TEST(processors)
{
    struct machine *m = machine_new(&(struct machine_config){
        .program = "smp", .cpus = counts[_i], .mode = VCPU_MODE_LONG, .arg = counts[_i]});

    machine_pass(m);
    machine_free(m);
}
END_TEST

/* Halted processors cost nothing and are seen to be halted; kicks bring all of them out, each time.
 */
START_TEST(kicks)
{
    struct machine *m = machine_new(
        &(struct machine_config){.program = "smp", .cpus = 4, .mode = VCPU_MODE_LONG, .arg = 4});
    struct accel_vcpu_info info;

    accel_vcpu_info(m->vcpus[1], &info);
    ck_assert_msg(info.waiting, "nobody has started it");
    for (unsigned i = 0; i < 200; i++) {
        machine_start(m);
        machine_stop(m);
        for (unsigned j = 0; j < 4; j++)
            ck_assert_msg(m->exits[j] == VCPU_EXIT_KICKED, "%s", accel_vcpu_error(m->vcpus[j]));
        if (m->ended)
            break;
    }
    ck_assert_uint_eq(m->status, 0);
    m->ended = false;
    machine_reset(m);
    machine_start(m);
    machine_join(m);
    ck_assert_uint_eq(m->status, 0);
    accel_vcpu_info(m->vcpus[1], &info);
    ck_assert(!info.halted && !info.waiting);
    machine_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm-irq");
    TCase *tc = tcase_create("all");

    if (!machine_possible())
        return 77;
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, timers);
    tcase_add_loop_test(tc, inputs, 0, 2);
    tcase_add_loop_test(tc, processors, 0, G_N_ELEMENTS(counts));
    tcase_add_test(tc, kicks);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
