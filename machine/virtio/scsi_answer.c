/* Commands of the SCSI adapter that are answered from what is known of a disk (SPC-4, SBC-3). */
#include "machine/virtio/scsi_priv.h"

enum {
    HEADER_ONLY = 0x7f, /* no unit here, and there can be one of no known type */
    WELL_KNOWN = 0x1e,
    PAGE_CACHING = 0x08,
    PAGE_CONTROL = 0x0a,
    PAGE_ALL = 0x3f,
};

static void put16(uint8_t *to, uint64_t v)
{
    to[0] = (uint8_t)(v >> 8);
    to[1] = (uint8_t)v;
}

static void put32(uint8_t *to, uint64_t v)
{
    put16(to, v >> 16);
    put16(to + 2, v);
}

static void put64(uint8_t *to, uint64_t v)
{
    put32(to, v >> 32);
    put32(to + 4, v);
}

static unsigned get16(const uint8_t *from)
{
    return (unsigned)from[0] << 8 | from[1];
}

static uint32_t get32(const uint8_t *from)
{
    return (uint32_t)get16(from) << 16 | get16(from + 2);
}

static const struct block_geometry *geometry(const struct scsi_request *r)
{
    return block_geometry(r->unit->disk.block);
}

/* Copies TEXT into N bytes, with spaces behind it. */
static void put_text(uint8_t *to, const char *text, size_t n)
{
    size_t length = strlen(text);

    memset(to, ' ', n);
    memcpy(to, text, MIN(length, n));
}

void scsi__test_unit_ready(struct scsi_request *r)
{
    scsi__good(r);
}

void scsi__request_sense(struct scsi_request *r)
{
    struct scsi_lun *l = r->unit ? &scsi_of_request(r)->luns[r->unit->lun] : NULL;
    uint32_t sense = l ? l->attention : SCSI_NO_UNIT;
    uint8_t fixed[18];
    const uint8_t descriptor[8] = {0x72, (uint8_t)(sense >> 16), (uint8_t)(sense >> 8),
                                   (uint8_t)sense};

    if (l)
        l->attention = SCSI_NO_SENSE;
    scsi__put_sense(fixed, sense);
    if (r->cdb[1] & 1)
        scsi__answer(r, descriptor, sizeof(descriptor), r->cdb[4]);
    else
        scsi__answer(r, fixed, sizeof(fixed), r->cdb[4]);
}

/* --- INQUIRY ---------------------------------------------------------------------------------- */

static size_t inquiry_standard(const struct scsi_request *r, uint8_t *b)
{
    /* SAM-5, SPC-4, SBC-3: no version of each is claimed. */
    static const uint16_t standards[] = {0x00a0, 0x0460, 0x04c0};

    b[0] = r->unit ? 0 : scsi__is_well_known(r->lun) ? WELL_KNOWN : HEADER_ONLY;
    b[2] = 6;    /* SPC-4 */
    b[3] = 0x12; /* LUNs are hierarchical; the format of this */
    b[4] = 96 - 5;
    b[7] = 0x02; /* commands are queued */
    put_text(b + 8, "vmd", 8);
    put_text(b + 16, r->unit && *r->unit->product ? r->unit->product : "disk", 16);
    put_text(b + 32, "1", 4);
    for (unsigned i = 0; i < G_N_ELEMENTS(standards); i++)
        put16(b + 58 + 2 * i, standards[i]);
    return 96;
}

static size_t page_pages(const struct scsi_request *r, uint8_t *b);

static size_t page_serial(const struct scsi_request *r, uint8_t *b)
{
    size_t n = strlen(r->unit->serial);

    memcpy(b, r->unit->serial, n);
    return n;
}

static size_t page_identification(const struct scsi_request *r, uint8_t *b)
{
    size_t n = strlen(r->unit->serial);

    b[0] = 2; /* ASCII */
    b[1] = 1; /* of the unit, by a vendor's name */
    b[3] = (uint8_t)(8 + n);
    put_text(b + 4, "vmd", 8);
    memcpy(b + 12, r->unit->serial, n);
    return 12 + n;
}

static size_t page_limits(const struct scsi_request *r, uint8_t *b)
{
    const struct block_geometry *g = geometry(r);
    uint32_t block = r->unit->block_size;

    b[0] = 1; /* WRITE SAME of no blocks means none, not all */
    put16(b + 2, g->physical_block / block);
    put32(b + 4, SCSI_TRANSFER_BYTES / block);
    if (g->discard) {
        put32(b + 16, SCSI_UNMAP_BYTES / block);
        put32(b + 20, SCSI_RANGES);
        put32(b + 24, MAX(g->discard_alignment / block, 1));
    }
    put64(b + 32, SCSI_SAME_BYTES / block);
    return 60;
}

static size_t page_characteristics(const struct scsi_request *r, uint8_t *b)
{
    put16(b, 1); /* nothing rotates */
    return 60;
}

static size_t page_provisioning(const struct scsi_request *r, uint8_t *b)
{
    const struct block_geometry *g = geometry(r);

    b[1] = (uint8_t)((g->discard ? 0x80 : 0) | (g->write_zeroes ? 0x60 : 0));
    b[2] = g->discard || g->write_zeroes ? 2 : 0; /* thin */
    return 4;
}

static const struct {
    uint8_t code;
    size_t (*put)(const struct scsi_request *r, uint8_t *b); /* behind the header */
} pages[] = {
    {0x00, page_pages},  {0x80, page_serial},          {0x83, page_identification},
    {0xb0, page_limits}, {0xb1, page_characteristics}, {0xb2, page_provisioning},
};

static size_t page_pages(const struct scsi_request *r, uint8_t *b)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++)
        b[i] = pages[i].code;
    return G_N_ELEMENTS(pages);
}

void scsi__inquiry(struct scsi_request *r)
{
    uint8_t b[SCSI_ANSWER] = {0};
    unsigned allocated = get16(r->cdb + 3);

    if (!(r->cdb[1] & 1)) {
        if (r->cdb[2])
            scsi__bad_field(r, true, 2, 7);
        else
            scsi__answer(r, b, inquiry_standard(r, b), allocated);
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(pages) && r->unit; i++) {
        if (pages[i].code != r->cdb[2])
            continue;
        size_t n = pages[i].put(r, b + 4);
        b[1] = pages[i].code;
        put16(b + 2, n);
        scsi__answer(r, b, 4 + n, allocated);
        return;
    }
    scsi__bad_field(r, true, 2, 7);
}

/* --- MODE SENSE ------------------------------------------------------------------------------- */

/* The page CODE behind its header; 0: there is none. CHANGEABLE shows what MODE SELECT may change:
 * nothing. */
static size_t mode_page(uint8_t code, bool changeable, uint8_t *b)
{
    size_t n = code == PAGE_CACHING ? 20 : code == PAGE_CONTROL ? 12 : 0;

    if (n == 0)
        return 0;
    b[0] = code;
    b[1] = (uint8_t)(n - 2);
    if (changeable)
        return n;
    if (code == PAGE_CACHING)
        b[2] = 0x04; /* writes are cached */
    else
        b[3] = 0x10; /* commands are reordered */
    return n;
}

/* The descriptor of all blocks, of 8 or, LONG_ONE, 16 bytes. */
static size_t block_descriptor(const struct scsi_request *r, bool long_one, uint8_t *b)
{
    if (long_one) {
        put64(b, r->unit->blocks);
        put32(b + 12, r->unit->block_size);
        return 16;
    }
    put32(b, MIN(r->unit->blocks, UINT32_MAX));
    put32(b + 4, r->unit->block_size);
    return 8;
}

/* The data of MODE SENSE behind a header of HEADER bytes, or 0: R has ended. */
static size_t mode_data(struct scsi_request *r, size_t header, uint8_t *b, size_t *descriptor)
{
    uint8_t code = r->cdb[2] & 0x3f, control = r->cdb[2] >> 6;
    bool long_one = header == 8 && r->cdb[1] & 0x10;
    size_t n = header, all;

    if (control == 3) {
        scsi__check(r, SCSI_NOT_SAVED);
        return 0;
    }
    if (r->cdb[3] != 0 && !(code == PAGE_ALL && r->cdb[3] == 0xff)) {
        scsi__bad_field(r, true, 3, 7);
        return 0;
    }
    *descriptor = r->cdb[1] & 0x08 ? 0 : block_descriptor(r, long_one, b + n);
    n += *descriptor;
    all = n;
    for (unsigned i = 0; i < PAGE_ALL; i++) {
        if (code == PAGE_ALL || code == i)
            n += mode_page((uint8_t)i, control == 1, b + n);
    }
    if (n == all) {
        scsi__bad_field(r, true, 2, 5);
        return 0;
    }
    return n;
}

static uint8_t mode_parameter(const struct scsi_request *r)
{
    return geometry(r)->readonly ? 0x90 : 0x10; /* write protected; DPO and FUA are known */
}

void scsi__mode_sense_6(struct scsi_request *r)
{
    uint8_t b[SCSI_ANSWER] = {0};
    size_t descriptor, n = mode_data(r, 4, b, &descriptor);

    if (n == 0)
        return;
    b[0] = (uint8_t)(n - 1);
    b[2] = mode_parameter(r);
    b[3] = (uint8_t)descriptor;
    scsi__answer(r, b, n, r->cdb[4]);
}

void scsi__mode_sense_10(struct scsi_request *r)
{
    uint8_t b[SCSI_ANSWER] = {0};
    size_t descriptor, n = mode_data(r, 8, b, &descriptor);

    if (n == 0)
        return;
    put16(b, n - 2);
    b[3] = mode_parameter(r);
    b[4] = r->cdb[1] & 0x10 ? 1 : 0;
    put16(b + 6, descriptor);
    scsi__answer(r, b, n, get16(r->cdb + 7));
}

/* --- capacity, units, commands ---------------------------------------------------------------- */

void scsi__read_capacity_10(struct scsi_request *r)
{
    uint8_t b[8];

    put32(b, MIN(r->unit->blocks - 1, UINT32_MAX));
    put32(b + 4, r->unit->block_size);
    scsi__answer(r, b, sizeof(b), sizeof(b));
}

void scsi__read_capacity_16(struct scsi_request *r)
{
    const struct block_geometry *g = geometry(r);
    uint8_t b[32] = {0};

    put64(b, r->unit->blocks - 1);
    put32(b + 8, r->unit->block_size);
    b[13] = (uint8_t)(g_bit_storage(g->physical_block / r->unit->block_size) - 1);
    b[14] = g->discard || g->write_zeroes ? 0x80 : 0; /* what is unmapped may read as anything */
    scsi__answer(r, b, sizeof(b), get32(r->cdb + 10));
}

void scsi__report_luns(struct scsi_request *r)
{
    enum { UNITS = 0, WELL_KNOWN_ONLY = 1, BOTH = 2 };
    const struct virtio_scsi *scsi = scsi_of_request(r);
    uint8_t b[SCSI_ANSWER] = {0}, select = r->cdb[2];
    size_t n = 8;

    G_STATIC_ASSERT(8 + 8 * (LIMIT_SCSI_LUNS + 1) <= SCSI_ANSWER && LIMIT_SCSI_LUNS <= 256);
    if (select > BOTH) {
        scsi__bad_field(r, true, 2, 7);
        return;
    }
    if (get32(r->cdb + 6) < 16) {
        scsi__bad_field(r, true, 6, 7);
        return;
    }
    if (select != UNITS) {
        put16(b + n, 0xc101);
        n += 8;
    }
    for (unsigned lun = 0; lun < LIMIT_SCSI_LUNS && select != WELL_KNOWN_ONLY; lun++) {
        if (!scsi->units[lun])
            continue;
        b[n + 1] = (uint8_t)lun;
        n += 8;
    }
    put32(b, n - 8);
    scsi__answer(r, b, n, get32(r->cdb + 6));
}

/* How long a command may take: nothing is promised. */
static size_t put_timeouts(uint8_t *b)
{
    put16(b, 10);
    return 12;
}

static size_t all_opcodes(uint8_t *b, bool timeouts)
{
    size_t rows, n = 4;
    const struct scsi_command *c = scsi__commands(&rows);

    for (size_t i = 0; i < rows; i++) {
        bool action = c[i].flags & SCSI_ACTION;
        b[n] = c[i].usage[0];
        b[n + 3] = action ? c[i].usage[1] : 0;
        b[n + 5] = (uint8_t)((timeouts ? 2 : 0) | (action ? 1 : 0));
        put16(b + n + 6, scsi__command_bytes(c[i].usage[0]));
        n += 8;
        if (timeouts)
            n += put_timeouts(b + n);
    }
    put32(b, n - 4);
    return n;
}

/* The row of an opcode and, where it has some, service action; NULL in C: not known. False: the one
 * asks for actions of an opcode that has none, or the other way round. */
static bool find_opcode(const struct scsi_request *r, const struct scsi_command **c)
{
    unsigned option = r->cdb[2] & 7, action = get16(r->cdb + 4);
    size_t rows;
    const struct scsi_command *all = scsi__commands(&rows);

    *c = NULL;
    for (size_t i = 0; i < rows; i++) {
        bool has_action = all[i].flags & SCSI_ACTION;
        if (all[i].usage[0] != r->cdb[3])
            continue;
        if (option < 3 && has_action != (option == 2))
            return false;
        if (has_action ? action == all[i].usage[1] : option != 3 || action == 0)
            *c = &all[i];
    }
    return true;
}

static size_t one_opcode(const struct scsi_command *c, uint8_t *b, bool timeouts)
{
    size_t n = 4;

    if (!c) {
        b[1] = 1; /* not supported */
        return n;
    }
    unsigned bytes = scsi__command_bytes(c->usage[0]);
    b[1] = timeouts ? 0x83 : 3;
    put16(b + 2, bytes);
    memcpy(b + n, c->usage, bytes);
    n += bytes;
    return timeouts ? n + put_timeouts(b + n) : n;
}

void scsi__report_opcodes(struct scsi_request *r)
{
    bool timeouts = r->cdb[2] & 0x80;
    unsigned option = r->cdb[2] & 7;
    uint8_t b[SCSI_ANSWER] = {0};
    const struct scsi_command *c;

    if (option == 0)
        scsi__answer(r, b, all_opcodes(b, timeouts), get32(r->cdb + 6));
    else if (option > 3)
        scsi__bad_field(r, true, 2, 2);
    else if (!find_opcode(r, &c))
        scsi__bad_field(r, true, 4, 7);
    else
        scsi__answer(r, b, one_opcode(c, b, timeouts), get32(r->cdb + 6));
}
