/* State out of one machine and into another, pauses, and reports of what cannot go on. */
#include "accel/kvm/kvm_priv.h"
#include "tests/guest/x86_64/machine.h"
#include "tests/unit/unit.h"

#define FLAG UINT64_C(0x7000)

static void let_go(struct machine *m)
{
    __atomic_store_n((uint32_t *)(m->ram->host + FLAG), 1, __ATOMIC_SEQ_CST);
}

static void save(struct machine *m, GByteArray *out)
{
    void *object;
    const struct state_desc *desc = accel_state(m->accel, &object);

    state_save(desc, object, out);
    for (unsigned i = 0; i < m->config.cpus; i++) {
        desc = accel_vcpu_state(m->vcpus[i], &object);
        state_save(desc, object, out);
    }
}

static bool restore(struct machine *m, const GByteArray *from, GError **err)
{
    void *object;
    size_t used, at = 0;
    const struct state_desc *desc = accel_state(m->accel, &object);

    for (unsigned i = 0; i <= m->config.cpus; i++) {
        if (i > 0)
            desc = accel_vcpu_state(m->vcpus[i - 1], &object);
        if (!state_load(desc, object, from->data + at, from->len - at, &used, err))
            return false;
        at += used;
    }
    return accel_restored(m->accel, err);
}

/* A new machine that has all of M, which is freed. */
static struct machine *move(struct machine *m)
{
    g_autoptr(GByteArray) state = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *ram = g_memdup2(m->ram->host, MACHINE_RAM);
    struct machine_config config = m->config;

    save(m, state);
    machine_free(m);
    m = machine_new(&config);
    memcpy(m->ram->host, ram, MACHINE_RAM);
    ck_assert_msg(restore(m, state, &err), "%s", err ? err->message : "");
    return m;
}

static const struct machine_config config = {.program = "state", .mode = VCPU_MODE_LONG};

/* The guest goes on in a machine of its own, where it finds all as it was; the old one is gone by
 * then. */
START_TEST(into_another)
{
    struct machine *m = machine_new(&config);

    machine_start(m);
    machine_wait_call(m, 1, 1);
    g_usleep(1000 * (unsigned)_i); /* wherever the guest may be: all of it is state */
    machine_stop(m);
    m = move(m);
    let_go(m);
    machine_pass(m);
    machine_free(m);
}
END_TEST

/* Four processors in the middle of locks and IPIs, or of being started; several times on their way.
 */
START_TEST(processors)
{
    struct machine *m = machine_new(
        &(struct machine_config){.program = "smp", .cpus = 4, .mode = VCPU_MODE_LONG, .arg = 4});
    unsigned moves = 0;

    while (!m->ended) {
        machine_start(m);
        g_usleep(500 + 1500 * (unsigned)_i); /* whatever they may be at */
        machine_stop(m);
        if (!m->ended && moves++ < 8)
            m = move(m);
    }
    for (unsigned i = 0; i < 4; i++)
        ck_assert_msg(m->exits[i] == VCPU_EXIT_KICKED, "%s", accel_vcpu_error(m->vcpus[i]));
    ck_assert_msg(m->status == 0, "line %u of smp does not hold", m->status);
    machine_free(m);
}
END_TEST

/* Saving changes nothing: the same machine goes on, and says the same again. */
START_TEST(same_again)
{
    g_autoptr(GByteArray) first = g_byte_array_new();
    g_autoptr(GByteArray) second = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    struct machine *m = machine_new(&config);

    machine_start(m);
    machine_wait_call(m, 1, 1);
    machine_stop(m);
    vm_clock_pause(m->clock);
    accel_clock_changed(m->accel);
    save(m, first);
    ck_assert_msg(restore(m, first, &err), "%s", err ? err->message : "");
    save(m, second);
    ck_assert_uint_eq(first->len, second->len);
    vm_clock_resume(m->clock);
    accel_clock_changed(m->accel);
    let_go(m);
    machine_pass(m);
    machine_free(m);
}
END_TEST

/* A state that no machine can be in is refused, with the reason. */
START_TEST(refused)
{
    g_autoptr(GError) err = NULL;
    struct machine *m = machine_new(&config);
    void *object;
    const struct state_desc *desc = accel_vcpu_state(m->vcpus[0], &object);

    for (uint32_t i = 0; i < desc->n_fields; i++) {
        if (strcmp(desc->fields[i].name, "n_msrs") == 0)
            *(uint32_t *)((uint8_t *)object + desc->fields[i].offset) = 100000;
    }
    ck_assert(!accel_restored(m->accel, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "saved state of vCPU 0"));
    machine_reset(m);
    machine_free(m);
}
END_TEST

static uint64_t msr(const struct kvm_x86_state *s, uint32_t index)
{
    for (uint32_t i = 0; i < s->n_msrs; i++) {
        if (s->msrs[i].index == index)
            return s->msrs[i].value;
    }
    ck_abort_msg("MSR 0x%x is not in the state", index);
}

static uint64_t kvmclock(struct machine *m)
{
    void *object;

    accel_state(m->accel, &object);
    return ((struct kvm_x86_shared *)object)->clock_ns;
}

static const struct kvm_x86_state *vcpu_state(struct machine *m)
{
    void *object;

    accel_vcpu_state(m->vcpus[0], &object);
    return object;
}

static void set_paused(struct machine *m, bool on)
{
    on ? vm_clock_pause(m->clock) : vm_clock_resume(m->clock);
    accel_clock_changed(m->accel);
}

/* While the clock is paused, what is saved stands still; afterwards time goes on from there. */
START_TEST(paused)
{
    struct machine *m = machine_new(&config);

    machine_start(m);
    machine_wait_call(m, 1, 1);
    for (unsigned i = 0; i < 3; i++) {
        machine_stop(m);
        set_paused(m, true);
        struct kvm_x86_state then = *vcpu_state(m);
        uint64_t clock = kvmclock(m);
        g_usleep(20000); /* which the guest must not see */
        ck_assert_mem_eq(vcpu_state(m)->lapic, then.lapic, sizeof(then.lapic));
        ck_assert_uint_eq(msr(vcpu_state(m), KVM_X86_MSR_TSC_DEADLINE),
                          msr(&then, KVM_X86_MSR_TSC_DEADLINE));
        ck_assert_uint_eq(kvmclock(m), clock);
        gint64 start = g_get_monotonic_time();
        set_paused(m, false);
        uint64_t passed = kvmclock(m) - clock;
        ck_assert_uint_le(passed, (uint64_t)(g_get_monotonic_time() - start + 2) * 1000);
        ck_assert_uint_gt(vcpu_state(m)->lapic[0x38], 0); /* the timer counts on */
        machine_start(m);
    }
    let_go(m);
    machine_join(m);
    ck_assert_msg(m->status == 0, "line %u: %s", m->status, accel_vcpu_error(m->vcpus[0]));
    machine_free(m);
}
END_TEST

static const struct {
    const char *name;
    uint64_t arg;
    const char *code;
} faults[] = {{"int3 in ring 0", 0, "code at rip: cc"}, {"triple fault", 1, "code at rip: 0f 0b"}};

static void must_say(const char *text, const char *what)
{
    ck_assert_msg(strstr(text, what), "no \"%s\" in:\n%s", what, text);
}

/* A processor that runs ring 0 gets from int3 to the missing gate, and then AMD's says nothing of
 * registers. */
START_TEST(reports)
{
    struct machine *m = machine_new(&(struct machine_config){
        .program = "fault", .mode = VCPU_MODE_LONG, .arg = faults[_i].arg});

    machine_start(m);
    machine_join(m);
    const char *text = accel_vcpu_error(m->vcpus[0]);
    must_say(text, "last exits:");
    must_say(text, "mmio write 4 bytes at 0xd0000008: 0x1234");
    if (!strstr(text, "rip   000000000000fff0")) {
        must_say(text, "rbx   1122334455667788");
        must_say(text, "cr3 0000000000001000");
        must_say(text, faults[_i].code);
    }
    if (m->exits[0] == VCPU_EXIT_SHUTDOWN) {
        must_say(text, "triple fault");
    } else {
        ck_assert_int_eq(m->exits[0], VCPU_EXIT_ERROR);
        ck_assert_uint_eq(faults[_i].arg, 0);
        must_say(text, "an instruction it cannot emulate (suberror 1");
    }
    machine_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm-state");
    TCase *tc = tcase_create("all");

    if (!machine_possible())
        return 77;
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, into_another, 0, 8);
    tcase_add_loop_test(tc, processors, 0, 6);
    tcase_add_test(tc, same_again);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, paused);
    tcase_add_loop_test(tc, reports, 0, G_N_ELEMENTS(faults));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
