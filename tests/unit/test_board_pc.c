/*
 * The pc machine as a guest sees it: scripts of port and register accesses with the interrupts
 * and requests that they make, a row a case; its clock; its start; its saved state.
 */
#include "gpu/device/gpu_function.h"
#include "machine/boards/pc.h"
#include "machine/bus/pci.h"
#include "machine/devices/cmos.h"
#include "tests/unit/board_rig.h"

struct pc_rig {
    struct rig r;
    struct mem_map *ports;
    bool gsi[24];
    unsigned n_messages;
    uint64_t address;
    uint32_t data;
    unsigned n_routes;
    bool routed[24];
};

static void rig_gsi(void *opaque, unsigned gsi, bool level)
{
    struct pc_rig *p = container_of(opaque, struct pc_rig, r);

    ck_assert_uint_lt(gsi, G_N_ELEMENTS(p->gsi));
    p->gsi[gsi] = level;
}

static void rig_msi(void *opaque, uint64_t address, uint32_t data)
{
    struct pc_rig *p = container_of(opaque, struct pc_rig, r);

    p->n_messages++;
    p->address = address;
    p->data = data;
}

static void rig_route(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data)
{
    struct pc_rig *p = container_of(opaque, struct pc_rig, r);

    p->n_routes++;
    p->routed[pin] = used;
}

static const struct board_cpu_ops ops = {
    .set_irq = rig_set_irq,
    .start = rig_start,
    .stop = rig_stop,
    .status = rig_status,
    .fence = rig_fence,
    .request = rig_request,
    .gsi = rig_gsi,
    .msi = rig_msi,
    .route = rig_route,
};

static struct board_config pc_begin(struct pc_rig *p, uint64_t memory)
{
    struct board_config config = rig_begin(&p->r, 2);

    p->ports = mem_map_new();
    memset(p->gsi, 0, sizeof(p->gsi));
    p->n_messages = 0;
    config.isa = ISA_X86_64;
    config.memory = memory;
    config.ports = p->ports;
    config.cpu_ops = &ops;
    return config;
}

static void pc_end(struct pc_rig *p)
{
    rig_end(&p->r);
    mem_map_free(p->ports);
}

static uint64_t in(struct pc_rig *p, unsigned port, unsigned size)
{
    uint64_t value = 0;

    ck_assert_int_eq(mem_map_device_read(p->ports, port, size, &value), 0);
    return value;
}

static void out(struct pc_rig *p, unsigned port, unsigned size, uint64_t value)
{
    ck_assert_int_eq(mem_map_device_write(p->ports, port, size, value), 0);
}

/* --- scripts -------------------------------------------------------------------------------- */

enum op { END, OUT1, OUT2, OUT4, IN1, IN2, IN4, READ1, READ4, WRITE1, WRITE4, BUTTON, GSI, ASKED };

/* GSI: WHERE is the number, VALUE its level. ASKED: VALUE is the kind of the only request. */
struct step {
    enum op op;
    uint32_t where;
    uint32_t value;
};

static const struct {
    const char *name;
    struct step steps[16];
} rows[] = {
    {"keyboard controller: self-test, as probed",
     {{IN1, 0x64, 0x14},
      {OUT1, 0x64, 0xaa},
      {IN1, 0x64, 0x1d},
      {IN1, 0x60, 0x55},
      {IN1, 0x64, 0x1c},
      {OUT1, 0x64, 0xab},
      {IN1, 0x60, 0}}},
    {"keyboard controller: the control byte is kept",
     {{OUT1, 0x64, 0x60},
      {OUT1, 0x60, 0x47},
      {OUT1, 0x64, 0xad},
      {OUT1, 0x64, 0x20},
      {IN1, 0x60, 0x57},
      {OUT1, 0x64, 0xae},
      {OUT1, 0x64, 0xa7},
      {OUT1, 0x64, 0x20},
      {IN1, 0x60, 0x67}}},
    {"keyboard controller: nobody answers as a keyboard",
     {{OUT1, 0x60, 0xf2}, {IN1, 0x64, 0x14}, {IN1, 0x61, 0xff}}},
    {"keyboard controller: a pulse of the reset line",
     {{OUT1, 0x64, 0xfe}, {ASKED, 0, BOARD_REQUEST_REBOOT}}},
    {"keyboard controller: reset by the output port",
     {{OUT1, 0x64, 0xd1},
      {OUT1, 0x60, 0x03},
      {OUT1, 0x64, 0xd0},
      {IN1, 0x60, 0x03},
      {OUT1, 0x64, 0xd1},
      {OUT1, 0x60, 0x02},
      {ASKED, 0, BOARD_REQUEST_REBOOT}}},
    {"reset control: a rising edge resets",
     {{OUT1, 0xcf9, 0x02},
      {IN1, 0xcf9, 0x02},
      {OUT1, 0xcf9, 0x06},
      {ASKED, 0, BOARD_REQUEST_REBOOT}}},
    {"configuration by ports: the bridge's identity",
     {{OUT4, 0xcf8, 0x80000000},
      {IN4, 0xcfc, 0x00081b36},
      {IN2, 0xcfe, 0x0008},
      {IN1, 0xcfd, 0x1b},
      {IN4, 0xcf8, 0x80000000}}},
    {"configuration by ports: none at an empty slot, none without the enable bit",
     {{OUT4, 0xcf8, 0x8000f800},
      {IN4, 0xcfc, 0xffffffff},
      {OUT4, 0xcf8, 0x00000000},
      {IN4, 0xcfc, 0xffffffff},
      {IN2, 0xcfc, 0xffff}}},
    {"configuration by ports: what ECAM shows",
     {{OUT4, 0xcf8, 0x80000004},
      {OUT2, 0xcfc, 0x0002},
      {READ4, PC_ECAM + 4, 0x00000002},
      {IN2, 0xcfc, 0x0002}}},
    {"power button: an event until it is read",
     {{GSI, PC_GSI_GED, 0},
      {BUTTON},
      {GSI, PC_GSI_GED, 1},
      {READ4, PC_GED + GED_EVENTS, GED_POWER_BUTTON},
      {GSI, PC_GSI_GED, 0},
      {READ4, PC_GED + GED_EVENTS, 0}}},
    {"sleep: S5 powers off",
     {{WRITE1, PC_GED + GED_SLEEP_CONTROL, 1 << 5 | GED_S5 << 2},
      {ASKED, 0, BOARD_REQUEST_POWEROFF}}},
    {"reset register",
     {{WRITE1, PC_GED + GED_RESET, GED_RESET_VALUE}, {ASKED, 0, BOARD_REQUEST_REBOOT}}},
    {"event device: nothing else does anything",
     {{WRITE1, PC_GED + GED_SLEEP_CONTROL, GED_S5 << 2},
      {WRITE1, PC_GED + GED_SLEEP_CONTROL, 1 << 5 | 3 << 2},
      {WRITE1, PC_GED + GED_RESET, 1},
      {WRITE4, PC_GED + GED_EVENTS, 0xffffffff},
      {READ1, PC_GED + GED_SLEEP_STATUS, 0},
      {READ4, PC_GED + GED_EVENTS, 0}}},
    {"serial port: its interrupt at the transmitter",
     {{GSI, PC_IRQ_COM1, 0},
      {OUT1, 0x3fc, 8},
      {OUT1, 0x3f9, 2},
      {GSI, PC_IRQ_COM1, 1},
      {IN1, 0x3fa, 0x02},
      {GSI, PC_IRQ_COM1, 0}}},
};

static void do_step(struct pc_rig *p, const char *name, unsigned i, const struct step *s)
{
    uint64_t got = s->value;

    switch (s->op) {
    case OUT1:
    case OUT2:
    case OUT4:
        out(p, s->where, s->op == OUT1 ? 1 : s->op == OUT2 ? 2 : 4, s->value);
        break;
    case IN1:
    case IN2:
    case IN4:
        got = in(p, s->where, s->op == IN1 ? 1 : s->op == IN2 ? 2 : 4);
        break;
    case READ1:
    case READ4:
        got = rig_read(&p->r, s->where, s->op == READ1 ? 1 : 4);
        break;
    case WRITE1:
    case WRITE4:
        rig_write(&p->r, s->where, s->op == WRITE1 ? 1 : 4, s->value);
        break;
    case BUTTON:
        ck_assert(board_power_button(p->r.board));
        break;
    case GSI:
        got = p->gsi[s->where];
        break;
    case ASKED:
        ck_assert_uint_eq(p->r.n_requests, 1);
        got = p->r.request.kind;
        p->r.n_requests = 0;
        break;
    default:
        break;
    }
    ck_assert_msg(got == s->value, "%s, step %u: 0x%x, not 0x%x", name, i, (unsigned)got, s->value);
}

START_TEST(test_script)
{
    struct pc_rig p;
    struct board_config config = pc_begin(&p, MIB(64));

    rig_make(&p.r, &config);
    for (unsigned i = 0; rows[_i].steps[i].op != END; i++)
        do_step(&p, rows[_i].name, i, &rows[_i].steps[i]);
    ck_assert_msg(p.r.n_requests == 0, "%s: a request", rows[_i].name);
    pc_end(&p);
}
END_TEST

/* --- the clock ------------------------------------------------------------------------------ */

static uint64_t wall;

static uint64_t wall_ns(void)
{
    return wall;
}

struct clock_rig {
    uv_loop_t loop;
    struct vm_clock *clock;
    struct guest_timers *timers;
    struct cmos *cmos;
    bool irq;
};

static void clock_irq(void *opaque, unsigned number, bool level)
{
    struct clock_rig *c = opaque;

    c->irq = level;
}

/* Begins at 23:59:58 on 31 December 1999. */
static void clock_begin(struct clock_rig *c)
{
    struct irq_line line = {.set = clock_irq, .opaque = c};

    wall = UINT64_C(946684798) * 1000000000;
    ck_assert_int_eq(uv_loop_init(&c->loop), 0);
    c->clock = vm_clock_new(0);
    c->timers = guest_timers_new(&c->loop, c->clock, NULL);
    c->cmos = cmos_new(c->timers, line, wall_ns);
    c->irq = false;
    device_reset(cmos_device(c->cmos));
}

static void clock_end(struct clock_rig *c)
{
    device_free(cmos_device(c->cmos));
    guest_timers_free(c->timers);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&c->loop), 0);
    vm_clock_free(c->clock);
}

static unsigned get(struct clock_rig *c, unsigned index)
{
    struct device *dev = cmos_device(c->cmos);
    uint64_t value;

    dev->class->regs.write(dev, 0, 1, index);
    dev->class->regs.read(dev, 1, 1, &value);
    return (unsigned)value;
}

static void set(struct clock_rig *c, unsigned index, unsigned value)
{
    struct device *dev = cmos_device(c->cmos);

    dev->class->regs.write(dev, 0, 1, index);
    dev->class->regs.write(dev, 1, 1, value);
}

/* Seconds, minutes, hours, weekday, day, month, year, century. */
static void check_time(struct clock_rig *c, const uint8_t expected[8])
{
    static const uint8_t indexes[] = {0, 2, 4, 6, 7, 8, 9, 0x32};

    for (unsigned i = 0; i < G_N_ELEMENTS(indexes); i++)
        ck_assert_msg(get(c, indexes[i]) == expected[i], "register %u is 0x%x, not 0x%x",
                      indexes[i], get(c, indexes[i]), expected[i]);
}

static const struct {
    const char *name;
    uint8_t b;
    unsigned later; /* seconds */
    uint8_t time[8];
} formats[] = {
    {"BCD", 0x02, 0, {0x58, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19}},
    {"binary", 0x06, 0, {58, 59, 23, 6, 31, 12, 99, 19}},
    {"BCD, 12 hours", 0x00, 0, {0x58, 0x59, 0x91, 6, 0x31, 0x12, 0x99, 0x19}},
    {"midnight, a new century", 0x02, 2, {0, 0, 0, 7, 1, 1, 0, 0x20}},
    {"midnight in 12 hours", 0x00, 2, {0, 0, 0x12, 7, 1, 1, 0, 0x20}},
    {"noon in 12 hours", 0x04, 2 + 43200, {0, 0, 0x8c, 7, 1, 1, 0, 20}},
};

START_TEST(test_time)
{
    struct clock_rig c;

    clock_begin(&c);
    set(&c, 11, formats[_i].b);
    wall += formats[_i].later * UINT64_C(1000000000);
    check_time(&c, formats[_i].time);
    clock_end(&c);
}
END_TEST

START_TEST(test_set_time)
{
    static const uint8_t expected[] = {0x07, 0x30, 0x12, 5, 0x29, 0x02, 0x24, 0x20};
    static const uint8_t indexes[] = {0, 2, 4, 7, 8, 9, 0x32};
    static const uint8_t values[] = {0x05, 0x30, 0x12, 0x29, 0x02, 0x24, 0x20};
    struct clock_rig c;

    clock_begin(&c);
    set(&c, 11, 0x82);
    for (unsigned i = 0; i < G_N_ELEMENTS(indexes); i++)
        set(&c, indexes[i], values[i]);
    wall += UINT64_C(5000000000); /* time stands still meanwhile */
    ck_assert_uint_eq(get(&c, 0), 5);
    set(&c, 11, 0x02);
    wall += UINT64_C(2000000000);
    check_time(&c, expected);
    clock_end(&c);
}
END_TEST

START_TEST(test_alarm)
{
    struct clock_rig c;

    clock_begin(&c);
    set(&c, 1, 0x01); /* at any second 1 */
    set(&c, 3, 0xff);
    set(&c, 5, 0xff);
    set(&c, 11, 0x22);
    wall += UINT64_C(2000000000);
    ck_assert_uint_eq(get(&c, 12), 0x10);
    ck_assert(!c.irq);
    wall += UINT64_C(1000000000);
    get(&c, 10); /* any access but of register C leaves the flags */
    ck_assert_uint_eq(get(&c, 12), 0xb0);
    ck_assert(!c.irq);
    ck_assert_uint_eq(get(&c, 12), 0);
    wall += UINT64_C(1000000000);
    set(&c, 11, 0x12); /* an update's interrupt, from its flag */
    ck_assert(c.irq);
    ck_assert_uint_eq(get(&c, 12), 0x90);
    ck_assert(!c.irq);
    clock_end(&c);
}
END_TEST

/* The machine's clock is the VM's, and stands with it. */
START_TEST(test_paused_time)
{
    struct pc_rig p;
    struct board_config config = pc_begin(&p, MIB(64));
    struct tm tm;

    rig_make(&p.r, &config);
    time_t paused = (time_t)rig_pause_a_second(&p.r);
    gmtime_r(&paused, &tm);
    out(&p, PC_RTC, 1, 0);
    uint64_t seconds = in(&p, PC_RTC + 1, 1);
    ck_assert_uint_eq((seconds >> 4) * 10 + seconds % 16, (unsigned)tm.tm_sec);
    out(&p, PC_RTC, 1, 2);
    uint64_t minutes = in(&p, PC_RTC + 1, 1);
    ck_assert_uint_eq((minutes >> 4) * 10 + minutes % 16, (unsigned)tm.tm_min);
    pc_end(&p);
}
END_TEST

/* --- the machine ---------------------------------------------------------------------------- */

START_TEST(test_start)
{
    uint8_t kernel[0x2000] = {0};
    struct board_start start;
    struct pc_rig p;
    struct board_config config = pc_begin(&p, MIB(64));

    kernel[0x1f1] = 1;
    kernel[0x1f5] = 1; /* 0x100 units of 16 bytes */
    memcpy(kernel + 0x1fe, "\x55\xaa\xeb\x66HdrS\x0f\x02", 10);
    kernel[0x211] = kernel[0x234] = kernel[0x236] = 1;
    kernel[0x238] = 255;
    config.kernel = rig_file("k", kernel, sizeof(kernel));
    config.append = "quiet";
    rig_make(&p.r, &config);
    ck_assert_str_eq(board_traits(p.r.board)->name, "pc");
    ck_assert(board_load(p.r.board, NULL));
    ck_assert(board_cpu_start(p.r.board, 0, &start));
    ck_assert_int_eq(start.mode, BOARD_MODE_LONG);
    ck_assert_uint_eq(start.pc, MIB(1) + 0x200);
    const uint8_t *params = mem_map_host(p.r.mem, start.args[0], 4096, false);
    uint64_t rsdp = GUINT64_FROM_LE(*(const uint64_t *)(params + 0x70));
    ck_assert_mem_eq(mem_map_host(p.r.mem, rsdp, 8, false), "RSD PTR ", 8);
    ck_assert_uint_eq(params[0x1e8], 4);
    ck_assert(!board_cpu_start(p.r.board, 1, &start));
    close(config.kernel.fd);
    pc_end(&p);
}
END_TEST

START_TEST(test_hole)
{
    struct pc_rig p;
    struct board_config config = pc_begin(&p, GIB(3) + MIB(64));

    rig_make(&p.r, &config);
    ck_assert(mem_map_host(p.r.mem, GIB(3) - 4096, 4096, true) != NULL);
    ck_assert(mem_map_host(p.r.mem, GIB(3), 4096, true) == NULL);
    ck_assert(mem_map_host(p.r.mem, GIB(4), MIB(64), true) != NULL);
    ck_assert(mem_map_host(p.r.mem, GIB(4) + MIB(64), 4096, true) == NULL);
    pc_end(&p);
}
END_TEST

START_TEST(test_state)
{
    g_autoptr(GByteArray) first = g_byte_array_new();
    g_autoptr(GByteArray) second = g_byte_array_new();
    struct pc_rig p, q;
    struct board_config config = pc_begin(&p, MIB(64)), other = pc_begin(&q, MIB(64));
    size_t used;

    rig_make(&p.r, &config);
    rig_make(&q.r, &other);
    out(&p, 0xcf8, 4, 0x80000008);
    out(&p, 0x70, 1, 0x50);
    out(&p, 0x71, 1, 0xa5);
    out(&p, 0x64, 1, 0xaa);
    board_power_button(p.r.board);
    board_state_save(p.r.board, first);
    ck_assert(board_state_load(q.r.board, first->data, first->len, &used, NULL));
    ck_assert_uint_eq(used, first->len);
    ck_assert_uint_eq(in(&q, 0xcf8, 4), 0x80000008);
    ck_assert_uint_eq(in(&q, 0x71, 1), 0xa5);
    ck_assert_uint_eq(in(&q, 0x60, 1), 0x55);
    ck_assert(q.gsi[PC_GSI_GED]);
    board_reset(q.r.board);
    ck_assert(!q.gsi[PC_GSI_GED]);
    ck_assert_uint_eq(in(&q, 0xcf8, 4), 0);
    pc_end(&p);
    pc_end(&q);
}
END_TEST

/* --- firmware ------------------------------------------------------------------------------- */

enum { ROM = 0x40000, DIRECTORY = 0x19, ENTRY = 64 };

/* What the data port gives of item KEY. */
static void read_item(struct pc_rig *p, unsigned key, uint8_t *to, size_t n)
{
    out(p, PC_FW_CFG, 2, key);
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)in(p, PC_FW_CFG + 1, 1);
}

static uint32_t be32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The bytes of file NAME, found by the directory; the caller frees. */
static uint8_t *read_file(struct pc_rig *p, const char *name, uint32_t *size)
{
    uint8_t directory[4 + 8 * ENTRY];

    read_item(p, DIRECTORY, directory, sizeof(directory));
    for (unsigned i = 0; i < MIN(be32(directory), 8); i++) {
        const uint8_t *e = directory + 4 + i * ENTRY;
        if (strcmp((const char *)e + 8, name) == 0) {
            *size = be32(e);
            uint8_t *bytes = g_malloc(*size);
            read_item(p, e[4] << 8 | e[5], bytes, *size);
            return bytes;
        }
    }
    ck_abort_msg("there is no file %s", name);
}

/* A transfer by DMA of CONTROL to ADDRESS; returns what it says in the end. */
static uint32_t dma(struct pc_rig *p, uint32_t control, uint32_t length, uint64_t address)
{
    const struct {
        uint32_t control, length;
        uint64_t address;
    } access = {GUINT32_TO_BE(control), GUINT32_TO_BE(length), GUINT64_TO_BE(address)};
    uint32_t status;

    ck_assert_int_eq(mem_map_write(p->r.mem, 0x5000, &access, sizeof(access)), 0);
    out(p, PC_FW_CFG + 4, 4, 0);
    out(p, PC_FW_CFG + 8, 4, GUINT32_SWAP_LE_BE(0x5000));
    ck_assert_int_eq(mem_map_read(p->r.mem, 0x5000, &status, sizeof(status)), 0);
    return GUINT32_FROM_BE(status);
}

static void firmware_begin(struct pc_rig *p, uint8_t rom[ROM])
{
    struct board_config config = pc_begin(p, MIB(64));
    struct board_start start;

    for (unsigned i = 0; i < ROM; i++)
        rom[i] = (uint8_t)(i * 31 >> 7);
    config.firmware = rig_file("rom", rom, ROM);
    rig_make(&p->r, &config);
    ck_assert(board_load(p->r.board, NULL));
    ck_assert(board_cpu_start(p->r.board, 0, &start));
    ck_assert(start.mode == BOARD_MODE_RESET && start.pc == 0xfffffff0);
    ck_assert(!board_cpu_start(p->r.board, 1, &start));
    close(config.firmware.fd);
}

START_TEST(test_firmware)
{
    g_autofree uint8_t *rom = g_malloc(ROM), *bytes = NULL;
    struct pc_rig p;
    uint32_t size;

    firmware_begin(&p, rom);
    ck_assert_mem_eq(mem_map_host(p.r.mem, GIB(4) - ROM, ROM, false), rom, ROM);
    ck_assert(mem_map_host(p.r.mem, GIB(4) - ROM, ROM, true) == NULL);
    ck_assert_mem_eq(mem_map_host(p.r.mem, 0xe0000, 0x20000, true), rom + ROM - 0x20000, 0x20000);
    bytes = read_file(&p, "etc/e820", &size);
    ck_assert_uint_eq(size, 40);
    ck_assert_uint_eq(GUINT64_FROM_LE(*(const uint64_t *)(bytes + 8)), MIB(64));
    ck_assert_uint_eq(in(&p, PC_FW_CFG + 1, 1), 0); /* beyond its end */
    pc_end(&p);
}
END_TEST

/* Variables end where the firmware begins: flash that is a byte wide. */
START_TEST(test_variables)
{
    g_autofree uint8_t *rom = g_malloc0(ROM);
    const gpa_t at = GIB(4) - ROM - KIB(8);
    struct pc_rig p;
    struct board_config config = pc_begin(&p, MIB(64));
    uint8_t byte;

    memset(rom, 0x5a, KIB(8));
    config.vars = rig_file("vars", rom, KIB(8));
    config.firmware = rig_file("rom", rom, ROM);
    rig_make(&p.r, &config);
    ck_assert(board_load(p.r.board, NULL));
    ck_assert_uint_eq(rig_read(&p.r, at + KIB(8) - 8, 8), 0x5a5a5a5a5a5a5a5a);
    rig_write(&p.r, at + 5, 1, 0x10);
    rig_write(&p.r, at + 5, 1, 0x0f);
    ck_assert_uint_eq(rig_read(&p.r, at, 1), 0x80);
    ck_assert_int_eq(pread(config.vars.fd, &byte, 1, 5), 1);
    ck_assert_uint_eq(byte, 0x0a);
    pc_end(&p);
    close(config.vars.fd);
    close(config.firmware.fd);
}
END_TEST

START_TEST(test_fw_cfg)
{
    g_autofree uint8_t *rom = g_malloc(ROM);
    uint8_t bytes[8], *ram;
    struct pc_rig p;

    firmware_begin(&p, rom);
    read_item(&p, 0, bytes, 5);
    ck_assert_mem_eq(bytes, "QEMU", 5);
    read_item(&p, 1, bytes, 4);
    ck_assert_uint_eq(bytes[0], 3);
    read_item(&p, 5, bytes, 2);
    ck_assert_uint_eq(bytes[0], 2); /* vCPUs */
    read_item(&p, 0xffff, bytes, 1);
    ck_assert_uint_eq(bytes[0], 0);
    ck_assert_uint_eq(in(&p, PC_FW_CFG + 4, 4), 0x554d4551);
    ram = mem_map_host(p.r.mem, 0x6000, 16, true);
    memset(ram, 0xff, 16);
    ck_assert_uint_eq(dma(&p, 1 << 3 | 1 << 1, 6, 0x6000), 0);
    ck_assert_mem_eq(ram, "QEMU\0\0\xff", 7);
    ck_assert_uint_eq(dma(&p, 1 << 3 | 1 << 2, 2, 0), 0); /* skip, then go on */
    ck_assert_uint_eq(dma(&p, 1 << 1, 2, 0x6000), 0);
    ck_assert_mem_eq(ram, "MU", 2);
    ck_assert_uint_eq(dma(&p, 1 << 4, 2, 0x6000), 1);           /* no writing */
    ck_assert_uint_eq(dma(&p, 1 << 1, UINT32_MAX, 0x6000), 1);  /* beyond RAM */
    ck_assert_uint_eq(dma(&p, 1 << 1, 4096, GIB(4) - 4096), 1); /* to ROM */
    pc_end(&p);
}
END_TEST

/* Does what a firmware does with the commands: the result is what acpi_place() makes. */
static void run_command(const uint8_t *c, uint8_t *tables, uint8_t *rsdp, uint64_t base)
{
    uint32_t command = c[0], n[3];
    uint8_t *file = strcmp((const char *)c + 4, "etc/acpi/rsdp") == 0 ? rsdp : tables;

    if (command == 2) {
        uint64_t value;
        memcpy(n, c + 116, 4);
        ck_assert_uint_eq(c[120], 8);
        memcpy(&value, file + n[0], 8);
        value += base;
        memcpy(file + n[0], &value, 8);
    } else if (command == 3) {
        memcpy(n, c + 60, 12);
        for (uint32_t i = 0; i < n[2]; i++)
            file[n[0]] = (uint8_t)(file[n[0]] - (n[1] + i == n[0] ? 0 : file[n[1] + i]));
    }
}

START_TEST(test_commands)
{
    g_autofree uint8_t *rom = g_malloc(ROM), *tables = NULL, *rsdp = NULL, *commands = NULL;
    uint32_t n_tables, n_rsdp, n_commands;
    struct acpi_set set;
    struct pc_rig p;

    firmware_begin(&p, rom);
    tables = read_file(&p, "etc/acpi/tables", &n_tables);
    rsdp = read_file(&p, "etc/acpi/rsdp", &n_rsdp);
    commands = read_file(&p, "etc/table-loader", &n_commands);
    ck_assert(n_rsdp == 36 && n_commands % 128 == 0);
    ck_assert(commands[0] == 1 && commands[128] == 1 && commands[128 + 64] == 2);
    for (uint32_t at = 0; at < n_commands; at += 128)
        run_command(commands + at, tables, rsdp, MIB(7));
    acpi_begin(&set);
    const struct pc_acpi config = {.cpus = 2,
                                   .plug = board_cpu_plug(p.r.board),
                                   .slots = board_pci_plug(p.r.board),
                                   .memory = MIB(64)};
    ck_assert_uint_eq(pc_acpi_make(&set, &config), n_tables);
    acpi_place(&set, MIB(7));
    ck_assert_mem_eq(tables, set.bytes->data, n_tables);
    ck_assert_mem_eq(rsdp, set.bytes->data + n_tables, n_rsdp);
    acpi_clear(&set);
    pc_end(&p);
}
END_TEST

static const struct {
    const char *name;
    bool no_ports, firmware, kernel;
    enum vmd_error code;
    const char *says;
} refused[] = {
    {"no port space", true, false, false, VMD_ERROR_UNSUPPORTED,
     "needs an accelerator with I/O ports"},
    {"a firmware of odd size", false, true, false, VMD_ERROR_INVALID, "is not a multiple of 4 KiB"},
    {"both", false, true, true, VMD_ERROR_UNSUPPORTED, "a kernel or a firmware, not both"},
};

START_TEST(test_refused)
{
    g_autoptr(GError) err = NULL;
    struct pc_rig p;
    struct board_config config = pc_begin(&p, MIB(64));

    if (refused[_i].no_ports)
        config.ports = NULL;
    if (refused[_i].firmware)
        config.firmware = rig_file("f", "x", 1);
    if (refused[_i].kernel)
        config.kernel = config.firmware;
    ck_assert(board_new(&config, &err) == NULL);
    ck_assert(g_error_matches(err, VMD_ERROR, refused[_i].code));
    ck_assert_msg(strstr(err->message, refused[_i].says) != NULL, "%s: %s", refused[_i].name,
                  err->message);
    if (refused[_i].firmware)
        close(config.firmware.fd);
    pc_end(&p);
}
END_TEST

/* --- an I/O APIC of its own ---------------------------------------------------------------------- */

#define IOAPIC_WINDOW (PC_IOAPIC + 0x10)
#define PIN_REG(pin)    (0x10 + 2 * (pin))

static void ioapic_put(struct pc_rig *p, unsigned reg, uint32_t value)
{
    ck_assert_int_eq(mem_map_device_write(p->r.mem, PC_IOAPIC, 4, reg), 0);
    ck_assert_int_eq(mem_map_device_write(p->r.mem, IOAPIC_WINDOW, 4, value), 0);
}

static uint32_t ioapic_get(struct pc_rig *p, unsigned reg)
{
    uint64_t value = 0;

    ck_assert_int_eq(mem_map_device_write(p->r.mem, PC_IOAPIC, 4, reg), 0);
    ck_assert_int_eq(mem_map_device_read(p->r.mem, IOAPIC_WINDOW, 4, &value), 0);
    return (uint32_t)value;
}

#define GED_INPUT PC_GSI_GED /* its line is high while an event waits, and low when that was read */

static void take_event(struct pc_rig *p)
{
    uint64_t value;

    ck_assert_int_eq(mem_map_device_read(p->r.mem, PC_GED, 4, &value), 0);
}

START_TEST(own_ioapic)
{
    struct pc_rig p;
    struct board_config config = pc_begin(&p, MIB(64));

    p.n_routes = 0;
    memset(p.routed, 0, sizeof(p.routed));
    config.split_irqchip = true;
    p.r.board = board_new(&config, NULL);
    ck_assert_ptr_nonnull(p.r.board);
    ck_assert_uint_eq(ioapic_get(&p, 1), 0x00170020);
    ck_assert_uint_eq(ioapic_get(&p, PIN_REG(GED_INPUT)), 0x10000);

    /* Masked: nothing is sent, and an edge is lost. */
    ioapic_put(&p, PIN_REG(GED_INPUT) + 1, 0x3000000);
    ioapic_put(&p, PIN_REG(GED_INPUT), 0x10050);
    ck_assert(board_power_button(p.r.board));
    ioapic_put(&p, PIN_REG(GED_INPUT), 0x00050);
    ck_assert_uint_eq(p.n_messages, 0);
    take_event(&p);
    ck_assert(board_power_button(p.r.board));
    ck_assert_uint_eq(p.n_messages, 1);
    ck_assert_uint_eq(p.address, 0xfee03000);
    ck_assert_uint_eq(p.data, 0x50);
    ck_assert_uint_eq(p.n_routes, 0);

    /* A level is sent while it lasts, once an EOI; the end of another vector is nothing to it. */
    ioapic_put(&p, PIN_REG(GED_INPUT), 0x08951);
    ck_assert_uint_eq(p.n_messages, 2);
    ck_assert_uint_eq(p.address, 0xfee03004); /* logical */
    ck_assert_uint_eq(p.data, 0xc151);        /* lowest priority, level, asserted */
    ck_assert(p.routed[GED_INPUT]);
    ck_assert_uint_eq(ioapic_get(&p, PIN_REG(GED_INPUT)), 0x0c951);
    board_eoi(p.r.board, 0x50);
    ck_assert_uint_eq(p.n_messages, 2);
    board_eoi(p.r.board, 0x51);
    ck_assert_uint_eq(p.n_messages, 3);
    take_event(&p);
    board_eoi(p.r.board, 0x51);
    ck_assert_uint_eq(p.n_messages, 3);
    ck_assert_uint_eq(ioapic_get(&p, PIN_REG(GED_INPUT)), 0x08951);

    /* The EOI register does the same. */
    ck_assert(board_power_button(p.r.board));
    ck_assert_uint_eq(p.n_messages, 4);
    ck_assert_int_eq(mem_map_device_write(p.r.mem, PC_IOAPIC + 0x40, 4, 0x51), 0);
    ck_assert_uint_eq(p.n_messages, 5);

    board_reset(p.r.board);
    ck_assert(!p.routed[GED_INPUT]);
    ck_assert_uint_eq(ioapic_get(&p, PIN_REG(GED_INPUT)), 0x10000);
    for (unsigned i = 0; i < 24; i++)
        ck_assert(!p.gsi[i]);
    pc_end(&p);
}
END_TEST

/* --- a GPU ------------------------------------------------------------------------------------ */

enum { GPU_SLOT = 6 };

static void config_write(struct pc_rig *p, unsigned slot, unsigned at, unsigned size,
                         uint64_t value)
{
    rig_write(&p->r, PC_ECAM + (slot << 15) + at, size, value);
}

static uint64_t config_read(struct pc_rig *p, unsigned slot, unsigned at)
{
    return rig_read(&p->r, PC_ECAM + (slot << 15) + at, 4);
}

/* Machines with no RAM above 4 GiB, with some, and with as much as reaches into a window's place.
 */
static const uint64_t gpu_memories[] = {MIB(64), GIB(8), GIB(16) + MIB(2), GIB(100)};

/* Its registers are in the window below 4 GiB, the memory that guest and worker share at either end
 * of the one for 64-bit BARs, whose size guests find out as firmware does. */
START_TEST(test_gpu)
{
    struct pc_rig p;
    struct board_config config = pc_begin(&p, gpu_memories[_i]);
    const gpa_t low = pc_mem64(config.memory), high = low + PC_MEM64_SIZE - GPU_SHARED_BYTES;
    const uint64_t mark = UINT64_C(0x1122334455667788);
    uint64_t got = 0;

    rig_make(&p.r, &config);
    struct gpu_function *gpu = gpu_function_new(NULL);
    ck_assert(pci_host_add(board_pci(p.r.board), gpu_function_pci(gpu), GPU_SLOT, 0, NULL));
    /* By ports, as SeaBIOS looks; the second BAR has 64 bits and is prefetchable. */
    out(&p, 0xcf8, 4, 0x80000000 | GPU_SLOT << 11);
    ck_assert_uint_eq(in(&p, 0xcfc, 4), GPU_PCI_DEVICE << 16 | GPU_PCI_VENDOR);
    config_write(&p, GPU_SLOT, 0x18, 4, 0xffffffff);
    config_write(&p, GPU_SLOT, 0x1c, 4, 0xffffffff);
    ck_assert_uint_eq(config_read(&p, GPU_SLOT, 0x18), (uint32_t)-GPU_SHARED_BYTES | 0xc);
    ck_assert_uint_eq(config_read(&p, GPU_SLOT, 0x1c), 0xffffffff);
    config_write(&p, GPU_SLOT, 0x10, 4, PC_MEM32);
    for (int end = 0; end < 2; end++) {
        gpa_t at = end ? high : low;
        config_write(&p, GPU_SLOT, 4, 2, 0);
        config_write(&p, GPU_SLOT, 0x18, 4, (uint32_t)at);
        config_write(&p, GPU_SLOT, 0x1c, 4, at >> 32);
        ck_assert_ptr_null(mem_map_host(p.r.mem, at, 8, true));
        config_write(&p, GPU_SLOT, 4, 2, 2); /* decodes memory */
        ck_assert_uint_eq(rig_read(&p.r, PC_MEM32 + GPU_REG_MAGIC, 4), (uint32_t)GPU_MAGIC);
        ck_assert_int_eq(mem_map_write(p.r.mem, at + GPU_SHARED_BYTES - 8, &mark, 8), 0);
        ck_assert_int_eq(pread(gpu_function_memory(gpu), &got, 8, GPU_SHARED_BYTES - 8), 8);
        ck_assert_uint_eq(got, mark);
        rig_write(&p.r, PC_MEM32 + GPU_REG_DOORBELL + 4, 4, 1);
        ck_assert_int_eq(read(gpu_function_doorbell(gpu, 1), &got, 8), 8);
        got = 0;
        ck_assert_int_eq(pwrite(gpu_function_memory(gpu), &got, 8, GPU_SHARED_BYTES - 8), 8);
    }
    pci_host_remove(gpu_function_pci(gpu));
    ck_assert_ptr_null(mem_map_host(p.r.mem, high, 8, true));
    ck_assert_uint_eq(config_read(&p, GPU_SLOT, 0), 0xffffffff);
    gpu_function_free(gpu);
    pc_end(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("board_pc");
    TCase *tc = tcase_create("pc");

    tcase_add_loop_test(tc, test_script, 0, G_N_ELEMENTS(rows));
    tcase_add_loop_test(tc, test_time, 0, G_N_ELEMENTS(formats));
    tcase_add_test(tc, test_set_time);
    tcase_add_test(tc, test_alarm);
    tcase_add_test(tc, test_paused_time);
    tcase_add_test(tc, test_start);
    tcase_add_test(tc, test_hole);
    tcase_add_loop_test(tc, test_gpu, 0, G_N_ELEMENTS(gpu_memories));
    tcase_add_test(tc, test_state);
    tcase_add_test(tc, test_firmware);
    tcase_add_test(tc, test_variables);
    tcase_add_test(tc, test_fw_cfg);
    tcase_add_test(tc, test_commands);
    tcase_add_test(tc, own_ioapic);
    tcase_add_loop_test(tc, test_refused, 0, G_N_ELEMENTS(refused));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
