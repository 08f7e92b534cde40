/*
 * The registers by which cards come and go where slots are left to ACPI: what a guest's AML reads
 * and writes there, one row a step, and what the machine then knows. Saved state, good and bad.
 */
#include "machine/devices/pci_plug.h"
#include "tests/unit/unit.h"

#include <inttypes.h>

static struct {
    unsigned changed, heard;
} counts;
static uint64_t now_ns;

static void changed(void *opaque)
{
    counts.changed++;
}

static void heard(void *opaque)
{
    counts.heard++;
}

static uint64_t tell_time(void *opaque)
{
    return now_ns;
}

static const struct pci_plug_ops ops = {.changed = changed, .now_ns = tell_time};

/* Slots 1, 2 and 16. */
static struct pci_plug *make(void)
{
    struct pci_plug *p = pci_plug_new(&ops, NULL);

    memset(&counts, 0, sizeof(counts));
    pci_plug_add(p, 1, 3);
    pci_plug_add(p, 2, 4);
    pci_plug_add(p, 16, 5);
    pci_plug_listen(p, heard, NULL);
    return p;
}

static uint64_t read_at(struct pci_plug *p, uint64_t offset)
{
    struct device *dev = pci_plug_device(p);
    uint64_t value = UINT64_MAX;

    ck_assert_int_eq(dev->class->regs.read(dev, offset, 4, &value), 0);
    return value;
}

static void write_at(struct pci_plug *p, uint64_t offset, uint64_t value)
{
    struct device *dev = pci_plug_device(p);

    ck_assert_int_eq(dev->class->regs.write(dev, offset, 4, value), 0);
}

START_TEST(slots_are_known)
{
    static const unsigned expect[][2] = {{1, 3}, {2, 4}, {16, 5}};
    struct pci_plug *p = make();
    unsigned number = 0, slot;

    for (size_t i = 0; i < G_N_ELEMENTS(expect); i++) {
        number = pci_plug_next(p, number, &slot);
        ck_assert(number == expect[i][0] && slot == expect[i][1]);
    }
    ck_assert_uint_eq(pci_plug_next(p, number, &slot), 0);
    device_free(pci_plug_device(p));
}
END_TEST

enum act { NONE, OFFER, ASK, UNASK, WITHDRAW, RESET };

static void do_act(struct pci_plug *p, enum act act, unsigned number)
{
    switch (act) {
    case NONE:
        break;
    case OFFER:
        pci_plug_offer(p, number);
        break;
    case ASK:
    case UNASK:
        pci_plug_ask_back(p, number, act == ASK);
        break;
    case WITHDRAW:
        pci_plug_withdraw(p, number);
        break;
    case RESET:
        device_reset(pci_plug_device(p));
        break;
    }
}

/* One after the other, on one device. */
static const struct {
    const char *name;
    enum act act;
    unsigned number;
    uint64_t at, write; /* AT NOWHERE: nothing is written */
    uint64_t look, ask, cards;
    unsigned changed, heard;
} steps[] = {
#define NOWHERE UINT64_MAX
    {"nobody has said who drives slots", OFFER, 1, NOWHERE, 0, 0, 0, 1, 0, 0},
    {"nor is that one told of what goes", WITHDRAW, 1, NOWHERE, 0, 0, 0, 0, 0, 0},
    {"the guest drives them", NONE, 0, PCI_PLUG_GRANTED, 0x15, 0, 0, 0, 0, 1},
    {"and is not told here", OFFER, 2, NOWHERE, 0, 0, 0, 2, 0, 1},
    {"a reset keeps cards", RESET, 0, NOWHERE, 0, 0, 0, 2, 0, 1},
    {"another guest leaves slots to ACPI", NONE, 0, PCI_PLUG_GRANTED, 0x14, 0, 0, 2, 0, 2},
    {"a card comes", OFFER, 1, NOWHERE, 0, 1, 0, 3, 1, 2},
    {"another is asked back", ASK, 2, NOWHERE, 0, 1, 2, 3, 2, 2},
    {"what is seen is seen", NONE, 0, PCI_PLUG_LOOK, 1, 0, 2, 3, 2, 2},
    {"of what is asked, too", NONE, 0, PCI_PLUG_ASK, 2, 0, 0, 3, 2, 2},
    {"it is let go of", NONE, 0, PCI_PLUG_CARDS, 2, 0, 0, 1, 2, 3},
    {"and is no longer there to be asked back", ASK, 2, NOWHERE, 0, 0, 0, 1, 2, 3},
    {"nor is it told when it goes", WITHDRAW, 2, NOWHERE, 0, 0, 0, 1, 2, 3},
    {"an asking that was not seen", ASK, 1, NOWHERE, 0, 0, 1, 1, 3, 3},
    {"is taken back", UNASK, 1, NOWHERE, 0, 0, 0, 1, 3, 3},
    {"a card is pulled out", WITHDRAW, 1, NOWHERE, 0, 1, 0, 0, 4, 3},
    {"there are no more slots to let go of", NONE, 0, PCI_PLUG_CARDS, UINT32_MAX, 1, 0, 0, 4, 4},
    {"and nothing beyond the registers", NONE, 0, PCI_PLUG_SIZE, UINT32_MAX, 1, 0, 0, 4, 4},
    {"the last slot", OFFER, 16, NOWHERE, 0, 0x8001, 0, 0x8000, 5, 4},
    {"a reset forgets what was to be told", RESET, 0, NOWHERE, 0, 0, 0, 0x8000, 5, 4},
};

START_TEST(registers)
{
    struct pci_plug *p = make();

    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        do_act(p, steps[i].act, steps[i].number);
        if (steps[i].at != NOWHERE)
            write_at(p, steps[i].at, steps[i].write);
        uint64_t look = read_at(p, PCI_PLUG_LOOK), ask = read_at(p, PCI_PLUG_ASK);
        uint64_t cards = read_at(p, PCI_PLUG_CARDS);
        ck_assert_msg(look == steps[i].look && ask == steps[i].ask && cards == steps[i].cards &&
                          counts.changed == steps[i].changed && counts.heard == steps[i].heard,
                      "%s: look 0x%" PRIx64 ", ask 0x%" PRIx64 ", cards 0x%" PRIx64
                      ", changed %u, heard %u",
                      steps[i].name, look, ask, cards, counts.changed, counts.heard);
    }
    ck_assert_uint_eq(read_at(p, PCI_PLUG_GRANTED), 0);
    device_free(pci_plug_device(p));
}
END_TEST

static const struct {
    const char *name;
    uint32_t slot, event, status;
    bool refused;
} answers[] = {
    {"it has looked", 1, 1, 0, false},
    {"it could not take it", 1, 1, 1, true},
    {"it is at it", 1, 1, 0x80, false},
    {"it lets go", 1, 3, 0x84, false},
    {"or will", 1, 3, 0x83, false},
    {"it does not", 1, 3, 0x81, true},
    {"it cannot", 1, 0x103, 0x80, true},
    {"about another slot", 2, 3, 1, false},
    {"about none", 0, 3, 1, false},
    {"about what no slot can be", UINT32_MAX, 3, 1, false},
    {"about another matter", 1, 0x81, 1, false},
};

START_TEST(is_answered)
{
    struct pci_plug *p = make();
    struct pci_plug_state s;

    write_at(p, PCI_PLUG_GRANTED, 0);
    pci_plug_offer(p, 1);
    write_at(p, PCI_PLUG_SLOT, 1);
    write_at(p, PCI_PLUG_EVENT, 1);
    write_at(p, PCI_PLUG_STATUS, 1); /* to what was asked of the card before */
    pci_plug_look(p, 1, &s);
    ck_assert(!s.refused);
    write_at(p, PCI_PLUG_LOOK, 1);
    write_at(p, PCI_PLUG_SLOT, answers[_i].slot);
    write_at(p, PCI_PLUG_EVENT, answers[_i].event);
    write_at(p, PCI_PLUG_STATUS, answers[_i].status);
    pci_plug_look(p, 1, &s);
    ck_assert_msg(s.acpi && !s.let_go && s.refused == answers[_i].refused &&
                      s.status == (s.refused ? answers[_i].status : 0),
                  "%s: refused %d, 0x%x", answers[_i].name, s.refused, s.status);
    pci_plug_ask_back(p, 1, true); /* another question: the last answer is over */
    pci_plug_look(p, 1, &s);
    ck_assert(!s.refused && !s.let_go);
    write_at(p, PCI_PLUG_CARDS, 1);
    pci_plug_look(p, 1, &s);
    ck_assert(s.let_go);
    pci_plug_offer(p, 1);
    pci_plug_look(p, 1, &s);
    ck_assert(!s.let_go);
    device_free(pci_plug_device(p));
}
END_TEST

/* A slot whose card was withdrawn is settled when the guest has looked, and has answered that it
 * did. */
START_TEST(settles)
{
    struct pci_plug *p = make();
    struct pci_plug_state s;

    write_at(p, PCI_PLUG_GRANTED, 0);
    write_at(p, PCI_PLUG_SLOT, 2);
    write_at(p, PCI_PLUG_EVENT, 1);
    pci_plug_offer(p, 2);
    pci_plug_withdraw(p, 2); /* before it looked */
    pci_plug_look(p, 2, &s);
    ck_assert(!s.unsettled);
    pci_plug_offer(p, 2);
    write_at(p, PCI_PLUG_LOOK, 2);
    pci_plug_withdraw(p, 2);
    pci_plug_look(p, 2, &s);
    ck_assert(s.unsettled);
    write_at(p, PCI_PLUG_STATUS, 0); /* of an earlier look */
    pci_plug_look(p, 2, &s);
    ck_assert(s.unsettled);
    write_at(p, PCI_PLUG_LOOK, 2);
    unsigned changed = counts.changed;
    pci_plug_look_again(p, 1); /* nothing waits there */
    ck_assert(counts.changed == changed && read_at(p, PCI_PLUG_LOOK) == 0);
    pci_plug_look_again(p, 2);
    ck_assert(counts.changed == changed + 1 && read_at(p, PCI_PLUG_LOOK) == 2);
    write_at(p, PCI_PLUG_LOOK, 2);
    pci_plug_look(p, 2, &s);
    ck_assert(s.unsettled);
    write_at(p, PCI_PLUG_STATUS, 0x80);
    pci_plug_look(p, 2, &s);
    ck_assert(s.unsettled);
    write_at(p, PCI_PLUG_STATUS, 0);
    pci_plug_look(p, 2, &s);
    ck_assert(!s.unsettled);
    pci_plug_offer(p, 1); /* what it let go of needs no look */
    write_at(p, PCI_PLUG_LOOK, 1);
    write_at(p, PCI_PLUG_CARDS, 1);
    pci_plug_withdraw(p, 1);
    pci_plug_look(p, 1, &s);
    ck_assert(!s.unsettled);
    device_free(pci_plug_device(p));
}
END_TEST

/* It has a bounded time for that, also where it never looked, and over a save. */
START_TEST(settles_in_time)
{
    static const uint64_t limit_ns = PCI_PLUG_SETTLE_MS * UINT64_C(1000000);
    g_autoptr(GByteArray) saved = g_byte_array_new();
    struct pci_plug *p = make(), *other = make();
    struct pci_plug_state s;
    size_t used;

    now_ns = UINT64_C(7000000000);
    write_at(p, PCI_PLUG_GRANTED, 0);
    for (unsigned number = 1; number <= 2; number++) {
        pci_plug_offer(p, number);
        write_at(p, PCI_PLUG_LOOK, 3);
        pci_plug_withdraw(p, number);
        now_ns += 1000; /* the second card goes later */
    }
    write_at(p, PCI_PLUG_LOOK, 1); /* the first of them it looked for */
    now_ns += limit_ns - 2001;
    device_save(pci_plug_device(p), saved);
    ck_assert(device_load(pci_plug_device(other), saved->data, saved->len, &used, NULL));
    struct pci_plug *all[] = {p, other};
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned number = 1; number <= 2; number++) {
            pci_plug_look(all[i], number, &s);
            ck_assert(s.unsettled);
        }
    }
    now_ns++;
    for (unsigned i = 0; i < 2; i++) {
        pci_plug_look(all[i], 1, &s);
        ck_assert(!s.unsettled);
        pci_plug_look(all[i], 2, &s);
        ck_assert(s.unsettled);
    }
    unsigned changes = counts.changed;
    pci_plug_look_again(p, 1); /* it is not waited for any more */
    ck_assert_uint_eq(counts.changed, changes);
    now_ns += 1000;
    pci_plug_look(p, 2, &s);
    ck_assert(!s.unsettled);
    /* The next card is told, and waits for nothing of the last. */
    pci_plug_offer(p, 2);
    ck_assert_uint_eq(read_at(p, PCI_PLUG_LOOK), 2);
    now_ns = 0;
    pci_plug_look(p, 2, &s);
    ck_assert(!s.unsettled);
    device_free(pci_plug_device(p));
    device_free(pci_plug_device(other));
}
END_TEST

START_TEST(state)
{
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    struct pci_plug *p = make(), *other = make(), *without = pci_plug_new(&ops, NULL);
    size_t used;

    write_at(p, PCI_PLUG_GRANTED, 0);
    pci_plug_offer(p, 16);
    pci_plug_ask_back(p, 16, true);
    device_save(pci_plug_device(p), saved);
    ck_assert(device_load(pci_plug_device(other), saved->data, saved->len, &used, NULL));
    ck_assert_uint_eq(used, saved->len);
    device_save(pci_plug_device(other), again);
    ck_assert(saved->len == again->len && memcmp(saved->data, again->data, saved->len) == 0);
    ck_assert_uint_eq(read_at(other, PCI_PLUG_ASK), 0x8000);
    /* A machine without that slot. */
    ck_assert(!device_load(pci_plug_device(without), saved->data, saved->len, &used, NULL));
    device_free(pci_plug_device(p));
    device_free(pci_plug_device(other));
    device_free(pci_plug_device(without));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pci_plug");
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, slots_are_known);
    tcase_add_test(tc, registers);
    tcase_add_loop_test(tc, is_answered, 0, G_N_ELEMENTS(answers));
    tcase_add_test(tc, settles);
    tcase_add_test(tc, settles_in_time);
    tcase_add_test(tc, state);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
