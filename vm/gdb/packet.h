/*
 * vm/gdb/packet: the framing of GDB's remote serial protocol: $payload#checksum, with }-escapes;
 * "+" and "-" as acknowledgements, and the byte 3 as an interrupt (GDB's manual, "Overview" of the
 * remote protocol).
 */
#ifndef VM_GDB_PACKET_H
#define VM_GDB_PACKET_H

#include "base/base.h"

enum { GDB_PACKET_MAX = 16384 }; /* bytes of a payload, each way; longer ones are refused */

enum gdb_input {
    GDB_MORE,      /* nothing yet */
    GDB_PACKET,    /* a whole packet: the reader's PAYLOAD, LENGTH bytes and a NUL */
    GDB_BAD,       /* one with a wrong checksum, or too long */
    GDB_ACK,
    GDB_NAK,
    GDB_INTERRUPT, /* outside a packet */
};

/* All zeros at first. */
struct gdb_reader {
    uint8_t payload[GDB_PACKET_MAX + 1];
    size_t length;
    uint8_t state, sum, high;
    bool escaped, too_long;
};

/* Takes one byte; says what it made whole. Any bytes are harmless. */
enum gdb_input gdb_read(struct gdb_reader *reader, uint8_t byte);

/* Appends a packet of N bytes to OUT. */
void gdb_frame(GByteArray *out, const void *data, size_t n);

#endif
