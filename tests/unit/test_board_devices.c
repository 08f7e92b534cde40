/*
 * The devices of virt-riscv64 as a guest sees them: scripts of register accesses, line changes
 * and expected interrupt inputs, a row a case.
 */
#include "machine/boards/virt_riscv64.h"
#include "machine/devices/goldfish_rtc.h"
#include "machine/devices/hart_irq.h"
#include "machine/devices/plic.h"
#include "machine/devices/syscon.h"
#include "tests/unit/board_rig.h"

/* --- PLIC --------------------------------------------------------------------------------- */

enum plic_op { END, WRITE, READ, HIGH, LOW, HART };

/* HART: WHERE is cpu << 8 | irq, VALUE its expected level. HIGH, LOW: WHERE is the source. */
struct step {
    enum plic_op op;
    uint32_t where;
    uint32_t value;
};

#define PRIO(n)      (4 * (n))
#define PENDING(w)   (0x1000 + 4 * (w))
#define ENABLE(c, w) (0x2000 + 0x80 * (c) + 4 * (w))
#define THRESHOLD(c) (0x200000 + 0x1000 * (c))
#define CLAIM(c)     (0x200004 + 0x1000 * (c))
#define S_EXT(cpu)   ((cpu) << 8 | HART_IRQ_S_EXT)
#define M_EXT(cpu)   ((cpu) << 8 | HART_IRQ_M_EXT)

static const struct {
    const char *name;
    struct step steps[40];
} plic_rows[] = {
    {"a level-triggered source, from line to completion",
     {{WRITE, PRIO(5), 3},
      {WRITE, ENABLE(1, 0), 1 << 5},
      {HART, S_EXT(0), 0},
      {HIGH, 5},
      {HART, S_EXT(0), 1},
      {READ, PENDING(0), 1 << 5},
      {READ, CLAIM(1), 5},
      {HART, S_EXT(0), 0},
      {READ, PENDING(0), 0},
      {READ, CLAIM(1), 0},
      {LOW, 5},
      {WRITE, CLAIM(1), 5},
      {HART, S_EXT(0), 0}}},
    {"a line still high at completion is pending again",
     {{WRITE, PRIO(5), 1},
      {WRITE, ENABLE(1, 0), 1 << 5},
      {HIGH, 5},
      {READ, CLAIM(1), 5},
      {HIGH, 5},
      {READ, PENDING(0), 0},
      {WRITE, CLAIM(1), 5},
      {HART, S_EXT(0), 1},
      {READ, CLAIM(1), 5}}},
    {"a fall and rise during service is one more request",
     {{WRITE, PRIO(5), 1},
      {WRITE, ENABLE(1, 0), 1 << 5},
      {HIGH, 5},
      {READ, CLAIM(1), 5},
      {LOW, 5},
      {HIGH, 5},
      {READ, PENDING(0), 0},
      {WRITE, CLAIM(1), 5},
      {READ, PENDING(0), 1 << 5}}},
    {"pending stays when the line falls",
     {{WRITE, PRIO(5), 1},
      {WRITE, ENABLE(1, 0), 1 << 5},
      {HIGH, 5},
      {LOW, 5},
      {HART, S_EXT(0), 1},
      {READ, CLAIM(1), 5},
      {WRITE, CLAIM(1), 5},
      {HART, S_EXT(0), 0}}},
    {"higher priority first, then lower number",
     {{WRITE, PRIO(4), 2},
      {WRITE, PRIO(40), 7},
      {WRITE, PRIO(3), 2},
      {WRITE, ENABLE(1, 0), 1 << 3 | 1 << 4},
      {WRITE, ENABLE(1, 1), 1 << 8},
      {HIGH, 4},
      {HIGH, 3},
      {HIGH, 40},
      {READ, CLAIM(1), 40},
      {READ, CLAIM(1), 3},
      {READ, CLAIM(1), 4},
      {READ, CLAIM(1), 0}}},
    {"the threshold masks the input but not the claim",
     {{WRITE, PRIO(5), 3},
      {WRITE, ENABLE(1, 0), 1 << 5},
      {WRITE, THRESHOLD(1), 3},
      {HIGH, 5},
      {HART, S_EXT(0), 0},
      {READ, CLAIM(1), 5},
      {WRITE, CLAIM(1), 5},
      {WRITE, THRESHOLD(1), 2},
      {HART, S_EXT(0), 1}}},
    {"priority 0 never interrupts and is never claimed",
     {{WRITE, ENABLE(1, 0), 1 << 5},
      {HIGH, 5},
      {HART, S_EXT(0), 0},
      {READ, CLAIM(1), 0},
      {READ, PENDING(0), 1 << 5},
      {WRITE, PRIO(5), 1},
      {HART, S_EXT(0), 1}}},
    {"a completion by a context that hasn't enabled the source is ignored",
     {{WRITE, PRIO(5), 1},
      {WRITE, ENABLE(1, 0), 1 << 5},
      {HIGH, 5},
      {READ, CLAIM(1), 5},
      {WRITE, CLAIM(3), 5},
      {READ, PENDING(0), 0},
      {WRITE, CLAIM(1), 5},
      {READ, PENDING(0), 1 << 5}}},
    {"a completion of what isn't in service, or isn't there, does nothing",
     {{WRITE, PRIO(5), 1},
      {WRITE, ENABLE(1, 0), 0xffffffff},
      {WRITE, CLAIM(1), 5},
      {WRITE, CLAIM(1), 0},
      {WRITE, CLAIM(1), 97},
      {WRITE, CLAIM(1), 0xffffffff},
      {READ, PENDING(0), 0},
      {READ, CLAIM(1), 0}}},
    {"one request goes to all contexts that want it; one claims it",
     {{WRITE, PRIO(10), 1},
      {WRITE, ENABLE(1, 0), 1 << 10},
      {WRITE, ENABLE(3, 0), 1 << 10},
      {HIGH, 10},
      {HART, S_EXT(0), 1},
      {HART, S_EXT(1), 1},
      {READ, CLAIM(3), 10},
      {HART, S_EXT(0), 0},
      {HART, S_EXT(1), 0},
      {READ, CLAIM(1), 0}}},
    {"the contexts of M-mode are wired to nothing without it",
     {{WRITE, PRIO(5), 1},
      {WRITE, ENABLE(0, 0), 1 << 5},
      {HIGH, 5},
      {HART, M_EXT(0), 0},
      {HART, S_EXT(0), 0},
      {READ, CLAIM(0), 5}}},
    {"source 0 and what is beyond the last cannot be set; fields keep their width",
     {{WRITE, PRIO(0), 7},
      {READ, PRIO(0), 0},
      {WRITE, PRIO(96), 0xff},
      {READ, PRIO(96), 7},
      {WRITE, PRIO(97), 1},
      {READ, PRIO(97), 0},
      {WRITE, ENABLE(0, 0), 0xffffffff},
      {READ, ENABLE(0, 0), 0xfffffffe},
      {WRITE, ENABLE(0, 3), 0xffffffff},
      {READ, ENABLE(0, 3), 1},
      {WRITE, ENABLE(0, 4), 0xffffffff},
      {READ, ENABLE(0, 4), 0},
      {WRITE, THRESHOLD(1), 0xff},
      {READ, THRESHOLD(1), 7},
      {WRITE, PENDING(0), 0xffffffff},
      {READ, PENDING(0), 0}}},
    {"contexts there are not read as zero",
     {{WRITE, ENABLE(4, 0), 0xffffffff},
      {READ, ENABLE(4, 0), 0},
      {WRITE, THRESHOLD(4), 1},
      {READ, THRESHOLD(4), 0},
      {READ, CLAIM(4), 0},
      {READ, 0x5ffffc, 0},
      {WRITE, 0x5ffffc, 1}}},
};

struct plic_rig {
    struct plic *plic;
    struct mem_map *mem;
    struct rig irq;
};

static void plic_begin(struct plic_rig *p)
{
    static const struct plic_context contexts[] = {
        {0, HART_IRQ_NONE}, {0, HART_IRQ_S_EXT}, {1, HART_IRQ_NONE}, {1, HART_IRQ_S_EXT}};

    memset(&p->irq, 0, sizeof(p->irq));
    p->mem = mem_map_new();
    p->plic = plic_new(contexts, G_N_ELEMENTS(contexts), rig_set_irq, &p->irq);
    ck_assert_int_eq(device_map(plic_device(p->plic), p->mem, 0), 0);
}

static void plic_end(struct plic_rig *p)
{
    mem_map_free(p->mem);
    device_free(plic_device(p->plic));
}

static void plic_step(struct plic_rig *p, const char *name, const struct step *s, unsigned i)
{
    struct irq_line line;
    uint64_t got = 0;

    switch (s->op) {
    case WRITE:
        ck_assert_int_eq(mem_map_device_write(p->mem, s->where, 4, s->value), 0);
        break;
    case READ:
        ck_assert_int_eq(mem_map_device_read(p->mem, s->where, 4, &got), 0);
        ck_assert_msg(got == s->value, "%s: step %u read 0x%x, not 0x%x", name, i, (unsigned)got,
                      s->value);
        break;
    case HIGH:
    case LOW:
        line = plic_line(p->plic, s->where);
        irq_line_set(&line, s->op == HIGH);
        break;
    case HART:
        ck_assert_msg(p->irq.irq[s->where >> 8][s->where & 0xff] == s->value,
                      "%s: step %u: input %x is %d", name, i, s->where, !s->value);
        break;
    case END:
        break;
    }
}

START_TEST(plic_scripts)
{
    struct plic_rig p;

    plic_begin(&p);
    for (unsigned i = 0; plic_rows[_i].steps[i].op != END; i++)
        plic_step(&p, plic_rows[_i].name, &plic_rows[_i].steps[i], i);
    plic_end(&p);
}
END_TEST

START_TEST(plic_state)
{
    struct plic_rig a, b;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;
    uint64_t v;

    plic_begin(&a);
    for (unsigned i = 0; plic_rows[0].steps[i].op != READ; i++)
        plic_step(&a, "before", &plic_rows[0].steps[i], i);
    device_save(plic_device(a.plic), saved);
    plic_end(&a);

    plic_begin(&b);
    ck_assert(device_load(plic_device(b.plic), saved->data, saved->len, &used, &err));
    ck_assert_uint_eq(used, saved->len);
    ck_assert(b.irq.irq[0][HART_IRQ_S_EXT]);
    ck_assert_int_eq(mem_map_device_read(b.mem, CLAIM(1), 4, &v), 0);
    ck_assert_uint_eq(v, 5);
    /* Every stream that was cut is refused. */
    for (size_t n = 0; n < saved->len; n += 7) {
        g_autoptr(GError) cut = NULL;
        ck_assert(!device_load(plic_device(b.plic), saved->data, n, &used, &cut));
    }
    device_reset(plic_device(b.plic));
    ck_assert(!b.irq.irq[0][HART_IRQ_S_EXT]);
    plic_end(&b);
}
END_TEST

START_TEST(plic_refuses_impossible_state)
{
    struct plic_rig p;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    plic_begin(&p);
    device_save(plic_device(p.plic), saved);
    /* The priority of source 0: after the header (4 + 1 + 4) and its field's (1 + 8 + 1 + 4). */
    saved->data[9 + 14] = 1;
    ck_assert(!device_load(plic_device(p.plic), saved->data, saved->len, &used, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    plic_end(&p);
}
END_TEST

/*
 * Devices on threads of their own raise their lines; a hart claims, serves (which lowers the line)
 * and completes. No request is lost, and each is served once.
 */
enum { RAISERS = 3, RAISES = 2000 };

struct raiser {
    struct irq_line line;
    unsigned raised, served; /* atomic; a device raises again only once it was served */
    GThread *thread;
};

static gpointer raise_lines(gpointer arg)
{
    struct raiser *r = arg;

    for (unsigned i = 0; i < RAISES; i++) {
        __atomic_store_n(&r->raised, i + 1, __ATOMIC_SEQ_CST);
        irq_line_set(&r->line, true);
        while (__atomic_load_n(&r->served, __ATOMIC_SEQ_CST) != i + 1)
            g_thread_yield();
    }
    return NULL;
}

START_TEST(plic_threads)
{
    struct plic_rig p;
    struct raiser raisers[RAISERS + 1] = {0}; /* by source number */
    unsigned served = 0;
    uint64_t source;

    plic_begin(&p);
    mem_map_device_write(p.mem, ENABLE(1, 0), 4, 0xffffffff);
    for (unsigned i = 1; i <= RAISERS; i++) {
        mem_map_device_write(p.mem, PRIO(i), 4, i);
        raisers[i].line = plic_line(p.plic, i);
        raisers[i].thread = g_thread_new("raiser", raise_lines, &raisers[i]);
    }
    while (served < RAISERS * RAISES) {
        mem_map_device_read(p.mem, CLAIM(1), 4, &source);
        if (!source) {
            g_thread_yield();
            continue;
        }
        struct raiser *r = &raisers[source];
        irq_line_set(&r->line, false);
        if (__atomic_load_n(&r->raised, __ATOMIC_SEQ_CST) != r->served + 1)
            ck_abort_msg("source %u was claimed though it asked for nothing", (unsigned)source);
        mem_map_device_write(p.mem, CLAIM(1), 4, source);
        served++;
        __atomic_store_n(&r->served, r->served + 1, __ATOMIC_SEQ_CST);
    }
    for (unsigned i = 1; i <= RAISERS; i++)
        g_thread_join(raisers[i].thread);
    ck_assert(!p.irq.irq[0][HART_IRQ_S_EXT]);
    plic_end(&p);
}
END_TEST

/* --- 16550A ------------------------------------------------------------------------------- */

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

static uint8_t in(struct rig *r, unsigned reg)
{
    return (uint8_t)rig_read(r, VIRT_UART + reg, 1);
}

static void out(struct rig *r, unsigned reg, uint8_t value)
{
    rig_write(r, VIRT_UART + reg, 1, value);
}

/* Whether the port's line is up, through the PLIC. */
static bool uart_irq(struct rig *r)
{
    bool up = rig_read(r, VIRT_PLIC + PENDING(0), 4) >> VIRT_IRQ_UART & 1;

    if (up) { /* take it, so that the next look sees the line itself */
        rig_read(r, VIRT_PLIC + CLAIM(1), 4);
        rig_write(r, VIRT_PLIC + CLAIM(1), 4, VIRT_IRQ_UART);
    }
    return rig_read(r, VIRT_PLIC + PENDING(0), 4) >> VIRT_IRQ_UART & 1;
}

static void uart_begin(struct rig *r)
{
    struct board_config config = rig_begin(r, 1);

    rig_make(r, &config);
    rig_write(r, VIRT_PLIC + PRIO(VIRT_IRQ_UART), 4, 1);
    rig_write(r, VIRT_PLIC + ENABLE(1, 0), 4, 1 << VIRT_IRQ_UART);
    out(r, MCR, 3); /* DTR, RTS */
}

/* What Linux's 8250 driver does to tell a 16550A from its kin. */
START_TEST(uart_autoconfig)
{
    struct rig r;

    uart_begin(&r);
    out(&r, IER, 0);
    ck_assert_uint_eq(in(&r, IER), 0);
    out(&r, IER, 0x0f);
    ck_assert_uint_eq(in(&r, IER), 0x0f);
    out(&r, IER, 0xff);
    ck_assert_uint_eq(in(&r, IER), 0x0f);
    out(&r, IER, 0);
    out(&r, MCR, 0x10 | 0x0a);
    ck_assert_uint_eq(in(&r, MSR) & 0xf0, 0x90);
    out(&r, MCR, 0);
    ck_assert_uint_eq(in(&r, MSR) & 0xf0, 0xb0);
    out(&r, LCR, 0xbf); /* a 16650's extended registers would answer */
    out(&r, 2, 0);
    out(&r, LCR, 0);
    out(&r, FCR, 1);
    ck_assert_uint_eq(in(&r, IIR) >> 6, 3);
    out(&r, LCR, 0x80);
    ck_assert_uint_ne(in(&r, 2), 0);
    out(&r, LCR, 0xbf);
    ck_assert_uint_ne(in(&r, 2), 0);
    out(&r, LCR, 0);
    out(&r, FCR, 0);
    ck_assert_uint_eq(in(&r, IIR) >> 6, 0);
    out(&r, SCR, 0x5a);
    ck_assert_uint_eq(in(&r, SCR), 0x5a);
    out(&r, LCR, 0x83);
    out(&r, DATA, 2);
    out(&r, IER, 1);
    ck_assert_uint_eq(in(&r, DATA), 2);
    ck_assert_uint_eq(in(&r, IER), 1);
    out(&r, LCR, 3);
    ck_assert_uint_eq(in(&r, IER), 0);
    ck_assert_uint_eq(in(&r, LSR), 0x60);
    ck_assert_uint_eq(in(&r, 9), 0);
    rig_end(&r);
}
END_TEST

/* The interrupt of an empty transmitter: when it is switched on, once a write, until seen. */
START_TEST(uart_thre)
{
    struct rig r;

    uart_begin(&r);
    out(&r, IER, 2);
    ck_assert(uart_irq(&r));
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 2);
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 1);
    ck_assert(!uart_irq(&r));
    out(&r, IER, 0);
    out(&r, IER, 2);
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 2);
    out(&r, IER, 2); /* no edge, no event */
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 1);
    out(&r, DATA, 'x');
    ck_assert(uart_irq(&r));
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 2);
    out(&r, IER, 0);
    out(&r, DATA, 'y');
    ck_assert(!uart_irq(&r));
    rig_turn(&r);
    ck_assert_str_eq(r.output->str, "xy");
    rig_end(&r);
}
END_TEST

static const struct {
    uint8_t fcr;
    unsigned trigger;
} triggers[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}, {0x00, 1}};

START_TEST(uart_rx_triggers)
{
    struct rig r;

    uart_begin(&r);
    out(&r, FCR, triggers[_i].fcr);
    out(&r, IER, 1);
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 1);
    for (unsigned n = 1; n <= 20; n++) {
        ck_assert_uint_eq(board_console_input(r.board, (const uint8_t *)"k", 1), 1);
        ck_assert(uart_irq(&r));
        ck_assert_msg((in(&r, IIR) & 0xf) == (n >= triggers[_i].trigger ? 4 : 12), "%u bytes", n);
    }
    for (unsigned n = 0; n < 20; n++) {
        ck_assert_uint_eq(in(&r, LSR) & 1, 1);
        ck_assert_uint_eq(in(&r, DATA), 'k');
    }
    ck_assert_uint_eq(in(&r, LSR), 0x60);
    ck_assert(!uart_irq(&r));
    rig_end(&r);
}
END_TEST

START_TEST(uart_loopback)
{
    struct rig r;

    uart_begin(&r);
    out(&r, FCR, 1);
    out(&r, MCR, 0x10);
    board_console_input(r.board, (const uint8_t *)"from outside", 12);
    for (unsigned i = 0; i < 17; i++)
        out(&r, DATA, (uint8_t)('a' + i));
    ck_assert_uint_eq(in(&r, LSR) & 3, 3); /* data, and the 17th byte overran */
    ck_assert_uint_eq(in(&r, LSR) & 2, 0); /* reading clears it */
    for (unsigned i = 0; i < 16; i++)
        ck_assert_uint_eq(in(&r, DATA), 'a' + i);
    ck_assert_uint_eq(in(&r, LSR) & 1, 0);
    out(&r, MCR, 2);
    ck_assert_uint_eq(in(&r, DATA), 'f'); /* what came meanwhile was kept */
    ck_assert_uint_eq(in(&r, MSR) & 0xb0, 0xb0);
    out(&r, FCR, 1 | 2);
    ck_assert_uint_eq(in(&r, LSR) & 1, 0); /* the FIFO was cleared; all of it had been in there */
    rig_turn(&r);
    ck_assert_uint_eq(r.output->len, 0);
    rig_end(&r);
}
END_TEST

START_TEST(uart_line_status_interrupt)
{
    struct rig r;

    uart_begin(&r);
    out(&r, FCR, 1);
    out(&r, MCR, 0x10);
    out(&r, IER, 0x0f);
    in(&r, MSR);
    for (unsigned i = 0; i < 17; i++)
        out(&r, DATA, 'a');
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 6);
    in(&r, LSR);
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 4);
    out(&r, FCR, 1 | 2);
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 2);
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 1);
    out(&r, MCR, 0x10 | 2); /* RTS is CTS in loopback */
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 0);
    ck_assert_uint_eq(in(&r, MSR), 0x11);
    ck_assert_uint_eq(in(&r, IIR) & 0xf, 1);
    rig_end(&r);
}
END_TEST

/* A backend that stops: the port says busy, loses nothing, and goes on. */
START_TEST(uart_slow_backend)
{
    struct rig r;
    unsigned n = 0;

    uart_begin(&r);
    r.output_most = 100;
    out(&r, IER, 2);
    in(&r, IIR);
    for (; in(&r, LSR) & 0x20; n++) {
        out(&r, DATA, (uint8_t)n);
        if (n % 1000 == 0)
            rig_turn(&r);
        if (n > 1000000)
            ck_abort_msg("the port never becomes busy");
    }
    ck_assert_uint_eq(in(&r, LSR) & 0x40, 0);
    ck_assert(!uart_irq(&r));
    for (unsigned i = 0; i < 1000; i++) /* a console that has waited long enough */
        out(&r, DATA, (uint8_t)n++);
    rig_turn(&r);
    ck_assert_uint_eq(r.output->len, 100);
    r.output_most = SIZE_MAX;
    board_console_ready(r.board);
    rig_turn(&r);
    ck_assert_uint_eq(r.output->len, n);
    for (unsigned i = 0; i < n; i++) {
        if ((uint8_t)r.output->str[i] != (uint8_t)i)
            ck_abort_msg("byte %u is wrong", i);
    }
    ck_assert_uint_eq(in(&r, LSR), 0x60);
    ck_assert(uart_irq(&r));
    rig_end(&r);
}
END_TEST

START_TEST(uart_input_flow)
{
    struct rig r;
    uint8_t data[10000];
    size_t taken;

    uart_begin(&r);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    taken = board_console_input(r.board, data, sizeof(data));
    ck_assert_uint_lt(taken, sizeof(data));
    ck_assert_uint_ge(taken, 1024);
    rig_turn(&r);
    ck_assert_uint_eq(r.rooms, 0);
    for (size_t i = 0; i < sizeof(data); i++) {
        if (!(in(&r, LSR) & 1) || in(&r, DATA) != data[i])
            ck_abort_msg("byte %zu is wrong or not there", i);
        rig_turn(&r);
        if (r.rooms) {
            r.rooms = 0;
            taken += board_console_input(r.board, data + taken, sizeof(data) - taken);
        }
    }
    ck_assert_uint_eq(taken, sizeof(data));
    rig_end(&r);
}
END_TEST

/* What Linux does when the port is opened, from 8250_port.c: all that was typed before arrives. */
START_TEST(uart_typed_ahead)
{
    static const char typed[] = "typed while the kernel was starting, and longer than the FIFO";
    struct rig r;

    uart_begin(&r);
    out(&r, MCR, 0);
    board_console_input(r.board, (const uint8_t *)typed, strlen(typed));
    for (const char *s = "log"; *s; s++) { /* a console without input */
        for (unsigned i = 0; i < 10; i++)
            ck_assert_uint_eq(in(&r, LSR), 0x60);
        out(&r, DATA, (uint8_t)*s);
    }
    out(&r, FCR, 1);
    out(&r, FCR, 7);
    out(&r, FCR, 0);
    for (unsigned i = 0; i < 2; i++) {
        in(&r, LSR);
        in(&r, DATA);
        in(&r, IIR);
        in(&r, MSR);
    }
    out(&r, IER, 5);
    out(&r, FCR, 1);
    out(&r, FCR, 0x81);
    out(&r, MCR, 0x0b);
    for (unsigned i = 0; i < strlen(typed); i++)
        ck_assert_uint_eq(in(&r, DATA), typed[i]);
    ck_assert_uint_eq(in(&r, LSR), 0x60);
    board_console_input(r.board, (const uint8_t *)"xyz", 3);
    out(&r, FCR, 0x83); /* with RTS on, cleared is gone */
    ck_assert_uint_eq(in(&r, LSR), 0x60);
    rig_end(&r);
}
END_TEST

/* A boot loader that only polls, and never touches MCR. */
START_TEST(uart_polled)
{
    struct rig r;
    unsigned n = 0;

    uart_begin(&r);
    out(&r, MCR, 0);
    board_console_input(r.board, (const uint8_t *)"ab", 2);
    while (!(in(&r, LSR) & 1))
        ck_assert_uint_lt(n++, 1000);
    ck_assert_uint_eq(in(&r, DATA), 'a');
    out(&r, DATA, 'a');
    while (!(in(&r, LSR) & 1))
        ck_assert_uint_lt(n++, 1000);
    ck_assert_uint_eq(in(&r, DATA), 'b');
    rig_end(&r);
}
END_TEST

START_TEST(uart_flush)
{
    struct rig r;

    uart_begin(&r);
    for (const char *s = "last words\n"; *s; s++)
        out(&r, DATA, (uint8_t)*s);
    board_console_flush(r.board);
    ck_assert_str_eq(r.output->str, "last words\n");
    rig_end(&r);
}
END_TEST

/* As a machine does that ends because of what it reads there. */
START_TEST(uart_flush_in_output)
{
    struct rig r;

    uart_begin(&r);
    r.flushes = true;
    for (const char *s = "last words\n"; *s; s++)
        out(&r, DATA, (uint8_t)*s);
    board_console_flush(r.board);
    ck_assert_str_eq(r.output->str, "last words\n");
    rig_end(&r);
}
END_TEST

enum { TYPED = 200000 };

static gpointer type_bytes(gpointer arg)
{
    struct rig *r = arg;

    for (unsigned i = 0; i < TYPED; i++) {
        while (!(in(r, LSR) & 0x20))
            g_thread_yield();
        out(r, DATA, (uint8_t)(i * 5));
    }
    return NULL;
}

/* A vCPU writes while the loop gives to the backend: every byte arrives, in order. */
START_TEST(uart_threads)
{
    struct rig r;

    uart_begin(&r);
    GThread *vcpu = g_thread_new("vcpu", type_bytes, &r);
    while (r.output->len < TYPED)
        uv_run(&r.loop, UV_RUN_ONCE);
    g_thread_join(vcpu);
    ck_assert_uint_eq(r.output->len, TYPED);
    for (unsigned i = 0; i < TYPED; i++) {
        if ((uint8_t)r.output->str[i] != (uint8_t)(i * 5))
            ck_abort_msg("byte %u is wrong", i);
    }
    rig_end(&r);
}
END_TEST

/* --- ACLINT, RTC, finisher ---------------------------------------------------------------- */

static void firmware_rig(struct rig *r, unsigned cpus)
{
    struct board_config config = rig_begin(r, cpus);

    config.firmware = rig_file("firmware", "\x6f\0\0\0", 4);
    rig_make(r, &config);
    close(config.firmware.fd);
}

START_TEST(aclint_registers)
{
    struct rig r;

    firmware_rig(&r, 2);
    rig_write(&r, VIRT_ACLINT + 4, 4, 0xffffffff);
    ck_assert(r.irq[1][HART_IRQ_M_SOFT] && !r.irq[0][HART_IRQ_M_SOFT]);
    ck_assert_uint_eq(rig_read(&r, VIRT_ACLINT + 4, 4), 1);
    rig_write(&r, VIRT_ACLINT + 4, 4, 2);
    ck_assert(!r.irq[1][HART_IRQ_M_SOFT]);
    rig_write(&r, VIRT_ACLINT + 8, 4, 1); /* no hart 2 */
    ck_assert_uint_eq(rig_read(&r, VIRT_ACLINT + 8, 4), 0);

    uint64_t t0 = rig_read(&r, VIRT_ACLINT + 0xbff8, 8);
    uint32_t low = (uint32_t)rig_read(&r, VIRT_ACLINT + 0xbff8, 4);
    uint32_t high = (uint32_t)rig_read(&r, VIRT_ACLINT + 0xbffc, 4);
    ck_assert_uint_ge(t0, 10000000); /* the rig's clock began at one second */
    ck_assert_uint_ge((uint64_t)high << 32 | low, t0);

    ck_assert_uint_eq(rig_read(&r, VIRT_ACLINT + 0x4008, 8), UINT64_MAX);
    rig_write(&r, VIRT_ACLINT + 0x4008, 8, t0);
    ck_assert(r.irq[1][HART_IRQ_M_TIMER] && !r.irq[0][HART_IRQ_M_TIMER]);
    rig_write(&r, VIRT_ACLINT + 0x400c, 4, 0x12345678);
    ck_assert(!r.irq[1][HART_IRQ_M_TIMER]);
    ck_assert_uint_eq(rig_read(&r, VIRT_ACLINT + 0x4008, 8),
                      UINT64_C(0x1234567800000000) | (uint32_t)t0);
    ck_assert_uint_eq(rig_read(&r, VIRT_ACLINT + 0x400c, 4), 0x12345678);
    rig_end(&r);
}
END_TEST

/* The compare registers fire by themselves, and a paused clock holds them. */
START_TEST(aclint_timer_fires)
{
    struct rig r;

    firmware_rig(&r, 2);
    vm_clock_pause(r.clock);
    board_clock_changed(r.board);
    uint64_t now = rig_read(&r, VIRT_ACLINT + 0xbff8, 8);
    rig_write(&r, VIRT_ACLINT + 0x4000, 8, now + 10000);
    rig_write(&r, VIRT_ACLINT + 0x4008, 8, now + 20000);
    rig_turn(&r);
    ck_assert(!r.irq[0][HART_IRQ_M_TIMER] && !r.irq[1][HART_IRQ_M_TIMER]);
    vm_clock_resume(r.clock);
    board_clock_changed(r.board);
    while (!r.irq[1][HART_IRQ_M_TIMER])
        uv_run(&r.loop, UV_RUN_ONCE);
    ck_assert(r.irq[0][HART_IRQ_M_TIMER]);
    ck_assert_uint_ge(rig_read(&r, VIRT_ACLINT + 0xbff8, 8), now + 20000);
    board_reset(r.board);
    ck_assert(!r.irq[0][HART_IRQ_M_TIMER] && !r.irq[1][HART_IRQ_M_TIMER]);
    rig_end(&r);
}
END_TEST

static uint64_t wall_now;

static uint64_t wall(void)
{
    return wall_now;
}

static void note_level(void *opaque, unsigned number, bool level)
{
    *(bool *)opaque = level;
}

struct rtc_rig {
    struct rig r;
    struct guest_timers *timers;
    struct goldfish_rtc *rtc;
    bool level;
};

static void rtc_begin(struct rtc_rig *t)
{
    g_autoptr(GError) err = NULL;

    rig_begin(&t->r, 1);
    t->level = false;
    t->timers = guest_timers_new(&t->r.loop, t->r.clock, &err);
    ck_assert(t->timers != NULL);
    wall_now = UINT64_C(0x17aabbcc11223344);
    t->rtc = goldfish_rtc_new(t->timers, (struct irq_line){note_level, &t->level, 0}, wall);
    ck_assert_int_eq(device_map(goldfish_rtc_device(t->rtc), t->r.mem, 0), 0);
}

static void rtc_end(struct rtc_rig *t)
{
    mem_map_remove_device(t->r.mem, 0);
    device_free(goldfish_rtc_device(t->rtc));
    guest_timers_free(t->timers);
    rig_end(&t->r);
}

START_TEST(rtc_time)
{
    struct rtc_rig t;

    rtc_begin(&t);
    ck_assert_uint_eq(rig_read(&t.r, 0, 4), 0x11223344);
    wall_now += UINT64_C(1) << 32; /* the high half was latched with the low one */
    ck_assert_uint_eq(rig_read(&t.r, 4, 4), 0x17aabbcc);
    rig_read(&t.r, 0, 4);
    ck_assert_uint_eq(rig_read(&t.r, 4, 4), 0x17aabbcd);
    rig_write(&t.r, 4, 4, 0x18000000);
    rig_write(&t.r, 0, 4, 5);
    wall_now += 2;
    ck_assert_uint_eq(rig_read(&t.r, 0, 4), 7);
    ck_assert_uint_eq(rig_read(&t.r, 4, 4), 0x18000000);
    device_reset(goldfish_rtc_device(t.rtc));
    ck_assert_uint_eq(rig_read(&t.r, 0, 4), 7);
    rtc_end(&t);
}
END_TEST

START_TEST(rtc_alarm)
{
    struct rtc_rig t;

    rtc_begin(&t);
    uint64_t at = wall_now + 1000000;
    rig_write(&t.r, 0x0c, 4, at >> 32);
    rig_write(&t.r, 0x08, 4, (uint32_t)at);
    rig_write(&t.r, 0x10, 4, 1);
    ck_assert_uint_eq(rig_read(&t.r, 0x18, 4), 1);
    ck_assert_uint_eq(rig_read(&t.r, 0x08, 4), (uint32_t)at);
    ck_assert_uint_eq(rig_read(&t.r, 0x0c, 4), at >> 32);
    ck_assert(!t.level);
    wall_now = at;
    while (!t.level)
        uv_run(&t.r.loop, UV_RUN_ONCE);
    ck_assert_uint_eq(rig_read(&t.r, 0x18, 4), 0);
    rig_write(&t.r, 0x1c, 4, 1);
    ck_assert(!t.level);
    rig_write(&t.r, 0x08, 4, (uint32_t)at); /* already past: at once */
    ck_assert(t.level);
    rig_write(&t.r, 0x10, 4, 0);
    ck_assert(!t.level);
    rig_write(&t.r, 0x10, 4, 1);
    ck_assert(t.level);
    rig_write(&t.r, 0x1c, 4, 1);
    rig_write(&t.r, 0x0c, 4, (at >> 32) + 1);
    rig_write(&t.r, 0x08, 4, 0);
    rig_write(&t.r, 0x14, 4, 1);
    ck_assert_uint_eq(rig_read(&t.r, 0x18, 4), 0);
    rtc_end(&t);
}
END_TEST

/* A board's clock is the VM's, and stands with it. */
START_TEST(rtc_pauses)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);

    rig_make(&r, &config);
    uint64_t paused = rig_pause_a_second(&r);
    uint64_t low = rig_read(&r, VIRT_RTC, 4);
    ck_assert_uint_eq((rig_read(&r, VIRT_RTC + 4, 4) << 32 | low) / 1000000000, paused);
    rig_end(&r);
}
END_TEST

/* Armed with the interrupt up, saved, and loaded to another: line and alarm are there again. */
START_TEST(rtc_state)
{
    struct rtc_rig a, b;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    rtc_begin(&a);
    rig_write(&a.r, 0x10, 4, 1);
    rig_write(&a.r, 0x08, 4, 0);
    ck_assert(a.level);
    rig_write(&a.r, 0x0c, 4, 0x70000000);
    rig_write(&a.r, 0x08, 4, 0);
    rig_write(&a.r, 0, 4, 99);
    device_save(goldfish_rtc_device(a.rtc), saved);
    rtc_end(&a);

    rtc_begin(&b);
    ck_assert(device_load(goldfish_rtc_device(b.rtc), saved->data, saved->len, &used, &err));
    ck_assert(b.level);
    ck_assert_uint_eq(rig_read(&b.r, 0x18, 4), 1);
    ck_assert_uint_eq(rig_read(&b.r, 0, 4), 99);
    rtc_end(&b);
}
END_TEST

static const struct {
    uint32_t value;
    unsigned requests;
    enum board_request_kind kind;
    uint32_t code;
} finishes[] = {
    {0x5555, 1, BOARD_REQUEST_POWEROFF, 0},
    {0x7777, 1, BOARD_REQUEST_REBOOT, 0},
    {0x00013333, 1, BOARD_REQUEST_FAILED, 1},
    {0xabcd3333, 1, BOARD_REQUEST_FAILED, 0xabcd},
    {0, 0, 0, 0},
    {0x3334, 0, 0, 0},
};

START_TEST(finisher)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);

    rig_make(&r, &config);
    rig_write(&r, VIRT_SYSCON + 8, 4, finishes[_i].value);
    ck_assert_uint_eq(r.n_requests, 0);
    rig_write(&r, VIRT_SYSCON, 4, finishes[_i].value);
    ck_assert_uint_eq(r.n_requests, finishes[_i].requests);
    if (r.n_requests) {
        ck_assert_int_eq(r.request.kind, finishes[_i].kind);
        ck_assert_uint_eq(r.request.code, finishes[_i].code);
    }
    ck_assert_uint_eq(rig_read(&r, VIRT_SYSCON, 4), 0);
    rig_end(&r);
}
END_TEST

/* --- all of a board ----------------------------------------------------------------------- */

/* A board in mid-work, saved and loaded to a new one, goes on where it was. */
START_TEST(board_state)
{
    struct rig a, b;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GByteArray) again = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    firmware_rig(&a, 2);
    rig_write(&a, VIRT_PLIC + PRIO(VIRT_IRQ_UART), 4, 1);
    rig_write(&a, VIRT_PLIC + ENABLE(0, 0), 4, 1 << VIRT_IRQ_UART);
    out(&a, MCR, 3);
    out(&a, FCR, 0x41);
    out(&a, IER, 1);
    out(&a, DATA, '!');
    board_console_input(a.board, (const uint8_t *)"0123456789abcdefghij", 20);
    rig_write(&a, VIRT_ACLINT + 4, 4, 1);
    rig_write(&a, VIRT_ACLINT + 0x4000, 8, 0);
    rig_write(&a, VIRT_ACLINT + 0x4008, 8, UINT64_C(1) << 60);
    ck_assert(a.irq[0][HART_IRQ_M_EXT]);
    board_state_save(a.board, saved);
    g_autofree char *text = board_state_print(a.board);
    ck_assert(strstr(text, "uart16550 {") && strstr(text, "plic {"));
    rig_end(&a);

    firmware_rig(&b, 2);
    ck_assert(board_state_load(b.board, saved->data, saved->len, &used, &err));
    ck_assert_uint_eq(used, saved->len);
    ck_assert(b.irq[0][HART_IRQ_M_EXT] && b.irq[1][HART_IRQ_M_SOFT] && b.irq[0][HART_IRQ_M_TIMER]);
    ck_assert(!b.irq[1][HART_IRQ_M_TIMER]);
    board_state_save(b.board, again);
    ck_assert_uint_eq(again->len, saved->len);
    ck_assert_mem_eq(again->data, saved->data, saved->len);
    rig_turn(&b);
    ck_assert_str_eq(b.output->str, "!");
    for (unsigned i = 0; i < 20; i++)
        ck_assert_uint_eq(in(&b, DATA), "0123456789abcdefghij"[i]);
    for (size_t n = 0; n < saved->len; n += 1009) {
        g_autoptr(GError) cut = NULL;
        ck_assert(!board_state_load(b.board, saved->data, n, &used, &cut));
    }
    board_reset(b.board);
    ck_assert(!b.irq[0][HART_IRQ_M_EXT] && !b.irq[1][HART_IRQ_M_SOFT]);
    rig_end(&b);
}
END_TEST

/* Sizes a device doesn't take are bus errors, not accesses. */
static const struct {
    gpa_t at;
    unsigned size;
    int rc;
} sizes[] = {
    {VIRT_PLIC, 1, -EINVAL},   {VIRT_PLIC, 8, -EINVAL},         {VIRT_RTC, 8, -EINVAL},
    {VIRT_UART, 1, 0},         {VIRT_UART + 1, 4, -EINVAL},     {VIRT_UART, 8, -EINVAL},
    {VIRT_SYSCON, 1, -EINVAL}, {VIRT_SYSCON + 0xffe, 2, 0},     {VIRT_ACLINT, 4, -EFAULT},
    {VIRT_ECAM, 2, 0},         {VIRT_RTC + 0x1000, 4, -EFAULT},
};

START_TEST(access_sizes)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    uint64_t v;

    rig_make(&r, &config);
    ck_assert_int_eq(mem_map_device_read(r.mem, sizes[_i].at, sizes[_i].size, &v), sizes[_i].rc);
    rig_end(&r);
}
END_TEST

static const struct {
    const char *name;
    enum isa isa;
    unsigned cpus;
    uint64_t memory;
    enum vmd_error code;
} refused[] = {
    {"no harts", ISA_RISCV64, 0, MIB(64), VMD_ERROR_LIMIT},
    {"too many harts", ISA_RISCV64, LIMIT_XLATE_VCPUS + 1, MIB(64), VMD_ERROR_LIMIT},
    {"too little memory", ISA_RISCV64, 1, MIB(LIMIT_MEMORY_MIN_MIB) - 4096, VMD_ERROR_LIMIT},
    {"too much memory", ISA_RISCV64, 1, MIB(LIMIT_MEMORY_MAX_MIB) + 4096, VMD_ERROR_LIMIT},
    {"memory of odd size", ISA_RISCV64, 1, MIB(64) + 1, VMD_ERROR_INVALID},
    {"no such machine", ISA_X86_64 + 1, 1, MIB(64), VMD_ERROR_UNSUPPORTED},
};

START_TEST(board_refusals)
{
    struct rig r;
    struct board_config config = rig_begin(&r, refused[_i].cpus);
    g_autoptr(GError) err = NULL;

    config.isa = refused[_i].isa;
    config.memory = refused[_i].memory;
    ck_assert(board_new(&config, &err) == NULL);
    ck_assert_msg(g_error_matches(err, VMD_ERROR, refused[_i].code), "%s: %s", refused[_i].name,
                  err->message);
    rig_end(&r);
}
END_TEST

START_TEST(board_place_taken)
{
    struct rig r;
    struct board_config config = rig_begin(&r, 1);
    g_autoptr(GError) err = NULL;

    ck_assert(mem_map_add_ram(r.mem, VIRT_UART, 4096, "squatter", false, &err) != NULL);
    ck_assert(board_new(&config, &err) == NULL);
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_EXISTS));
    rig_end(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("board_devices");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, plic_scripts, 0, G_N_ELEMENTS(plic_rows));
    tcase_add_test(tc, plic_threads);
    tcase_add_test(tc, plic_state);
    tcase_add_test(tc, plic_refuses_impossible_state);
    tcase_add_test(tc, uart_autoconfig);
    tcase_add_test(tc, uart_thre);
    tcase_add_loop_test(tc, uart_rx_triggers, 0, G_N_ELEMENTS(triggers));
    tcase_add_test(tc, uart_loopback);
    tcase_add_test(tc, uart_line_status_interrupt);
    tcase_add_test(tc, uart_slow_backend);
    tcase_add_test(tc, uart_input_flow);
    tcase_add_test(tc, uart_typed_ahead);
    tcase_add_test(tc, uart_polled);
    tcase_add_test(tc, uart_flush);
    tcase_add_test(tc, uart_flush_in_output);
    tcase_add_test(tc, uart_threads);
    tcase_add_test(tc, aclint_registers);
    tcase_add_test(tc, aclint_timer_fires);
    tcase_add_test(tc, rtc_time);
    tcase_add_test(tc, rtc_alarm);
    tcase_add_test(tc, rtc_pauses);
    tcase_add_test(tc, rtc_state);
    tcase_add_loop_test(tc, finisher, 0, G_N_ELEMENTS(finishes));
    tcase_add_test(tc, board_state);
    tcase_add_loop_test(tc, access_sizes, 0, G_N_ELEMENTS(sizes));
    tcase_add_loop_test(tc, board_refusals, 0, G_N_ELEMENTS(refused));
    tcase_add_test(tc, board_place_taken);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
