/* What the files of the SCSI adapter share. See scsi.h. */
#ifndef MACHINE_VIRTIO_SCSI_PRIV_H
#define MACHINE_VIRTIO_SCSI_PRIV_H

#include "machine/virtio/scsi.h"

enum {
    SCSI_QUEUE_CONTROL,
    SCSI_QUEUE_EVENT,
    SCSI_QUEUE_REQUEST, /* and those behind it */
    SCSI_EVENT_BUFFERS = 64,
    SCSI_CDB = 16,                  /* the longest command */
    SCSI_ANSWER = 1024,             /* the longest data that a command makes up */
    SCSI_RANGES = 16,               /* of one UNMAP */
    SCSI_TRANSFER_BYTES = 64 << 20, /* of one READ, WRITE or VERIFY */
};
#define SCSI_SERIAL      36
#define SCSI_PRODUCT     16
#define SCSI_UNMAP_BYTES GIB(2)
#define SCSI_SAME_BYTES  MIB(256) /* of one WRITE SAME */

/* Sense: key, additional code and its qualifier (SPC-4, 4.5). */
#define SCSI_SENSE(key, asc, ascq) ((uint32_t)(key) << 16 | (asc) << 8 | (ascq))
#define SCSI_NO_SENSE              SCSI_SENSE(0, 0, 0)
#define SCSI_READ_ERROR            SCSI_SENSE(3, 0x11, 0x00)
#define SCSI_WRITE_ERROR           SCSI_SENSE(3, 0x0c, 0x00)
#define SCSI_TARGET_FAILURE        SCSI_SENSE(4, 0x44, 0x00)
#define SCSI_LIST_LENGTH           SCSI_SENSE(5, 0x1a, 0x00)
#define SCSI_INVALID_OPCODE        SCSI_SENSE(5, 0x20, 0x00)
#define SCSI_OUT_OF_RANGE          SCSI_SENSE(5, 0x21, 0x00)
#define SCSI_INVALID_FIELD         SCSI_SENSE(5, 0x24, 0x00)
#define SCSI_NO_UNIT               SCSI_SENSE(5, 0x25, 0x00)
#define SCSI_INVALID_PARAMETER     SCSI_SENSE(5, 0x26, 0x00)
#define SCSI_NOT_SAVED             SCSI_SENSE(5, 0x39, 0x00)
#define SCSI_POWER_ON              SCSI_SENSE(6, 0x29, 0x01)
#define SCSI_UNIT_RESET            SCSI_SENSE(6, 0x29, 0x03)
#define SCSI_CAPACITY_CHANGED      SCSI_SENSE(6, 0x2a, 0x09)
#define SCSI_WRITE_PROTECTED       SCSI_SENSE(7, 0x27, 0x00)
#define SCSI_SPACE_FULL            SCSI_SENSE(7, 0x27, 0x07)
#define SCSI_MISCOMPARE            SCSI_SENSE(14, 0x1d, 0x00)

enum { SCSI_GOOD = 0, SCSI_CHECK_CONDITION = 2, SCSI_TASK_SET_FULL = 0x28 };

/* A disk that is a logical unit. */
struct scsi_unit {
    struct storage_disk disk;
    unsigned lun;
    char serial[SCSI_SERIAL + 1], product[SCSI_PRODUCT + 1];
    uint64_t blocks;
    uint32_t block_size;
    unsigned active;  /* requests under way, and whoever else needs it still */
    bool gone;        /* no more a unit: freed when nothing is active */
    bool asked, seen, used; /* its last status */
    void (*changed)(void *opaque, unsigned lun, const struct virtio_scsi_status *status);
    void *opaque;
};

/* What is known of a number, saved with the device's state. */
struct scsi_lun {
    uint8_t attached;   /* there is a unit */
    uint8_t seen;       /* and the guest has sent a command to it */
    uint8_t used;       /* and has read or written */
    uint8_t leaving;    /* and it is to go */
    uint8_t resized;    /* that waits for a buffer to be told */
    uint32_t attention; /* sense that the next command gets; 0: none */
    uint32_t due; /* a reason of VIRTIO_SCSI_T_TRANSPORT_RESET that waits for a buffer; 0: none */
    uint32_t posted; /* one that the guest has and has not dealt with */
    uint64_t buffer; /* where in its memory */
};

struct scsi_request {
    struct storage_request s;
    struct scsi_request *next, **link; /* of all under way */
    uint64_t number;                   /* in order of arrival */
    struct scsi_unit *unit;            /* NULL: there is none */
    uint8_t lun[8];
    uint64_t tag;
    uint8_t cdb[SCSI_CDB];
    uint32_t answer_bytes;        /* of the response, before the data */
    uint64_t in_bytes, out_bytes; /* of data that there is room for */
    uint64_t done_bytes;          /* of data that went over */
    uint64_t touched;             /* of data-in that may have changed */
    uint8_t aborted;              /* the response where it is to end; 0: it is not */
    struct iov_part data;
    /* A command of several steps: called when one is over, until it ends the request. */
    void (*step)(struct scsi_request *r);
    uint64_t lba, left; /* blocks */
    uint8_t *scratch;   /* freed with it */
    struct {
        uint64_t lba;
        uint32_t blocks;
    } range[SCSI_RANGES];
    unsigned ranges, next_range;
};

struct scsi_task; /* a task management function that waits for requests */

struct virtio_scsi {
    struct virtio_device dev;
    struct storage storage;
    struct scsi_unit *units[LIMIT_SCSI_LUNS];
    unsigned units_n;
    struct scsi_lun luns[LIMIT_SCSI_LUNS];
    uint32_t cdb_size, sense_size;
    struct scsi_request *requests;
    uint64_t number; /* of the next */
    struct scsi_task *tasks;
    struct virtqueue_element *events[SCSI_EVENT_BUFFERS]; /* the guest's buffers, oldest first */
    unsigned events_n;
};

static inline struct virtio_scsi *scsi_of(const struct virtio_device *dev)
{
    return container_of((struct virtio_device *)dev, struct virtio_scsi, dev);
}

static inline struct virtio_scsi *scsi_of_request(const struct scsi_request *r)
{
    return scsi_of(r->s.storage->dev);
}

/* The number that an address names, LIMIT_SCSI_LUNS for one that can have no unit. False: not our
 * target. */
bool scsi__lun_of(const uint8_t lun[8], unsigned *out);
/* Whether it is the well-known unit of REPORT LUNS. */
bool scsi__is_well_known(const uint8_t lun[8]);

/* --- ending requests (scsi.c): each call frees R
 * ----------------------------------------------------- */

void scsi__end(struct scsi_request *r, uint8_t response, uint8_t status, const uint8_t *sense,
               size_t sense_bytes);
void scsi__good(struct scsi_request *r);
/* CHECK CONDITION with SENSE. */
void scsi__check(struct scsi_request *r, uint32_t sense);
/* ILLEGAL REQUEST for bit BIT of byte BYTE, of the command or of its parameters. */
void scsi__bad_field(struct scsi_request *r, bool in_cdb, unsigned byte, unsigned bit);
/* LENGTH bytes of BYTES, as far as they go into the ALLOCATED bytes that the command allows. */
void scsi__answer(struct scsi_request *r, const uint8_t *bytes, size_t length, size_t allocated);
/* The image's request is over. */
void scsi__io_done(struct storage_request *s, int status);
/* 18 bytes of fixed-format sense. */
void scsi__put_sense(uint8_t *to, uint32_t sense);

/* Room for LENGTH bytes of data is made the part R->data; false: the request ended, as there is
 * less. */
bool scsi__data_in(struct scsi_request *r, uint64_t length);
bool scsi__data_out(struct scsi_request *r, uint64_t length);
/* Copies the first LENGTH bytes of data-out; false: as above. */
bool scsi__parameters(struct scsi_request *r, void *to, size_t length);

/* --- commands
 * ---------------------------------------------------------------------------------------- */

/* Starts what R->cdb says (scsi_command.c). */
void scsi__command(struct scsi_request *r);

/* Of scsi_answer.c: what needs no image. */
void scsi__test_unit_ready(struct scsi_request *r);
void scsi__request_sense(struct scsi_request *r);
void scsi__inquiry(struct scsi_request *r);
void scsi__mode_sense_6(struct scsi_request *r);
void scsi__mode_sense_10(struct scsi_request *r);
void scsi__read_capacity_10(struct scsi_request *r);
void scsi__read_capacity_16(struct scsi_request *r);
void scsi__report_luns(struct scsi_request *r);
void scsi__report_opcodes(struct scsi_request *r);

/* Of scsi_io.c: what goes to the image. */
void scsi__read(struct scsi_request *r);
void scsi__write(struct scsi_request *r);
void scsi__verify(struct scsi_request *r);
void scsi__synchronize(struct scsi_request *r);
void scsi__start_stop(struct scsi_request *r);
void scsi__unmap(struct scsi_request *r);
void scsi__write_same(struct scsi_request *r);

/* A row of the table of commands. */
enum scsi_command_flags {
    SCSI_ALWAYS = 1 << 0, /* runs without a unit, and whatever attention is due */
    SCSI_WRITES = 1 << 1,
    SCSI_ACTION = 1 << 2, /* the low bits of byte 1 are a part of the opcode */
};
struct scsi_command {
    uint8_t flags;
    uint8_t
        usage[SCSI_CDB]; /* which bits mean something; [0]: the opcode, [1]: the service action */
    void (*run)(struct scsi_request *r);
};
const struct scsi_command *scsi__commands(size_t *n);
/* Bytes of a command by its first. */
unsigned scsi__command_bytes(uint8_t opcode);

/* --- units and events (scsi_unit.c)
 * ------------------------------------------------------------------ */

void scsi__unit_seen(struct virtio_scsi *scsi, struct scsi_unit *u);
void scsi__unit_used(struct virtio_scsi *scsi, struct scsi_unit *u);
/* One that was active is no more; may free U. */
void scsi__unit_leave(struct scsi_unit *u);
void scsi__events_notify(struct virtio_scsi *scsi, struct virtqueue *vq);
void scsi__events_quiesce(struct virtio_scsi *scsi);
void scsi__events_reset(struct virtio_scsi *scsi);
/* The driver is gone, and with it all that it knew. */
void scsi__units_reset(struct virtio_scsi *scsi);
void scsi__units_free(struct virtio_scsi *scsi);
bool scsi__units_loaded(struct virtio_scsi *scsi, GError **err);

/* --- task management (scsi_control.c)
 * ---------------------------------------------------------------- */

void scsi__control_notify(struct virtio_scsi *scsi, struct virtqueue *vq);
/* A request has ended: whoever waited for it goes on. */
void scsi__control_settle(struct virtio_scsi *scsi);
void scsi__control_reset(struct virtio_scsi *scsi);

#endif
