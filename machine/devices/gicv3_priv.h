/* What the files of the GICv3 share. Everything is under gicv3.lock. */
#ifndef MACHINE_DEVICES_GICV3_PRIV_H
#define MACHINE_DEVICES_GICV3_PRIV_H

#include "machine/devices/gicv3.h"

#include <pthread.h>

enum {
    GIC_BANK = 32, /* interrupts of a bank, a bit of its words each */
    GIC_SPI_BANKS = GICV3_SPIS / GIC_BANK,
    GIC_LPIS = (1 << GICV3_ID_BITS) - GICV3_LPI_FIRST,
    GIC_LPI_WORDS = GIC_LPIS / 64,

    GIC_PRIORITY_MASK = 0xf8, /* five bits */
    GIC_IDLE = 0xff,          /* the priority of nothing */
    GIC_SPURIOUS = 1023,

    GICD_ENABLE_GRP0 = 1 << 0,
    GICD_ENABLE_GRP1 = 1 << 1,
    GICR_ENABLE_LPIS = 1 << 0,
    GIC_LPI_ENABLED = 1 << 0, /* of a byte of the LPI configuration table */

    GIC_IIDR = 0x43b, /* product 0 of Arm */
    GIC_PIDR2 = 0x3b, /* architecture version 3 */
};

/* 32 interrupts: bit n of a word is interrupt n of the bank. */
struct gic_bank {
    uint32_t group; /* 1: group 1 */
    uint32_t enable;
    uint32_t latch; /* pending by an edge, a message or a write */
    uint32_t level; /* the lines */
    uint32_t edge;  /* edge-triggered; else level-sensitive */
    uint32_t active;
    uint8_t priority[GIC_BANK];
};

/* An interrupt that a vCPU could take. */
struct gic_best {
    uint32_t intid; /* GIC_SPURIOUS: none */
    uint8_t priority;
    bool group1;
};

/* A redistributor and the CPU interface beside it. */
struct gic_cpu {
    struct gic_bank bank; /* SGIs and PPIs */
    uint32_t ctlr, waker;
    uint64_t propbaser, pendbaser;
    uint64_t lpi_pending[GIC_LPI_WORDS];
    uint64_t lpi_summary[GIC_LPI_WORDS / 64]; /* bit n: word n has a bit; not saved */

    uint32_t pmr, control; /* ICC_PMR_EL1; EOImode and CBPR of ICC_CTLR_EL1 */
    uint32_t bpr[2], igrpen[2];
    uint32_t active[2]; /* ICC_APxR0_EL1: bit n, a group priority of n << 3 is active */
    bool driven[2];     /* by enum gicv3_input */
};

struct gicv3 {
    struct device dev;
    struct device redist;
    pthread_mutex_t lock;
    uint32_t ctlr;
    struct gic_bank spi[GIC_SPI_BANKS];
    uint64_t route[GICV3_SPIS];   /* GICD_IROUTER */
    uint8_t lpi_config[GIC_LPIS]; /* the configuration table, as last read */
    struct gic_cpu cpu[LIMIT_XLATE_VCPUS];

    uint8_t target[GICV3_SPIS]; /* the vCPU that ROUTE names, or GIC_IDLE; not saved */
    unsigned cpus;
    struct mem_map *mem;
    gicv3_irq_fn set_irq;
    void *opaque;
};

G_STATIC_ASSERT(GIC_LPI_WORDS % 64 == 0);
G_STATIC_ASSERT((int)LIMIT_XLATE_VCPUS < (int)GIC_IDLE);

/* Words of interrupts that are pending. */
static inline uint32_t gic_pending(const struct gic_bank *bank)
{
    return bank->latch | (bank->level & ~bank->edge);
}

/* --- gicv3.c ---------------------------------------------------------------------------------- */

/* The interrupt that CPU would be given next, whatever it is doing. */
struct gic_best gic__best(const struct gicv3 *gic, unsigned cpu);
/* The bits of a priority that say whether it preempts (4.8.4), for a group of C. */
uint8_t gic__group_mask(const struct gic_cpu *c, bool group1);
/* Drives CPU's inputs by what is pending for it. */
void gic__update(struct gicv3 *gic, unsigned cpu);
void gic__update_all(struct gicv3 *gic);
/* Finds what the routes say. */
void gic__route(struct gicv3 *gic, unsigned spi);
/* The vCPU with affinity AFFINITY (Aff3 in bits 24..31), or -1. */
int gic__cpu_by_affinity(const struct gicv3 *gic, uint32_t affinity);

/* --- gicv3_dist.c ----------------------------------------------------------------------------- */

int gic__dist_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value);
int gic__dist_write(void *opaque, uint64_t offset, unsigned size, uint64_t value);

/* The registers of banks, which lie alike in the distributor and in a redistributor. */
enum gic_bank_reg {
    GIC_REG_NONE,
    GIC_REG_GROUP, /* from here on by offset / 0x80 */
    GIC_REG_ENABLE_SET,
    GIC_REG_ENABLE_CLEAR,
    GIC_REG_PENDING_SET,
    GIC_REG_PENDING_CLEAR,
    GIC_REG_ACTIVE_SET,
    GIC_REG_ACTIVE_CLEAR,
    GIC_REG_PRIORITY, /* PART: 0..7, four interrupts each */
    GIC_REG_CONFIG,   /* PART: 0..1, sixteen interrupts each */
};

/* A word of a bank's registers. */
struct gic_place {
    enum gic_bank_reg reg;
    unsigned bank, part;
};

/* What is at OFFSET; reg is GIC_REG_NONE where no bank's register is. */
struct gic_place gic__place(uint64_t offset);
uint32_t gic__bank_read(const struct gic_bank *bank, const struct gic_place *at);
/* Writes the bytes of VALUE that MASK has, which are some only for priorities. */
void gic__bank_write(struct gic_bank *bank, const struct gic_place *at, uint32_t value,
                     uint32_t mask);

/*
 * An access of SIZE 1, 4 or 8 as words: READ and WRITE take offsets that are multiples of 4. MASK
 * has the bits that are written.
 */
typedef uint32_t (*gic_read_fn)(void *opaque, uint64_t offset);
typedef void (*gic_write_fn)(void *opaque, uint64_t offset, uint32_t value, uint32_t mask);
uint64_t gic__read_words(gic_read_fn read, void *opaque, uint64_t offset, unsigned size);
void gic__write_words(gic_write_fn write, void *opaque, uint64_t offset, unsigned size,
                      uint64_t value);

/* Puts the low or high (HIGH) word of *REG to VALUE. */
static inline void gic__set_half(uint64_t *reg, bool high, uint32_t value)
{
    *reg = high ? (uint32_t)*reg | (uint64_t)value << 32 : (*reg & ~UINT64_C(0xffffffff)) | value;
}

/* --- gicv3_redist.c --------------------------------------------------------------------------- */

int gic__redist_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value);
int gic__redist_write(void *opaque, uint64_t offset, unsigned size, uint64_t value);

/* --- gicv3_lpi.c ------------------------------------------------------------------------------ */

/* Sets or clears LPI INTID pending at CPU; true when that changed something. Any INTID. */
bool gic__lpi_set(struct gicv3 *gic, unsigned cpu, uint32_t intid, bool pending);
/* Reads the configuration of INTID anew, or of all with 0. */
void gic__lpi_reload(struct gicv3 *gic, uint32_t intid);
/* CPU's EnableLPIs was changed. */
void gic__lpi_enabled(struct gicv3 *gic, unsigned cpu);
/* All that is pending at FROM becomes so at TO. */
void gic__lpi_move_all(struct gicv3 *gic, unsigned from, unsigned to);
/* Makes *BEST the best LPI pending at C, if it is better. */
void gic__lpi_best(const struct gicv3 *gic, const struct gic_cpu *c, struct gic_best *best);
/* LPI_PENDING was restored. */
void gic__lpi_restored(struct gic_cpu *c);

#endif
