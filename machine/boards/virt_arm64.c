/*
 * virt-arm64: GICv3 with ITS, PL011, PL031, PL061 with the power key, a PCIe host, and PSCI. The
 * vCPUs' generic timers are the accelerator's; their outputs come as lines. Messages of PCI
 * functions go to the ITS, by requester.
 *
 * With a firmware there are flash for its variables, fw_cfg, and the generic event device of its ACPI
 * tables besides; a kernel is then the firmware's to load.
 */
#include "machine/boards/virt_arm64.h"

#include "machine/boards/acpi_parts.h"
#include "machine/boards/board_priv.h"
#include "machine/boards/firmware.h"
#include "machine/boot/psci.h"
#include "machine/devices/ged.h"
#include "machine/devices/pflash.h"
#include "machine/devices/pl011.h"
#include "machine/devices/pl031.h"
#include "machine/devices/pl061.h"

#include <inttypes.h>

struct arm {
    struct gicv3 *gic;
    struct gicv3_its *its;
    struct pl061 *gpio;
    struct psci_config psci;
    struct boot_entry entry;
    struct firmware firmware; /* the rest is there where this one is */
    struct fw_cfg *fw;
    struct ged *ged;
};

static void cpu_input(void *opaque, unsigned cpu, unsigned input, bool level)
{
    struct board *board = opaque;

    board->config.cpu_ops->set_irq(board->config.cpu_opaque, cpu, input, level);
}

static struct irq_line spi(const struct arm *a, unsigned number)
{
    return gicv3_line(a->gic, GICV3_SPI_FIRST + number);
}

static bool add_gic(struct board *board, struct arm *a, GError **err)
{
    a->gic = gicv3_new(board->config.cpus, board->config.mem, cpu_input, board);
    if (!board__add_device(board, gicv3_device(a->gic), ARM_GIC_DIST, err) ||
        !board__add_device(board, gicv3_redist_device(a->gic), ARM_GIC_REDIST, err))
        return false;
    a->its = gicv3_its_new(a->gic);
    return board__add_device(board, gicv3_its_device(a->its), ARM_GIC_ITS, err);
}

static bool add_uart(struct board *board, const struct arm *a, GError **err)
{
    board->console =
        pl011_new(board->config.loop, spi(a, ARM_SPI_UART), &board__console_ops, board, err);
    return board->console && board__add_device(board, serial_device(board->console), ARM_UART, err);
}

static bool add_rtc(struct board *board, const struct arm *a, GError **err)
{
    struct pl031 *rtc = pl031_new(board->timers, spi(a, ARM_SPI_RTC), NULL);

    return board__add_device(board, pl031_device(rtc), ARM_RTC, err);
}

static bool add_gpio(struct board *board, struct arm *a, GError **err)
{
    a->gpio = pl061_new(board->timers, spi(a, ARM_SPI_GPIO));
    return board__add_device(board, pl061_device(a->gpio), ARM_GPIO, err);
}

static bool message(void *opaque, uint16_t requester, uint64_t address, uint32_t data)
{
    const struct arm *a = opaque;

    if (address != ARM_GIC_ITS + GICV3_ITS_TRANSLATER)
        return false;
    gicv3_its_message(a->its, requester, data);
    return true;
}

static bool add_pci(struct board *board, struct arm *a, GError **err)
{
    struct pci_host_config config = {
        .mem = board->config.mem,
        .ecam = ARM_ECAM,
        .buses = ARM_PCI_BUSES,
        .mem32 = {ARM_MEM32, ARM_MEM32_SIZE},
        .mem64 = {ARM_MEM64, ARM_MEM64_SIZE},
        .io = {ARM_PCI_IO, ARM_PCI_PORTS},
        .msi = message,
        .msi_opaque = a,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(config.intx); i++)
        config.intx[i] = spi(a, ARM_SPI_INTX + i);
    board->pci = pci_host_new(&config, err);
    return board->pci != NULL;
}

static bool check(const struct board *board, GError **err)
{
    if (board__span(&board->config, ARM_RAM) > ARM_RAM_MOST)
        return vmd_fail(err, VMD_ERROR_LIMIT,
                        "virt-arm64 has at most %" PRIu64 " MiB of memory, with what comes later",
                        ARM_RAM_MOST / MIB(1));
    return true;
}

static void finish_acpi(void *opaque, bool reboot)
{
    const struct board *board = opaque;
    struct board_request request = {.kind = reboot ? BOARD_REQUEST_REBOOT : BOARD_REQUEST_POWEROFF,
                                    .source = "acpi"};

    board->config.cpu_ops->request(board->config.cpu_opaque, &request);
}

static bool add_firmware(struct board *board, struct arm *a, GError **err)
{
    struct pflash_config flash = {
        .block = ARM_FLASH_BLOCK, .width = ARM_FLASH_WIDTH, .chips = ARM_FLASH_CHIPS};

    if (board->config.firmware.fd < 0)
        return true;
    if (!firmware_open(&a->firmware, &board->config, ARM_FLASH_MOST, ARM_FLASH_BLOCK,
                       ARM_FLASH_MOST, err) ||
        !firmware_add_rom(&a->firmware, ARM_ROM, err))
        return false;
    flash.fd = a->firmware.vars;
    flash.size = a->firmware.vars_size;
    a->fw = fw_cfg_new(board->config.mem, FW_CFG_IN_MEMORY);
    a->ged = ged_new(spi(a, ARM_SPI_GED), finish_acpi, board);
    return board__add_device(board, pflash_device(pflash_new(&flash)), ARM_FLASH, err) &&
           board__add_device(board, fw_cfg_device(a->fw), ARM_FW_CFG, err) &&
           board__add_device(board, ged_device(a->ged), ARM_GED, err);
}

static bool arm_build(struct board *board, GError **err)
{
    struct arm *a = g_new0(struct arm, 1);

    board->machine = a;
    firmware_init(&a->firmware);
    board->traits.timebase_hz = ARM_TIMEBASE_HZ;
    a->psci = (struct psci_config){.cpus = board->config.cpus,
                                   .mem = board->config.mem,
                                   .affinity = gicv3_affinity,
                                   .cpu_ops = board->config.cpu_ops,
                                   .cpu_opaque = board->config.cpu_opaque};
    return check(board, err) && board__add_ram(board, ARM_RAM, err) && add_gic(board, a, err) &&
           add_uart(board, a, err) && add_rtc(board, a, err) && add_gpio(board, a, err) &&
           add_pci(board, a, err) && add_firmware(board, a, err);
}

static void arm_free(struct board *board)
{
    struct arm *a = board->machine;

    if (a)
        firmware_close(&a->firmware);
    g_free(a);
}

static uint8_t *make_fdt(void *opaque, const struct boot_chosen *chosen, size_t *size, GError **err)
{
    const struct board *board = opaque;
    struct arm_dt config = {
        .cpus = board->config.cpus,
        .memory = board->config.memory,
        .append = board->config.append,
        .chosen = *chosen,
        .flash = ((const struct arm *)board->machine)->firmware.vars_size,
    };

    return arm_dt_make(&config, size, err);
}

/* Firmware looks for the tree where RAM begins. */
static bool load_fdt(struct board *board, GError **err)
{
    size_t size;
    const struct boot_chosen chosen = {0};
    g_autofree uint8_t *fdt = make_fdt(board, &chosen, &size, err);

    if (!fdt)
        return false;
    int rc = mem_map_write(board->config.mem, ARM_RAM, fdt, size);
    g_assert(rc == 0); /* a tree is smaller than the least RAM */
    return true;
}

static bool load_firmware(struct board *board, struct arm *a, GError **err)
{
    struct acpi_set set;

    if (!firmware_load(&a->firmware, err) || !firmware_give_kernel(&a->firmware, a->fw, err) ||
        !load_fdt(board, err))
        return false;
    acpi_begin(&set);
    acpi_give(a->fw, &set, arm_acpi_make(&set, board->config.cpus));
    acpi_clear(&set);
    a->entry = (struct boot_entry){.pc = ARM_ROM, .fdt = ARM_RAM};
    return true;
}

static bool arm_load(struct board *board, GError **err)
{
    struct arm *a = board->machine;
    struct linux_boot boot = {
        .isa = ISA_AARCH64,
        .mem = board->config.mem,
        .ram_base = ARM_RAM,
        .ram_size = board->config.memory,
        .kernel = board->config.kernel,
        .initrd = board->config.initrd,
        .firmware = {.fd = -1},
        .make_fdt = make_fdt,
        .opaque = board,
    };

    if (a->fw)
        return load_firmware(board, a, err);
    return linux_boot_load(&boot, &a->entry, err);
}

/* The first vCPU gets the device tree in x0; others are switched on by PSCI. */
static bool arm_cpu_start(const struct board *board, unsigned cpu, struct board_start *out)
{
    const struct arm *a = board->machine;

    *out = (struct board_start){.pc = a->entry.pc, .args = {a->entry.fdt}};
    return cpu == 0;
}

static bool arm_hypercall(struct board *board, unsigned cpu, uint64_t args[8])
{
    const struct arm *a = board->machine;

    return psci_call(&a->psci, cpu, args);
}

static bool arm_sysreg(struct board *board, unsigned cpu, uint32_t encoding, bool write,
                       uint64_t *value)
{
    const struct arm *a = board->machine;

    return gicv3_sysreg(a->gic, cpu, encoding, write, value);
}

static void arm_cpu_line(struct board *board, unsigned cpu, enum board_cpu_line line, bool level)
{
    static const uint8_t ppi[] = {[BOARD_LINE_VIRTUAL_TIMER] = ARM_PPI_VIRTUAL_TIMER,
                                  [BOARD_LINE_PHYSICAL_TIMER] = ARM_PPI_PHYSICAL_TIMER};
    const struct arm *a = board->machine;

    gicv3_set_ppi(a->gic, cpu, ppi[line], level);
}

/* By ACPI, which has a driver in each kernel, and for one that goes by the device tree, whose
 * driver may be a module that is not there. */
static bool arm_power_button(struct board *board)
{
    const struct arm *a = board->machine;

    if (a->ged)
        ged_raise(a->ged, GED_POWER_BUTTON);
    return pl061_press(a->gpio, ARM_GPIO_POWER) || a->ged;
}

const struct board_type board__virt_arm64 = {
    .isa = ISA_AARCH64,
    .name = "virt-arm64",
    .most_cpus = LIMIT_XLATE_VCPUS,
    .build = arm_build,
    .free = arm_free,
    .load = arm_load,
    .cpu_start = arm_cpu_start,
    .hypercall = arm_hypercall,
    .sysreg = arm_sysreg,
    .cpu_line = arm_cpu_line,
    .power_button = arm_power_button,
};
