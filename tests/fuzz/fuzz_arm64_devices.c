/*
 * The platform devices of virt-arm64 with a firmware, under whatever a guest does to their registers: flash,
 * fw_cfg, clock, serial port, key, event device, and the GIC with its ITS, whose tables and commands are in memory
 * that the guest writes, too. What state they are in can be saved and is taken back.
 *
 * The input: accesses of eight bytes each: where, how, offset (2), value (4).
 */
#include "machine/boards/board.h"
#include "machine/boards/virt_arm64.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

enum { ACCESS = 8, ACCESSES_MOST = 512, VARS = 2 * 256 * 1024, CPUS = 2 };

/* --- a VM without vCPUs ----------------------------------------------------------------------- */

static void set_irq(void *opaque, unsigned cpu, unsigned irq, bool level)
{
    g_assert(cpu < CPUS && irq < 2);
}

static int start(void *opaque, unsigned cpu, const struct board_start *at)
{
    return 0;
}

static void stop(void *opaque, unsigned self)
{
}

static enum board_cpu_status status(void *opaque, unsigned cpu)
{
    g_assert(cpu < CPUS);
    return BOARD_CPU_STARTED;
}

static void fence(void *opaque, unsigned from, uint64_t mask, enum board_fence kind,
                  const struct board_fence_range *range)
{
}

static void request(void *opaque, const struct board_request *what)
{
}

static const struct board_cpu_ops cpu_ops = {.set_irq = set_irq, .start = start, .stop = stop,
                                             .status = status, .fence = fence, .request = request};

static size_t output(void *opaque, const uint8_t *data, size_t n)
{
    return n;
}

static void input_room(void *opaque)
{
}

static const struct board_console_ops console_ops = {output, input_room};

static int file_of(size_t size)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    g_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    return fd;
}

/* --- accesses --------------------------------------------------------------------------------- */

static const gpa_t places[] = {
    ARM_FLASH,      ARM_FLASH + VARS - 0x10000, ARM_FW_CFG, ARM_RTC, ARM_UART, ARM_GPIO, ARM_GED,
    ARM_GIC_DIST,   ARM_GIC_REDIST,             ARM_GIC_REDIST + 0x10000,
    ARM_GIC_ITS,    ARM_GIC_ITS + 0x10000,
};
enum { TO_RAM = G_N_ELEMENTS(places), TO_SYSREG, WHERES };

/* ICC_xxx_EL1: op0 3, op1 0, CRn 4 or 12. */
static uint32_t sysreg(uint16_t offset)
{
    return 3u << 14 | (offset >> 8 & 1 ? 12u : 4u) << 7 | (offset & 0x7f);
}

static void access_once(struct board *board, struct mem_map *mem, const uint8_t *at)
{
    unsigned where = at[0] % WHERES, size = 1u << (at[1] & 3);
    uint16_t offset = (uint16_t)(at[2] | at[3] << 8);
    uint64_t low = at[4] | at[5] << 8 | at[6] << 16 | (uint64_t)at[7] << 24;
    uint64_t value = at[1] & 8 ? low | low << 32 : low;
    bool write = at[1] & 4;

    if (where == TO_RAM)
        mem_map_write(mem, ARM_RAM + (offset & ~7u), &value, sizeof(value));
    else if (where == TO_SYSREG)
        board_sysreg(board, offset >> 15, sysreg(offset), write, &value);
    else if (write)
        mem_map_device_write(mem, places[where] + (offset & ~(size - 1)), size, value);
    else
        mem_map_device_read(mem, places[where] + (offset & ~(size - 1)), size, &value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GByteArray) state = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    uv_loop_t loop;
    size_t used;

    uv_loop_init(&loop);
    struct board_config config = {
        .isa = ISA_AARCH64, .cpus = CPUS, .memory = MIB(LIMIT_MEMORY_MIN_MIB), .mem = mem_map_new(),
        .clock = vm_clock_new(0), .loop = &loop, .kernel = {-1, NULL}, .initrd = {-1, NULL},
        .firmware = {file_of(4096), "firmware"}, .vars = {file_of(VARS), "vars"},
        .cpu_ops = &cpu_ops, .console_ops = &console_ops,
    };
    vm_clock_pause(config.clock);
    struct board *board = board_new(&config, &err);
    g_assert(board && board_load(board, NULL));
    for (size_t i = 0; i + ACCESS <= MIN(size, (size_t)ACCESS * ACCESSES_MOST); i += ACCESS)
        access_once(board, config.mem, data + i);
    board_state_save(board, state);
    g_assert(board_state_load(board, state->data, state->len, &used, NULL) && used == state->len);
    board_state_save(board, again);
    g_assert(again->len == state->len);
    board_reset(board);
    board_free(board);
    uv_run(&loop, UV_RUN_DEFAULT);
    g_assert(uv_loop_close(&loop) == 0);
    mem_map_free(config.mem);
    vm_clock_free(config.clock);
    close(config.firmware.fd);
    close(config.vars.fd);
    return 0;
}

/* --- seeds ------------------------------------------------------------------------------------ */

#define READ(where, log2, offset) \
    {(where), (log2), (uint8_t)(offset), (uint8_t)((offset) >> 8), 0, 0, 0, 0}
#define WRITE(where, log2, offset, value) \
    {(where), (log2) | 4, (uint8_t)(offset), (uint8_t)((offset) >> 8), (uint8_t)(value), \
     (uint8_t)((value) >> 8), (uint8_t)((value) >> 16), (uint8_t)((uint32_t)(value) >> 24)}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const uint8_t flash[][ACCESS] = {
        WRITE(0, 2, 0x100, 0x00e800e8), WRITE(0, 2, 0x100, 0x00030003), WRITE(0, 2, 0x100, 1),
        WRITE(0, 2, 0x104, 2), WRITE(0, 2, 0x108, 3), WRITE(0, 2, 0x10c, 4),
        WRITE(0, 2, 0x100, 0x00d000d0), READ(0, 2, 0), WRITE(0, 2, 0, 0x00200020),
        WRITE(0, 2, 0, 0x00d000d0), WRITE(0, 2, 0, 0x00980098), READ(0, 3, 0x40), WRITE(0, 2, 0, 0x00ff00ff),
        READ(0, 3, 0x100), WRITE(0, 2, 4, 0x00400040), WRITE(0, 2, 4, 7),
    };
    static const uint8_t fw_cfg[][ACCESS] = {
        WRITE(2, 1, 8, 0x1900), READ(2, 3, 0), READ(2, 0, 0), WRITE(TO_RAM, 3, 0x100, 0x0a001900),
        WRITE(TO_RAM, 3, 0x108, 0), WRITE(2, 2, 16, 0), WRITE(2, 2, 20, 0x00010040), READ(2, 3, 16),
    };
    static const uint8_t its[][ACCESS] = {
        WRITE(7, 2, 0, 0x37), WRITE(10, 3, 0x80, 0x40000000), WRITE(10, 3, 0x100, 0x40010000),
        WRITE(10, 2, 0, 1), WRITE(TO_RAM, 3, 0, 8), WRITE(TO_RAM, 3, 8, 4), WRITE(10, 3, 0x88, 0x20),
        READ(10, 3, 0x90), WRITE(11, 2, 0x40, 1), WRITE(8, 2, 0, 1), WRITE(9, 2, 0x100, 0xffffffff),
        WRITE(TO_SYSREG, 3, 0x167, 1), READ(TO_SYSREG, 3, 0x160), WRITE(4, 2, 0x30, 0x301), READ(3, 0, 0xff0),
        WRITE(5, 2, 0x400, 0xff), READ(6, 2, 0), WRITE(6, 0, 6, 0x42),
    };

    if (n == 0)
        g_byte_array_append(out, flash[0], sizeof(flash));
    else if (n == 1)
        g_byte_array_append(out, fw_cfg[0], sizeof(fw_cfg));
    else if (n == 2)
        g_byte_array_append(out, its[0], sizeof(its));
    return n <= 2;
}
