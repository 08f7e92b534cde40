/*
 * pc: 16550A, CMOS clock, keyboard controller, generic event device, processors that come and go,
 * and a PCIe host. Local APICs are the accelerator's, and so is the I/O APIC unless split_irqchip:
 * the board drives its inputs (GSIs) and hands the accelerator messages.
 */
#include "machine/boards/pc.h"

#include "machine/boards/acpi_parts.h"
#include "machine/boards/board_priv.h"
#include "machine/boards/firmware.h"
#include "machine/boot/x86_boot.h"
#include "machine/devices/cmos.h"
#include "machine/devices/i8042.h"
#include "machine/devices/ioapic.h"
#include "machine/devices/pci_ports.h"
#include "machine/devices/pflash.h"
#include "machine/devices/uart16550.h"

#define PC_ACPI      UINT64_C(0xe0000) /* up to 1 MiB, where kernels look for the RSDP */
#define PC_ACPI_MOST (MIB(1) - PC_ACPI)
#define PC_MSI       PC_LAPIC /* 1 MiB of addresses that messages go to */

#define PC_RESET    UINT64_C(0xfffffff0)
#define PC_SHADOW   KIB(256) /* most of a firmware that is below 1 MiB, too */
#define PC_ROM_MOST MIB(8)   /* and of its variables, in blocks: */
#define PC_FLASH_BLOCK KIB(4)

struct pc {
    struct ioapic *ioapic; /* NULL: the accelerator's */
    struct ged *ged;
    struct cpu_plug *plug;  /* NULL: there is one processor, for good */
    struct pci_plug *slots;
    struct x86_entry entry; /* of a kernel */
    struct firmware firmware;
    struct fw_cfg *fw; /* NULL without one */
};

static void gsi_set(void *opaque, unsigned gsi, bool level)
{
    struct board *board = opaque;
    const struct pc *pc = board->machine;

    if (pc->ioapic)
        ioapic_set(pc->ioapic, gsi, level);
    else
        board->config.cpu_ops->gsi(board->config.cpu_opaque, gsi, level);
}

static struct irq_line gsi_line(struct board *board, unsigned gsi)
{
    return (struct irq_line){.set = gsi_set, .opaque = board, .number = gsi};
}

static bool deliver_msi(void *opaque, uint16_t requester, uint64_t address, uint32_t data)
{
    struct board *board = opaque;

    if (address - PC_MSI >= MIB(1))
        return false;
    board->config.cpu_ops->msi(board->config.cpu_opaque, address, data);
    return true;
}

/* --- the guest's end or reset --------------------------------------------------------------- */

static void ask(struct board *board, enum board_request_kind kind, const char *source)
{
    struct board_request request = {.kind = kind, .source = source};

    board->config.cpu_ops->request(board->config.cpu_opaque, &request);
}

static void finish_acpi(void *opaque, bool reboot)
{
    ask(opaque, reboot ? BOARD_REQUEST_REBOOT : BOARD_REQUEST_POWEROFF, "acpi");
}

static void reset_i8042(void *opaque)
{
    ask(opaque, BOARD_REQUEST_REBOOT, "i8042");
}

static void reset_port(void *opaque)
{
    ask(opaque, BOARD_REQUEST_REBOOT, "port-cf9");
}

/* --- parts ---------------------------------------------------------------------------------- */

static bool add_ram(struct board *board, GError **err)
{
    uint64_t memory = board->config.memory;

    if (!mem_map_add_ram(board->config.mem, 0, pc_low_ram(memory), "ram", false, err))
        return false;
    return !pc_high_ram(memory) ||
           mem_map_add_ram(board->config.mem, PC_HIGH, pc_high_ram(memory), "ram-high", false, err);
}

static void ioapic_msi(void *opaque, uint64_t address, uint32_t data)
{
    struct board *board = opaque;

    board->config.cpu_ops->msi(board->config.cpu_opaque, address, data);
}

static void ioapic_route(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data)
{
    struct board *board = opaque;

    board->config.cpu_ops->route(board->config.cpu_opaque, pin, used, address, data);
}

static bool add_ioapic(struct board *board, struct pc *pc, GError **err)
{
    static const struct ioapic_ops ops = {.msi = ioapic_msi, .route = ioapic_route};

    if (!board->config.split_irqchip)
        return true;
    pc->ioapic = ioapic_new(&ops, board);
    return board__add_device(board, ioapic_device(pc->ioapic), PC_IOAPIC, err);
}

static void pc_eoi(struct board *board, uint8_t vector)
{
    const struct pc *pc = board->machine;

    if (pc->ioapic)
        ioapic_eoi(pc->ioapic, vector);
}

static bool add_ged(struct board *board, struct pc *pc, GError **err)
{
    pc->ged = ged_new(gsi_line(board, PC_GSI_GED), finish_acpi, board);
    return board__add_device(board, ged_device(pc->ged), PC_GED, err);
}

static void cpus_changed(void *opaque)
{
    struct board *board = opaque;
    const struct pc *pc = board->machine;

    ged_raise(pc->ged, GED_CPUS);
}

static void cpu_ejected(void *opaque, unsigned cpu)
{
    struct board *board = opaque;

    board->config.cpu_ops->ejected(board->config.cpu_opaque, cpu);
}

static bool add_plug(struct board *board, struct pc *pc, GError **err)
{
    static const struct cpu_plug_ops ops = {.changed = cpus_changed, .ejected = cpu_ejected};

    if (board->config.cpus == 1)
        return true;
    pc->plug = cpu_plug_new(board->config.cpus, &ops, board);
    for (unsigned i = 1; i < board->config.boot_cpus; i++)
        cpu_plug_set(pc->plug, i, true);
    return board__add_device(board, cpu_plug_device(pc->plug), PC_CPUS, err);
}

static void cards_changed(void *opaque)
{
    struct board *board = opaque;
    const struct pc *pc = board->machine;

    ged_raise(pc->ged, GED_CARDS);
}

static uint64_t slots_now(void *opaque)
{
    const struct board *board = opaque;

    return vm_clock_now(board->config.clock);
}

static bool add_slots(struct board *board, struct pc *pc, GError **err)
{
    static const struct pci_plug_ops ops = {.changed = cards_changed, .now_ns = slots_now};

    pc->slots = pci_plug_new(&ops, board);
    return board__add_device(board, pci_plug_device(pc->slots), PC_SLOTS, err);
}

static bool add_uart(struct board *board, GError **err)
{
    board->console = uart16550_new(board->config.loop, gsi_line(board, PC_IRQ_COM1),
                                   &board__console_ops, board, err);
    return board->console &&
           board__add_ports(board, serial_device(board->console), PC_COM1, PC_COM_PORTS, err);
}

static bool add_ports(struct board *board, GError **err)
{
    struct mem_map *mem = board->config.mem;
    struct cmos *cmos = cmos_new(board->timers, gsi_line(board, PC_IRQ_RTC), NULL);

    return board__add_ports(board, cmos_device(cmos), PC_RTC, CMOS_PORTS, err) &&
           board__add_ports(board, i8042_device(i8042_new(reset_i8042, board)), PC_I8042,
                            I8042_PORTS, err) &&
           board__add_ports(board, pci_ports_device(pci_ports_new(mem, PC_ECAM, reset_port, board)),
                            PC_PCI_PORTS, PCI_PORTS, err);
}

static bool add_pci(struct board *board, GError **err)
{
    struct pci_host_config config = {
        .mem = board->config.mem,
        .ecam = PC_ECAM,
        .buses = PC_PCI_BUSES,
        .mem32 = {PC_MEM32, PC_MEM32_SIZE},
        .mem64 = {pc_mem64(board->config.memory), PC_MEM64_SIZE},
        .msi = deliver_msi,
        .msi_opaque = board,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(config.intx); i++)
        config.intx[i] = gsi_line(board, PC_GSI_INTX + i);
    board->pci = pci_host_new(&config, err);
    return board->pci != NULL;
}

/* Flash with the firmware's variables ends at GPA. */
static bool add_flash(struct board *board, const struct firmware *f, gpa_t gpa, GError **err)
{
    struct pflash_config config = {
        .fd = f->vars, .size = f->vars_size, .block = PC_FLASH_BLOCK, .width = 1, .chips = 1};

    if (!f->vars_size)
        return true;
    return board__add_device(board, pflash_device(pflash_new(&config)), gpa - config.size, err);
}

/* A firmware ends at 4 GiB, where processors begin, and asks through fw_cfg what machine it is on. Its
 * variables are right below it. */
static bool add_firmware(struct board *board, struct pc *pc, GError **err)
{
    const struct board_file *file = &board->config.firmware;
    struct firmware *f = &pc->firmware;

    if (file->fd < 0)
        return true;
    if (!firmware_open(f, &board->config, PC_ROM_MOST, PC_FLASH_BLOCK, 0, err))
        return false;
    if (f->rom_size % MEM_PAGE_SIZE)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "'%s' is no firmware: its size is not a multiple of 4 KiB", file->name);
    gpa_t at = PC_HIGH - f->rom_size;
    if (!firmware_add_rom(f, at, err) || !add_flash(board, f, at, err))
        return false;
    pc->fw = fw_cfg_new(board->config.mem, FW_CFG_AT_PORTS);
    return board__add_ports(board, fw_cfg_device(pc->fw), PC_FW_CFG, FW_CFG_PORTS, err);
}

static bool pc_build(struct board *board, GError **err)
{
    struct pc *pc = g_new0(struct pc, 1);

    board->machine = pc;
    firmware_init(&pc->firmware);
    if (!board->config.ports)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the pc machine needs an accelerator with I/O ports");
    if (board->config.firmware.fd >= 0 && board->config.kernel.fd >= 0)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the pc machine starts a kernel or a firmware, not both");
    return add_ram(board, err) && add_ioapic(board, pc, err) && add_ged(board, pc, err) &&
           add_plug(board, pc, err) && add_slots(board, pc, err) && add_uart(board, err) &&
           add_ports(board, err) && add_firmware(board, pc, err) && add_pci(board, err);
}

static void pc_free(struct board *board)
{
    struct pc *pc = board->machine;

    if (pc)
        firmware_close(&pc->firmware);
    g_free(pc);
}

/* --- loading -------------------------------------------------------------------------------- */

static struct pc_acpi acpi_of(const struct board *board)
{
    const struct pc *pc = board->machine;

    return (struct pc_acpi){.cpus = board->config.cpus,
                            .plug = pc->plug,
                            .slots = pc->slots,
                            .memory = board->config.memory};
}

static bool load_acpi(struct board *board, gpa_t *rsdp, GError **err)
{
    const struct pc_acpi config = acpi_of(board);
    struct acpi_set set;
    bool fits;

    acpi_begin(&set);
    *rsdp = PC_ACPI + pc_acpi_make(&set, &config);
    acpi_place(&set, PC_ACPI);
    fits = set.bytes->len <= PC_ACPI_MOST &&
           mem_map_write(board->config.mem, PC_ACPI, set.bytes->data, set.bytes->len) == 0;
    acpi_clear(&set);
    return fits || vmd_fail(err, VMD_ERROR_LIMIT, "the ACPI tables are too large");
}

static void set_acpi_files(const struct board *board, struct fw_cfg *fw)
{
    const struct pc_acpi config = acpi_of(board);
    struct acpi_set set;

    acpi_begin(&set);
    acpi_give(fw, &set, pc_acpi_make(&set, &config));
    acpi_clear(&set);
}

static void set_memory_file(const struct board *board, struct fw_cfg *fw)
{
    uint64_t low = pc_low_ram(board->config.memory), high = pc_high_ram(board->config.memory);
    struct __attribute__((packed)) {
        uint64_t start, size;
        uint32_t kind;
    } map[] = {
        {0, GUINT64_TO_LE(low), GUINT32_TO_LE(X86_RANGE_RAM)},
        {GUINT64_TO_LE(PC_ECAM), GUINT64_TO_LE(PC_PCI_BUSES * PCI_ECAM_BUS),
         GUINT32_TO_LE(X86_RANGE_RESERVED)},
        {GUINT64_TO_LE(PC_HIGH), GUINT64_TO_LE(high), GUINT32_TO_LE(X86_RANGE_RAM)},
    };

    fw_cfg_set_file(fw, "etc/e820", map, sizeof(map) - (high ? 0 : sizeof(map[0])));
}

static bool load_firmware(struct board *board, struct pc *pc, GError **err)
{
    const struct mem_ram *rom = pc->firmware.rom;
    uint64_t shadow = MIN(rom->size, PC_SHADOW);
    uint16_t cpus = GUINT16_TO_LE((uint16_t)board->config.boot_cpus);
    uint16_t most = GUINT16_TO_LE((uint16_t)board->config.cpus), port = GUINT16_TO_LE(PC_COM1);

    if (!firmware_load(&pc->firmware, err))
        return false;
    int rc = mem_map_write(board->config.mem, MIB(1) - shadow, rom->host + rom->size - shadow,
                           shadow);
    g_assert(rc == 0); /* a machine has RAM below 1 MiB */
    fw_cfg_set_item(pc->fw, FW_CFG_CPUS, &cpus, sizeof(cpus));
    fw_cfg_set_item(pc->fw, FW_CFG_MOST_CPUS, &most, sizeof(most));
    fw_cfg_set_file(pc->fw, "etc/sercon-port", &port, sizeof(port)); /* SeaBIOS's console */
    set_memory_file(board, pc->fw);
    set_acpi_files(board, pc->fw);
    return true;
}

static bool load_kernel(struct board *board, struct pc *pc, GError **err)
{
    uint64_t low = pc_low_ram(board->config.memory), high = pc_high_ram(board->config.memory);
    const struct x86_range ranges[] = {
        {0, X86_LOW_END, X86_RANGE_RAM},
        {X86_LOW_END, MIB(1) - X86_LOW_END, X86_RANGE_RESERVED},
        {MIB(1), low - MIB(1), X86_RANGE_RAM},
        {PC_ECAM, PC_PCI_BUSES * PCI_ECAM_BUS, X86_RANGE_RESERVED},
        {PC_HIGH, high, X86_RANGE_RAM}, /* the last, which there may not be */
    };
    struct x86_boot boot = {
        .mem = board->config.mem,
        .low_ram = low,
        .ranges = ranges,
        .n_ranges = G_N_ELEMENTS(ranges) - (high ? 0 : 1),
        .kernel_fd = board->config.kernel.fd,
        .kernel_name = board->config.kernel.name,
        .initrd_fd = board->config.initrd.fd,
        .initrd_name = board->config.initrd.name,
        .append = board->config.append,
    };

    if (boot.kernel_fd < 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "nothing to boot: neither kernel nor firmware");
    return load_acpi(board, &boot.rsdp, err) && x86_boot_load(&boot, &pc->entry, err);
}

static bool pc_load(struct board *board, GError **err)
{
    struct pc *pc = board->machine;

    return pc->fw ? load_firmware(board, pc, err) : load_kernel(board, pc, err);
}

/* The first processor runs kernel or firmware, which starts the others by INIT and SIPI. */
static bool pc_cpu_start(const struct board *board, unsigned cpu, struct board_start *out)
{
    const struct pc *pc = board->machine;

    *out = (struct board_start){.pc = PC_RESET, .mode = BOARD_MODE_RESET};
    if (pc->fw)
        return cpu == 0;
    *out = (struct board_start){
        .pc = pc->entry.pc,
        .args = {pc->entry.arg},
        .mode = pc->entry.mode == X86_MODE_PVH ? BOARD_MODE_PVH : BOARD_MODE_LONG,
        .cr3 = pc->entry.cr3,
    };
    return cpu == 0;
}

/* There is no firmware to call. */
static bool pc_hypercall(struct board *board, unsigned cpu, uint64_t args[8])
{
    args[0] = UINT64_MAX;
    return true;
}

static bool pc_power_button(struct board *board)
{
    const struct pc *pc = board->machine;

    ged_raise(pc->ged, GED_POWER_BUTTON);
    return true;
}

static struct cpu_plug *pc_cpu_plug(struct board *board)
{
    const struct pc *pc = board->machine;

    return pc->plug;
}

static struct pci_plug *pc_pci_plug(struct board *board)
{
    const struct pc *pc = board->machine;

    return pc->slots;
}

const struct board_type board__pc = {
    .isa = ISA_X86_64,
    .name = "pc",
    .most_cpus = LIMIT_VCPUS,
    .build = pc_build,
    .free = pc_free,
    .load = pc_load,
    .cpu_start = pc_cpu_start,
    .hypercall = pc_hypercall,
    .power_button = pc_power_button,
    .eoi = pc_eoi,
    .cpu_plug = pc_cpu_plug,
    .pci_plug = pc_pci_plug,
};
