/*
 * Commands of the SCSI adapter that go to a disk's image (SBC-3). Those that are too long for one
 * request of the block layer, or have several ranges, go step by step.
 */
#include "machine/virtio/scsi_priv.h"

enum {
    SCRATCH = 16384, /* bytes of a step's own memory; at least a block */
    COPIES = 64,     /* times that a step uses it */
};

static uint64_t get_bytes(const uint8_t *from, unsigned n)
{
    uint64_t v = 0;

    while (n--)
        v = v << 8 | *from++;
    return v;
}

/* First block and number of blocks, which are at the same place in all commands of a length. */
static void get_range(const uint8_t *cdb, uint64_t *lba, uint64_t *blocks)
{
    switch (scsi__command_bytes(cdb[0])) {
    case 6:
        *lba = get_bytes(cdb + 1, 3) & 0x1fffff;
        *blocks = cdb[4] ? cdb[4] : 256;
        break;
    case 10:
        *lba = get_bytes(cdb + 2, 4);
        *blocks = get_bytes(cdb + 7, 2);
        break;
    case 12:
        *lba = get_bytes(cdb + 2, 4);
        *blocks = get_bytes(cdb + 6, 4);
        break;
    default:
        *lba = get_bytes(cdb + 2, 8);
        *blocks = get_bytes(cdb + 10, 4);
    }
}

static bool is_inside(const struct scsi_unit *u, uint64_t lba, uint64_t blocks)
{
    return lba < u->blocks && blocks <= u->blocks - lba;
}

/* Checks the range of R's command, of at most MOST bytes, into R->lba and R->left; false: R has
 * ended. */
static bool take_range(struct scsi_request *r, uint64_t most)
{
    unsigned bytes = scsi__command_bytes(r->cdb[0]);

    get_range(r->cdb, &r->lba, &r->left);
    if (!is_inside(r->unit, r->lba, r->left)) {
        scsi__check(r, SCSI_OUT_OF_RANGE);
        return false;
    }
    if (r->left > most / r->unit->block_size) {
        scsi__bad_field(r, true, bytes == 10 ? 7 : bytes == 12 ? 6 : bytes == 6 ? 4 : 10, 7);
        return false;
    }
    return true;
}

static void submit(struct scsi_request *r, enum block_kind kind, uint64_t lba, uint64_t blocks)
{
    r->s.io.kind = kind;
    r->s.io.offset = lba * r->unit->block_size;
    r->s.io.length = blocks * r->unit->block_size;
    storage_submit(&r->s);
}

/* --- reading and writing ---------------------------------------------------------------------- */

static void transfer(struct scsi_request *r, bool write)
{
    if (!take_range(r, SCSI_TRANSFER_BYTES))
        return;
    uint64_t length = r->left * r->unit->block_size;
    if (write ? !scsi__data_out(r, length) : !scsi__data_in(r, length))
        return;
    if (r->left == 0) {
        scsi__good(r);
        return;
    }
    /* Reads of what was written are coherent whether it is flushed or not: FUA means something for
     * writes. */
    if (write && scsi__command_bytes(r->cdb[0]) > 6 && r->cdb[1] & 0x08)
        r->s.io.flags = BLOCK_FUA;
    r->s.io.iov = r->data.iov;
    r->s.io.iovcnt = r->data.n;
    submit(r, write ? BLOCK_WRITE : BLOCK_READ, r->lba, r->left);
}

void scsi__read(struct scsi_request *r)
{
    transfer(r, false);
}

void scsi__write(struct scsi_request *r)
{
    transfer(r, true);
}

void scsi__synchronize(struct scsi_request *r)
{
    uint64_t lba, blocks;

    /* IMMED allows to answer at once, and does not ask for it. No blocks means all. */
    get_range(r->cdb, &lba, &blocks);
    if (is_inside(r->unit, lba, blocks))
        submit(r, BLOCK_FLUSH, 0, 0);
    else
        scsi__check(r, SCSI_OUT_OF_RANGE);
}

/* A stop flushes, but for NO_FLUSH; the disk serves on. */
void scsi__start_stop(struct scsi_request *r)
{
    if (r->cdb[4] & 0x05)
        scsi__good(r);
    else
        submit(r, BLOCK_FLUSH, 0, 0);
}

/* --- step by step ----------------------------------------------------------------------------- */

/* Readies the next step's memory: SCRATCH bytes, or the same ones over and over. Returns its
 * blocks. */
static uint64_t use_scratch(struct scsi_request *r, unsigned copies)
{
    uint32_t block = r->unit->block_size, each = SCRATCH / block * block;
    struct iovec *iov = (struct iovec *)(r->scratch + SCRATCH);
    uint64_t bytes = MIN(r->left * block, (uint64_t)each * copies), left = bytes;

    for (r->s.io.iovcnt = 0; left; r->s.io.iovcnt++) {
        iov[r->s.io.iovcnt] = (struct iovec){r->scratch, MIN(left, each)};
        left -= iov[r->s.io.iovcnt].iov_len;
    }
    r->s.io.iov = iov;
    return bytes / block;
}

/* Submits the next step of KIND, or ends R. */
static void step_on(struct scsi_request *r, enum block_kind kind, unsigned copies)
{
    uint64_t lba = r->lba;

    if (r->left == 0) {
        scsi__good(r);
        return;
    }
    uint64_t blocks = use_scratch(r, copies);
    r->lba += blocks;
    r->left -= blocks;
    submit(r, kind, lba, blocks);
}

static void verify_step(struct scsi_request *r)
{
    step_on(r, BLOCK_READ, COPIES);
}

/* What was read must be what the guest has, whose memory is looked at once. */
static void compare_step(struct scsi_request *r)
{
    const struct iovec *iov = r->data.iov;
    size_t length = r->s.io.length, done = 0;
    g_autofree uint8_t *theirs = g_malloc(SCRATCH);

    /* Nothing was read before the first step. */
    if (r->s.io.iovcnt) {
        done = iov_read(iov, r->data.n, r->done_bytes, theirs, length);
        r->done_bytes += done;
    }
    if (done && (done < length || memcmp(theirs, r->scratch, length) != 0))
        scsi__check(r, SCSI_MISCOMPARE);
    else
        step_on(r, BLOCK_READ, 1);
}

void scsi__verify(struct scsi_request *r)
{
    unsigned compare = r->cdb[1] >> 1 & 3;

    if (compare > 1) {
        scsi__bad_field(r, true, 1, 2);
        return;
    }
    if (!take_range(r, SCSI_TRANSFER_BYTES) ||
        (compare && !scsi__data_out(r, r->left * r->unit->block_size)))
        return;
    r->scratch = g_malloc(SCRATCH + COPIES * sizeof(struct iovec));
    r->step = compare ? compare_step : verify_step;
    r->step(r);
}

static void same_step(struct scsi_request *r)
{
    step_on(r, BLOCK_WRITE, COPIES);
}

static bool is_zero(const uint8_t *b, size_t n)
{
    return n == 0 || (b[0] == 0 && memcmp(b, b + 1, n - 1) == 0);
}

void scsi__write_same(struct scsi_request *r)
{
    bool no_data = scsi__command_bytes(r->cdb[0]) == 16 && r->cdb[1] & 1;
    uint32_t block = r->unit->block_size;

    if (!take_range(r, SCSI_SAME_BYTES))
        return;
    if (r->left == 0) { /* as the page of block limits says */
        scsi__bad_field(r, true, scsi__command_bytes(r->cdb[0]) == 16 ? 10 : 7, 7);
        return;
    }
    r->scratch = g_malloc0(SCRATCH + COPIES * sizeof(struct iovec));
    if (!no_data && !scsi__parameters(r, r->scratch, block))
        return;
    if (is_zero(r->scratch, block)) {
        r->s.io.flags = r->cdb[1] & 0x08 ? BLOCK_UNMAP : 0;
        submit(r, BLOCK_WRITE_ZEROES, r->lba, r->left);
        return;
    }
    for (size_t at = block; at + block <= SCRATCH; at += block)
        memcpy(r->scratch + at, r->scratch, block);
    r->step = same_step;
    r->step(r);
}

static void unmap_step(struct scsi_request *r)
{
    /* Descriptors may be of no blocks. */
    while (r->next_range < r->ranges && r->range[r->next_range].blocks == 0)
        r->next_range++;
    if (r->next_range == r->ranges) {
        scsi__good(r);
        return;
    }
    uint64_t lba = r->range[r->next_range].lba;
    submit(r, BLOCK_DISCARD, lba, r->range[r->next_range++].blocks);
}

/* Checks the descriptors in LIST (SBC-3, 5.28); false: R has ended. */
static bool take_ranges(struct scsi_request *r, const uint8_t *list)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < r->ranges; i++) {
        r->range[i].lba = get_bytes(list + 8 + 16 * i, 8);
        r->range[i].blocks = (uint32_t)get_bytes(list + 16 + 16 * i, 4);
        sum += r->range[i].blocks;
        if (!is_inside(r->unit, r->range[i].lba, r->range[i].blocks)) {
            scsi__check(r, SCSI_OUT_OF_RANGE);
            return false;
        }
    }
    if (sum > SCSI_UNMAP_BYTES / r->unit->block_size) {
        scsi__bad_field(r, false, 16, 7);
        return false;
    }
    return true;
}

void scsi__unmap(struct scsi_request *r)
{
    uint8_t list[8 + 16 * SCSI_RANGES] = {0};
    uint64_t length = get_bytes(r->cdb + 7, 2);

    if (length > r->out_bytes) {
        scsi__data_out(r, length); /* which ends it */
        return;
    }
    if (length == 0) {
        scsi__good(r);
        return;
    }
    if (length < 8) {
        scsi__check(r, SCSI_LIST_LENGTH);
        return;
    }
    scsi__parameters(r, list, MIN(length, sizeof(list)));
    r->done_bytes = length;
    /* What does not make up a descriptor is passed over. */
    uint64_t n = MIN(get_bytes(list + 2, 2), length - 8) / 16;
    if (n > SCSI_RANGES) {
        scsi__bad_field(r, false, 2, 7);
        return;
    }
    r->ranges = (unsigned)n;
    if (!take_ranges(r, list))
        return;
    r->step = unmap_step;
    r->step(r);
}
