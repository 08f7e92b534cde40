/*
 * The registers by which processors come and go: what a guest's AML reads and writes there, one row
 * a step, and what the machine then knows. Saved state, good and bad.
 */
#include "machine/devices/cpu_plug.h"
#include "tests/unit/unit.h"

#include <inttypes.h>

enum { N = 4 };

static struct {
    unsigned changed, ejected;
    unsigned last;
} heard;

static void changed(void *opaque)
{
    heard.changed++;
}

static void ejected(void *opaque, unsigned cpu)
{
    heard.ejected++;
    heard.last = cpu;
}

static const struct cpu_plug_ops ops = {.changed = changed, .ejected = ejected};

static struct cpu_plug *make(void)
{
    memset(&heard, 0, sizeof(heard));
    return cpu_plug_new(N, &ops, NULL);
}

static void drop(struct cpu_plug *p)
{
    device_free(cpu_plug_device(p));
}

static uint64_t read_at(struct cpu_plug *p, uint64_t offset, unsigned size)
{
    struct device *dev = cpu_plug_device(p);
    uint64_t value = UINT64_MAX;

    ck_assert_int_eq(dev->class->regs.read(dev, offset, size, &value), 0);
    return value;
}

static void write_at(struct cpu_plug *p, uint64_t offset, unsigned size, uint64_t value)
{
    struct device *dev = cpu_plug_device(p);

    ck_assert_int_eq(dev->class->regs.write(dev, offset, size, value), 0);
}

static struct cpu_plug_state look(struct cpu_plug *p, unsigned cpu)
{
    struct cpu_plug_state s;

    cpu_plug_look(p, cpu, &s);
    return s;
}

/* What is done before a step, if anything. */
enum act { NONE, OFFER, ASK, UNASK, WITHDRAW, RESET };

static void do_act(struct cpu_plug *p, enum act act, unsigned cpu)
{
    switch (act) {
    case NONE:
        break;
    case OFFER:
        cpu_plug_offer(p, cpu);
        break;
    case ASK:
    case UNASK:
        cpu_plug_ask_back(p, cpu, act == ASK);
        break;
    case WITHDRAW:
        cpu_plug_withdraw(p, cpu);
        break;
    case RESET:
        device_reset(cpu_plug_device(p));
        break;
    }
}

/* One after the other, on one device with four processors. A write of FLAGS and COMMAND is a byte.
 */
static const struct {
    const char *name;
    enum act act;
    unsigned cpu;
    uint64_t at, write; /* AT: which register; WRITE: NO_WRITE for none */
    uint64_t flags, data;
    unsigned changed, ejected;
} steps[] = {
#define NO_WRITE UINT64_MAX
    {"the first is there", NONE, 0, CPU_PLUG_SELECT, 0, 1, 0, 0, 0},
    {"the second is not", NONE, 0, CPU_PLUG_SELECT, 1, 0, 1, 0, 0},
    {"there is no fifth", NONE, 0, CPU_PLUG_SELECT, 4, 0, 4, 0, 0},
    {"nor what no number can be", NONE, 0, CPU_PLUG_SELECT, UINT32_MAX, 0, UINT32_MAX, 0, 0},
    {"to which nothing can be done", NONE, 0, CPU_PLUG_FLAGS, 0xff, 0, UINT32_MAX, 0, 0},
    {"no event: the selection stays", NONE, 0, CPU_PLUG_SELECT, 0, 1, 0, 0, 0},
    {"as before", NONE, 0, CPU_PLUG_COMMAND, CPU_PLUG_NEXT, 1, 0, 0, 0},
    {"two come", OFFER, 2, 0, NO_WRITE, 1, 0, 1, 0},
    {"of which one is found", OFFER, 3, CPU_PLUG_COMMAND, CPU_PLUG_NEXT, 3, 2, 2, 0},
    {"and found again", NONE, 0, CPU_PLUG_COMMAND, CPU_PLUG_NEXT, 3, 2, 2, 0},
    {"until it is seen", NONE, 0, CPU_PLUG_FLAGS, CPU_PLUG_COMES, 1, 2, 2, 0},
    {"the other one", NONE, 0, CPU_PLUG_COMMAND, CPU_PLUG_NEXT, 3, 3, 2, 0},
    {"is seen", NONE, 0, CPU_PLUG_FLAGS, CPU_PLUG_COMES, 1, 3, 2, 0},
    {"one is asked back, before the selected", ASK, 2, CPU_PLUG_COMMAND, CPU_PLUG_NEXT, 5, 2, 3, 0},
    {"another taking back changes nothing", NONE, 0, CPU_PLUG_FLAGS, CPU_PLUG_COMES, 5, 2, 3, 0},
    {"it is no longer asked", UNASK, 2, 0, NO_WRITE, 1, 2, 3, 0},
    {"it is asked again, and let go of", ASK, 2, CPU_PLUG_FLAGS, CPU_PLUG_EJECT, 0, 2, 4, 1},
    {"once", NONE, 0, CPU_PLUG_FLAGS, CPU_PLUG_EJECT, 0, 2, 4, 1},
    {"what is gone is not asked back", ASK, 2, 0, NO_WRITE, 0, 2, 5, 1},
    {"the first stays", NONE, 0, CPU_PLUG_SELECT, 0, 1, 0, 5, 1},
    {"whatever is written", NONE, 0, CPU_PLUG_FLAGS, 0xff, 1, 0, 5, 1},
    {"the id of the local APIC", NONE, 0, CPU_PLUG_SELECT, 3, 1, 3, 5, 1},
    {"is asked for", NONE, 0, CPU_PLUG_COMMAND, CPU_PLUG_ARCH_ID, 1, 3, 5, 1},
    {"an unknown command has no value", NONE, 0, CPU_PLUG_COMMAND, 77, 1, 0, 5, 1},
    {"nor has an answer", NONE, 0, CPU_PLUG_COMMAND, CPU_PLUG_OST_EVENT, 1, 0, 5, 1},
    {"one is withdrawn", WITHDRAW, 3, 0, NO_WRITE, 0, 0, 5, 1},
    {"a reset takes events along", OFFER, 1, 0, NO_WRITE, 0, 0, 6, 1},
    {"and selects the first", RESET, 0, 0, NO_WRITE, 1, 0, 6, 1},
    {"what was there stays", NONE, 0, CPU_PLUG_SELECT, 1, 1, 1, 6, 1},
};

START_TEST(registers)
{
    struct cpu_plug *p = make();

    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        unsigned size = steps[i].at == CPU_PLUG_FLAGS || steps[i].at == CPU_PLUG_COMMAND ? 1 : 4;
        do_act(p, steps[i].act, steps[i].cpu);
        if (steps[i].write != NO_WRITE)
            write_at(p, steps[i].at, size, steps[i].write);
        uint64_t flags = read_at(p, CPU_PLUG_FLAGS, 1), data = read_at(p, CPU_PLUG_DATA, 4);
        ck_assert_msg(flags == steps[i].flags && data == steps[i].data &&
                          heard.changed == steps[i].changed && heard.ejected == steps[i].ejected,
                      "%s: flags 0x%" PRIx64 ", data 0x%" PRIx64 ", changed %u, ejected %u",
                      steps[i].name, flags, data, heard.changed, heard.ejected);
    }
    ck_assert_uint_eq(heard.last, 2);
    ck_assert_uint_eq(read_at(p, CPU_PLUG_SELECT, 4), 0);
    ck_assert_uint_eq(read_at(p, CPU_PLUG_DATA, 1), 0);
    drop(p);
}
END_TEST

static const struct {
    const char *name;
    uint32_t event, status;
    bool taken, refused;
} answers[] = {
    {"it has it", CPU_PLUG_CHECK, 0, true, false},
    {"by itself", 0x200, 0, true, false},
    {"it is at it", CPU_PLUG_CHECK, 0x80, false, false},
    {"it failed", CPU_PLUG_CHECK, 1, false, true},
    {"it cannot", CPU_PLUG_CHECK, 0x82, false, true},
    {"it lets go", CPU_PLUG_EJECT_REQUEST, 0x84, false, false},
    {"the same, by the specification", CPU_PLUG_EJECT_REQUEST, 0x83, false, false},
    {"of what is in use", CPU_PLUG_EJECT_REQUEST, 0x80, false, true},
    {"of what is busy", 0x103, 0x81, false, true},
    {"that is no end", CPU_PLUG_EJECT_REQUEST, 0, false, false},
    {"of another matter", 0x81, 1, false, false},
    {"of another matter that went well", 0, 0, false, false},
};

START_TEST(is_answered)
{
    struct cpu_plug *p = make();

    cpu_plug_offer(p, 1);
    write_at(p, CPU_PLUG_SELECT, 4, 1);
    write_at(p, CPU_PLUG_COMMAND, 1, CPU_PLUG_OST_EVENT);
    write_at(p, CPU_PLUG_DATA, 4, answers[_i].event);
    write_at(p, CPU_PLUG_COMMAND, 1, CPU_PLUG_OST_STATUS);
    write_at(p, CPU_PLUG_DATA, 4, answers[_i].status);
    struct cpu_plug_state s = look(p, 1), other = look(p, 2);
    ck_assert_msg(s.present && s.taken == answers[_i].taken && s.refused == answers[_i].refused &&
                      s.status == (s.refused ? answers[_i].status : 0),
                  "%s: taken %d, refused %d, 0x%x", answers[_i].name, s.taken, s.refused, s.status);
    ck_assert(!other.present && !other.taken && !other.refused);
    cpu_plug_ask_back(p, 1, true); /* another question: the last answer is over */
    ck_assert(!look(p, 1).refused);
    cpu_plug_withdraw(p, 1);
    write_at(p, CPU_PLUG_DATA, 4, 0); /* of what is not there */
    s = look(p, 1);
    ck_assert(!s.present && !s.taken && !s.refused);
    drop(p);
}
END_TEST

START_TEST(state)
{
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GByteArray) more = g_byte_array_new();
    struct cpu_plug *p = make(), *other = cpu_plug_new(N, &ops, NULL);
    struct cpu_plug *less = cpu_plug_new(N - 2, &ops, NULL);
    size_t used;

    cpu_plug_offer(p, 3);
    cpu_plug_set(p, 1, true);
    cpu_plug_ask_back(p, 1, true);
    write_at(p, CPU_PLUG_SELECT, 4, 3);
    device_save(cpu_plug_device(p), saved);
    ck_assert(device_load(cpu_plug_device(other), saved->data, saved->len, &used, NULL));
    ck_assert_uint_eq(used, saved->len);
    device_save(cpu_plug_device(other), again);
    ck_assert(saved->len == again->len && memcmp(saved->data, again->data, saved->len) == 0);
    ck_assert_uint_eq(read_at(other, CPU_PLUG_FLAGS, 1), 3);
    /* A machine of two processors has no fourth. */
    ck_assert(!device_load(cpu_plug_device(less), saved->data, saved->len, &used, NULL));
    /* Nor is there one without the first. */
    cpu_plug_set(p, 0, false);
    device_save(cpu_plug_device(p), more);
    ck_assert(!device_load(cpu_plug_device(other), more->data, more->len, &used, NULL));
    drop(p);
    drop(other);
    drop(less);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu_plug");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, registers);
    tcase_add_loop_test(tc, is_answered, 0, G_N_ELEMENTS(answers));
    tcase_add_test(tc, state);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
