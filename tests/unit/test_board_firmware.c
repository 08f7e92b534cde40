/*
 * What a firmware finds on virt-arm64: flash for its variables, command by command and over the end of
 * its process; fw_cfg in memory; ROM, device tree and ACPI tables.
 */
#include "machine/boards/virt_arm64.h"
#include "machine/devices/fw_cfg.h"
#include "machine/devices/pflash.h"
#include "tests/unit/acpi_rig.h"
#include "tests/unit/board_rig.h"

#include <libfdt.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- flash ---------------------------------------------------------------------------------- */

enum { AT = 0x10000, SIZE = 0x40000, BLOCK = 0x10000 };

/* A step: 'w' writes VALUE, 'r' reads it; 'f' is what the file then has (a byte); 'x' resets; 's' saves and
 * restores. */
struct flash_step {
    char what;
    unsigned size;
    uint64_t offset, value;
};

static const struct {
    const char *name;
    unsigned width, chips;
    struct flash_step steps[20];
} flash_rows[] = {
    {"reads what the file has", 4, 2, {{'r', 4, 0, 0x03020100}, {'r', 8, 8, 0x0f0e0d0c0b0a0908},
     {'r', 1, 0x21, 0x21}, {'r', 4, SIZE - 4, 0xfffefdfc}}},
    {"programs a word, which only clears bits", 4, 2, {{'w', 4, 0x10, 0x00400040},
     {'w', 4, 0x10, 0xfff0fff0}, {'r', 4, 0x10, 0x00800080}, {'w', 4, 0, 0x00ff00ff},
     {'r', 4, 0x10, 0x13101110}, {'f', 1, 0x12, 0x10}}},
    {"erases the block that the address is in", 4, 2, {{'w', 4, BLOCK + 0x100, 0x00200020},
     {'r', 4, 0, 0}, {'w', 4, BLOCK + 0x100, 0x00d000d0}, {'r', 4, 0, 0x00800080},
     {'w', 4, 0, 0x00ff00ff}, {'r', 8, BLOCK, UINT64_MAX}, {'r', 4, 2 * BLOCK - 4, UINT32_MAX},
     {'r', 4, BLOCK - 4, 0xfffefdfc}, {'r', 4, 2 * BLOCK, 0x03020100}, {'f', 1, BLOCK, 0xff}}},
    {"an erasure that is not confirmed is an error", 4, 2, {{'w', 4, 0, 0x00200020},
     {'w', 4, 0, 0x00700070}, {'r', 4, 0, 0x00b000b0}, {'w', 4, 0, 0x00500050},
     {'r', 4, 0, 0x03020100}}},
    {"one that is called off is not", 4, 2, {{'w', 4, 0, 0x00200020}, {'w', 4, 0, 0x00ff00ff},
     {'r', 4, 0, 0x03020100}, {'w', 4, 0, 0x00700070}, {'r', 4, 0, 0}}},
    {"programs by its buffer", 4, 2, {{'w', 4, 0x800, 0x00e800e8}, {'r', 4, 0x800, 0x00800080},
     {'w', 4, 0x800, 0x00010001}, {'w', 4, 0x804, 0}, {'w', 4, 0x808, 0}, {'f', 1, 0x804, 4},
     {'w', 4, 0x800, 0x00d000d0}, {'r', 4, 0, 0x00800080}, {'w', 4, 0, 0x00ff00ff},
     {'r', 4, 0x804, 0}, {'r', 4, 0x808, 0}, {'r', 4, 0x800, 0x03020100}, {'f', 1, 0x80b, 0}, {'r', 4, 0x80c, 0x0f0e0d0c}}},
    {"a buffer that is not confirmed programs nothing", 4, 2, {{'w', 4, 0, 0x00e800e8}, {'w', 4, 0, 0},
     {'w', 4, 0, 0}, {'w', 4, 0, 0x00ff00ff}, {'r', 4, 0, 0x00b000b0}, {'f', 1, 1, 1}}},
    {"one of too many words", 4, 2, {{'w', 4, 0, 0x00e800e8}, {'w', 4, 0, 0x02000200},
     {'r', 4, 0, 0x00b000b0}}},
    {"one that is filled in two places", 4, 2, {{'w', 4, 0, 0x00e800e8}, {'w', 4, 0, 0x00010001},
     {'w', 4, 0, 0}, {'w', 4, 0x800, 0}, {'r', 4, 0, 0x00b000b0}}},
    {"its identity", 4, 2, {{'w', 4, 0, 0x00900090}, {'r', 4, 0, 0x00890089}, {'r', 4, 4, 0x00180018},
     {'r', 2, 2, 0x89}, {'r', 1, 1, 0}, {'r', 4, 8, 0}}},
    {"CFI", 4, 2, {{'w', 4, 0x55 * 4, 0x00980098}, {'r', 4, 0x40, 0x00510051}, {'r', 4, 0x44, 0x00520052},
     {'r', 4, 0x48, 0x00590059}, {'r', 4, 0x27 * 4, 0x00110011}, {'r', 4, 0x2d * 4, 0x00030003},
     {'r', 4, 0x2f * 4, 0x00800080}, {'r', 4, 0x31 * 4, 0x00500050}, {'r', 4, SIZE - 4, 0}}},
    {"locks are none", 4, 2, {{'w', 4, 0, 0x00600060}, {'w', 4, 0, 0x00d000d0}, {'r', 4, 0, 0x00800080},
     {'w', 4, 0, 0x00600060}, {'w', 4, 0, 0x00330033}, {'r', 4, 0, 0x00b000b0}}},
    {"bytes wide, as OVMF knows flash", 1, 1, {{'w', 1, 3, 0x50}, {'r', 1, 3, 3}, {'w', 1, 3, 0x70},
     {'r', 1, 3, 0}, {'w', 1, 3, 0xff}, {'w', 1, 3, 0x10}, {'w', 1, 3, 0x01}, {'r', 1, 9, 0x80},
     {'w', 1, 3, 0xff}, {'r', 4, 0, 0x01020100}}},
    {"what there is not reads the array", 1, 1, {{'w', 1, 0, 0x90}, {'w', 1, 0, 0x33}, {'r', 1, 1, 1}}},
    {"a reset leaves the contents", 4, 2, {{'w', 4, 0, 0x00400040}, {'w', 4, 0, 0}, {'w', 4, 4, 0x00e800e8},
     {'x', 0, 0, 0}, {'r', 8, 0, 0x0706050400000000}}},
    {"saved in the middle of a buffer", 4, 2, {{'w', 4, 0, 0x00e800e8}, {'w', 4, 0, 0x00010001},
     {'w', 4, 4, 0}, {'s', 0, 0, 0}, {'w', 4, 8, 0}, {'s', 0, 0, 0}, {'w', 4, 0, 0x00d000d0},
     {'r', 4, 0, 0x00800080}, {'f', 1, 5, 0}, {'f', 1, 9, 0}, {'f', 1, 1, 1}}},
};

/* Each byte of it is its offset's low 8 bits. */
static int flash_file(size_t size)
{
    g_autofree uint8_t *bytes = g_malloc(size);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)i;
    return rig_file("flash", bytes, size).fd;
}

static struct pflash *flash_of(unsigned row, int fd, struct mem_map *mem)
{
    struct pflash_config config = {.fd = fd, .size = SIZE, .block = BLOCK,
                                   .width = flash_rows[row].width, .chips = flash_rows[row].chips};
    struct pflash *flash = pflash_new(&config);

    ck_assert_int_eq(device_map(pflash_device(flash), mem, AT), 0);
    return flash;
}

/* The same state in another device on the same file. */
static struct pflash *moved(struct pflash *old, unsigned row, int fd, struct mem_map *mem)
{
    g_autoptr(GByteArray) state = g_byte_array_new();
    size_t used;

    device_save(pflash_device(old), state);
    mem_map_remove_device(mem, AT);
    device_free(pflash_device(old));
    struct pflash *flash = flash_of(row, fd, mem);
    ck_assert(device_load(pflash_device(flash), state->data, state->len, &used, NULL));
    return flash;
}

START_TEST(test_flash)
{
    autofd fd = flash_file(SIZE);
    struct mem_map *mem = mem_map_new();
    struct pflash *flash = flash_of(_i, fd, mem);

    for (const struct flash_step *s = flash_rows[_i].steps; s->what; s++) {
        uint64_t value = 0;
        uint8_t byte = 0;
        switch (s->what) {
        case 'w':
            ck_assert_int_eq(mem_map_device_write(mem, AT + s->offset, s->size, s->value), 0);
            break;
        case 'r':
            ck_assert_int_eq(mem_map_device_read(mem, AT + s->offset, s->size, &value), 0);
            ck_assert_msg(value == s->value, "%s, step %td: %lx", flash_rows[_i].name,
                          s - flash_rows[_i].steps, value);
            break;
        case 'f':
            ck_assert_int_eq(pread(fd, &byte, 1, (off_t)s->offset), 1);
            ck_assert_msg(byte == s->value, "%s, step %td: %x", flash_rows[_i].name,
                          s - flash_rows[_i].steps, byte);
            break;
        case 'x':
            device_reset(pflash_device(flash));
            break;
        default:
            flash = moved(flash, _i, fd, mem);
        }
    }
    mem_map_free(mem);
    device_free(pflash_device(flash));
}
END_TEST

/* A file that takes nothing more, and one that became shorter. */
START_TEST(test_flash_file_fails)
{
    autofd fd = flash_file(SIZE);
    struct mem_map *mem = mem_map_new();
    struct pflash *flash = flash_of(0, fd, mem);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    autofd reader = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t value;

    mem_map_remove_device(mem, AT);
    device_free(pflash_device(flash));
    flash = flash_of(0, reader, mem);
    mem_map_device_write(mem, AT, 4, 0x00400040);
    mem_map_device_write(mem, AT, 4, 0);
    mem_map_device_read(mem, AT, 4, &value);
    ck_assert_uint_eq(value, 0x00900090);
    mem_map_device_write(mem, AT, 4, 0x00500050);
    mem_map_device_write(mem, AT, 4, 0x00200020);
    mem_map_device_write(mem, AT, 4, 0x00d000d0);
    mem_map_device_read(mem, AT, 4, &value);
    ck_assert_uint_eq(value, 0x00a000a0);
    mem_map_device_write(mem, AT, 4, 0x00ff00ff);
    mem_map_device_read(mem, AT, 4, &value);
    ck_assert_uint_eq(value, 0x03020100);
    ck_assert_int_eq(ftruncate(fd, 0x1000), 0);
    mem_map_device_read(mem, AT + 0x2000, 4, &value);
    ck_assert_uint_eq(value, UINT32_MAX);
    mem_map_free(mem);
    device_free(pflash_device(flash));
}
END_TEST

/* State that the device cannot be in is refused. */
START_TEST(test_flash_state)
{
    autofd fd = flash_file(SIZE);
    struct mem_map *mem = mem_map_new();
    struct pflash *flash = flash_of(0, fd, mem);
    g_autoptr(GByteArray) state = g_byte_array_new();
    unsigned refused = 0;
    size_t used;

    mem_map_device_write(mem, AT, 4, 0x00e800e8);
    mem_map_device_write(mem, AT, 4, 0x00010001);
    device_save(pflash_device(flash), state);
    for (guint i = 0; i < state->len; i++) {
        uint8_t old = state->data[i];
        state->data[i] = 0xee;
        if (!device_load(pflash_device(flash), state->data, state->len, &used, NULL)) {
            device_reset(pflash_device(flash));
            refused++;
        }
        for (unsigned k = 0; k < 4; k++)
            mem_map_device_write(mem, AT + 4 * k, 4, 0x00d000d0);
        state->data[i] = old;
        device_reset(pflash_device(flash));
    }
    ck_assert_uint_ge(refused, 3);
    mem_map_free(mem);
    device_free(pflash_device(flash));
}
END_TEST

/* --- the board ------------------------------------------------------------------------------ */

enum { ROM = 0x3000 };

static struct board_config firmware_config(struct rig *r, unsigned cpus)
{
    struct board_config config = rig_begin(r, cpus);
    g_autofree uint8_t *rom = g_malloc(ROM);

    for (unsigned i = 0; i < ROM; i++)
        rom[i] = (uint8_t)(i >> 4);
    config.isa = ISA_AARCH64;
    config.firmware = rig_file("rom", rom, ROM - 1);
    return config;
}

static void close_files(const struct board_config *c)
{
    const int files[] = {c->kernel.fd, c->initrd.fd, c->firmware.fd, c->vars.fd};

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
        if (files[i] >= 0)
            close(files[i]);
}

/* SIZE bytes of item KEY, in reads of UNIT bytes. */
static void read_item(struct rig *r, unsigned key, void *to, size_t size, unsigned unit)
{
    rig_write(r, ARM_FW_CFG + 8, 2, GUINT16_SWAP_LE_BE((uint16_t)key));
    for (size_t i = 0; i < size; i += unit) {
        uint64_t le = GUINT64_TO_LE(rig_read(r, ARM_FW_CFG, unit));
        memcpy((uint8_t *)to + i, &le, unit);
    }
}

START_TEST(test_board)
{
    struct rig r;
    struct board_config config = firmware_config(&r, 2);
    struct board_start start;
    const uint8_t *fdt;
    uint8_t bytes[8] = {0};
    int at, length;

    config.vars.fd = flash_file(2 * ARM_FLASH_BLOCK);
    rig_make(&r, &config);
    ck_assert(board_load(r.board, NULL));
    ck_assert(board_cpu_start(r.board, 0, &start));
    ck_assert_uint_eq(start.pc, 0);
    ck_assert(!board_cpu_start(r.board, 1, &start));
    fdt = mem_map_host(r.mem, ARM_ROM, 0x3000, false);
    ck_assert(fdt && fdt[0x2ff] == 0x2f && fdt[0x2fff] == 0);
    ck_assert(mem_map_host(r.mem, ARM_ROM, 4, true) == NULL);

    /* The tree is where RAM begins, and tells of the flash. */
    fdt = mem_map_host(r.mem, ARM_RAM, 4096, false);
    ck_assert_int_eq(fdt_check_header(fdt), 0);
    at = fdt_node_offset_by_compatible(fdt, -1, "cfi-flash");
    const fdt32_t *reg = fdt_getprop(fdt, at, "reg", &length);
    ck_assert(reg && length == 16 && fdt32_to_cpu(reg[1]) == ARM_FLASH &&
              fdt32_to_cpu(reg[3]) == 2 * ARM_FLASH_BLOCK);
    ck_assert_int_ge(fdt_node_offset_by_compatible(fdt, -1, "qemu,fw-cfg-mmio"), 0);
    ck_assert_uint_eq(rig_read(&r, ARM_FLASH + 0x104, 4), 0x07060504);

    /* The power button is told by ACPI's way and by the device tree's. */
    ck_assert(board_power_button(r.board));
    ck_assert_uint_eq(rig_read(&r, ARM_GED, 4), 1);
    ck_assert_uint_eq(rig_read(&r, ARM_GED, 4), 0);
    rig_write(&r, ARM_GED + 6, 1, 0x42);
    ck_assert_int_eq(r.n_requests, 1);
    ck_assert(r.request.kind == BOARD_REQUEST_REBOOT);

    read_item(&r, 0, bytes, 4, 1);
    ck_assert_mem_eq(bytes, "QEMU", 4);
    read_item(&r, 0, bytes, 4, 4);
    ck_assert_mem_eq(bytes, "QEMU", 4);
    read_item(&r, 0, bytes, 8, 8);
    ck_assert_mem_eq(bytes, "QEMU\0\0\0", 8);
    ck_assert_uint_eq(rig_read(&r, ARM_FW_CFG + 16, 8), GUINT64_SWAP_LE_BE(0x51454d5520434647));
    ck_assert_uint_eq(rig_read(&r, ARM_FW_CFG + 20, 4), 0x47464320);
    rig_end(&r);
    close_files(&config);
}
END_TEST

/* A kernel is the firmware's to load. */
START_TEST(test_kernel)
{
    struct rig r;
    struct board_config config = firmware_config(&r, 1);
    uint8_t kernel[5000], read[8] = {0};
    struct {
        uint32_t control, length;
        uint64_t address;
    } access = {GUINT32_TO_BE((uint32_t)FW_CFG_KERNEL << 16 | 1 << 3 | 1 << 1), GUINT32_TO_BE(6000),
                GUINT64_TO_BE(ARM_RAM + 0x10000)};
    uint8_t *ram;

    for (size_t i = 0; i < sizeof(kernel); i++)
        kernel[i] = (uint8_t)(i * 7);
    config.kernel = rig_file("kernel", kernel, sizeof(kernel));
    config.initrd = rig_file("initrd", "initrd", 6);
    config.append = "console=ttyAMA0";
    rig_make(&r, &config);
    ck_assert(board_load(r.board, NULL));
    read_item(&r, FW_CFG_KERNEL_SIZE, read, 4, 4);
    ck_assert_uint_eq(read[0] | read[1] << 8, 5000);
    read_item(&r, FW_CFG_INITRD_SIZE, read, 4, 4);
    ck_assert_uint_eq(read[0], 6);
    read_item(&r, FW_CFG_INITRD, read, 8, 8);
    ck_assert_mem_eq(read, "initrd\0\0", 8);
    read_item(&r, FW_CFG_APPEND_SIZE, read, 4, 4);
    ck_assert_uint_eq(read[0], 16);
    read_item(&r, FW_CFG_APPEND, read, 8, 8);
    ck_assert_mem_eq(read, "console=", 8);

    ram = mem_map_host(r.mem, ARM_RAM + 0x10000, 6000, true);
    memset(ram, 0xff, 6000);
    mem_map_write(r.mem, ARM_RAM + 0x8000, &access, sizeof(access));
    rig_write(&r, ARM_FW_CFG + 16, 8, GUINT64_SWAP_LE_BE(ARM_RAM + 0x8000));
    ck_assert_mem_eq(ram, kernel, sizeof(kernel));
    ck_assert(ram[5000] == 0 && ram[5999] == 0);
    mem_map_read(r.mem, ARM_RAM + 0x8000, &access, sizeof(access));
    ck_assert_uint_eq(access.control, 0);
    rig_end(&r);
    close_files(&config);
}
END_TEST

/* Variables without a file last as long as the machine, resets included. */
START_TEST(test_lost_variables)
{
    struct rig r;
    struct board_config config = firmware_config(&r, 1);

    rig_make(&r, &config);
    ck_assert(board_load(r.board, NULL));
    rig_write(&r, ARM_FLASH, 4, 0x00200020);
    rig_write(&r, ARM_FLASH, 4, 0x00d000d0);
    board_reset(r.board);
    ck_assert(board_load(r.board, NULL));
    ck_assert_uint_eq(rig_read(&r, ARM_FLASH, 4), UINT32_MAX);
    ck_assert_uint_eq(rig_read(&r, ARM_FLASH + ARM_FLASH_MOST - 4, 4), 0);
    rig_end(&r);
    close_files(&config);
}
END_TEST

static const struct {
    const char *name;
    size_t firmware, vars; /* bytes */
    bool locked;           /* another VM has the variables */
    int code;
} refusals[] = {
    {"no firmware", 0, 1 << 18, false, VMD_ERROR_INVALID},
    {"too large", (64 << 20) + 1, 1 << 18, false, VMD_ERROR_LIMIT},
    {"variables of an odd size", 1, 1000, false, VMD_ERROR_INVALID},
    {"variables that another has", 1, 1 << 18, true, VMD_ERROR_BUSY},
};

START_TEST(test_refusals)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    g_autoptr(GError) err = NULL;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    config.isa = ISA_AARCH64;
    config.firmware = rig_file("firmware", "", 0);
    config.vars = rig_file("vars", "", 0);
    ck_assert_int_eq(ftruncate(config.firmware.fd, (off_t)refusals[_i].firmware), 0);
    ck_assert_int_eq(ftruncate(config.vars.fd, (off_t)refusals[_i].vars), 0);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", config.vars.fd);
    autofd other = open(path, O_RDWR | O_CLOEXEC);
    if (refusals[_i].locked)
        ck_assert_int_eq(fcntl(other, F_OFD_SETLK, &lock), 0);
    ck_assert_msg(board_new(&config, &err) == NULL, "%s", refusals[_i].name);
    ck_assert_msg(g_error_matches(err, VMD_ERROR, refusals[_i].code), "%s: %s", refusals[_i].name,
                  err->message);
    rig_end(&r);
    close_files(&config);
}
END_TEST

/* --- ACPI ----------------------------------------------------------------------------------- */

static const unsigned machines[] = {1, 5, 300};

START_TEST(test_acpi)
{
    static const char *const listed[] = {"FACP", "APIC", "GTDT", "PPTT", "MCFG", "SPCR", "IORT"};
    g_autofree char *folder = g_dir_make_tmp("vmd-acpi-XXXXXX", NULL);
    unsigned giccs = 0, others = 0;
    struct acpi_set set;

    acpi_begin(&set);
    uint32_t rsdp = arm_acpi_make(&set, machines[_i]);
    acpi_place(&set, BASE);
    uint64_t at = find(&set, rsdp, "APIC"), end = at + get(&set, at + 4, 4);
    for (uint64_t e = at + 44; e < end; e += get(&set, e + 1, 1)) {
        others |= get(&set, e, 1) == 11 ? 0 : 1u << get(&set, e, 1);
        if (get(&set, e, 1) != 11)
            continue;
        ck_assert_uint_eq(get(&set, e + 8, 4), giccs);
        ck_assert_uint_eq(get(&set, e + 68, 8), giccs / 16 << 8 | giccs % 16);
        giccs++;
    }
    ck_assert_uint_eq(giccs, machines[_i]);
    ck_assert_uint_eq(others, 1 << 12 | 1 << 14 | 1 << 15);
    ck_assert_uint_eq(get(&set, find(&set, rsdp, "FACP") + 129, 2), 3);
    check_table(&set, get(&set, find(&set, rsdp, "FACP") + 140, 8) - BASE, folder);
    for (size_t i = 0; i < G_N_ELEMENTS(listed); i++)
        check_table(&set, find(&set, rsdp, listed[i]), folder);
    ck_assert_int_eq(g_rmdir(folder), 0);
    acpi_clear(&set);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("board_firmware");
    TCase *tc = tcase_create("firmware");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_flash, 0, G_N_ELEMENTS(flash_rows));
    tcase_add_test(tc, test_flash_file_fails);
    tcase_add_test(tc, test_flash_state);
    tcase_add_test(tc, test_board);
    tcase_add_test(tc, test_kernel);
    tcase_add_test(tc, test_lost_variables);
    tcase_add_loop_test(tc, test_refusals, 0, G_N_ELEMENTS(refusals));
    tcase_add_loop_test(tc, test_acpi, 0, G_N_ELEMENTS(machines));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
