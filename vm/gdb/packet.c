/* Framing; see packet.h. */
#include "vm/gdb/packet.h"

enum { IDLE, BODY, SUM_HIGH, SUM_LOW };

static void begin(struct gdb_reader *r)
{
    r->state = BODY;
    r->length = 0;
    r->sum = 0;
    r->escaped = r->too_long = false;
}

static enum gdb_input idle(struct gdb_reader *r, uint8_t byte)
{
    switch (byte) {
    case '$':
        begin(r);
        return GDB_MORE;
    case '+':
        return GDB_ACK;
    case '-':
        return GDB_NAK;
    case 3:
        return GDB_INTERRUPT;
    default:
        return GDB_MORE;
    }
}

static void body(struct gdb_reader *r, uint8_t byte)
{
    if (byte == '$') {
        begin(r);
        return;
    }
    if (byte == '#') {
        r->state = SUM_HIGH;
        return;
    }
    r->sum = (uint8_t)(r->sum + byte);
    if (byte == '}' && !r->escaped) {
        r->escaped = true;
        return;
    }
    if (r->length < GDB_PACKET_MAX)
        r->payload[r->length++] = r->escaped ? byte ^ 0x20 : byte;
    else
        r->too_long = true;
    r->escaped = false;
}

enum gdb_input gdb_read(struct gdb_reader *r, uint8_t byte)
{
    int digit;

    switch (r->state) {
    case IDLE:
        return idle(r, byte);
    case BODY:
        body(r, byte);
        return GDB_MORE;
    case SUM_HIGH:
        r->high = byte;
        r->state = SUM_LOW;
        return GDB_MORE;
    default:
        r->state = IDLE;
        digit = g_ascii_xdigit_value((char)r->high);
        if (r->too_long || r->escaped || digit < 0 || g_ascii_xdigit_value((char)byte) < 0 ||
            digit * 16 + g_ascii_xdigit_value((char)byte) != r->sum)
            return GDB_BAD;
        r->payload[r->length] = 0;
        return GDB_PACKET;
    }
}

void gdb_frame(GByteArray *out, const void *data, size_t n)
{
    const uint8_t *bytes = data;
    uint8_t sum = 0;
    char tail[4];

    g_byte_array_append(out, (const guint8 *)"$", 1);
    for (size_t i = 0; i < n; i++) {
        bool special = strchr("#$}*", bytes[i]) && bytes[i];
        uint8_t pair[2] = {'}', bytes[i] ^ 0x20};
        const uint8_t *from = special ? pair : &bytes[i];
        for (unsigned k = 0; k < 1u + special; k++)
            sum = (uint8_t)(sum + from[k]);
        g_byte_array_append(out, from, 1u + special);
    }
    g_snprintf(tail, sizeof(tail), "#%02x", sum);
    g_byte_array_append(out, (const guint8 *)tail, 3);
}
