/* See the header. A block's length has 1 to 4 bytes, so it is put in when the block is closed. */
#include "machine/boot/aml.h"

enum {
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXT = 0x5b,
    OP_EXT_MUTEX = 0x01,
    OP_EXT_ACQUIRE = 0x23,
    OP_EXT_RELEASE = 0x27,
    OP_EXT_REGION = 0x80,
    OP_EXT_FIELD = 0x81,
    OP_EXT_DEVICE = 0x82,
    OP_LOCAL0 = 0x60,
    OP_ARG0 = 0x68,
    OP_ARG1,
    OP_ARG2,
    OP_ARG3,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_OR = 0x7d,
    OP_NOTIFY = 0x86,
    OP_DWORD_FIELD = 0x8a,
    OP_NOT = 0x92,
    OP_EQUAL = 0x93,
    OP_IF = 0xa0,
    OP_ELSE = 0xa1,
    OP_WHILE = 0xa2,
    OP_RETURN = 0xa4,
};

enum { FIELD_ZEROS = 2 << 5 };

/* Address space descriptors: their kind, and flags. */
enum { SPACE_MEMORY, SPACE_IO, SPACE_BUSES };
enum {
    WINDOW_FIXED = 0x0c,     /* producer; both ends are fixed */
    WINDOW_WRITABLE = 0x01,  /* memory */
    WINDOW_PREFETCH = 0x06,  /* memory */
    WINDOW_ENTIRE_IO = 0x03, /* both ISA and other ports */
    WINDOW_IO_MEMORY = 0x10, /* ports here, memory on the bridge's other side */
};

static void put(struct aml *aml, uint64_t value, unsigned width)
{
    uint64_t le = GUINT64_TO_LE(value);

    g_byte_array_append(aml->out, (const guint8 *)&le, width);
}

static void insert(struct aml *aml, guint at, const uint8_t *bytes, guint n)
{
    guint tail = aml->out->len - at;

    g_byte_array_set_size(aml->out, aml->out->len + n);
    memmove(aml->out->data + at + n, aml->out->data + at, tail);
    memcpy(aml->out->data + at, bytes, n);
}

/* PkgLength counts itself: 6 bits in one byte, or 4 and 8 for each further byte. */
static void insert_length(struct aml *aml, guint at)
{
    guint body = aml->out->len - at;
    guint more = body + 1 < 1 << 6 ? 0 : body + 2 < 1 << 12 ? 1 : body + 3 < 1 << 20 ? 2 : 3;
    guint length = body + more + 1;
    uint8_t bytes[4] = {(uint8_t)length};

    g_assert(length < 1 << 28);
    if (more) {
        bytes[0] = (uint8_t)(more << 6 | (length & 0xf));
        for (guint i = 1; i <= more; i++)
            bytes[i] = (uint8_t)(length >> (8 * i - 4));
    }
    insert(aml, at, bytes, more + 1);
}

static void open_block(struct aml *aml, enum aml_block kind)
{
    g_assert(aml->depth < AML_DEPTH);
    aml->open[aml->depth].body = aml->out->len;
    aml->open[aml->depth++].kind = kind;
}

void aml_begin(struct aml *aml, GByteArray *out)
{
    *aml = (struct aml){.out = out};
}

void aml_end(struct aml *aml)
{
    g_assert(aml->depth > 0);
    guint at = aml->open[--aml->depth].body;

    if (aml->open[aml->depth].kind == AML_RESOURCES) {
        put(aml, 0x79, 2); /* end tag; a checksum of 0 is not checked */
        guint size = aml->out->len - at;
        g_assert(size <= UINT16_MAX);
        insert(aml, at, (const uint8_t[]){OP_WORD, (uint8_t)size, (uint8_t)(size >> 8)}, 3);
    }
    insert_length(aml, at);
}

/* --- names ---------------------------------------------------------------------------------- */

static void put_path(struct aml *aml, const char *path)
{
    if (*path == '\\') {
        put(aml, '\\', 1);
        path++;
    }
    size_t segments = (strlen(path) + 1) / 5;
    g_assert(segments >= 1 && segments <= UINT8_MAX && strlen(path) == segments * 5 - 1);
    if (segments == 2)
        put(aml, OP_DUAL_NAME, 1);
    else if (segments > 2)
        put(aml, OP_MULTI_NAME | segments << 8, 2);
    for (size_t i = 0; i < segments; i++)
        g_byte_array_append(aml->out, (const guint8 *)path + i * 5, 4);
}

/* --- blocks --------------------------------------------------------------------------------- */

void aml_scope(struct aml *aml, const char *path)
{
    put(aml, OP_SCOPE, 1);
    open_block(aml, AML_PLAIN);
    put_path(aml, path);
}

void aml_device(struct aml *aml, const char *name)
{
    put(aml, OP_EXT | OP_EXT_DEVICE << 8, 2);
    open_block(aml, AML_PLAIN);
    put_path(aml, name);
}

void aml_method(struct aml *aml, const char *name, unsigned args, bool serialized)
{
    put(aml, OP_METHOD, 1);
    open_block(aml, AML_PLAIN);
    put_path(aml, name);
    put(aml, args | (serialized ? 8 : 0), 1);
}

void aml_package(struct aml *aml, uint8_t elements)
{
    put(aml, OP_PACKAGE, 1);
    open_block(aml, AML_PLAIN);
    put(aml, elements, 1);
}

static void open_field(struct aml *aml, const char *name, unsigned flags)
{
    put(aml, OP_EXT | OP_EXT_FIELD << 8, 2);
    open_block(aml, AML_PLAIN);
    put_path(aml, name);
    put(aml, flags, 1); /* no lock */
}

void aml_field(struct aml *aml, const char *name, unsigned width)
{
    open_field(aml, name, width); /* bits not written keep their value */
}

void aml_field_of_zeros(struct aml *aml, const char *name, unsigned width)
{
    open_field(aml, name, width | FIELD_ZEROS);
}

void aml_resources(struct aml *aml)
{
    put(aml, OP_BUFFER, 1);
    open_block(aml, AML_RESOURCES);
}

void aml_if_local0(struct aml *aml, uint64_t bits)
{
    put(aml, OP_IF, 1);
    open_block(aml, AML_PLAIN);
    put(aml, OP_AND | OP_LOCAL0 << 8, 2);
    aml_int(aml, bits);
    put(aml, 0, 1); /* the result goes nowhere else */
}

static void open_op(struct aml *aml, uint8_t op)
{
    put(aml, op, 1);
    open_block(aml, AML_PLAIN);
}

void aml_if(struct aml *aml)
{
    open_op(aml, OP_IF);
}

void aml_else(struct aml *aml)
{
    open_op(aml, OP_ELSE);
}

void aml_while(struct aml *aml)
{
    open_op(aml, OP_WHILE);
}

void aml_buffer(struct aml *aml, const uint8_t *bytes, uint8_t size)
{
    open_op(aml, OP_BUFFER);
    aml_int(aml, size);
    g_byte_array_append(aml->out, bytes, size);
    aml_end(aml);
}

/* --- terms ------------------------------------------------------------------------------------ */

void aml_op(struct aml *aml, enum aml_op op)
{
    put(aml, op, 1);
}

void aml_ref(struct aml *aml, const char *path)
{
    put_path(aml, path);
}

void aml_nowhere(struct aml *aml)
{
    put(aml, 0, 1);
}

void aml_mutex(struct aml *aml, const char *name)
{
    put(aml, OP_EXT | OP_EXT_MUTEX << 8, 2);
    put_path(aml, name);
    put(aml, 0, 1); /* its level */
}

void aml_acquire(struct aml *aml, const char *name)
{
    put(aml, OP_EXT | OP_EXT_ACQUIRE << 8, 2);
    put_path(aml, name);
    put(aml, UINT16_MAX, 2); /* however long it takes */
}

void aml_release(struct aml *aml, const char *name)
{
    put(aml, OP_EXT | OP_EXT_RELEASE << 8, 2);
    put_path(aml, name);
}

/* --- objects and statements ----------------------------------------------------------------- */

void aml_name(struct aml *aml, const char *name)
{
    put(aml, OP_NAME, 1);
    put_path(aml, name);
}

void aml_int(struct aml *aml, uint64_t value)
{
    if (value <= 1)
        put(aml, value, 1); /* ZeroOp, OneOp */
    else if (value <= UINT8_MAX)
        put(aml, OP_BYTE | value << 8, 2);
    else if (value <= UINT16_MAX)
        put(aml, OP_WORD | value << 8, 3);
    else if (value <= UINT32_MAX)
        put(aml, OP_DWORD | value << 8, 5);
    else {
        put(aml, OP_QWORD, 1);
        put(aml, value, 8);
    }
}

void aml_string(struct aml *aml, const char *text)
{
    put(aml, OP_STRING, 1);
    g_byte_array_append(aml->out, (const guint8 *)text, (guint)strlen(text) + 1);
}

/* Three letters of five bits, four hex digits; big-endian. */
void aml_eisa(struct aml *aml, const char *id)
{
    uint32_t value = 0;

    g_assert(strlen(id) == 7);
    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (uint32_t)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | (uint32_t)g_ascii_xdigit_value(id[i]);
    put(aml, OP_DWORD, 1);
    put(aml, GUINT32_SWAP_LE_BE(value), 4);
}

void aml_name_int(struct aml *aml, const char *name, uint64_t value)
{
    aml_name(aml, name);
    aml_int(aml, value);
}

void aml_name_string(struct aml *aml, const char *name, const char *text)
{
    aml_name(aml, name);
    aml_string(aml, text);
}

void aml_name_eisa(struct aml *aml, const char *name, const char *id)
{
    aml_name(aml, name);
    aml_eisa(aml, id);
}

void aml_region(struct aml *aml, const char *name, uint64_t base, uint64_t size)
{
    put(aml, OP_EXT | OP_EXT_REGION << 8, 2);
    put_path(aml, name);
    put(aml, 0, 1); /* SystemMemory */
    aml_int(aml, base);
    aml_int(aml, size);
}

/* The length of a unit has the form of a block's, but doesn't count itself. */
void aml_field_unit(struct aml *aml, const char *name, unsigned bits)
{
    g_assert(bits < 1 << 6);
    put_path(aml, name);
    put(aml, bits, 1);
}

void aml_field_gap(struct aml *aml, unsigned bits)
{
    g_assert(bits < 1 << 6);
    put(aml, bits << 8, 2);
}

void aml_load_local0(struct aml *aml, const char *name)
{
    put(aml, OP_STORE, 1);
    put_path(aml, name);
    put(aml, OP_LOCAL0, 1);
}

void aml_store_int(struct aml *aml, uint64_t value, const char *name)
{
    aml_op(aml, AML_STORE);
    aml_int(aml, value);
    aml_ref(aml, name);
}

void aml_store(struct aml *aml, enum aml_op from, const char *name)
{
    aml_op(aml, AML_STORE);
    aml_op(aml, from);
    aml_ref(aml, name);
}

void aml_notify(struct aml *aml, const char *path, uint64_t value)
{
    put(aml, OP_NOTIFY, 1);
    put_path(aml, path);
    aml_int(aml, value);
}

/* --- _OSC ----------------------------------------------------------------------------------- */

enum { OSC_BAD_UUID = 4, OSC_BAD_REVISION = 8, OSC_MASKED = 16 };

/* NAME |= BITS */
static void put_or(struct aml *aml, const char *name, uint64_t bits)
{
    put(aml, OP_OR, 1);
    put_path(aml, name);
    aml_int(aml, bits);
    put_path(aml, name);
}

/* The doubleword at OFFSET of the caller's buffer gets NAME. */
static void put_dword_of_arg3(struct aml *aml, uint64_t offset, const char *name)
{
    put(aml, OP_DWORD_FIELD | OP_ARG3 << 8, 2);
    aml_int(aml, offset);
    put_path(aml, name);
}

void aml_pci_osc(struct aml *aml, uint32_t control, const char *granted)
{
    static const uint8_t uuid[] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
                                   0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};

    aml_method(aml, "_OSC", 4, true);
    put_dword_of_arg3(aml, 0, "CDW1");
    put(aml, OP_IF, 1);
    open_block(aml, AML_PLAIN);
    put(aml, OP_EQUAL | OP_ARG0 << 8, 2);
    aml_buffer(aml, uuid, sizeof(uuid));
    put_dword_of_arg3(aml, 8, "CDW3");
    aml_load_local0(aml, "CDW3");
    put(aml, OP_AND | OP_LOCAL0 << 8, 2);
    aml_int(aml, control);
    put(aml, OP_LOCAL0, 1);
    put(aml, OP_IF, 1);
    open_block(aml, AML_PLAIN);
    put(aml, OP_NOT | OP_EQUAL << 8 | OP_ARG1 << 16, 3);
    aml_int(aml, 1);
    put_or(aml, "CDW1", OSC_BAD_REVISION);
    aml_end(aml);
    put(aml, OP_IF, 1);
    open_block(aml, AML_PLAIN);
    put(aml, OP_NOT | OP_EQUAL << 8 | OP_LOCAL0 << 16, 3);
    put_path(aml, "CDW3");
    put_or(aml, "CDW1", OSC_MASKED);
    aml_end(aml);
    put(aml, OP_STORE | OP_LOCAL0 << 8, 2);
    put_path(aml, "CDW3");
    if (granted) {
        put(aml, OP_STORE | OP_LOCAL0 << 8, 2);
        put_path(aml, granted);
    }
    aml_end(aml);
    put(aml, OP_ELSE, 1);
    open_block(aml, AML_PLAIN);
    put_or(aml, "CDW1", OSC_BAD_UUID);
    aml_end(aml);
    put(aml, OP_RETURN | OP_ARG3 << 8, 2);
    aml_end(aml);
}

/* --- resources ------------------------------------------------------------------------------ */

void aml_io(struct aml *aml, uint16_t base, uint8_t size)
{
    put(aml, 0x47 | 1 << 8, 2); /* all 16 address bits are decoded */
    put(aml, base, 2);
    put(aml, base, 2);
    put(aml, 1, 1);
    put(aml, size, 1);
}

void aml_memory32(struct aml *aml, uint32_t base, uint32_t size)
{
    put(aml, 0x86 | 9 << 8, 3);
    put(aml, 1, 1); /* writable */
    put(aml, base, 4);
    put(aml, size, 4);
}

void aml_interrupt(struct aml *aml, uint32_t gsi, bool edge)
{
    put(aml, 0x89 | 6 << 8, 3);
    put(aml, 1 | (edge ? 2 : 0) | 1 << 8, 2); /* consumer, active high; one number */
    put(aml, gsi, 4);
}

/*
 * An address space descriptor of WIDTH bytes a number; TAG is 0x87 to 0x8a. What is FIRST on the
 * bus is FIRST + OFFSET on the other side.
 */
static void put_window(struct aml *aml, uint8_t tag, unsigned width, unsigned space, unsigned flags,
                       uint64_t first, uint64_t last, uint64_t offset)
{
    put(aml, tag, 1);
    put(aml, 3 + 5 * width, 2);
    put(aml, space | WINDOW_FIXED << 8 | flags << 16, 3);
    put(aml, 0, width); /* granularity */
    put(aml, first, width);
    put(aml, last, width);
    put(aml, offset, width);
    put(aml, last - first + 1, width);
}

void aml_window_buses(struct aml *aml, uint16_t first, uint16_t last)
{
    put_window(aml, 0x88, 2, SPACE_BUSES, 0, first, last, 0);
}

void aml_window_io(struct aml *aml, uint16_t first, uint16_t last)
{
    put_window(aml, 0x88, 2, SPACE_IO, WINDOW_ENTIRE_IO, first, last, 0);
}

void aml_window_ports(struct aml *aml, uint32_t base, uint32_t ports)
{
    put_window(aml, 0x87, 4, SPACE_IO, WINDOW_ENTIRE_IO | WINDOW_IO_MEMORY, 0, ports - 1, base);
}

void aml_window_memory(struct aml *aml, uint64_t base, uint64_t size, bool prefetch)
{
    bool wide = base + size - 1 > UINT32_MAX;

    put_window(aml, wide ? 0x8a : 0x87, wide ? 8 : 4, SPACE_MEMORY,
               WINDOW_WRITABLE | (prefetch ? WINDOW_PREFETCH : 0), base, base + size - 1, 0);
}
