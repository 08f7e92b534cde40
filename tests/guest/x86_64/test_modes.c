/* Guests in every mode of x86, and what they do to devices and ports. */
#include "tests/guest/x86_64/machine.h"
#include "tests/unit/unit.h"

/* Where processors begin: a far jump to the image, in memory that cannot be written. */
static void add_reset_vector(struct machine *m)
{
    static const uint8_t jump[] = {0xea, 0x00, 0x00, 0x00, 0x10}; /* ljmp $0x1000, $0 */
    struct mem_ram *rom = mem_map_add_ram(m->mem, 0xfffff000, MEM_PAGE_SIZE, "rom", true, NULL);

    memcpy(rom->host + 0xff0, jump, sizeof(jump));
}

START_TEST(real_mode)
{
    struct machine *m = machine_new(&(struct machine_config){.program = "real"});

    add_reset_vector(m);
    machine_pass(m);
    ck_assert_uint_eq(m->device[0x10], 0x5a);
    machine_free(m);
}
END_TEST

START_TEST(protected_mode)
{
    struct machine *m = machine_new(
        &(struct machine_config){.program = "protected", .mode = VCPU_MODE_PVH, .arg = 0xabcd1234});

    machine_pass(m);
    machine_free(m);
}
END_TEST

static uint32_t answer(struct machine *m, uint32_t number)
{
    return number == 2 ? m->calls[2] + 1 : 33;
}

START_TEST(devices_and_ports)
{
    struct machine *m = machine_new(&(struct machine_config){
        .program = "io", .mode = VCPU_MODE_LONG, .arg = 0x1122334455667788, .call = answer});

    machine_pass(m);
    ck_assert_uint_eq(m->calls[2], 32);
    machine_free(m);
}
END_TEST

START_TEST(user_mode)
{
    struct machine *m = machine_new(
        &(struct machine_config){.program = "user", .mode = VCPU_MODE_LONG, .call = answer});

    machine_pass(m);
    machine_free(m);
}
END_TEST

/* A machine may start over, any number of times and from any state. */
START_TEST(reset)
{
    struct machine *m = machine_new(&(struct machine_config){
        .program = "io", .mode = VCPU_MODE_LONG, .arg = 0x1122334455667788, .call = answer});

    for (unsigned i = 0; i < 3; i++) {
        machine_pass(m);
        m->calls[2] = 0;
        m->ended = false;
        memset(m->device, 0, sizeof(m->device));
        accel_reset(m->accel);
        machine_reset(m);
    }
    machine_free(m);
}
END_TEST

#define MANY 300 /* APIC ids beyond those of 8 bits */

/* As many vCPUs as asked for, up to KVM's own limit. */
START_TEST(many)
{
    struct machine *m = machine_new(&(struct machine_config){0});
    struct accel_config config = m->accel->config;
    g_autofree struct vcpu **vcpus = g_new0(struct vcpu *, MANY);
    g_autoptr(GError) err = NULL;
    struct accel *accel;
    autofd device = kvm_open(NULL);

    if (kvm_vcpus_most(device) >= MANY) {
        config.vcpus = MANY;
        ck_assert_msg(accel_create(&kvm_accel_ops, &config, &accel, &err), "%s",
                      err ? err->message : "");
        for (unsigned i = 0; i < MANY; i++)
            ck_assert_msg(accel_vcpu_create(accel, i, &vcpus[i], &err), "vCPU %u: %s", i,
                          err ? err->message : "");
        accel_vcpu_reset(vcpus[MANY - 1], &(struct vcpu_start){.mode = VCPU_MODE_WAIT});
        for (unsigned i = 0; i < MANY; i++)
            accel_vcpu_free(vcpus[i]);
        accel_free(accel);
    }
    config.vcpus = kvm_vcpus_most(device) + 1;
    ck_assert(!accel_create(&kvm_accel_ops, &config, &accel, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
    machine_free(m);
}
END_TEST

/* What cannot be is refused with the reason. */
START_TEST(refused)
{
    static const struct {
        const char *cpu;
        enum isa isa;
        enum vmd_error code;
    } rows[] = {
        {"nehalem", ISA_X86_64, VMD_ERROR_INVALID},
        {"host,+sse9", ISA_X86_64, VMD_ERROR_INVALID},
        {NULL, ISA_RISCV64, VMD_ERROR_UNSUPPORTED},
    };
    struct machine *m = machine_new(&(struct machine_config){0});

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) err = NULL;
        struct accel_config config = m->accel->config;
        struct accel *accel;
        config.cpu = rows[i].cpu;
        config.isa = rows[i].isa;
        ck_assert(!accel_create(&kvm_accel_ops, &config, &accel, &err));
        ck_assert(g_error_matches(err, VMD_ERROR, (int)rows[i].code));
    }
    machine_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm-modes");
    TCase *tc = tcase_create("all");

    if (!machine_possible())
        return 77;
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, real_mode);
    tcase_add_test(tc, protected_mode);
    tcase_add_test(tc, devices_and_ports);
    tcase_add_test(tc, user_mode);
    tcase_add_test(tc, reset);
    tcase_add_test(tc, many);
    tcase_add_test(tc, refused);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
