/*
 * The distributor's registers (IHI 0069, 12.9), and those of banks that redistributors have as
 * well. With one security state GICD_CTLR.DS and, without legacy operation, ARE are fixed at 1. The
 * shared interrupts' banks are 1 to 8; the registers of bank 0 are the redistributors'.
 */
#include "machine/devices/gicv3_priv.h"

enum {
    REG_CTLR = 0x0000,
    REG_TYPER = 0x0004,
    REG_IIDR = 0x0008,
    REG_PRIORITY = 0x0400,
    REG_PRIORITY_END = 0x0800,
    REG_CONFIG = 0x0c00,
    REG_CONFIG_END = 0x0d00,
    REG_ROUTER = 0x6000, /* of INTID 0, eight bytes each */
    REG_PIDR2 = 0xffe8,

    CTLR_ARE = 1 << 4,
    CTLR_DS = 1 << 6,

    TYPER_LPIS = 1 << 17,
    TYPER_A3V = 1 << 24,
    TYPER_NO_1N = 1 << 25,
};

#define ROUTE_MASK UINT64_C(0xff00ffffff) /* Aff3 and Aff2.Aff1.Aff0 */

/* --- banks ------------------------------------------------------------------------------------ */

struct gic_place gic__place(uint64_t offset)
{
    if (offset >= 0x80 && offset < REG_PRIORITY)
        return (struct gic_place){(enum gic_bank_reg)(offset / 0x80), offset % 0x80 / 4, 0};
    if (offset >= REG_PRIORITY && offset < REG_PRIORITY_END)
        return (struct gic_place){GIC_REG_PRIORITY, (offset - REG_PRIORITY) / GIC_BANK,
                                  offset % GIC_BANK / 4};
    if (offset >= REG_CONFIG && offset < REG_CONFIG_END)
        return (struct gic_place){GIC_REG_CONFIG, (offset - REG_CONFIG) / 8, offset % 8 / 4};
    return (struct gic_place){.reg = GIC_REG_NONE};
}

/* Two bits an interrupt, of which the upper says that it is edge-triggered. */
static uint32_t config_read(const struct gic_bank *bank, unsigned part)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 16; i++)
        value |= (bank->edge >> (part * 16 + i) & 1) << (2 * i + 1);
    return value;
}

static void config_write(struct gic_bank *bank, unsigned part, uint32_t value)
{
    for (unsigned i = 0; i < 16; i++) {
        uint32_t bit = UINT32_C(1) << (part * 16 + i);
        bank->edge = value >> (2 * i + 1) & 1 ? bank->edge | bit : bank->edge & ~bit;
    }
}

static uint32_t priority_read(const struct gic_bank *bank, unsigned part)
{
    const uint8_t *p = bank->priority + part * 4;

    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void priority_write(struct gic_bank *bank, unsigned part, uint32_t value, uint32_t mask)
{
    for (unsigned i = 0; i < 4; i++) {
        if (mask >> (8 * i) & 0xff)
            bank->priority[part * 4 + i] = value >> (8 * i) & GIC_PRIORITY_MASK;
    }
}

uint32_t gic__bank_read(const struct gic_bank *bank, const struct gic_place *at)
{
    switch (at->reg) {
    case GIC_REG_GROUP:
        return bank->group;
    case GIC_REG_ENABLE_SET:
    case GIC_REG_ENABLE_CLEAR:
        return bank->enable;
    case GIC_REG_PENDING_SET:
    case GIC_REG_PENDING_CLEAR:
        return gic_pending(bank);
    case GIC_REG_ACTIVE_SET:
    case GIC_REG_ACTIVE_CLEAR:
        return bank->active;
    case GIC_REG_PRIORITY:
        return priority_read(bank, at->part);
    case GIC_REG_CONFIG:
        return config_read(bank, at->part);
    default:
        return 0;
    }
}

void gic__bank_write(struct gic_bank *bank, const struct gic_place *at, uint32_t value,
                     uint32_t mask)
{
    switch (at->reg) {
    case GIC_REG_GROUP:
        bank->group = value;
        break;
    case GIC_REG_ENABLE_SET:
        bank->enable |= value;
        break;
    case GIC_REG_ENABLE_CLEAR:
        bank->enable &= ~value;
        break;
    case GIC_REG_PENDING_SET:
        bank->latch |= value;
        break;
    case GIC_REG_PENDING_CLEAR:
        bank->latch &= ~value;
        break;
    case GIC_REG_ACTIVE_SET:
        bank->active |= value;
        break;
    case GIC_REG_ACTIVE_CLEAR:
        bank->active &= ~value;
        break;
    case GIC_REG_PRIORITY:
        priority_write(bank, at->part, value, mask);
        break;
    case GIC_REG_CONFIG:
        config_write(bank, at->part, value);
        break;
    default:
        break;
    }
}

/* --- accesses of other widths ----------------------------------------------------------------- */

uint64_t gic__read_words(gic_read_fn read, void *opaque, uint64_t offset, unsigned size)
{
    uint64_t word = read(opaque, offset & ~UINT64_C(3));

    if (size == 8)
        return word | (uint64_t)read(opaque, offset + 4) << 32;
    return size == 4 ? word : word >> (8 * (offset & 3)) & 0xff;
}

/* Only priorities can be written by bytes; of another register such a write is ignored. */
void gic__write_words(gic_write_fn write, void *opaque, uint64_t offset, unsigned size,
                      uint64_t value)
{
    unsigned shift = 8 * (offset & 3);

    if (size == 1) {
        if (gic__place(offset & 0xffff).reg == GIC_REG_PRIORITY)
            write(opaque, offset & ~UINT64_C(3), (uint32_t)value << shift, UINT32_C(0xff) << shift);
        return;
    }
    write(opaque, offset, (uint32_t)value, UINT32_MAX);
    if (size == 8)
        write(opaque, offset + 4, (uint32_t)(value >> 32), UINT32_MAX);
}

/* --- the distributor -------------------------------------------------------------------------- */

/* The bank of shared interrupts at AT, or NULL. */
static struct gic_bank *spi_bank(struct gicv3 *gic, const struct gic_place *at)
{
    if (at->reg == GIC_REG_NONE || at->bank < 1 || at->bank > GIC_SPI_BANKS)
        return NULL;
    return &gic->spi[at->bank - 1];
}

/* The shared interrupt whose route is at OFFSET, or -1. */
static int router_at(uint64_t offset)
{
    const uint64_t first = REG_ROUTER + 8 * GICV3_SPI_FIRST;

    return offset >= first && offset < first + 8 * GICV3_SPIS ? (int)((offset - first) / 8) : -1;
}

static uint32_t typer(void)
{
    return GIC_SPI_BANKS | TYPER_LPIS | (GICV3_ID_BITS - 1) << 19 | TYPER_A3V | TYPER_NO_1N;
}

static uint32_t read_word(void *opaque, uint64_t offset)
{
    struct gicv3 *gic = opaque;
    struct gic_place at = gic__place(offset);
    const struct gic_bank *bank = spi_bank(gic, &at);
    int spi = router_at(offset);

    if (bank)
        return gic__bank_read(bank, &at);
    if (spi >= 0)
        return (uint32_t)(gic->route[spi] >> (offset & 4 ? 32 : 0));
    switch (offset) {
    case REG_CTLR:
        return gic->ctlr | CTLR_ARE | CTLR_DS;
    case REG_TYPER:
        return typer();
    case REG_IIDR:
        return GIC_IIDR;
    case REG_PIDR2:
        return GIC_PIDR2;
    default:
        return 0;
    }
}

static void write_word(void *opaque, uint64_t offset, uint32_t value, uint32_t mask)
{
    struct gicv3 *gic = opaque;
    struct gic_place at = gic__place(offset);
    struct gic_bank *bank = spi_bank(gic, &at);
    int spi = router_at(offset);

    if (bank) {
        gic__bank_write(bank, &at, value, mask);
    } else if (spi >= 0) {
        gic__set_half(&gic->route[spi], offset & 4, value);
        gic->route[spi] &= ROUTE_MASK;
        gic__route(gic, (unsigned)spi);
    } else if (offset == REG_CTLR) {
        gic->ctlr = value & (GICD_ENABLE_GRP0 | GICD_ENABLE_GRP1);
    } else {
        return;
    }
    gic__update_all(gic);
}

int gic__dist_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct gicv3 *gic = container_of((struct device *)opaque, struct gicv3, dev);

    pthread_mutex_lock(&gic->lock);
    *value = gic__read_words(read_word, gic, offset, size);
    pthread_mutex_unlock(&gic->lock);
    return 0;
}

int gic__dist_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct gicv3 *gic = container_of((struct device *)opaque, struct gicv3, dev);

    pthread_mutex_lock(&gic->lock);
    gic__write_words(write_word, gic, offset, size, value);
    pthread_mutex_unlock(&gic->lock);
    return 0;
}
