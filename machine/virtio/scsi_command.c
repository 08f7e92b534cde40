/*
 * The commands that a disk of the SCSI adapter knows, as a table: which bits of each mean
 * something, which is also what REPORT SUPPORTED OPERATION CODES shows (SPC-4, 6.35). A bit that
 * means nothing must be zero.
 */
#include "machine/virtio/scsi_priv.h"

#define FF2 0xff, 0xff
#define FF4 FF2, FF2
#define FF8 FF4, FF4

static const struct scsi_command commands[] = {
    {0, {0x00}, scsi__test_unit_ready},
    {SCSI_ALWAYS, {0x03, 0x01, 0, 0, 0xff}, scsi__request_sense},
    {0, {0x08, 0x1f, FF2, 0xff}, scsi__read},
    {SCSI_WRITES, {0x0a, 0x1f, FF2, 0xff}, scsi__write},
    {SCSI_ALWAYS, {0x12, 0x01, 0xff, FF2}, scsi__inquiry},
    {0, {0x1a, 0x08, FF2, 0xff}, scsi__mode_sense_6},
    {0, {0x1b, 0x01, 0, 0, 0x05}, scsi__start_stop},
    {0, {0x1e, 0, 0, 0, 0x03}, scsi__test_unit_ready}, /* PREVENT ALLOW: nothing can be taken out */
    {0, {0x25}, scsi__read_capacity_10},
    {0, {0x28, 0x18, FF4, 0, FF2}, scsi__read},
    {SCSI_WRITES, {0x2a, 0x18, FF4, 0, FF2}, scsi__write},
    {0, {0x2f, 0x16, FF4, 0, FF2}, scsi__verify},
    {0, {0x35, 0x02, FF4, 0, FF2}, scsi__synchronize},
    {SCSI_WRITES, {0x41, 0x08, FF4, 0, FF2}, scsi__write_same},
    {SCSI_WRITES, {0x42, 0, 0, 0, 0, 0, 0, FF2}, scsi__unmap},
    {0, {0x5a, 0x18, FF2, 0, 0, 0, FF2}, scsi__mode_sense_10},
    {0, {0x88, 0x18, FF8, FF4}, scsi__read},
    {SCSI_WRITES, {0x8a, 0x18, FF8, FF4}, scsi__write},
    {0, {0x8f, 0x16, FF8, FF4}, scsi__verify},
    {0, {0x91, 0x02, FF8, FF4}, scsi__synchronize},
    {SCSI_WRITES, {0x93, 0x09, FF8, FF4}, scsi__write_same},
    {SCSI_ACTION, {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, FF4}, scsi__read_capacity_16},
    {SCSI_ALWAYS, {0xa0, 0, 0xff, 0, 0, 0, FF4}, scsi__report_luns},
    {SCSI_ACTION, {0xa3, 0x0c, 0x87, 0xff, FF2, FF4}, scsi__report_opcodes},
    {0, {0xa8, 0x18, FF4, FF4}, scsi__read},
    {SCSI_WRITES, {0xaa, 0x18, FF4, FF4}, scsi__write},
    {0, {0xaf, 0x16, FF4, FF4}, scsi__verify},
};

const struct scsi_command *scsi__commands(size_t *n)
{
    *n = G_N_ELEMENTS(commands);
    return commands;
}

unsigned scsi__command_bytes(uint8_t opcode)
{
    static const uint8_t bytes[8] = {6, 10, 10, 6, 16, 12, 6, 6};

    return bytes[opcode >> 5];
}

static const struct scsi_command *find(const uint8_t *cdb, bool *other_action)
{
    *other_action = false;
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        const struct scsi_command *c = &commands[i];
        if (c->usage[0] != cdb[0])
            continue;
        if (!(c->flags & SCSI_ACTION) || c->usage[1] == (cdb[1] & 0x1f))
            return c;
        *other_action = true;
    }
    return NULL;
}

/* Whether all bits of R's command mean something; if not it ends. */
static bool check_usage(struct scsi_request *r, const struct scsi_command *c)
{
    for (unsigned i = 1; i < scsi__command_bytes(r->cdb[0]); i++) {
        unsigned used = i == 1 && c->flags & SCSI_ACTION ? 0x1f : c->usage[i];
        unsigned wrong = r->cdb[i] & ~used;
        if (wrong) {
            scsi__bad_field(r, true, i, (unsigned)g_bit_storage(wrong) - 1);
            return false;
        }
    }
    return true;
}

/* Whether R's unit has something to say first; then R ends with it. */
static bool attention(struct scsi_request *r)
{
    struct scsi_lun *l = &scsi_of_request(r)->luns[r->unit->lun];
    uint32_t sense = l->attention;

    l->attention = SCSI_NO_SENSE;
    if (sense)
        scsi__check(r, sense);
    return sense != SCSI_NO_SENSE;
}

void scsi__command(struct scsi_request *r)
{
    bool other_action;
    const struct scsi_command *c = find(r->cdb, &other_action);
    bool always = c && c->flags & SCSI_ALWAYS;

    if (!r->unit && !always) {
        scsi__check(r, SCSI_NO_UNIT);
        return;
    }
    if (!always && attention(r))
        return;
    if (!c && other_action)
        scsi__bad_field(r, true, 1, 4);
    else if (!c)
        scsi__check(r, SCSI_INVALID_OPCODE);
    else if (!check_usage(r, c))
        return;
    else if (c->flags & SCSI_WRITES && block_geometry(r->unit->disk.block)->readonly)
        scsi__check(r, SCSI_WRITE_PROTECTED);
    else
        c->run(r);
}
