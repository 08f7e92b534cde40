/* The session; see stub.h. Packets are those of GDB's manual, appendix "Remote Protocol". */
#include "vm/gdb/stub.h"

#include "vm/gdb/packet.h"

enum { SIGNAL_INT = 2, SIGNAL_TRAP = 5 };

/* Numbers of errors on the wire, those of errno.h. */
#define E_ARGUMENT "E16" /* EINVAL */
#define E_ADDRESS  "E0e" /* EFAULT */
#define E_BUSY     "E10" /* EBUSY */
#define E_FULL     "E1c" /* ENOSPC */

struct breakpoint {
    gva_t address;
    bool hardware; /* as the debugger asked; there is no difference here */
};

/* A range that a thread is stepped through. */
struct range {
    gva_t start, end;
};

struct gdb_stub {
    const struct gdb_target_ops *ops;
    void *opaque;
    unsigned threads;
    char *description; /* target.xml */
    struct gdb_reader reader;
    GByteArray *out;   /* the latest packet, for a NAK */
    GString *reply;
    bool no_ack, says_swbreak, says_hwbreak;
    bool running, gone;
    bool physical;     /* memory packets take guest-physical addresses */
    enum accel_step step;
    unsigned thread_g, thread_c; /* Hg, Hc */
    char last[128];    /* the latest stop reply */
    struct breakpoint breakpoints[LIMIT_DEBUG_POINTS];
    size_t n_breakpoints;
    struct accel_watchpoint watchpoints[LIMIT_DEBUG_POINTS];
    size_t n_watchpoints;
    enum gdb_go how[LIMIT_VCPUS];
    struct range range[LIMIT_VCPUS];
    bool has_pending[LIMIT_VCPUS]; /* a watchpoint was hit while another thread's stop was told */
    struct accel_stop pending[LIMIT_VCPUS];
};

/* --- the target's description ----------------------------------------------------------------- */

/* Types of registers that GDB does not have by itself: what defines them in a description. */
static const struct {
    const char *name, *definition;
} types[] = {
    {"riscv_double", "<union id=\"riscv_double\"><field name=\"float\" type=\"ieee_single\"/>"
                     "<field name=\"double\" type=\"ieee_double\"/></union>"},
    {"aarch64v", "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
                 "<vector id=\"v2u\" type=\"uint64\" count=\"2\"/>"
                 "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
                 "<vector id=\"v4u\" type=\"uint32\" count=\"4\"/>"
                 "<vector id=\"v8u\" type=\"uint16\" count=\"8\"/>"
                 "<vector id=\"v16u\" type=\"uint8\" count=\"16\"/>"
                 "<union id=\"aarch64v\"><field name=\"d\" type=\"v2d\"/>"
                 "<field name=\"x\" type=\"v2u\"/><field name=\"f\" type=\"v4f\"/>"
                 "<field name=\"s\" type=\"v4u\"/><field name=\"h\" type=\"v8u\"/>"
                 "<field name=\"b\" type=\"v16u\"/><field name=\"q\" type=\"uint128\"/></union>"},
};

static void describe_registers(const struct accel_register *regs, size_t n, GString *xml)
{
    for (size_t i = 0; i < n; i++) {
        bool first = true, last = true;
        for (size_t k = 0; k < i; k++)
            first &= strcmp(regs[k].feature, regs[i].feature) != 0;
        if (!first)
            continue;
        g_string_append_printf(xml, "<feature name=\"%s\">", regs[i].feature);
        for (size_t k = 0; k < G_N_ELEMENTS(types); k++)
            g_string_append(xml, strcmp(regs[i].type, types[k].name) ? "" : types[k].definition);
        for (size_t k = i; last && k < n; k++)
            if (strcmp(regs[k].feature, regs[i].feature) == 0)
                g_string_append_printf(xml, "<reg name=\"%s\" bitsize=\"%u\" regnum=\"%u\" type=\"%s\"/>",
                                       regs[k].name, regs[k].bits, regs[k].number, regs[k].type);
        g_string_append(xml, "</feature>");
    }
}

struct gdb_stub *gdb_stub_new(const struct gdb_target_ops *ops, void *opaque, unsigned threads,
                              const char *architecture)
{
    struct gdb_stub *s = g_new0(struct gdb_stub, 1);
    GString *xml = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">");
    size_t n;
    const struct accel_register *regs = ops->registers(opaque, &n);

    s->ops = ops;
    s->opaque = opaque;
    s->threads = threads;
    s->step = ACCEL_STEP_HELD;
    s->out = g_byte_array_new();
    s->reply = g_string_new(NULL);
    g_string_append_printf(xml, "<target version=\"1.0\"><architecture>%s</architecture>",
                           architecture);
    describe_registers(regs, n, xml);
    g_string_append(xml, "</target>");
    s->description = g_string_free(xml, FALSE);
    g_snprintf(s->last, sizeof(s->last), "T%02xthread:1;", SIGNAL_TRAP);
    return s;
}

void gdb_stub_free(struct gdb_stub *s)
{
    if (!s)
        return;
    g_byte_array_free(s->out, TRUE);
    g_string_free(s->reply, TRUE);
    g_free(s->description);
    g_free(s);
}

static void send_bytes(struct gdb_stub *s, const void *data, size_t n)
{
    g_byte_array_set_size(s->out, 0);
    gdb_frame(s->out, data, n);
    s->ops->send(s->opaque, s->out->data, s->out->len);
}

static void send_text(struct gdb_stub *s, const char *text)
{
    send_bytes(s, text, strlen(text));
}

static void append_hex(GString *out, const void *data, size_t n)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < n; i++)
        g_string_append_printf(out, "%02x", bytes[i]);
}

/* --- reading arguments ------------------------------------------------------------------------- */

/* A hexadecimal number at *AT, which moves past it; false without one, or where it is too large. */
static bool take_number(const char **at, uint64_t *value)
{
    const char *start = *at;

    for (*value = 0; g_ascii_isxdigit(**at); (*at)++) {
        if (*value >> 60)
            return false;
        *value = *value << 4 | (uint64_t)g_ascii_xdigit_value(**at);
    }
    return *at != start;
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

static bool take_bytes(const char *at, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++, at += 2) {
        if (!g_ascii_isxdigit(at[0]) || !g_ascii_isxdigit(at[1]))
            return false;
        to[i] = (uint8_t)(g_ascii_xdigit_value(at[0]) << 4 | g_ascii_xdigit_value(at[1]));
    }
    return true;
}

/* A thread id: a number, or 0 and -1 for any (THREAD is -1 then). */
static bool take_thread(const struct gdb_stub *s, const char **at, int *thread)
{
    uint64_t id;

    if (g_str_has_prefix(*at, "-1")) {
        *at += 2;
        *thread = -1;
        return true;
    }
    if (!take_number(at, &id) || id > s->threads)
        return false;
    *thread = (int)id - 1;
    return true;
}

/* --- registers ----------------------------------------------------------------------------------- */

/* Appends the register's bytes, zeros where it has no value; false then. */
static bool append_register(struct gdb_stub *s, const struct accel_register *reg)
{
    uint64_t value[ACCEL_REGISTER_WORDS] = {0};
    bool there = s->ops->register_get(s->opaque, s->thread_g, reg, value);

    for (unsigned i = 0; i < G_N_ELEMENTS(value); i++)
        value[i] = GUINT64_TO_LE(value[i]);
    append_hex(s->reply, value, reg->bits / 8);
    return there;
}

/* What the bytes at AT say for it. */
static bool take_value(const struct accel_register *reg, const char *at,
                       uint64_t value[ACCEL_REGISTER_WORDS])
{
    memset(value, 0, ACCEL_REGISTER_WORDS * sizeof(*value));
    if (!take_bytes(at, (uint8_t *)value, reg->bits / 8))
        return false;
    for (unsigned i = 0; i < ACCEL_REGISTER_WORDS; i++)
        value[i] = GUINT64_FROM_LE(value[i]);
    return true;
}

/* Those of the first feature: what GDB wants of every stop. */
static size_t core_registers(struct gdb_stub *s, const struct accel_register **regs)
{
    size_t n, core = 0;

    *regs = s->ops->registers(s->opaque, &n);
    while (core < n && strcmp((*regs)[core].feature, (*regs)[0].feature) == 0)
        core++;
    return core;
}

static void read_registers(struct gdb_stub *s, const char *at)
{
    const struct accel_register *regs;
    size_t n = core_registers(s, &regs);

    for (size_t i = 0; i < n; i++)
        append_register(s, &regs[i]);
}

static void write_registers(struct gdb_stub *s, const char *at)
{
    const struct accel_register *regs;
    size_t n = core_registers(s, &regs);

    for (size_t i = 0; i < n && *at; i++) {
        uint64_t value[ACCEL_REGISTER_WORDS];
        if (!take_value(&regs[i], at, value)) {
            g_string_assign(s->reply, E_ARGUMENT);
            return;
        }
        at += regs[i].bits / 4;
        s->ops->register_set(s->opaque, s->thread_g, &regs[i], value);
    }
    g_string_assign(s->reply, "OK");
}

static const struct accel_register *pc_register(struct gdb_stub *s)
{
    size_t n, i = 0;
    const struct accel_register *regs = s->ops->registers(s->opaque, &n);

    while (i < n && strcmp(regs[i].name, "pc") != 0 && strcmp(regs[i].name, "rip") != 0)
        i++;
    g_assert(i < n); /* every ISA's table has it */
    return &regs[i];
}

static uint64_t get_pc(struct gdb_stub *s, unsigned thread)
{
    uint64_t pc = 0;

    s->ops->register_get(s->opaque, thread, pc_register(s), &pc);
    return pc;
}

static const struct accel_register *find_register(struct gdb_stub *s, uint64_t number)
{
    size_t n;
    const struct accel_register *regs = s->ops->registers(s->opaque, &n);

    for (size_t i = 0; i < n; i++)
        if (regs[i].number == number)
            return &regs[i];
    return NULL;
}

static void read_register(struct gdb_stub *s, const char *at)
{
    uint64_t number;
    const struct accel_register *reg = take_number(&at, &number) ? find_register(s, number) : NULL;

    if (!reg || !append_register(s, reg))
        g_string_assign(s->reply, E_ARGUMENT);
}

static void write_register(struct gdb_stub *s, const char *at)
{
    uint64_t number, value[ACCEL_REGISTER_WORDS];
    const struct accel_register *reg = take_number(&at, &number) ? find_register(s, number) : NULL;
    bool ok = reg && take_char(&at, '=') && take_value(reg, at, value) &&
              s->ops->register_set(s->opaque, s->thread_g, reg, value);

    g_string_assign(s->reply, ok ? "OK" : E_ARGUMENT);
}

/* --- memory --------------------------------------------------------------------------------------- */

static bool take_range(const char **at, uint64_t *address, uint64_t *length)
{
    return take_number(at, address) && take_char(at, ',') && take_number(at, length);
}

static void read_memory(struct gdb_stub *s, const char *at)
{
    uint8_t bytes[GDB_PACKET_MAX / 2];
    uint64_t address, length;

    if (!take_range(&at, &address, &length)) {
        g_string_assign(s->reply, E_ARGUMENT);
        return;
    }
    length = MIN(length, sizeof(bytes));
    size_t n = s->ops->read(s->opaque, s->thread_g, s->physical, address, bytes, length);
    if (n || !length)
        append_hex(s->reply, bytes, n);
    else
        g_string_assign(s->reply, E_ADDRESS);
}

static void write_bytes(struct gdb_stub *s, uint64_t address, const void *from, size_t n)
{
    bool ok = s->ops->write(s->opaque, s->thread_g, s->physical, address, from, n);

    g_string_assign(s->reply, ok ? "OK" : E_ADDRESS);
}

static void write_memory(struct gdb_stub *s, const char *at)
{
    uint8_t bytes[GDB_PACKET_MAX / 2];
    uint64_t address, length;

    if (!take_range(&at, &address, &length) || !take_char(&at, ':') || length > sizeof(bytes) ||
        !take_bytes(at, bytes, length))
        g_string_assign(s->reply, E_ARGUMENT);
    else
        write_bytes(s, address, bytes, length);
}

static void write_binary(struct gdb_stub *s, const char *at)
{
    const char *end = (const char *)s->reader.payload + s->reader.length;
    uint64_t address, length;

    if (!take_range(&at, &address, &length) || !take_char(&at, ':') ||
        length != (uint64_t)(end - at))
        g_string_assign(s->reply, E_ARGUMENT);
    else
        write_bytes(s, address, at, length);
}

/* --- breakpoints and watchpoints ------------------------------------------------------------------ */

/* False: the target cannot watch as much. */
static bool apply_points(struct gdb_stub *s)
{
    gva_t addresses[LIMIT_DEBUG_POINTS];
    struct accel_debug debug = {.breakpoints = addresses, .n_breakpoints = s->n_breakpoints,
                                .watchpoints = s->watchpoints, .n_watchpoints = s->n_watchpoints};

    for (size_t i = 0; i < s->n_breakpoints; i++)
        addresses[i] = s->breakpoints[i].address;
    return s->ops->points(s->opaque, &debug);
}

static void set_breakpoint(struct gdb_stub *s, bool on, const struct breakpoint *b)
{
    size_t i;

    for (i = 0; i < s->n_breakpoints; i++)
        if (s->breakpoints[i].address == b->address && s->breakpoints[i].hardware == b->hardware)
            break;
    if (on && i == LIMIT_DEBUG_POINTS) {
        g_string_assign(s->reply, E_FULL);
        return;
    }
    if (on && i == s->n_breakpoints) {
        s->breakpoints[s->n_breakpoints++] = *b;
        if (!apply_points(s)) {
            s->n_breakpoints--;
            g_string_assign(s->reply, E_FULL);
            return;
        }
    } else if (!on && i < s->n_breakpoints)
        s->breakpoints[i] = s->breakpoints[--s->n_breakpoints];
    g_string_assign(s->reply, "OK");
}

static void set_watchpoint(struct gdb_stub *s, bool on, const struct accel_watchpoint *w)
{
    size_t i;

    for (i = 0; i < s->n_watchpoints; i++)
        if (s->watchpoints[i].address == w->address && s->watchpoints[i].length == w->length &&
            s->watchpoints[i].kind == w->kind)
            break;
    if (on && i == LIMIT_DEBUG_POINTS) {
        g_string_assign(s->reply, E_FULL);
        return;
    }
    if (on && i == s->n_watchpoints) {
        s->watchpoints[s->n_watchpoints++] = *w;
        if (!apply_points(s)) {
            s->n_watchpoints--;
            g_string_assign(s->reply, E_FULL);
            return;
        }
    } else if (!on && i < s->n_watchpoints)
        s->watchpoints[i] = s->watchpoints[--s->n_watchpoints];
    g_string_assign(s->reply, "OK");
}

/* Z and z: type,address,kind. */
static void set_point(struct gdb_stub *s, const char *at, bool on)
{
    static const enum accel_watch kinds[] = {
        [2] = ACCEL_WATCH_WRITE, [3] = ACCEL_WATCH_READ, [4] = ACCEL_WATCH_ACCESS};
    char type = *at;
    uint64_t address, length;

    if (type < '0' || type > '4')
        return; /* unknown: an empty reply */
    at++;
    if (!take_char(&at, ',') || !take_range(&at, &address, &length) || (type > '1' && !length)) {
        g_string_assign(s->reply, E_ARGUMENT);
        return;
    }
    if (type < '2')
        set_breakpoint(s, on, &(struct breakpoint){address, type == '1'});
    else
        set_watchpoint(s, on, &(struct accel_watchpoint){address, length, kinds[type - '0']});
}

static void insert_point(struct gdb_stub *s, const char *at)
{
    set_point(s, at, true);
}

static void remove_point(struct gdb_stub *s, const char *at)
{
    set_point(s, at, false);
}

/* --- going on ------------------------------------------------------------------------------------- */

static void stop_reply(struct gdb_stub *s, unsigned thread, const struct accel_stop *stop)
{
    static const char *const watches[] = {[ACCEL_WATCH_WRITE] = "watch",
                                          [ACCEL_WATCH_READ] = "rwatch",
                                          [ACCEL_WATCH_ACCESS] = "awatch"};
    g_autofree char *why = g_strdup("");

    if (stop && stop->kind == ACCEL_STOP_WATCH) {
        g_free(why);
        why = g_strdup_printf("%s:%" G_GINT64_MODIFIER "x;", watches[stop->watch], stop->address);
    } else if (stop && stop->kind == ACCEL_STOP_BREAK) {
        uint64_t pc = get_pc(s, thread);
        bool hard = false;
        for (size_t i = 0; i < s->n_breakpoints; i++)
            hard |= s->breakpoints[i].address == pc && s->breakpoints[i].hardware;
        if (hard ? s->says_hwbreak : s->says_swbreak) {
            g_free(why);
            why = g_strdup(hard ? "hwbreak:;" : "swbreak:;");
        }
    }
    g_snprintf(s->last, sizeof(s->last), "T%02xthread:%x;%s", stop ? SIGNAL_TRAP : SIGNAL_INT,
               thread + 1, why);
}

/* Lets the target go as s->how says, or tells at once what needs no running. */
static void go(struct gdb_stub *s)
{
    bool any = false;
    int stepper = -1;

    for (unsigned i = 0; i < s->threads; i++) {
        if (s->has_pending[i] && s->how[i] != GDB_HOLD) {
            s->has_pending[i] = false;
            stop_reply(s, i, &s->pending[i]);
            send_text(s, s->last);
            return;
        }
        any |= s->how[i] == GDB_CONTINUE || (s->how[i] == GDB_STEP && s->ops->is_on(s->opaque, i));
        if (s->how[i] == GDB_STEP)
            stepper = (int)i;
    }
    if (!any) { /* a step of what is switched off, or nothing at all */
        stop_reply(s, stepper < 0 ? s->thread_c : (unsigned)stepper,
                   &(struct accel_stop){.kind = ACCEL_STOP_STEP});
        send_text(s, s->last);
        return;
    }
    s->running = true;
    apply_points(s);
    s->ops->go(s->opaque, s->how, s->step);
}

void gdb_stub_stopped(struct gdb_stub *s, unsigned thread, const struct accel_stop *stop)
{
    if (!s->running) {
        if (stop && stop->kind == ACCEL_STOP_WATCH) {
            s->has_pending[thread] = true;
            s->pending[thread] = *stop;
        }
        return;
    }
    s->running = false;
    if (stop && stop->kind == ACCEL_STOP_STEP && s->range[thread].end) {
        uint64_t pc = get_pc(s, thread);
        if (pc >= s->range[thread].start && pc < s->range[thread].end) {
            go(s);
            return;
        }
    }
    s->thread_g = s->thread_c = thread;
    stop_reply(s, thread, stop);
    send_text(s, s->last);
}

void gdb_stub_ended(struct gdb_stub *s, bool signalled)
{
    if (s->gone)
        return;
    s->gone = true;
    send_text(s, signalled ? "X09" : "W00");
}

static void set_all(struct gdb_stub *s, enum gdb_go how)
{
    for (unsigned i = 0; i < s->threads; i++) {
        s->how[i] = how;
        s->range[i] = (struct range){0};
    }
}

/* One action of a vCont, at AT up to ";", ":" or the end; false where it makes no sense. */
static bool take_action(const char **at, enum gdb_go *how, struct range *range)
{
    char letter = **at;
    uint64_t signal;

    if (!letter)
        return false;
    (*at)++;
    *range = (struct range){0};
    *how = letter == 'c' || letter == 'C' ? GDB_CONTINUE : letter == 't' ? GDB_HOLD : GDB_STEP;
    switch (letter) {
    case 'c': case 's': case 't':
        return true;
    case 'C': case 'S': /* a guest gets no signals */
        return take_number(at, &signal);
    case 'r':
        return take_number(at, &range->start) && take_char(at, ',') &&
               take_number(at, &range->end);
    default:
        return false;
    }
}

/* vCont;action[:thread]...: the first action that names a thread, or all, is that thread's. */
static bool parse_vcont(struct gdb_stub *s, const char *at)
{
    bool given[LIMIT_VCPUS] = {false};

    set_all(s, GDB_HOLD);
    while (*at) {
        enum gdb_go how;
        struct range range;
        int thread = -1;

        if (!take_char(&at, ';') || !take_action(&at, &how, &range) ||
            (take_char(&at, ':') && !take_thread(s, &at, &thread)))
            return false;
        for (unsigned i = 0; i < s->threads; i++) {
            if (given[i] || (thread >= 0 && thread != (int)i))
                continue;
            given[i] = true;
            s->how[i] = how;
            s->range[i] = range;
        }
    }
    return true;
}

/* c, s, C and S, of one thread where Hc names one: the others go on with it. */
static void resume(struct gdb_stub *s, const char *at)
{
    char letter = (char)s->reader.payload[0];
    bool step = letter == 's' || letter == 'S';
    uint64_t signal, address;

    if ((letter == 'C' || letter == 'S') && (!take_number(&at, &signal) || (*at && *at++ != ';'))) {
        g_string_assign(s->reply, E_ARGUMENT);
        return;
    }
    if (*at && take_number(&at, &address))
        s->ops->register_set(s->opaque, s->thread_c, pc_register(s), &address);
    set_all(s, step ? GDB_HOLD : GDB_CONTINUE);
    if (step)
        s->how[s->thread_c] = GDB_STEP;
    go(s);
}

/* --- v packets ------------------------------------------------------------------------------------ */

static void vpacket(struct gdb_stub *s, const char *at)
{
    if (strcmp(at, "Cont?") == 0) {
        g_string_assign(s->reply, "vCont;c;C;s;S;t;r");
    } else if (g_str_has_prefix(at, "Cont;")) {
        if (parse_vcont(s, at + 4))
            go(s);
        else
            g_string_assign(s->reply, E_ARGUMENT);
    } else if (g_str_has_prefix(at, "Kill;")) {
        s->gone = true;
        send_text(s, "OK");
        s->ops->kill(s->opaque);
    }
}

/* --- monitor -------------------------------------------------------------------------------------- */

struct monitor_row {
    const char *name, *doc;
    void (*run)(struct gdb_stub *s, const char *argument, GString *out);
};

static void monitor_info(struct gdb_stub *s, const char *argument, GString *out)
{
    for (unsigned i = 0; i < s->threads; i++) {
        g_autofree char *line = s->ops->describe(s->opaque, i);
        g_string_append_printf(out, "%u  %s\n", i + 1, line);
    }
    g_string_append_printf(out, "%zu breakpoints, %zu watchpoints; memory is %s; steps %s\n",
                           s->n_breakpoints, s->n_watchpoints,
                           s->physical ? "guest-physical" : "as the thread sees it",
                           s->step == ACCEL_STEP_HELD ? "hold interrupts" : "take interrupts");
}

/* "on" or "off" into VALUE. */
static void take_switch(const char *argument, bool *value, GString *out)
{
    bool on = strcmp(argument, "on") == 0;

    if (on || strcmp(argument, "off") == 0)
        *value = on;
    else
        g_string_append(out, "say on or off\n");
}

static void monitor_phys(struct gdb_stub *s, const char *argument, GString *out)
{
    take_switch(argument, &s->physical, out);
}

static void monitor_interrupts(struct gdb_stub *s, const char *argument, GString *out)
{
    bool on = s->step == ACCEL_STEP_OPEN;

    take_switch(argument, &on, out);
    s->step = on ? ACCEL_STEP_OPEN : ACCEL_STEP_HELD;
}

static void monitor_reset(struct gdb_stub *s, const char *argument, GString *out)
{
    g_autoptr(GError) err = NULL;

    if (s->ops->reset(s->opaque, &err))
        g_string_append(out, "the machine is reset; 'maintenance flush register-cache' shows it\n");
    else
        g_string_append_printf(out, "%s\n", err->message);
}

static void monitor_help(struct gdb_stub *s, const char *argument, GString *out);

static const struct monitor_row monitors[] = {
    {"help", "what there is", monitor_help},
    {"info", "the vCPUs, and how this debugger is set", monitor_info},
    {"phys", "on|off: memory by guest-physical address", monitor_phys},
    {"reset", "resets the machine, which stays stopped", monitor_reset},
    {"step-interrupts", "on|off: whether a step may enter an interrupt's handler",
     monitor_interrupts},
};

static void monitor_help(struct gdb_stub *s, const char *argument, GString *out)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(monitors); i++)
        g_string_append_printf(out, "%-16s %s\n", monitors[i].name, monitors[i].doc);
}

static void run_monitor(struct gdb_stub *s, const char *hex)
{
    size_t n = strlen(hex) / 2;
    g_autofree char *line = g_malloc0(n + 1);
    g_autoptr(GString) out = g_string_new(NULL);

    if (strlen(hex) % 2 || !take_bytes(hex, (uint8_t *)line, n)) {
        g_string_assign(s->reply, E_ARGUMENT);
        return;
    }
    char *space = strchr(line, ' ');
    if (space)
        *space++ = 0;
    const struct monitor_row *row = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(monitors); i++)
        if (strcmp(monitors[i].name, line) == 0)
            row = &monitors[i];
    if (row)
        row->run(s, space ? g_strstrip(space) : "", out);
    else
        g_string_append(out, "no such command; 'monitor help' names them\n");
    if (out->len)
        append_hex(s->reply, out->str, MIN(out->len, GDB_PACKET_MAX / 2));
    else
        g_string_assign(s->reply, "OK");
}

/* --- q packets ------------------------------------------------------------------------------------ */

static void query_supported(struct gdb_stub *s, const char *at)
{
    s->says_swbreak = strstr(at, "swbreak+") != NULL;
    s->says_hwbreak = strstr(at, "hwbreak+") != NULL;
    g_string_printf(s->reply,
                    "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+;"
                    "swbreak+;hwbreak+", GDB_PACKET_MAX);
}

static void query_features(struct gdb_stub *s, const char *at)
{
    uint64_t offset, length;
    size_t all = strlen(s->description);

    if (!g_str_has_prefix(at, "target.xml:")) {
        g_string_assign(s->reply, "E00");
        return;
    }
    at += strlen("target.xml:");
    if (!take_range(&at, &offset, &length)) {
        g_string_assign(s->reply, E_ARGUMENT);
        return;
    }
    offset = MIN(offset, all);
    length = MIN(length, GDB_PACKET_MAX / 2);
    g_string_assign(s->reply, all - offset > length ? "m" : "l");
    g_string_append_len(s->reply, s->description + offset, (gssize)MIN(all - offset, length));
}

static void query_threads(struct gdb_stub *s, const char *at)
{
    for (unsigned i = 0; i < s->threads; i++)
        g_string_append_printf(s->reply, "%c%x", i ? ',' : 'm', i + 1);
}

static void query_no_more(struct gdb_stub *s, const char *at)
{
    g_string_assign(s->reply, "l");
}

static void query_thread_info(struct gdb_stub *s, const char *at)
{
    int thread;

    if (!take_thread(s, &at, &thread) || thread < 0) {
        g_string_assign(s->reply, E_ARGUMENT);
        return;
    }
    g_autofree char *line = s->ops->describe(s->opaque, (unsigned)thread);
    append_hex(s->reply, line, strlen(line));
}

static void query_current(struct gdb_stub *s, const char *at)
{
    g_string_printf(s->reply, "QC%x", s->thread_g + 1);
}

static void query_unknown(struct gdb_stub *s, const char *at)
{
}

static void query_attached(struct gdb_stub *s, const char *at)
{
    g_string_assign(s->reply, "1");
}

static void query_symbol(struct gdb_stub *s, const char *at)
{
    g_string_assign(s->reply, "OK");
}

static void no_ack_mode(struct gdb_stub *s, const char *at)
{
    g_string_assign(s->reply, "OK");
    s->no_ack = true;
}

static const struct {
    const char *prefix;
    void (*run)(struct gdb_stub *s, const char *at);
} queries[] = {
    {"qSupported", query_supported},
    {"qXfer:features:read:", query_features},
    {"qfThreadInfo", query_threads},
    {"qsThreadInfo", query_no_more},
    {"qThreadExtraInfo,", query_thread_info},
    {"qCRC:", query_unknown},
    {"qC", query_current},
    {"qAttached", query_attached},
    {"qSymbol:", query_symbol},
    {"qRcmd,", run_monitor},
    {"QStartNoAckMode", no_ack_mode},
};

static void query(struct gdb_stub *s, const char *at)
{
    const char *packet = (const char *)s->reader.payload;

    for (unsigned i = 0; i < G_N_ELEMENTS(queries); i++) {
        if (g_str_has_prefix(packet, queries[i].prefix)) {
            queries[i].run(s, packet + strlen(queries[i].prefix));
            return;
        }
    }
}

/* --- packets --------------------------------------------------------------------------------------- */

static void why_stopped(struct gdb_stub *s, const char *at)
{
    g_string_assign(s->reply, s->last);
}

/* Hg and Hc: which thread the others are about. */
static void choose_thread(struct gdb_stub *s, const char *at)
{
    char which = *at;
    int thread;

    if (which != 'g' && which != 'c')
        return;
    at++;
    if (!take_thread(s, &at, &thread)) {
        g_string_assign(s->reply, E_ARGUMENT);
        return;
    }
    if (thread >= 0 && which == 'g')
        s->thread_g = (unsigned)thread;
    else if (thread >= 0)
        s->thread_c = (unsigned)thread;
    g_string_assign(s->reply, "OK");
}

static void thread_alive(struct gdb_stub *s, const char *at)
{
    int thread;

    g_string_assign(s->reply, take_thread(s, &at, &thread) && thread >= 0 ? "OK" : E_ARGUMENT);
}

static void detach(struct gdb_stub *s, const char *at)
{
    s->n_breakpoints = s->n_watchpoints = 0;
    apply_points(s);
    s->gone = true;
    send_text(s, "OK");
    s->ops->detach(s->opaque);
}

static void kill_target(struct gdb_stub *s, const char *at)
{
    s->gone = true;
    s->ops->kill(s->opaque);
}

/* By their first letter; REPLIES: an answer comes at once, and an empty one says "unknown". */
static const struct {
    void (*run)(struct gdb_stub *s, const char *at);
    bool replies;
} packets[128] = {
    ['?'] = {why_stopped, true},     ['g'] = {read_registers, true},
    ['G'] = {write_registers, true}, ['p'] = {read_register, true},
    ['P'] = {write_register, true},  ['m'] = {read_memory, true},
    ['M'] = {write_memory, true},    ['X'] = {write_binary, true},
    ['Z'] = {insert_point, true},    ['z'] = {remove_point, true},
    ['H'] = {choose_thread, true},   ['T'] = {thread_alive, true},
    ['q'] = {query, true},           ['Q'] = {query, true},
    ['v'] = {vpacket, false},        ['c'] = {resume, false},
    ['s'] = {resume, false},         ['C'] = {resume, false},
    ['S'] = {resume, false},         ['D'] = {detach, false},
    ['k'] = {kill_target, false},
};

static void take_packet(struct gdb_stub *s)
{
    uint8_t letter = s->reader.payload[0];

    g_string_truncate(s->reply, 0);
    if (s->running) {
        send_text(s, E_BUSY);
        return;
    }
    if (letter >= G_N_ELEMENTS(packets) || !packets[letter].run) {
        send_text(s, "");
        return;
    }
    packets[letter].run(s, (const char *)s->reader.payload + 1);
    if (s->gone || (s->running && !s->reply->len))
        return;
    if (s->reply->len || packets[letter].replies)
        send_bytes(s, s->reply->str, s->reply->len);
    else if (letter == 'v' && !g_str_has_prefix((const char *)s->reader.payload, "vCont;"))
        send_text(s, "");
}

void gdb_stub_input(struct gdb_stub *s, const void *data, size_t n)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < n && !s->gone; i++) {
        switch (gdb_read(&s->reader, bytes[i])) {
        case GDB_PACKET:
            if (!s->no_ack)
                s->ops->send(s->opaque, "+", 1);
            take_packet(s);
            break;
        case GDB_BAD:
            if (!s->no_ack)
                s->ops->send(s->opaque, "-", 1);
            break;
        case GDB_NAK:
            if (!s->no_ack && s->out->len)
                s->ops->send(s->opaque, s->out->data, s->out->len);
            break;
        case GDB_INTERRUPT:
            if (s->running)
                s->ops->interrupt(s->opaque);
            break;
        case GDB_ACK:
        case GDB_MORE:
            break;
        }
    }
}
