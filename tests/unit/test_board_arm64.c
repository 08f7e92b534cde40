/*
 * The devices and the firmware of virt-arm64 as a guest sees them: scripts of accesses and line
 * changes and what the vCPUs' inputs become, a row a case.
 */
#include "machine/boards/virt_arm64.h"
#include "machine/devices/pl031.h"
#include "machine/devices/pl061.h"
#include "tests/unit/board_rig.h"

#include <libfdt.h>

/* --- GICv3 ------------------------------------------------------------------------------------ */

#define RAM_BASE UINT64_C(0x40000000)
#define RAM_SIZE MIB(4)

struct gic_rig {
    struct mem_map *mem;
    struct gicv3 *gic;
    struct gicv3_its *its;
    bool in[LIMIT_XLATE_VCPUS][2];
};

static void gic_input(void *opaque, unsigned cpu, unsigned input, bool level)
{
    struct gic_rig *g = opaque;

    g->in[cpu][input] = level;
}

static void gic_begin(struct gic_rig *g, unsigned cpus)
{
    *g = (struct gic_rig){.mem = mem_map_new()};
    ck_assert(mem_map_add_ram(g->mem, RAM_BASE, RAM_SIZE, "ram", false, NULL));
    g->gic = gicv3_new(cpus, g->mem, gic_input, g);
    g->its = gicv3_its_new(g->gic);
    ck_assert_int_eq(device_map(gicv3_device(g->gic), g->mem, ARM_GIC_DIST), 0);
    ck_assert_int_eq(device_map(gicv3_redist_device(g->gic), g->mem, ARM_GIC_REDIST), 0);
    ck_assert_int_eq(device_map(gicv3_its_device(g->its), g->mem, ARM_GIC_ITS), 0);
    device_reset(gicv3_its_device(g->its));
    device_reset(gicv3_device(g->gic));
}

static void gic_end(struct gic_rig *g)
{
    mem_map_free(g->mem);
    device_free(gicv3_its_device(g->its));
    device_free(gicv3_redist_device(g->gic));
    device_free(gicv3_device(g->gic));
}

static uint64_t gic_read(struct gic_rig *g, gpa_t at, unsigned size)
{
    uint64_t value = 0;

    ck_assert_int_eq(mem_map_device_read(g->mem, at, size, &value), 0);
    return value;
}

static void gic_write(struct gic_rig *g, gpa_t at, unsigned size, uint64_t value)
{
    ck_assert_int_eq(mem_map_device_write(g->mem, at, size, value), 0);
}

#define ICC(crn, crm, op2) (3 << 14 | (crn) << 7 | (crm) << 3 | (op2))
#define PMR                ICC(4, 6, 0)
#define IAR0               ICC(12, 8, 0)
#define EOIR0              ICC(12, 8, 1)
#define BPR0               ICC(12, 8, 3)
#define DIR                ICC(12, 11, 1)
#define RPR                ICC(12, 11, 3)
#define SGI1R              ICC(12, 11, 5)
#define SGI0R              ICC(12, 11, 7)
#define IAR1               ICC(12, 12, 0)
#define EOIR1              ICC(12, 12, 1)
#define HPPIR1             ICC(12, 12, 2)
#define BPR1               ICC(12, 12, 3)
#define CTLR               ICC(12, 12, 4)
#define IGRPEN0            ICC(12, 12, 6)
#define IGRPEN1            ICC(12, 12, 7)

/* WRITE, READ: WHERE is an offset from the distributor, with REDIST(cpu) from that redistributor's.
 * SET, GET: a system register of CPU(n) | register. LINE, PPI: WHERE is the INTID, for PPI with
 * CPU(n). IRQ, FIQ: the level of an input of vCPU WHERE. UNDEF: the register cannot be read. */
enum op { END, WRITE, READ, BYTE, SET, GET, LINE, PPI, IRQ, FIQ, UNDEF };

#define CPU(n)    ((uint32_t)(n) << 20)
#define REDIST(n) (0x80000000u | (uint32_t)(n) << 17)
#define SGIS(n)   (REDIST(n) + 0x10000)

struct step {
    enum op op;
    uint32_t where;
    uint64_t value;
};

static gpa_t place(uint32_t where)
{
    return where & 0x80000000u ? ARM_GIC_REDIST + (where & 0x7fffffff) : ARM_GIC_DIST + where;
}

/* All of group 1 may go to vCPU 0 and 1. */
#define READY                                                                                      \
    {WRITE, 0, 2}, {SET, PMR, 0xf0}, {SET, IGRPEN1, 1}, {SET, CPU(1) | PMR, 0xf0},                 \
        {SET, CPU(1) | IGRPEN1, 1}, {WRITE, 0x84, 0xffffffff},                                     \
        {WRITE, SGIS(0) + 0x80, 0xffffffff},                                                       \
    {                                                                                              \
        WRITE, SGIS(1) + 0x80, 0xffffffff                                                          \
    }
#define ENABLE_SPI(n)                                                                              \
    {                                                                                              \
        WRITE, 0x104, UINT64_C(1) << ((n)-32)                                                      \
    }

static const struct {
    const char *name;
    struct step steps[40];
} gic_rows[] = {
    {"what it is",
     {{READ, 0x0, 0x50},
      {READ, 0x4, 0x37a0008},
      {READ, 0xffe8, 0x3b},
      {READ, REDIST(0) + 8, 1},
      {READ, REDIST(3) + 8, 0x311},
      {READ, REDIST(3) + 12, 3},
      {READ, REDIST(4) + 8, 0},
      {READ, REDIST(0) + 0x14, 6},
      {GET, CTLR, 0x8400},
      {GET, RPR, 0xff},
      {GET, IAR1, 1023},
      {UNDEF, ICC(12, 8, 5), 0},
      {UNDEF, EOIR1, 0},
      {UNDEF, ICC(12, 12, 5) | 1 << 11, 0}}},
    {"a level-sensitive line, from its rise to the end",
     {READY,
      ENABLE_SPI(40),
      {LINE, 40, 1},
      {IRQ, 0, 1},
      {IRQ, 1, 0},
      {READ, 0x204, 1 << 8},
      {GET, HPPIR1, 40},
      {GET, IAR1, 40},
      {IRQ, 0, 0},
      {GET, RPR, 0},
      {READ, 0x304, 1 << 8},
      {LINE, 40, 0},
      {READ, 0x204, 0},
      {SET, EOIR1, 40},
      {READ, 0x304, 0},
      {IRQ, 0, 0},
      {GET, RPR, 0xff}}},
    {"a line still high at the end interrupts again",
     {READY, ENABLE_SPI(40), {LINE, 40, 1}, {GET, IAR1, 40}, {SET, EOIR1, 40}, {IRQ, 0, 1}}},
    {"a line that falls before it is acknowledged is gone",
     {READY, ENABLE_SPI(40), {LINE, 40, 1}, {LINE, 40, 0}, {IRQ, 0, 0}, {GET, IAR1, 1023}}},
    {"an edge stays, and one during service is one more",
     {READY,
      ENABLE_SPI(40),
      {WRITE, 0xc08, 2 << 16},
      {READ, 0xc08, 2 << 16},
      {LINE, 40, 1},
      {LINE, 40, 0},
      {IRQ, 0, 1},
      {GET, IAR1, 40},
      {LINE, 40, 1},
      {IRQ, 0, 0},
      {SET, EOIR1, 40},
      {IRQ, 0, 1},
      {GET, IAR1, 40}}},
    {"pending by a write, and not by a second one",
     {READY,
      ENABLE_SPI(40),
      {WRITE, 0x204, 1 << 8},
      {IRQ, 0, 1},
      {WRITE, 0x284, 1 << 8},
      {IRQ, 0, 0}}},
    {"higher priority first, then lower number",
     {READY,
      {WRITE, 0x104, 0xffffffff},
      {BYTE, 0x400 + 41, 0x47},
      {READ, 0x400 + 40, 0x4000},
      {BYTE, 0x400 + 42, 0x40},
      {BYTE, 0x400 + 40, 0xa0},
      {LINE, 40, 1},
      {LINE, 42, 1},
      {LINE, 41, 1},
      {GET, IAR1, 41},
      {SET, EOIR1, 41},
      {LINE, 41, 0},
      {GET, IAR1, 42}}},
    {"a higher priority preempts, an equal one does not",
     {READY,
      {WRITE, 0x104, 0xffffffff},
      {WRITE, 0x400 + 40, 0x40a0a0},
      {LINE, 40, 1},
      {GET, IAR1, 40},
      {GET, RPR, 0xa0},
      {LINE, 41, 1},
      {IRQ, 0, 0},
      {LINE, 42, 1},
      {IRQ, 0, 1},
      {GET, IAR1, 42},
      {GET, RPR, 0x40},
      {SET, EOIR1, 42},
      {GET, RPR, 0xa0},
      {SET, EOIR1, 40},
      {GET, RPR, 0xff},
      {IRQ, 0, 1}}},
    {"the binary point says which priorities preempt",
     {READY,
      {WRITE, 0x104, 0xffffffff},
      {WRITE, 0x400 + 40, 0x80a0},
      {SET, BPR1, 7},
      {GET, BPR1, 7},
      {LINE, 40, 1},
      {GET, IAR1, 40},
      {GET, RPR, 0x80},
      {LINE, 41, 1},
      {IRQ, 0, 0},
      {SET, BPR1, 0},
      {GET, BPR1, 3},
      {SET, BPR0, 0},
      {GET, BPR0, 2}}},
    {"the priority mask",
     {READY,
      ENABLE_SPI(40),
      {BYTE, 0x400 + 40, 0x80},
      {SET, PMR, 0x83},
      {GET, PMR, 0x80},
      {LINE, 40, 1},
      {IRQ, 0, 0},
      {GET, IAR1, 1023},
      {GET, HPPIR1, 40},
      {SET, PMR, 0x88},
      {IRQ, 0, 1}}},
    {"end and deactivation apart",
     {READY,
      ENABLE_SPI(40),
      {SET, CTLR, 2},
      {LINE, 40, 1},
      {GET, IAR1, 40},
      {SET, EOIR1, 40},
      {GET, RPR, 0xff},
      {READ, 0x304, 1 << 8},
      {IRQ, 0, 0},
      {SET, DIR, 40},
      {READ, 0x304, 0},
      {IRQ, 0, 1}}},
    {"ends of nothing, of others, and of what is not there",
     {READY,
      ENABLE_SPI(40),
      {SET, EOIR1, 40},
      {SET, EOIR1, 1023},
      {SET, EOIR1, 0xffffff},
      {LINE, 40, 1},
      {GET, IAR1, 40},
      {SET, EOIR0, 1023},
      {GET, RPR, 0},
      {SET, EOIR1, 1020},
      {GET, RPR, 0}}},
    {"routes, also to a vCPU that is not there",
     {READY,
      ENABLE_SPI(40),
      {WRITE, 0x6000 + 8 * 40, 1},
      {LINE, 40, 1},
      {IRQ, 0, 0},
      {IRQ, 1, 1},
      {WRITE, 0x6000 + 8 * 40, 0x100},
      {IRQ, 1, 0},
      {WRITE, 0x6000 + 8 * 40, 0x80000000},
      {READ, 0x6000 + 8 * 40, 0},
      {IRQ, 0, 1},
      {WRITE, 0x6000 + 8 * 40 + 4, 1},
      {READ, 0x6000 + 8 * 40 + 4, 1},
      {IRQ, 0, 0}}},
    {"group 0 is a FIQ",
     {{WRITE, 0, 3},
      {SET, PMR, 0xf0},
      {SET, IGRPEN0, 1},
      {SET, IGRPEN1, 1},
      ENABLE_SPI(40),
      {LINE, 40, 1},
      {FIQ, 0, 1},
      {IRQ, 0, 0},
      {GET, IAR1, 1023},
      {GET, IAR0, 40},
      {FIQ, 0, 0},
      {SET, EOIR0, 40},
      {FIQ, 0, 1},
      {SET, IGRPEN0, 0},
      {FIQ, 0, 0}}},
    {"a group that is off hides none of the other",
     {READY,
      {WRITE, 0x104, 0xffffffff},
      {WRITE, 0x84, 1 << 9},
      {LINE, 40, 1},
      {LINE, 41, 1},
      {GET, HPPIR1, 41},
      {IRQ, 0, 1}}},
    {"software-generated, to a list and to all others",
     {READY,
      {WRITE, SGIS(0) + 0x100, 0xffff},
      {WRITE, SGIS(1) + 0x100, 0xffff},
      {SET, SGI1R, 0x5000002},
      {IRQ, 0, 0},
      {IRQ, 1, 1},
      {GET, CPU(1) | IAR1, 5},
      {SET, CPU(1) | EOIR1, 5},
      {SET, SGI1R, UINT64_C(1) << 40 | 7 << 24},
      {IRQ, 0, 0},
      {GET, CPU(1) | IAR1, 7},
      {SET, CPU(1) | EOIR1, 7},
      {SET, SGI1R, 0x50002},
      {SET, SGI0R, 0x3},
      {SET, SGI1R, UINT64_C(1) << 44 | 3},
      {IRQ, 0, 0},
      {IRQ, 1, 0},
      {WRITE, SGIS(0) + 0xc00, 0},
      {READ, SGIS(0) + 0xc00, 0xaaaaaaaa}}},
    {"private lines are each vCPU's own",
     {READY,
      {WRITE, SGIS(1) + 0x100, 1 << 27},
      {PPI, 27, 1},
      {IRQ, 0, 0},
      {PPI, CPU(1) | 27, 1},
      {IRQ, 1, 1},
      {READ, SGIS(1) + 0x200, 1 << 27},
      {READ, SGIS(0) + 0x200, 1 << 27},
      {READ, 0x200, 0},
      {PPI, CPU(1) | 27, 0},
      {IRQ, 1, 0}}},
};

static void run_step(struct gic_rig *g, const char *name, unsigned i, const struct step *s)
{
    unsigned cpu = s->where >> 20 & 0xff;
    uint32_t low = s->where & 0xfffff;
    uint64_t got = s->value;
    struct irq_line line;

    switch (s->op) {
    case WRITE:
        gic_write(g, place(s->where), 4, s->value);
        break;
    case BYTE:
        gic_write(g, place(s->where), 1, s->value);
        break;
    case READ:
        got = gic_read(g, place(s->where), 4);
        break;
    case SET:
        ck_assert_msg(gicv3_sysreg(g->gic, cpu, low, true, &got), "%s, step %u", name, i);
        break;
    case GET:
        ck_assert_msg(gicv3_sysreg(g->gic, cpu, low, false, &got), "%s, step %u", name, i);
        break;
    case UNDEF:
        ck_assert_msg(!gicv3_sysreg(g->gic, cpu, low, false, &got), "%s, step %u", name, i);
        break;
    case LINE:
        line = gicv3_line(g->gic, s->where);
        irq_line_set(&line, s->value);
        break;
    case PPI:
        gicv3_set_ppi(g->gic, cpu, low, s->value);
        break;
    case IRQ:
    case FIQ:
        got = g->in[s->where][s->op == IRQ ? GICV3_IRQ : GICV3_FIQ];
        break;
    case END:
        break;
    }
    ck_assert_msg(got == s->value, "%s, step %u: 0x%lx, not 0x%lx", name, i, got, s->value);
}

START_TEST(gic_scripts)
{
    struct gic_rig g;

    gic_begin(&g, 4);
    for (unsigned i = 0; gic_rows[_i].steps[i].op != END; i++)
        run_step(&g, gic_rows[_i].name, i, &gic_rows[_i].steps[i]);
    gic_end(&g);
}
END_TEST

/* --- LPIs and the ITS ------------------------------------------------------------------------- */

#define LPI_TABLE   (RAM_BASE + MIB(1))
#define DEVICES     (RAM_BASE + MIB(2))
#define COLLECTIONS (RAM_BASE + MIB(2) + KIB(64))
#define ITT         (RAM_BASE + MIB(2) + KIB(128))
#define QUEUE       (RAM_BASE + MIB(3))
#define VALID       (UINT64_C(1) << 63)

static void icc_set(struct gic_rig *g, unsigned cpu, uint32_t reg, uint64_t value)
{
    ck_assert(gicv3_sysreg(g->gic, cpu, reg, true, &value));
}

static uint64_t icc_get(struct gic_rig *g, unsigned cpu, uint32_t reg)
{
    uint64_t value;

    ck_assert(gicv3_sysreg(g->gic, cpu, reg, false, &value));
    return value;
}

/* Two vCPUs take LPIs; LPI 8192 and 8193 are enabled. */
static void its_begin(struct gic_rig *g)
{
    const uint8_t config[] = {0xa1, 0x41, 0xa0};

    gic_begin(g, 2);
    ck_assert_int_eq(mem_map_write(g->mem, LPI_TABLE, config, sizeof(config)), 0);
    gic_write(g, ARM_GIC_DIST, 4, 2);
    for (unsigned i = 0; i < 2; i++) {
        gpa_t redist = ARM_GIC_REDIST + i * GICV3_REDIST_BYTES;
        gic_write(g, redist + 0x70, 8, LPI_TABLE | 15);
        gic_write(g, redist + 0x78, 8, (UINT64_C(1) << 62) | (RAM_BASE + i * KIB(64)));
        gic_write(g, redist, 4, 1);
        icc_set(g, i, PMR, 0xf0);
        icc_set(g, i, IGRPEN1, 1);
    }
    gic_write(g, ARM_GIC_ITS + 0x100, 8, VALID | DEVICES);
    gic_write(g, ARM_GIC_ITS + 0x108, 8, VALID | COLLECTIONS);
    gic_write(g, ARM_GIC_ITS + 0x80, 8, VALID | QUEUE);
    gic_write(g, ARM_GIC_ITS, 4, 1);
}

static void its_command(struct gic_rig *g, uint64_t w0, uint64_t w1, uint64_t w2, uint64_t w3)
{
    const uint64_t words[] = {w0, w1, w2, w3};
    uint64_t at = gic_read(g, ARM_GIC_ITS + 0x88, 8), next = (at + 32) % KIB(4);

    ck_assert_int_eq(mem_map_write(g->mem, QUEUE + at, words, sizeof(words)), 0);
    gic_write(g, ARM_GIC_ITS + 0x88, 8, next);
    ck_assert_uint_eq(gic_read(g, ARM_GIC_ITS + 0x90, 8), next);
}

#define DEVICE                UINT64_C(0x18)
#define MAPC(collection, cpu) its_command(&g, 9, 0, VALID | (uint64_t)(cpu) << 16 | (collection), 0)
#define MAPD(bits)            its_command(&g, 8 | DEVICE << 32, (bits)-1, VALID | ITT, 0)
#define MAPTI(event, intid, collection)                                                            \
    its_command(&g, 10 | DEVICE << 32, (uint64_t)(intid) << 32 | (event), (collection), 0)

START_TEST(its_translates)
{
    struct gic_rig g;

    its_begin(&g);
    ck_assert_uint_eq(gic_read(&g, ARM_GIC_ITS + 0x100, 8),
                      VALID | UINT64_C(1) << 56 | UINT64_C(7) << 48 | DEVICES);
    gicv3_its_message(g.its, DEVICE, 0); /* not mapped */
    MAPD(4);
    MAPC(0, 0);
    MAPC(1, 1);
    MAPTI(0, 8192, 0);
    MAPTI(1, 8193, 1);
    MAPTI(2, 8194, 0); /* its configuration says: disabled */
    gicv3_its_message(g.its, DEVICE, 0);
    ck_assert(g.in[0][GICV3_IRQ] && !g.in[1][GICV3_IRQ]);
    ck_assert_uint_eq(icc_get(&g, 0, IAR1), 8192);
    ck_assert_uint_eq(icc_get(&g, 0, RPR), 0xa0);
    icc_set(&g, 0, EOIR1, 8192);
    ck_assert(!g.in[0][GICV3_IRQ]);
    gicv3_its_message(g.its, DEVICE, 1);
    ck_assert(!g.in[0][GICV3_IRQ] && g.in[1][GICV3_IRQ]);
    gicv3_its_message(g.its, DEVICE, 2);
    gicv3_its_message(g.its, DEVICE, 16); /* beyond the event table */
    gicv3_its_message(g.its, DEVICE + 1, 1);
    gicv3_its_message(g.its, UINT32_MAX, 1);
    ck_assert(!g.in[0][GICV3_IRQ]);

    /* MOVI takes what is pending along; INV sees the table anew; DISCARD ends it. */
    its_command(&g, 1 | DEVICE << 32, 1, 0, 0);
    ck_assert(g.in[0][GICV3_IRQ] && !g.in[1][GICV3_IRQ]);
    its_command(&g, 15 | DEVICE << 32, 1, 0, 0);
    ck_assert(!g.in[0][GICV3_IRQ]);
    const uint8_t on = 0xa1;
    ck_assert_int_eq(mem_map_write(g.mem, LPI_TABLE + 2, &on, 1), 0);
    its_command(&g, 12 | DEVICE << 32, 2, 0, 0);
    ck_assert_uint_eq(icc_get(&g, 0, HPPIR1), 8194);
    its_command(&g, 4 | DEVICE << 32, 2, 0, 0);
    ck_assert(!g.in[0][GICV3_IRQ]);
    its_command(&g, 3 | DEVICE << 32, 2, 0, 0);
    ck_assert(g.in[0][GICV3_IRQ]);
    its_command(&g, 14, 0, 0, 1 << 16);
    ck_assert(!g.in[0][GICV3_IRQ] && g.in[1][GICV3_IRQ]);
    gic_write(&g, ARM_GIC_REDIST + GICV3_REDIST_BYTES, 4, 0); /* EnableLPIs off: forgotten */
    ck_assert(!g.in[1][GICV3_IRQ]);
    gic_end(&g);
}
END_TEST

/* Tables and queues outside RAM, commands that are none, numbers that are too large: nothing. */
START_TEST(its_hostile)
{
    struct gic_rig g;

    its_begin(&g);
    for (uint64_t code = 0; code < 256; code++)
        its_command(&g, code | UINT64_C(0xffffffff) << 32, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    MAPD(32);
    MAPC(0, 7); /* no such vCPU */
    MAPTI(0, 8192, 0);
    MAPTI(1, 5, 0);
    MAPTI(2, 0x10000, 0);
    for (uint32_t event = 0; event < 4; event++)
        gicv3_its_message(g.its, DEVICE, event);
    ck_assert(!g.in[0][GICV3_IRQ] && !g.in[1][GICV3_IRQ]);
    gic_write(&g, ARM_GIC_ITS, 4, 0);
    gic_write(&g, ARM_GIC_ITS + 0x80, 8, VALID | UINT64_C(0xffff000000000) | 0xff);
    gic_write(&g, ARM_GIC_ITS, 4, 1);
    gic_write(&g, ARM_GIC_ITS + 0x88, 8, 64);
    ck_assert_uint_eq(gic_read(&g, ARM_GIC_ITS + 0x90, 8), 0);
    gic_write(&g, ARM_GIC_ITS, 4, 0);
    gic_write(&g, ARM_GIC_ITS + 0x100, 8, VALID | UINT64_C(0xfffffffff000));
    gic_write(&g, ARM_GIC_ITS, 4, 1);
    gicv3_its_message(g.its, DEVICE, 0);
    gic_end(&g);
}
END_TEST

START_TEST(gic_state)
{
    struct gic_rig a, b;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    its_begin(&a);
    its_command(&a, 8 | DEVICE << 32, 3, VALID | ITT, 0);
    its_command(&a, 9, 0, VALID, 0);
    its_command(&a, 10 | DEVICE << 32, UINT64_C(8192) << 32, 0, 0);
    gicv3_its_message(a.its, DEVICE, 0);
    device_save(gicv3_device(a.gic), saved);
    its_begin(&b);
    ck_assert(!b.in[0][GICV3_IRQ]);
    ck_assert(device_load(gicv3_device(b.gic), saved->data, saved->len, &used, &err));
    ck_assert(b.in[0][GICV3_IRQ]);
    ck_assert_uint_eq(icc_get(&b, 0, IAR1), 8192);
    device_reset(gicv3_device(b.gic));
    ck_assert(!b.in[0][GICV3_IRQ]);
    gic_end(&a);
    gic_end(&b);
}
END_TEST

/* --- PL011 ------------------------------------------------------------------------------------ */

static void arm_rig(struct rig *r, unsigned cpus)
{
    struct board_config config = rig_begin(r, cpus);

    config.isa = ISA_AARCH64;
    rig_make(r, &config);
}

START_TEST(uart)
{
    struct rig r;

    arm_rig(&r, 1);
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0xfe0, 4), 0x11);
    rig_write(&r, ARM_UART, 1, '#'); /* early, before it is switched on */
    board_console_input(r.board, (const uint8_t *)"early", 5);
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0x18, 4) & 0x10, 0x10);
    rig_write(&r, ARM_UART + 0x2c, 4, 0x70);
    rig_write(&r, ARM_UART + 0x30, 4, 0x301);
    rig_write(&r, ARM_UART + 0x38, 4, 0x70);
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0x40, 4) & 0x50, 0x40); /* below the trigger */
    for (unsigned i = 0; i < 5; i++)
        ck_assert_uint_eq(rig_read(&r, ARM_UART, 4), (uint8_t) "early"[i]);
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0x3c, 4), 0x20);
    rig_write(&r, ARM_UART + 0x44, 4, 0x20);
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0x3c, 4), 0);
    rig_write(&r, ARM_UART, 1, '!');
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0x40, 4), 0x20);
    board_console_input(r.board, (const uint8_t *)"0123456789abcdefghijklmnopqrstuvwxyz", 36);
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0x40, 4) & 0x50, 0x10);
    ck_assert_uint_eq(rig_read(&r, ARM_UART + 0x18, 4) & 0x40, 0x40);
    for (unsigned i = 0; i < 36; i++)
        rig_read(&r, ARM_UART, 4);
    ck_assert(board_console_break(r.board));
    ck_assert(!board_console_break(r.board));
    ck_assert_uint_eq(rig_read(&r, ARM_UART, 4), 0x400);
    rig_turn(&r);
    ck_assert_str_eq(r.output->str, "#!");
    rig_end(&r);
}
END_TEST

/* --- PL031, PL061 ----------------------------------------------------------------------------- */

START_TEST(rtc)
{
    struct rig r;

    arm_rig(&r, 1);
    uint64_t now = rig_read(&r, ARM_RTC, 4);
    /* time() may be a tick behind the clock that the device reads. */
    ck_assert_uint_le((uint64_t)time(NULL) + 1 - now, 5);
    rig_write(&r, ARM_RTC + 8, 4, 1000);
    ck_assert_uint_le(rig_read(&r, ARM_RTC, 4) - 1000, 5);
    rig_write(&r, ARM_RTC + 0x10, 4, 1);
    rig_write(&r, ARM_RTC + 4, 4, 900); /* past: no alarm */
    ck_assert_uint_eq(rig_read(&r, ARM_RTC + 0x14, 4), 0);
    rig_write(&r, ARM_RTC + 4, 4, 2000);
    rig_write(&r, ARM_RTC + 8, 4, 2001); /* set past it */
    ck_assert_uint_eq(rig_read(&r, ARM_RTC + 0x18, 4), 1);
    rig_write(&r, ARM_RTC + 0x1c, 4, 1);
    ck_assert_uint_eq(rig_read(&r, ARM_RTC + 0x14, 4), 0);
    rig_end(&r);
}
END_TEST

START_TEST(rtc_pauses)
{
    struct rig r;

    arm_rig(&r, 1);
    uint64_t paused = rig_pause_a_second(&r);
    ck_assert_uint_eq(rig_read(&r, ARM_RTC, 4), paused);
    rig_end(&r);
}
END_TEST

/* A press is two edges, apart in guest time; level-sensitive pins follow. */
START_TEST(power_key)
{
    const gpa_t bit = ARM_GPIO + (8 << 2);
    struct rig r;

    arm_rig(&r, 1);
    rig_write(&r, ARM_GPIO + 0x408, 4, 8);
    rig_write(&r, ARM_GPIO + 0x410, 4, 0xf7);
    ck_assert(!board_power_button(r.board)); /* no driver has asked for this pin's interrupt */
    vm_clock_resume(r.clock);
    board_clock_changed(r.board);
    while (rig_read(&r, bit, 4))
        uv_run(&r.loop, UV_RUN_ONCE);
    vm_clock_pause(r.clock);
    board_clock_changed(r.board);
    rig_write(&r, ARM_GPIO + 0x41c, 4, 8);
    rig_write(&r, ARM_GPIO + 0x410, 4, 8);
    ck_assert(board_power_button(r.board));
    ck_assert_uint_eq(rig_read(&r, bit, 4), 8);
    ck_assert_uint_eq(rig_read(&r, ARM_GPIO + 0x418, 4), 8);
    rig_write(&r, ARM_GPIO + 0x41c, 4, 8);
    ck_assert_uint_eq(rig_read(&r, ARM_GPIO + 0x414, 4), 0);
    vm_clock_resume(r.clock);
    board_clock_changed(r.board);
    while (rig_read(&r, bit, 4))
        uv_run(&r.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(rig_read(&r, ARM_GPIO + 0x414, 4), 8);
    rig_write(&r, ARM_GPIO + 0x404, 4, 8);
    rig_write(&r, ARM_GPIO + 0x41c, 4, 8);
    ck_assert_uint_eq(rig_read(&r, ARM_GPIO + 0x414, 4), 8); /* low, and low interrupts */
    rig_write(&r, ARM_GPIO + 0x400, 4, 2);
    rig_write(&r, ARM_GPIO + (2 << 2), 4, 0xff);
    ck_assert_uint_eq(rig_read(&r, ARM_GPIO + 0x3fc, 4), 2);
    rig_end(&r);
}
END_TEST

/* --- PSCI ------------------------------------------------------------------------------------- */

#define ENTRY ARM_RAM

static const struct {
    const char *name;
    uint64_t args[4];
    int64_t result;
} calls[] = {
    {"SMCCC version", {0x80000000}, 0x10001},
    {"PSCI version", {0x84000000}, 0x10001},
    {"TRNG version", {0x84000050}, 0x10000},
    {"features: CPU_ON", {0x8400000a, 0xc4000003}, 0},
    {"features: none", {0x8400000a, 0xc4000099}, -1},
    {"features: a workaround", {0x80000001, 0x80008000}, -1},
    {"no such function", {0x84000099}, -1},
    {"no such wide function", {0xc4000000}, -1},
    {"no migration", {0x84000006}, 2},
    {"suspend", {0xc4000001, 0, 0, 0}, 0},
    {"on: nobody", {0xc4000003, 9, ENTRY, 0}, -2},
    {"on: bits that are none", {0xc4000003, UINT64_C(1) << 31, ENTRY, 0}, -2},
    {"on: the caller", {0xc4000003, 0, ENTRY, 0}, -4},
    {"on: no memory there", {0xc4000003, 1, 0x1000, 0}, -9},
    {"on: not aligned", {0xc4000003, 1, ENTRY + 2, 0}, -9},
    {"info: nobody", {0xc4000004, 9, 0}, -2},
    {"info: on", {0xc4000004, 0, 0}, 0},
    {"info: off", {0xc4000004, 1, 0}, 1},
    {"info: a cluster", {0xc4000004, 0, 1}, -2},
    {"random: none", {0xc4000053, 0}, -2},
    {"random: too many", {0xc4000053, 193}, -2},
    {"random", {0xc4000053, 192}, 0},
    {"random words: too many", {0x84000053, 97}, -2},
    {"random words", {0x84000053, 96}, 0},
    {"reset of a vendor", {0xc4000012, UINT64_C(0x80000000)}, -2},
};

START_TEST(psci_calls)
{
    struct rig r;
    uint64_t args[8] = {0};

    arm_rig(&r, 2);
    memcpy(args, calls[_i].args, sizeof(calls[_i].args));
    ck_assert(board_hypercall(r.board, 0, args));
    ck_assert_msg((int64_t)args[0] == calls[_i].result, "%s: %ld", calls[_i].name, (long)args[0]);
    ck_assert_uint_eq(r.n_requests, 0);
    rig_end(&r);
}
END_TEST

START_TEST(psci_power)
{
    static const struct {
        uint64_t id;
        enum board_request_kind kind;
    } ends[] = {{0x84000008, BOARD_REQUEST_POWEROFF},
                {0x84000009, BOARD_REQUEST_REBOOT},
                {0xc4000012, BOARD_REQUEST_REBOOT}};
    uint64_t on[8] = {0xc4000003, 1, ENTRY + 64, 0x1234};
    uint64_t narrow[8] = {0x84000003, UINT64_C(0xabc00000001), UINT64_C(0x1200000000) + ENTRY, 0};
    uint64_t off[8] = {0x84000002};
    uint64_t kept[8] = {0xc4000003, 1, ENTRY, 0}, info[8] = {0xc4000004, 1};
    struct rig r;

    arm_rig(&r, 2);
    ck_assert(board_hypercall(r.board, 0, on));
    ck_assert_uint_eq(on[0], 0);
    ck_assert_uint_eq(r.started.pc, ENTRY + 64);
    ck_assert_uint_eq(r.started.args[0], 0x1234);
    ck_assert(board_hypercall(r.board, 0, narrow)); /* upper halves do not count */
    ck_assert_int_eq((int64_t)narrow[0], -5);
    ck_assert(!board_hypercall(r.board, 1, off));
    ck_assert_int_eq(r.status[1], BOARD_CPU_STOPPING);
    r.status[1] = BOARD_CPU_STOPPED;
    r.kept = 1 << 1; /* the guest may not have it */
    ck_assert(board_hypercall(r.board, 0, kept));
    ck_assert_int_eq((int64_t)kept[0], -3);
    ck_assert(board_hypercall(r.board, 0, info));
    ck_assert_int_eq((int64_t)info[0], 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(ends); i++) {
        uint64_t args[8] = {ends[i].id};
        ck_assert(!board_hypercall(r.board, 0, args));
        ck_assert_uint_eq(r.n_requests, i + 1);
        ck_assert_int_eq(r.request.kind, ends[i].kind);
    }
    rig_end(&r);
}
END_TEST

/* Bits beyond those asked for are zero; x3 has the lowest. */
START_TEST(psci_random)
{
    struct rig r;
    uint64_t seen = 0, narrow = 0;

    arm_rig(&r, 1);
    for (unsigned i = 0; i < 64; i++) {
        uint64_t args[8] = {0xc4000053, 72};
        ck_assert(board_hypercall(r.board, 0, args));
        ck_assert_uint_eq(args[1], 0);
        ck_assert_uint_eq(args[2] >> 8, 0);
        seen |= args[3];
    }
    ck_assert_uint_eq(seen, UINT64_MAX);
    for (unsigned i = 0; i < 64; i++) {
        uint64_t args[8] = {0x84000053, 40};
        ck_assert(board_hypercall(r.board, 0, args));
        ck_assert_uint_eq(args[1], 0);
        ck_assert_uint_eq(args[2] >> 8, 0);
        narrow |= args[3];
    }
    ck_assert_uint_eq(narrow, UINT32_MAX);
    rig_end(&r);
}
END_TEST

/* --- PCI -------------------------------------------------------------------------------------- */

/* The windows that a guest is told of are those of QEMU's machine. */
START_TEST(pci_windows)
{
    static const uint32_t windows[] = {
        0x01000000, 0, 0, 0, 0x3eff0000, 0, 0x10000, /* I/O */
        0x02000000, 0, 0x10000000, 0, 0x10000000, 0, 0x2eff0000,
        0x43000000, 0x80, 0, 0x80, 0, 0x80, 0,
    };
    struct arm_dt config = {.cpus = 1, .memory = MIB(64)};
    size_t size;
    g_autofree uint8_t *tree = arm_dt_make(&config, &size, NULL);
    int length, node = fdt_path_offset(tree, "/pcie@4010000000");
    const fdt32_t *cells = fdt_getprop(tree, node, "ranges", &length);

    ck_assert_uint_eq((unsigned)length, sizeof(windows));
    for (unsigned i = 0; i < G_N_ELEMENTS(windows); i++)
        ck_assert_uint_eq(fdt32_ld(&cells[i]), windows[i]);
}
END_TEST

/* No function has ports: reads give ones, and writes go nowhere. */
START_TEST(pci_ports)
{
    struct rig r;

    arm_rig(&r, 1);
    for (unsigned size = 1; size <= 8; size *= 2) {
        rig_write(&r, ARM_PCI_IO + 0x60, size, 0);
        ck_assert_uint_eq(rig_read(&r, ARM_PCI_IO + 0x60, size), UINT64_MAX >> (64 - 8 * size));
        rig_write(&r, ARM_PCI_IO + 0x10000 - size, size, 0);
    }
    rig_end(&r);
}
END_TEST

/* --- all of a board --------------------------------------------------------------------------- */

START_TEST(board_state)
{
    struct rig a, b;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    arm_rig(&a, 2);
    rig_write(&a, ARM_UART, 1, '!');
    rig_write(&a, ARM_GIC_DIST, 4, 3);
    board_state_save(a.board, saved);
    g_autofree char *text = board_state_print(a.board);
    ck_assert(strstr(text, "pl011 {") && strstr(text, "gicv3 {") && strstr(text, "gicv3-its {"));
    rig_end(&a);
    arm_rig(&b, 2);
    ck_assert(board_state_load(b.board, saved->data, saved->len, &used, &err));
    ck_assert_uint_eq(used, saved->len);
    ck_assert_uint_eq(rig_read(&b, ARM_GIC_DIST, 4), 0x53);
    board_state_save(b.board, again);
    ck_assert_uint_eq(again->len, saved->len);
    ck_assert_mem_eq(again->data, saved->data, saved->len);
    rig_turn(&b);
    ck_assert_str_eq(b.output->str, "!");
    rig_end(&b);
}
END_TEST

START_TEST(board_refuses)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    g_autoptr(GError) err = NULL;

    config.isa = ISA_AARCH64;
    config.memory = ARM_RAM_MOST + MIB(1);
    ck_assert(board_new(&config, &err) == NULL);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_LIMIT));
    rig_end(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("board_arm64");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, gic_scripts, 0, G_N_ELEMENTS(gic_rows));
    tcase_add_test(tc, its_translates);
    tcase_add_test(tc, its_hostile);
    tcase_add_test(tc, gic_state);
    tcase_add_test(tc, uart);
    tcase_add_test(tc, rtc);
    tcase_add_test(tc, rtc_pauses);
    tcase_add_test(tc, power_key);
    tcase_add_loop_test(tc, psci_calls, 0, G_N_ELEMENTS(calls));
    tcase_add_test(tc, psci_power);
    tcase_add_test(tc, psci_random);
    tcase_add_test(tc, pci_windows);
    tcase_add_test(tc, pci_ports);
    tcase_add_test(tc, board_state);
    tcase_add_test(tc, board_refuses);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
