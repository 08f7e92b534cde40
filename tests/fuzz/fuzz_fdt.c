/*
 * The device tree that a board leaves for its guest, over any machine that can be asked for: it lies
 * whole in RAM, clear of all else that was loaded; a reader that knows the Devicetree Specification
 * alone (0.4, chapter 5) and libfdt's full check find nothing wrong in it; and it says what was asked.
 *
 * The input: vCPUs, a firmware or none, pages of memory, sizes of kernel and initrd (absurd ones, in
 * 8 GiB, where the byte before is 255 and memory is less: what fits is written, and takes its time), and the kernel's command line.
 */
#include "machine/boards/board.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <libfdt.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM UINT64_C(0x80000000)

enum { HEAD = 12, KERNEL_FILE = 0x1000, FIRMWARE_FILE = 0x800, FDT_ROOM = KIB(64), DEPTH_MOST = 8 };

struct asked {
    unsigned cpus;
    bool firmware;
    uint64_t memory, kernel, initrd;
    char *append;
};

/* --- a reader of the specification ---------------------------------------------------------- */

struct reader {
    const uint8_t *fdt;
    uint32_t at, structs_end, strings, strings_size;
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static uint64_t be64(const uint8_t *p)
{
    return (uint64_t)be32(p) << 32 | be32(p + 4);
}

static uint32_t next_cell(struct reader *r)
{
    g_assert(r->structs_end - r->at >= 4 && r->at % 4 == 0);
    uint32_t value = be32(r->fdt + r->at);
    r->at += 4;
    return value;
}

/* The NUL-terminated string at AT, which must end before END. */
static const char *string_at(const struct reader *r, uint32_t at, uint32_t end)
{
    g_assert(at < end && memchr(r->fdt + at, 0, end - at));
    return (const char *)r->fdt + at;
}

/* 2.2.1, 2.2.4.1: characters and lengths of names. */
static void check_name(const char *name, size_t most, const char *others)
{
    size_t length = strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ,._+-");

    g_assert(length <= most);
    g_assert(name[length] == 0 || strchr(others, name[length]));
}

/* Header and memory reservations. */
static struct reader open_tree(const uint8_t *fdt)
{
    enum { MAGIC, TOTAL, STRUCTS, STRINGS, RESERVE, VERSION, COMPATIBLE, BOOT_CPU, STRINGS_SIZE,
           STRUCTS_SIZE, FIELDS };
    uint32_t h[FIELDS];

    for (unsigned i = 0; i < FIELDS; i++)
        h[i] = be32(fdt + 4 * i);
    g_assert(h[MAGIC] == 0xd00dfeed && h[VERSION] == 17 && h[COMPATIBLE] == 16);
    g_assert(h[TOTAL] <= FDT_ROOM && h[BOOT_CPU] == 0);
    g_assert(h[RESERVE] >= 4 * FIELDS && h[RESERVE] % 8 == 0 && h[RESERVE] + 16 <= h[STRUCTS]);
    g_assert(h[STRUCTS] % 4 == 0 && h[STRUCTS_SIZE] % 4 == 0);
    g_assert(h[STRUCTS] <= h[TOTAL] && h[STRUCTS_SIZE] <= h[TOTAL] - h[STRUCTS]);
    g_assert(h[STRINGS] <= h[TOTAL] && h[STRINGS_SIZE] <= h[TOTAL] - h[STRINGS]);
    g_assert(h[STRINGS] >= h[STRUCTS] + h[STRUCTS_SIZE]);
    g_assert(be64(fdt + h[RESERVE]) == 0 && be64(fdt + h[RESERVE] + 8) == 0); /* none */
    return (struct reader){fdt, h[STRUCTS], h[STRUCTS] + h[STRUCTS_SIZE], h[STRINGS],
                           h[STRINGS_SIZE]};
}

static void read_property(struct reader *r, GHashTable *names)
{
    uint32_t length = next_cell(r), name = next_cell(r);
    const char *text = string_at(r, r->strings + name, r->strings + r->strings_size);

    check_name(text, 31, "?#");
    check_name(text + (*text == '#'), 31, "?");
    g_assert(g_hash_table_add(names, g_strdup(text)));
    g_assert(length <= r->structs_end - r->at);
    r->at += (length + 3) & ~3u;
}

/* One node: properties, then children, of which no two have one name. */
static void read_node(struct reader *r, unsigned depth)
{
    g_autoptr(GHashTable) properties = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GHashTable) children = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const char *name = string_at(r, r->at, r->structs_end), *child;

    g_assert(depth < DEPTH_MOST && (depth == 0) == (*name == 0));
    check_name(name, 31, "@");
    r->at += (strlen(name) + 4) & ~3u;
    for (;;) {
        switch (next_cell(r)) {
        case FDT_PROP:
            g_assert(g_hash_table_size(children) == 0);
            read_property(r, properties);
            break;
        case FDT_BEGIN_NODE:
            child = string_at(r, r->at, r->structs_end);
            g_assert(g_hash_table_add(children, g_strdup(child)));
            read_node(r, depth + 1);
            break;
        case FDT_NOP:
            break;
        case FDT_END_NODE:
            return;
        default:
            g_assert_not_reached();
        }
    }
}

static void read_tree(const uint8_t *fdt)
{
    struct reader r = open_tree(fdt);

    while (next_cell(&r) == FDT_NOP)
        continue;
    g_assert(be32(fdt + r.at - 4) == FDT_BEGIN_NODE);
    read_node(&r, 0);
    g_assert(next_cell(&r) == FDT_END && r.at == r.structs_end);
}

/* --- what it says --------------------------------------------------------------------------- */

static const uint8_t *property(const void *fdt, const char *path, const char *name, int expected)
{
    int length = -1, node = fdt_path_offset(fdt, path);
    const uint8_t *p = node < 0 ? NULL : fdt_getprop(fdt, node, name, &length);

    g_assert(!p || length == expected);
    return p;
}

/* Clear of the tree and in RAM, behind the kernel's start. */
static void check_initrd(const void *fdt, const struct asked *a, gpa_t tree)
{
    const uint8_t *from = property(fdt, "/chosen", "linux,initrd-start", 8);
    const uint8_t *to = property(fdt, "/chosen", "linux,initrd-end", 8);

    g_assert(!from == !to && !from == (a->initrd == 0));
    if (!from)
        return;
    g_assert(be64(to) - be64(from) == a->initrd);
    g_assert(be64(from) >= RAM + KERNEL_FILE && be64(to) <= RAM + a->memory);
    g_assert(be64(to) <= tree || be64(from) >= tree + FDT_ROOM);
}

static void check_facts(const void *fdt, const struct asked *a, gpa_t tree)
{
    g_autofree char *memory = g_strdup_printf("/memory@%" G_GINT64_MODIFIER "x", RAM);
    const uint8_t *reg = property(fdt, memory, "reg", 16);
    const uint8_t *append = property(fdt, "/chosen", "bootargs", (int)strlen(a->append) + 1);

    g_assert(reg && be64(reg) == RAM && be64(reg + 8) == a->memory);
    g_assert(append ? !strcmp((const char *)append, a->append) : !*a->append);
    for (unsigned i = 0; i <= a->cpus; i++) {
        g_autofree char *cpu = g_strdup_printf("/cpus/cpu@%x", i);
        g_assert(!property(fdt, cpu, "reg", 4) == (i == a->cpus));
    }
    check_initrd(fdt, a, tree);
}

/* --- machines ------------------------------------------------------------------------------- */

static uint64_t file_size(const uint8_t *p, bool absurd)
{
    return (p[1] | (uint64_t)p[2] << 8) << (p[0] == 255 && absurd ? 33 : 0);
}

static struct asked parse(const uint8_t *data, size_t size)
{
    uint64_t pages = data[2] | data[3] << 8 | data[4] << 16 | (uint64_t)(data[5] & 31) << 24;
    bool absurd = pages <= GIB(4) / MEM_PAGE_SIZE;

    return (struct asked){
        .cpus = data[0] % (LIMIT_XLATE_VCPUS + 2),
        .firmware = data[1] & 1,
        .memory = MIB(LIMIT_MEMORY_MIN_MIB) - MEM_PAGE_SIZE + pages * MEM_PAGE_SIZE,
        .kernel = file_size(data + 6, absurd),
        .initrd = file_size(data + 9, absurd),
        .append = g_strndup((const char *)data + HEAD, size - HEAD),
    };
}

/* A file in memory: SIZE bytes, of which N are DATA. */
static int file_of(const void *data, size_t n, uint64_t size)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    g_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0 && pwrite(fd, data, n, 0) == (ssize_t)n);
    return fd;
}

/* A Linux Image that takes TAKES bytes from 2 MiB on. */
static int kernel_of(uint64_t takes)
{
    uint8_t p[KERNEL_FILE] = "MZ";
    uint64_t size = GUINT64_TO_LE(MAX(takes, KERNEL_FILE));

    p[10] = 0x20;
    memcpy(p + 16, &size, sizeof(size));
    memcpy(p + 56, "RSC\5\x40\0\0\0", 8);
    memcpy(p + 0x40, "PE\0\0\x64\x50\1\0", 8);
    p[0x40 + 24 + 16 + 1] = KERNEL_FILE >> 8;
    return file_of(p, sizeof(p), sizeof(p));
}

static void no_irq(void *opaque, unsigned cpu, unsigned irq, bool level)
{
}

/* Loads BOARD; what is in its memory then, or an error of one line. */
static void try(struct board *board, struct mem_map *mem, const struct asked *a)
{
    struct board_start start;
    g_autoptr(GError) err = NULL;

    if (!board_load(board, &err)) {
        g_assert(err && err->message[0] && !strchr(err->message, '\n'));
        return;
    }
    g_assert(!err && board_cpu_start(board, 0, &start));
    const uint8_t *fdt = mem_map_host(mem, start.args[1], FDT_ROOM, false);
    g_assert(fdt && start.args[1] % 8 == 0);
    read_tree(fdt);
    g_assert(fdt_check_full(fdt, FDT_ROOM) == 0);
    check_facts(fdt, a, start.args[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct board_cpu_ops cpu_ops = {.set_irq = no_irq};
    static const struct board_console_ops console_ops = {NULL, NULL};
    static const uint8_t nothing[FIRMWARE_FILE];
    g_autoptr(GError) err = NULL;
    uv_loop_t loop;

    if (size < HEAD)
        return 0;
    struct asked a = parse(data, size);
    autofd kernel = kernel_of(a.kernel), initrd = file_of("", 0, a.initrd);
    autofd firmware = file_of(nothing, FIRMWARE_FILE, FIRMWARE_FILE);
    uv_loop_init(&loop);
    struct board_config config = {
        .isa = ISA_RISCV64, .cpus = a.cpus, .memory = a.memory, .mem = mem_map_new(),
        .clock = vm_clock_new(0), .loop = &loop, .append = a.append,
        .kernel = {kernel, "kernel"}, .initrd = {a.initrd ? initrd : -1, "initrd"},
        .firmware = {a.firmware ? firmware : -1, "firmware"}, .vars = {-1, NULL},
        .cpu_ops = &cpu_ops, .console_ops = &console_ops,
    };
    struct board *board = board_new(&config, &err);
    g_assert(!board == !!err);
    if (board)
        try(board, config.mem, &a);
    board_free(board);
    uv_run(&loop, UV_RUN_DEFAULT);
    g_assert(uv_loop_close(&loop) == 0);
    mem_map_free(config.mem);
    vm_clock_free(config.clock);
    g_free(a.append);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const uint8_t heads[][HEAD] = {
        {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {4, 0, 0, 0x40, 0, 0, 0, 0, 0x50, 0, 0x34, 0x12},
        {8, 1, 0, 0, 0x20, 0, 0, 0, 0, 0, 1, 0},
        {8, 1, 1, 0, 0, 0, 255, 1, 0, 0, 0, 0x68},
        {2, 0, 1, 0, 0, 16, 0, 0, 0, 255, 1, 0},
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    };

    if (n >= 2 * G_N_ELEMENTS(heads))
        return false;
    g_byte_array_append(out, heads[n / 2], HEAD);
    if (n % 2)
        g_byte_array_append(out, (const guint8 *)"console=ttyS0 quiet \"a b\" \xff", 27);
    else if (n / 2 == 2)
        for (unsigned i = 0; i < LIMIT_APPEND; i++)
            g_byte_array_append(out, (const guint8 *)"x", 1);
    return true;
}
