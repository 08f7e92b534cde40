/*
 * virt-riscv64: PLIC, 16550A, Goldfish RTC, test finisher and a PCIe host; an ACLINT when a
 * firmware runs in M-mode, the built-in SBI when none does. The PLIC has contexts M and S of each
 * hart in turn; without M-mode the M ones are wired to nothing.
 */
#include "machine/boards/virt_riscv64.h"

#include "machine/boards/board_priv.h"
#include "machine/boot/sbi.h"
#include "machine/devices/aclint.h"
#include "machine/devices/goldfish_rtc.h"
#include "machine/devices/plic.h"
#include "machine/devices/syscon.h"
#include "machine/devices/uart16550.h"

struct virt {
    struct plic *plic;
    struct sbi *sbi; /* NULL with a firmware */
    struct boot_entry entry;
};

static void hart_irq(void *opaque, unsigned cpu, unsigned irq, bool level)
{
    struct board *board = opaque;

    board->config.cpu_ops->set_irq(board->config.cpu_opaque, cpu, irq, level);
}

static void finish(void *opaque, unsigned what, unsigned code)
{
    struct board *board = opaque;
    struct board_request request = {.source = "syscon", .code = code};

    if (what == SYSCON_REBOOT)
        request.kind = BOARD_REQUEST_REBOOT;
    else
        request.kind = what == SYSCON_FAIL ? BOARD_REQUEST_FAILED : BOARD_REQUEST_POWEROFF;
    board->config.cpu_ops->request(board->config.cpu_opaque, &request);
}

static bool add_plic(struct board *board, struct virt *v, GError **err)
{
    struct plic_context contexts[LIMIT_XLATE_VCPUS * 2];

    for (unsigned i = 0; i < board->config.cpus; i++) {
        contexts[2 * i] = (struct plic_context){i, HART_IRQ_M_EXT};
        contexts[2 * i + 1] = (struct plic_context){i, HART_IRQ_S_EXT};
        if (!board->traits.firmware_mode)
            contexts[2 * i].irq = HART_IRQ_NONE;
    }
    v->plic = plic_new(contexts, 2 * board->config.cpus, hart_irq, board);
    return board__add_device(board, plic_device(v->plic), VIRT_PLIC, err);
}

static bool add_uart(struct board *board, struct virt *v, GError **err)
{
    board->console = uart16550_new(board->config.loop, plic_line(v->plic, VIRT_IRQ_UART),
                                   &board__console_ops, board, err);
    return board->console && board__add_device(board, serial_device(board->console), VIRT_UART, err);
}

static bool add_rtc(struct board *board, struct virt *v, GError **err)
{
    struct goldfish_rtc *rtc =
        goldfish_rtc_new(board->timers, plic_line(v->plic, VIRT_IRQ_RTC), NULL);

    return board__add_device(board, goldfish_rtc_device(rtc), VIRT_RTC, err);
}

static bool add_aclint(struct board *board, GError **err)
{
    struct aclint *aclint =
        aclint_new(board->config.cpus, VIRT_TIMEBASE_HZ, board->timers, hart_irq, board);

    return board__add_device(board, aclint_device(aclint), VIRT_ACLINT, err);
}

static bool add_sbi(struct board *board, struct virt *v, GError **err)
{
    struct sbi_config config = {
        .cpus = board->config.cpus,
        .timebase_hz = VIRT_TIMEBASE_HZ,
        .mem = board->config.mem,
        .timers = board->timers,
        .console = board->console,
        .cpu_ops = board->config.cpu_ops,
        .cpu_opaque = board->config.cpu_opaque,
    };

    v->sbi = sbi_new(&config);
    return board__add_device(board, sbi_device(v->sbi), 0, err);
}

static bool add_pci(struct board *board, struct virt *v, GError **err)
{
    struct pci_host_config config = {
        .mem = board->config.mem,
        .ecam = VIRT_ECAM,
        .buses = VIRT_PCI_BUSES,
        .mem32 = {VIRT_MEM32, VIRT_MEM32_SIZE},
        .mem64 = {virt_mem64(board__span(&board->config, VIRT_RAM)), VIRT_MEM64_SIZE},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(config.intx); i++)
        config.intx[i] = plic_line(v->plic, VIRT_IRQ_INTX + i);
    board->pci = pci_host_new(&config, err);
    return board->pci != NULL;
}

static bool build(struct board *board, GError **err)
{
    struct virt *v = g_new0(struct virt, 1);
    struct syscon *syscon = syscon_new(finish, board);

    board->machine = v;
    board->traits.timebase_hz = VIRT_TIMEBASE_HZ;
    board->traits.firmware_mode = board->config.firmware.fd >= 0;
    return board__add_device(board, syscon_device(syscon), VIRT_SYSCON, err) &&
           board__add_ram(board, VIRT_RAM, err) && add_plic(board, v, err) &&
           add_uart(board, v, err) && add_rtc(board, v, err) &&
           (board->traits.firmware_mode ? add_aclint(board, err) : add_sbi(board, v, err)) &&
           add_pci(board, v, err);
}

static bool virt_build(struct board *board, GError **err)
{
    const struct board_config *c = &board->config;

    if (c->firmware.fd >= 0 && c->boot_cpus < c->cpus)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "a firmware of %s starts all harts: none can be kept for later",
                        board->type->name);
    return build(board, err);
}

static void virt_free(struct board *board)
{
    g_free(board->machine);
}

/*
 * The kernel's command line. Linux tells loudly of each hart that it cannot start at boot; one that is told how
 * many to start leaves the others for later. "maxcpus=" of the user's own, behind it, counts.
 */
static char *command_line(const struct board_config *c)
{
    if (c->boot_cpus == c->cpus || c->firmware.fd >= 0)
        return g_strdup(c->append);
    return g_strdup_printf("maxcpus=%u%s%s", c->boot_cpus, c->append ? " " : "",
                           c->append ? c->append : "");
}

static uint8_t *make_fdt(void *opaque, const struct boot_chosen *chosen, size_t *size,
                         GError **err)
{
    const struct board *board = opaque;
    g_autofree char *append = command_line(&board->config);
    struct virt_dt config = {
        .cpus = board->config.cpus,
        .memory = board->config.memory,
        .span = board__span(&board->config, VIRT_RAM),
        .firmware_mode = board->traits.firmware_mode,
        .append = append,
        .chosen = *chosen,
    };

    return virt_dt_make(&config, size, err);
}

static bool virt_load(struct board *board, GError **err)
{
    struct virt *v = board->machine;
    struct linux_boot boot = {
        .isa = ISA_RISCV64,
        .mem = board->config.mem,
        .ram_base = VIRT_RAM,
        .ram_size = board->config.memory,
        .kernel = board->config.kernel,
        .initrd = board->config.initrd,
        .firmware = board->config.firmware,
        .make_fdt = make_fdt,
        .opaque = board,
    };

    return linux_boot_load(&boot, &v->entry, err);
}

/* A firmware gets all harts, as it chooses one itself; a kernel gets hart 0 and starts others. */
static bool virt_cpu_start(const struct board *board, unsigned cpu, struct board_start *out)
{
    const struct virt *v = board->machine;

    *out = (struct board_start){.pc = v->entry.pc, .args = {cpu, v->entry.fdt, v->entry.info}};
    return board->traits.firmware_mode || cpu == 0;
}

static bool virt_hypercall(struct board *board, unsigned cpu, uint64_t args[8])
{
    const struct virt *v = board->machine;

    g_assert(v->sbi); /* a hart with M-mode traps its calls itself */
    return sbi_call(v->sbi, cpu, args);
}

const struct board_type board__virt_riscv64 = {
    .isa = ISA_RISCV64,
    .name = "virt-riscv64",
    .most_cpus = LIMIT_XLATE_VCPUS,
    .build = virt_build,
    .free = virt_free,
    .load = virt_load,
    .cpu_start = virt_cpu_start,
    .hypercall = virt_hypercall,
};
