/*
 * What processors and cards come and go by on the machine pc (cpu_plug.h, pci_plug.h), under
 * whatever a guest does to their registers while the machine offers, asks back and withdraws. A
 * processor that is let go of was there, and is not the first; a slot that is not there never has a
 * card; any state can be saved and is taken back.
 *
 * The input: steps of eight bytes each: what, how, offset, whom, value (4).
 */
#include "machine/devices/cpu_plug.h"
#include "machine/devices/pci_plug.h"
#include "tests/fuzz/fuzz.h"

enum { STEP = 8, STEPS_MOST = 512, CPUS = 6, SLOTS = 3 };
enum { CPU_ACCESS, SLOT_ACCESS, CPU_ACT, SLOT_ACT, WHATS };

struct rig {
    struct cpu_plug *cpus;
    struct pci_plug *slots;
    bool there[CPUS]; /* as the machine knows it */
};

static void changed(void *opaque)
{
}

static void ejected(void *opaque, unsigned cpu)
{
    struct rig *r = opaque;

    g_assert(cpu > 0 && cpu < CPUS && r->there[cpu]);
    r->there[cpu] = false;
}

static void access_once(struct device *dev, const uint8_t *step, uint32_t value)
{
    unsigned size = dev->class->regs.sizes & 1 && step[1] & 2 ? 1 : 4;
    uint64_t got, offset = step[2] % (dev->class->size + 4) & ~(uint64_t)(size - 1);

    if (step[1] & 1)
        g_assert(dev->class->regs.write(dev, offset, size, size == 1 ? value & 0xff : value) == 0);
    else
        g_assert(dev->class->regs.read(dev, offset, size, &got) == 0);
}

static void act_on_cpu(struct rig *r, unsigned cpu, unsigned act)
{
    switch (act) {
    case 0:
        cpu_plug_offer(r->cpus, cpu);
        r->there[cpu] = true;
        break;
    case 1:
    case 2:
        cpu_plug_ask_back(r->cpus, cpu, act == 1);
        break;
    case 3:
        cpu_plug_withdraw(r->cpus, cpu);
        r->there[cpu] = false;
        break;
    default:
        device_reset(cpu_plug_device(r->cpus));
        break;
    }
}

static void act_on_slot(struct rig *r, unsigned number, unsigned act)
{
    switch (act) {
    case 0:
        pci_plug_offer(r->slots, number);
        break;
    case 1:
    case 2:
        pci_plug_ask_back(r->slots, number, act == 1);
        break;
    case 3:
        pci_plug_withdraw(r->slots, number);
        break;
    default:
        device_reset(pci_plug_device(r->slots));
        break;
    }
}

static void take_step(struct rig *r, const uint8_t *step)
{
    uint32_t value = step[4] | step[5] << 8 | step[6] << 16 | (uint32_t)step[7] << 24;

    switch (step[0] % WHATS) {
    case CPU_ACCESS:
        access_once(cpu_plug_device(r->cpus), step, value);
        break;
    case SLOT_ACCESS:
        access_once(pci_plug_device(r->slots), step, value);
        break;
    case CPU_ACT:
        act_on_cpu(r, 1 + step[3] % (CPUS - 1), step[1] % 5);
        break;
    default:
        act_on_slot(r, 1 + step[3] % SLOTS, step[1] % 5);
        break;
    }
}

static void check(const struct rig *r)
{
    uint64_t cards;

    for (unsigned i = 1; i < CPUS; i++) {
        struct cpu_plug_state state;
        cpu_plug_look(r->cpus, i, &state);
        g_assert(state.present == r->there[i] && (state.present || !state.taken));
    }
    pci_plug_device(r->slots)->class->regs.read(r->slots, PCI_PLUG_CARDS, 4, &cards);
    g_assert(cards < 1 << SLOTS);
}

static void save_and_load(struct device *dev)
{
    g_autoptr(GByteArray) state = g_byte_array_new(), again = g_byte_array_new();
    size_t used;

    device_save(dev, state);
    g_assert(device_load(dev, state->data, state->len, &used, NULL) && used == state->len);
    device_save(dev, again);
    g_assert(again->len == state->len && memcmp(again->data, state->data, state->len) == 0);
}

/* It stands. */
static uint64_t tell_time(void *opaque)
{
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct cpu_plug_ops cpu_ops = {.changed = changed, .ejected = ejected};
    static const struct pci_plug_ops slot_ops = {.changed = changed, .now_ns = tell_time};
    struct rig r = {0};

    r.cpus = cpu_plug_new(CPUS, &cpu_ops, &r);
    r.slots = pci_plug_new(&slot_ops, &r);
    for (unsigned n = 1; n <= SLOTS; n++)
        pci_plug_add(r.slots, n, n);
    for (size_t i = 0; i + STEP <= MIN(size, (size_t)STEP * STEPS_MOST); i += STEP) {
        take_step(&r, data + i);
        check(&r);
    }
    save_and_load(cpu_plug_device(r.cpus));
    save_and_load(pci_plug_device(r.slots));
    check(&r);
    device_free(cpu_plug_device(r.cpus));
    device_free(pci_plug_device(r.slots));
    return 0;
}

/* --- seeds ------------------------------------------------------------------------------------ */

#define WRITE(what, byte, offset, value)                                                           \
    {                                                                                              \
        what, 1 | (byte) << 1, offset, 0, (uint8_t)(value), (uint8_t)((value) >> 8), 0, 0          \
    }
#define ACT(what, act, whom)                                                                       \
    {                                                                                              \
        what, act, 0, whom, 0, 0, 0, 0                                                             \
    }

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const uint8_t cpu[][STEP] = {
        ACT(CPU_ACT, 0, 1), /* the third */
        WRITE(CPU_ACCESS, 1, CPU_PLUG_COMMAND, CPU_PLUG_NEXT),
        WRITE(CPU_ACCESS, 1, CPU_PLUG_FLAGS, CPU_PLUG_COMES),
        WRITE(CPU_ACCESS, 1, CPU_PLUG_COMMAND, CPU_PLUG_OST_EVENT),
        WRITE(CPU_ACCESS, 0, CPU_PLUG_DATA, CPU_PLUG_CHECK),
        WRITE(CPU_ACCESS, 1, CPU_PLUG_COMMAND, CPU_PLUG_OST_STATUS),
        WRITE(CPU_ACCESS, 0, CPU_PLUG_DATA, 0),
        ACT(CPU_ACT, 1, 1),
        WRITE(CPU_ACCESS, 1, CPU_PLUG_FLAGS, CPU_PLUG_GOES),
        WRITE(CPU_ACCESS, 1, CPU_PLUG_FLAGS, CPU_PLUG_EJECT),
        ACT(CPU_ACT, 0, 4),
        ACT(CPU_ACT, 3, 4),
        ACT(CPU_ACT, 4, 0),
    };
    static const uint8_t slot[][STEP] = {
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_GRANTED, 0x14),
        ACT(SLOT_ACT, 0, 1), /* the second */
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_LOOK, 2),
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_SLOT, 2),
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_EVENT, 1),
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_STATUS, 0),
        ACT(SLOT_ACT, 1, 1),
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_ASK, 2),
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_EVENT, 3),
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_STATUS, 0x81),
        WRITE(SLOT_ACCESS, 0, PCI_PLUG_CARDS, 0xffff),
        ACT(SLOT_ACT, 3, 1),
        ACT(SLOT_ACT, 4, 0),
    };

    if (n == 0)
        g_byte_array_append(out, cpu[0], sizeof(cpu));
    else if (n == 1)
        g_byte_array_append(out, slot[0], sizeof(slot));
    return n < 2;
}
