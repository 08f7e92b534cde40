/* The shared part of every board, and the list of machines there are. */
#include "machine/boards/board_priv.h"

static const struct board_type *const types[] = {
    &board__virt_riscv64,
    &board__virt_arm64,
    &board__pc,
};

static const struct board_type *type_of(enum isa isa)
{
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i]->isa == isa)
            return types[i];
    }
    return NULL;
}

static bool check_config(const struct board_config *config, GError **err)
{
    const struct board_type *type = type_of(config->isa);

    if (!type)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "there is no machine for this guest ISA");
    if (config->cpus < 1 || config->cpus > type->most_cpus)
        return vmd_fail(err, VMD_ERROR_LIMIT, "the machine %s has 1 to %u vCPUs, not %u", type->name,
                        type->most_cpus, config->cpus);
    if (config->memory < MIB(LIMIT_MEMORY_MIN_MIB) || config->memory > MIB(LIMIT_MEMORY_MAX_MIB))
        return vmd_fail(err, VMD_ERROR_LIMIT, "a machine has %d MiB to %d MiB of memory",
                        LIMIT_MEMORY_MIN_MIB, LIMIT_MEMORY_MAX_MIB);
    if (config->boot_cpus > config->cpus)
        return vmd_fail(err, VMD_ERROR_INVALID, "a machine of %u vCPUs does not start %u", config->cpus,
                        config->boot_cpus);
    if (config->memory & (MEM_PAGE_SIZE - 1))
        return vmd_fail(err, VMD_ERROR_INVALID, "the size of memory is not a multiple of 4 KiB");
    if (config->room && config->isa == ISA_X86_64)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the machine %s has the same memory always",
                        type->name);
    if (config->room > MIB(LIMIT_MEMORY_MAX_MIB))
        return vmd_fail(err, VMD_ERROR_LIMIT, "a machine has room for at most %d MiB of memory",
                        LIMIT_MEMORY_MAX_MIB);
    if (config->append && strlen(config->append) > LIMIT_APPEND)
        return vmd_fail(err, VMD_ERROR_LIMIT, "the kernel command line is longer than %d bytes",
                        LIMIT_APPEND);
    return true;
}

/* The strings of the configuration, made the board's own. */
static char **config_string(struct board_config *config, unsigned i)
{
    const char **strings[] = {&config->kernel.name, &config->initrd.name, &config->firmware.name,
                              &config->vars.name, &config->append};

    return i < G_N_ELEMENTS(strings) ? (char **)strings[i] : NULL;
}

static void copy_config(struct board *board, const struct board_config *config)
{
    char **s;

    board->config = *config;
    if (!config->boot_cpus)
        board->config.boot_cpus = config->cpus;
    for (unsigned i = 0; (s = config_string(&board->config, i)); i++)
        *s = g_strdup(*s);
}

struct board *board_new(const struct board_config *config, GError **err)
{
    if (!check_config(config, err))
        return NULL;
    struct board *board = g_new0(struct board, 1);
    board->type = type_of(config->isa);
    board->traits.name = board->type->name;
    copy_config(board, config);
    board->timers = guest_timers_new(config->loop, config->clock, err);
    if (!board->timers || !board->type->build(board, err)) {
        board_free(board);
        return NULL;
    }
    board_reset(board);
    return board;
}

static void remove_last_device(struct board *board)
{
    struct device *dev = board->devices[--board->n_devices];

    if (board->maps[board->n_devices])
        mem_map_remove_device(board->maps[board->n_devices], board->places[board->n_devices]);
    device_free(dev);
}

void board_free(struct board *board)
{
    char **s;

    if (!board)
        return;
    pci_host_free(board->pci);
    board->type->free(board);
    while (board->n_devices)
        remove_last_device(board);
    guest_timers_free(board->timers);
    for (unsigned i = 0; (s = config_string(&board->config, i)); i++)
        g_free(*s);
    g_free(board);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Linux adds memory by sections: 128 MiB, or 512 MiB with pages of 64 KiB, each at a multiple of
 * its size. */
#define ROOM_ALIGN GIB(1)

static gpa_t room_place(const struct board_config *config, gpa_t base)
{
    return ALIGN_UP(base + config->memory, ROOM_ALIGN);
}

static uint64_t room_size(const struct board_config *config)
{
    return ALIGN_UP(config->room, MAX(ROOM_ALIGN, config->room_block));
}

uint64_t board__span(const struct board_config *config, gpa_t base)
{
    return config->room ? room_place(config, base) + room_size(config) - base : config->memory;
}

bool board__add_ram(struct board *board, gpa_t base, GError **err)
{
    const struct board_config *c = &board->config;

    if (!mem_map_add_ram(c->mem, base, c->memory, "ram", false, err))
        return false;
    if (!c->room)
        return true;
    board->room = mem_map_add_sparse_ram(c->mem, room_place(c, base), room_size(c), c->room_block,
                                         "room", err);
    return board->room != NULL;
}

struct cpu_plug *board_cpu_plug(struct board *board)
{
    return board->type->cpu_plug ? board->type->cpu_plug(board) : NULL;
}

struct pci_plug *board_pci_plug(struct board *board)
{
    return board->type->pci_plug ? board->type->pci_plug(board) : NULL;
}

struct mem_ram *board_room(const struct board *board)
{
    return board->room;
}

/* --- devices ---------------------------------------------------------------------------------- */

/* SIZE 0: DEV has no registers. */
static bool add_device(struct board *board, struct device *dev, struct mem_map *map, gpa_t at,
                       uint64_t size, GError **err)
{
    g_assert(board->n_devices < BOARD_DEVICES);
    if (size && mem_map_add_device(map, at, size, dev->class->name, &dev->class->regs, dev) < 0) {
        vmd_fail(err, VMD_ERROR_EXISTS, "the place of device '%s' is taken", dev->class->name);
        device_free(dev);
        return false;
    }
    board->places[board->n_devices] = at;
    board->maps[board->n_devices] = size ? map : NULL;
    board->devices[board->n_devices++] = dev;
    return true;
}

bool board__add_device(struct board *board, struct device *dev, gpa_t gpa, GError **err)
{
    return add_device(board, dev, board->config.mem, gpa, dev->class->size, err);
}

bool board__add_ports(struct board *board, struct device *dev, gpa_t port, unsigned n, GError **err)
{
    return add_device(board, dev, board->config.ports, port, n, err);
}

static size_t console_output(void *opaque, const uint8_t *data, size_t n)
{
    struct board *board = opaque;

    return board->config.console_ops->output(board->config.console_opaque, data, n);
}

static void console_room(void *opaque)
{
    struct board *board = opaque;

    board->config.console_ops->input_room(board->config.console_opaque);
}

const struct serial_ops board__console_ops = {.output = console_output, .input_room = console_room};

const struct board_traits *board_traits(const struct board *board)
{
    return &board->traits;
}

/* Later devices first: those that drive lines before the controllers that take them. */
void board_reset(struct board *board)
{
    pci_host_reset(board->pci);
    for (unsigned i = board->n_devices; i-- > 0;)
        device_reset(board->devices[i]);
}

bool board_load(struct board *board, GError **err)
{
    return board->type->load(board, err);
}

void board_set_boot_cpus(struct board *board, unsigned cpus)
{
    g_assert(cpus >= 1 && cpus <= board->config.cpus);
    board->config.boot_cpus = cpus;
}

bool board_cpu_start(const struct board *board, unsigned cpu, struct board_start *out)
{
    g_assert(cpu < board->config.cpus);
    return board->type->cpu_start(board, cpu, out);
}

bool board_hypercall(void *opaque, unsigned cpu, uint64_t args[8])
{
    struct board *board = opaque;

    g_assert(cpu < board->config.cpus);
    return board->type->hypercall(board, cpu, args);
}

bool board_sysreg(void *opaque, unsigned cpu, uint32_t encoding, bool write, uint64_t *value)
{
    struct board *board = opaque;

    g_assert(cpu < board->config.cpus);
    return board->type->sysreg && board->type->sysreg(board, cpu, encoding, write, value);
}

void board_eoi(void *opaque, uint8_t vector)
{
    struct board *board = opaque;

    if (board->type->eoi)
        board->type->eoi(board, vector);
}

void board_cpu_line(void *opaque, unsigned cpu, enum board_cpu_line line, bool level)
{
    struct board *board = opaque;

    g_assert(cpu < board->config.cpus);
    if (board->type->cpu_line)
        board->type->cpu_line(board, cpu, line, level);
}

bool board_power_button(struct board *board)
{
    return board->type->power_button && board->type->power_button(board);
}

size_t board_console_input(struct board *board, const uint8_t *data, size_t n)
{
    return serial_input(board->console, data, n);
}

bool board_console_break(struct board *board)
{
    return serial_break(board->console);
}

void board_console_ready(struct board *board)
{
    serial_ready(board->console);
}

void board_console_flush(struct board *board)
{
    serial_flush(board->console);
}

struct pci_host *board_pci(struct board *board)
{
    return board->pci;
}

void board_clock_changed(struct board *board)
{
    guest_timers_clock_changed(board->timers);
}

void board_state_save(struct board *board, GByteArray *out)
{
    for (unsigned i = 0; i < board->n_devices; i++)
        device_save(board->devices[i], out);
}

bool board_state_load(struct board *board, const uint8_t *data, size_t length, size_t *used,
                      GError **err)
{
    size_t at = 0, n;

    for (unsigned i = 0; i < board->n_devices; i++) {
        if (!device_load(board->devices[i], data + at, length - at, &n, err))
            return false;
        at += n;
    }
    *used = at;
    return true;
}

char *board_state_print(struct board *board)
{
    GString *all = g_string_new(NULL);

    for (unsigned i = 0; i < board->n_devices; i++) {
        g_autofree char *one = device_print(board->devices[i]);
        g_string_append_printf(all, "%s\n", one);
    }
    return g_string_free(all, FALSE);
}
