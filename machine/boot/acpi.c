/* See the header. Until acpi_place() all checksums are 0 and pointers are offsets. */
#include "machine/boot/acpi.h"

#define OEM_ID      "VMD   "
#define OEM_TABLE   "VMDTABLE"
#define CREATOR     "VMD "
#define TABLE_ALIGN 16

enum {
    HEADER_LENGTH = 4, /* offsets in a table's header */
    HEADER_CHECKSUM = 9,
    RSDP_CHECKSUM = 8, /* of the first 20 bytes */
    RSDP_EXTENDED = 32,
};

enum { GAS_MEMORY, GAS_PORT };

enum {
    FADT_PWR_BUTTON = 1 << 4, /* the power button is no fixed hardware */
    FADT_SLP_BUTTON = 1 << 5,
    FADT_RESET_REG_SUP = 1 << 10,
    FADT_HW_REDUCED = 1 << 20,
};

void acpi_begin(struct acpi_set *set)
{
    *set = (struct acpi_set){
        .bytes = g_byte_array_new(),
        .pointers = g_array_new(FALSE, FALSE, sizeof(struct acpi_pointer)),
        .checksums = g_array_new(FALSE, FALSE, sizeof(struct acpi_checksum)),
        .tables = g_array_new(FALSE, FALSE, sizeof(uint32_t)),
    };
}

void acpi_clear(struct acpi_set *set)
{
    g_byte_array_free(set->bytes, TRUE);
    g_array_free(set->pointers, TRUE);
    g_array_free(set->checksums, TRUE);
    g_array_free(set->tables, TRUE);
}

/* --- bytes ---------------------------------------------------------------------------------- */

void acpi_put(struct acpi_set *set, uint64_t value, unsigned width)
{
    uint64_t le = GUINT64_TO_LE(value);

    g_byte_array_append(set->bytes, (const guint8 *)&le, width);
}

void acpi_put_zeros(struct acpi_set *set, unsigned n)
{
    guint at = set->bytes->len;

    if (!n)
        return; /* there may be no array yet */
    g_byte_array_set_size(set->bytes, at + n);
    memset(set->bytes->data + at, 0, n);
}

void acpi_put_pointer(struct acpi_set *set, uint32_t offset)
{
    struct acpi_pointer pointer = {set->bytes->len};

    g_array_append_val(set->pointers, pointer);
    acpi_put(set, offset, 8);
}

static void put_text(struct acpi_set *set, const char *text)
{
    g_byte_array_append(set->bytes, (const guint8 *)text, (guint)strlen(text));
}

static void add_checksum(struct acpi_set *set, uint32_t at, uint32_t start, uint32_t length)
{
    struct acpi_checksum sum = {at, start, length};

    g_array_append_val(set->checksums, sum);
}

static void align(struct acpi_set *set)
{
    acpi_put_zeros(set, ALIGN_UP(set->bytes->len, TABLE_ALIGN) - set->bytes->len);
}

/* --- tables --------------------------------------------------------------------------------- */

uint32_t acpi_table_begin(struct acpi_set *set, const char *signature, uint8_t revision)
{
    g_assert(strlen(signature) == 4);
    align(set);
    set->open = set->bytes->len;
    put_text(set, signature);
    acpi_put(set, 0, 4); /* length */
    acpi_put(set, revision, 1);
    acpi_put(set, 0, 1); /* checksum */
    put_text(set, OEM_ID OEM_TABLE);
    acpi_put(set, 1, 4); /* OEM revision */
    put_text(set, CREATOR);
    acpi_put(set, 1, 4); /* creator revision */
    return set->open;
}

void acpi_table_end(struct acpi_set *set, bool listed)
{
    uint32_t length = set->bytes->len - set->open, le = GUINT32_TO_LE(length);

    memcpy(set->bytes->data + set->open + HEADER_LENGTH, &le, sizeof(le));
    add_checksum(set, set->open + HEADER_CHECKSUM, set->open, length);
    if (listed)
        g_array_append_val(set->tables, set->open);
}

/* A generic address: a register of one byte; all zero where there is none. */
static void put_register(struct acpi_set *set, gpa_t address)
{
    if (!address) {
        acpi_put_zeros(set, 12);
        return;
    }
    acpi_put(set, GAS_MEMORY, 1);
    acpi_put(set, 8, 1); /* bits wide, from bit 0 */
    acpi_put(set, 0, 1);
    acpi_put(set, 1, 1); /* accessed by bytes */
    acpi_put(set, address, 8);
}

void acpi_add_fadt(struct acpi_set *set, const struct acpi_fadt *fadt)
{
    uint32_t flags = FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_HW_REDUCED;

    acpi_table_begin(set, "FACP", 6);
    acpi_put_zeros(set, 8);  /* FIRMWARE_CTRL, DSDT: the 64-bit field below has it */
    acpi_put_zeros(set, 64); /* to CENTURY: fixed hardware, which there is none of */
    acpi_put(set, fadt->century, 1);
    acpi_put(set, fadt->boot_flags, 2);
    acpi_put(set, 0, 1);
    acpi_put(set, flags | (fadt->reset ? FADT_RESET_REG_SUP : 0), 4);
    put_register(set, fadt->reset);
    acpi_put(set, fadt->reset_value, 1);
    acpi_put(set, fadt->arm_flags, 2);
    acpi_put(set, 5, 1); /* minor version */
    acpi_put(set, 0, 8); /* X_FIRMWARE_CTRL */
    acpi_put_pointer(set, fadt->dsdt);
    acpi_put_zeros(set, 8 * 12); /* X_PM1a_EVT_BLK to X_GPE1_BLK */
    put_register(set, fadt->sleep_control);
    put_register(set, fadt->sleep_status);
    put_text(set, "VMD     "); /* hypervisor vendor */
    acpi_table_end(set, true);
}

void acpi_add_mcfg(struct acpi_set *set, gpa_t ecam, unsigned buses)
{
    acpi_table_begin(set, "MCFG", 1);
    acpi_put_zeros(set, 8);
    acpi_put(set, ecam, 8);
    acpi_put(set, 0, 2); /* segment */
    acpi_put(set, 0, 1);
    acpi_put(set, buses - 1, 1);
    acpi_put_zeros(set, 4);
    acpi_table_end(set, true);
}

void acpi_add_spcr(struct acpi_set *set, const struct acpi_uart *uart)
{
    enum { IRQ_PCAT = 1, IRQ_IOAPIC = 2, IRQ_GIC = 8 };
    enum { BAUD_115200 = 7, TERMINAL_ANSI = 3, NO_PCI = 0xffff };
    unsigned irq = uart->gic ? IRQ_GIC : uart->port ? IRQ_PCAT | IRQ_IOAPIC : IRQ_IOAPIC;

    acpi_table_begin(set, "SPCR", 2);
    acpi_put(set, uart->type, 1);
    acpi_put_zeros(set, 3);
    acpi_put(set, uart->port ? GAS_PORT : GAS_MEMORY, 1);
    acpi_put(set, uart->width * 8, 1);
    acpi_put(set, 0, 1);
    acpi_put(set, uart->width == 4 ? 3 : 1, 1); /* accessed by bytes or words */
    acpi_put(set, uart->base, 8);
    acpi_put(set, irq, 1);
    acpi_put(set, uart->irq, 1);
    acpi_put(set, uart->gsi, 4);
    acpi_put(set, BAUD_115200, 1);
    acpi_put(set, 0, 1); /* parity: none */
    acpi_put(set, 1, 1); /* stop bits */
    acpi_put(set, 0, 1); /* flow control */
    acpi_put(set, TERMINAL_ANSI, 1);
    acpi_put(set, 0, 1);
    acpi_put(set, NO_PCI, 2); /* device and vendor */
    acpi_put(set, NO_PCI, 2);
    acpi_put_zeros(set, 3 + 4 + 1 + 4); /* bus, slot, function; flags; segment; clock */
    acpi_table_end(set, true);
}

static uint32_t add_xsdt(struct acpi_set *set)
{
    uint32_t at = acpi_table_begin(set, "XSDT", 1);

    for (guint i = 0; i < set->tables->len; i++)
        acpi_put_pointer(set, g_array_index(set->tables, uint32_t, i));
    acpi_table_end(set, false);
    return at;
}

uint32_t acpi_finish(struct acpi_set *set)
{
    uint32_t xsdt = add_xsdt(set);

    align(set);
    uint32_t at = set->bytes->len;
    put_text(set, "RSD PTR ");
    acpi_put(set, 0, 1);
    put_text(set, OEM_ID);
    acpi_put(set, 2, 1);  /* revision */
    acpi_put(set, 0, 4);  /* no RSDT */
    acpi_put(set, 36, 4); /* length */
    acpi_put_pointer(set, xsdt);
    acpi_put_zeros(set, 4);
    add_checksum(set, at + RSDP_CHECKSUM, at, 20);
    add_checksum(set, at + RSDP_EXTENDED, at, 36);
    return at;
}

/* --- at an address -------------------------------------------------------------------------- */

static void place_pointer(struct acpi_set *set, const struct acpi_pointer *pointer, gpa_t base)
{
    uint64_t value;

    memcpy(&value, set->bytes->data + pointer->at, sizeof(value));
    value = GUINT64_TO_LE(GUINT64_FROM_LE(value) + base);
    memcpy(set->bytes->data + pointer->at, &value, sizeof(value));
}

static void make_checksum(struct acpi_set *set, const struct acpi_checksum *sum)
{
    uint8_t all = 0;

    for (uint32_t i = 0; i < sum->length; i++)
        all = (uint8_t)(all + set->bytes->data[sum->start + i]);
    set->bytes->data[sum->at] = (uint8_t)-all;
}

void acpi_place(struct acpi_set *set, gpa_t base)
{
    for (guint i = 0; i < set->pointers->len; i++)
        place_pointer(set, &g_array_index(set->pointers, struct acpi_pointer, i), base);
    for (guint i = 0; i < set->checksums->len; i++)
        make_checksum(set, &g_array_index(set->checksums, struct acpi_checksum, i));
}

/* --- placed by a firmware ------------------------------------------------------------------- */

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE   "etc/acpi/rsdp"

enum { COMMAND_SIZE = 128, COMMAND_FILE = 56 };
enum { COMMAND_ALLOCATE = 1, COMMAND_POINTER = 2, COMMAND_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_BIOS = 2 };

/* A command being made: numbers are put one after another. */
struct command {
    uint8_t bytes[COMMAND_SIZE];
    size_t at;
};

static void command_number(struct command *c, uint32_t value, unsigned width)
{
    uint32_t le = GUINT32_TO_LE(value);

    memcpy(c->bytes + c->at, &le, width);
    c->at += width;
}

static void command_file(struct command *c, const char *name)
{
    memcpy(c->bytes + c->at, name, strlen(name));
    c->at += COMMAND_FILE;
}

static void command_end(struct command *c, GByteArray *out)
{
    g_byte_array_append(out, c->bytes, COMMAND_SIZE);
}

static void allocate(const char *file, uint32_t alignment, unsigned zone, GByteArray *out)
{
    struct command c = {0};

    command_number(&c, COMMAND_ALLOCATE, 4);
    command_file(&c, file);
    command_number(&c, alignment, 4);
    command_number(&c, zone, 1);
    command_end(&c, out);
}

/* All pointers are at tables. */
static void command_pointer(uint32_t at, uint32_t rsdp, GByteArray *out)
{
    struct command c = {0};

    command_number(&c, COMMAND_POINTER, 4);
    command_file(&c, at < rsdp ? TABLES_FILE : RSDP_FILE);
    command_file(&c, TABLES_FILE);
    command_number(&c, at < rsdp ? at : at - rsdp, 4);
    command_number(&c, 8, 1);
    command_end(&c, out);
}

static void command_checksum(const struct acpi_checksum *sum, uint32_t rsdp, GByteArray *out)
{
    uint32_t base = sum->at < rsdp ? 0 : rsdp;
    struct command c = {0};

    command_number(&c, COMMAND_CHECKSUM, 4);
    command_file(&c, base ? RSDP_FILE : TABLES_FILE);
    command_number(&c, sum->at - base, 4);
    command_number(&c, sum->start - base, 4);
    command_number(&c, sum->length, 4);
    command_end(&c, out);
}

void acpi_commands(const struct acpi_set *set, uint32_t rsdp, GByteArray *out)
{
    allocate(TABLES_FILE, 64, ZONE_HIGH, out);
    allocate(RSDP_FILE, TABLE_ALIGN, ZONE_BIOS, out);
    for (guint i = 0; i < set->pointers->len; i++)
        command_pointer(g_array_index(set->pointers, struct acpi_pointer, i).at, rsdp, out);
    for (guint i = 0; i < set->checksums->len; i++)
        command_checksum(&g_array_index(set->checksums, struct acpi_checksum, i), rsdp, out);
}
