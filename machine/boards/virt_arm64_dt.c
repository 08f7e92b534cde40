/*
 * The device tree of virt-arm64, from the bindings of Linux 6.12 (arm/cpus, arm,gic-v3, arm,pl011,
 * arm,pl031, arm,pl061, gpio-keys, pci-host-ecam-generic, arm/psci, qemu,fw-cfg-mmio, cfi-flash) and
 * the Devicetree Specification 0.4.
 */
#include "machine/boards/dt_parts.h"
#include "machine/boards/virt_arm64.h"
#include "machine/bus/pci.h"
#include "machine/devices/fw_cfg.h"
#include "machine/devices/pl011.h"

#define TREE_MOST 32768
#define SERIAL    "/pl011@9000000"

enum {
    GIC_PHANDLE = 1,
    ITS_PHANDLE = 2,
    CLOCK_PHANDLE = 3,
    GPIO_PHANDLE = 4,
    CPU_PHANDLE = 16,

    SPI = 0, /* the first cell of an interrupt */
    PPI = 1,
    EDGE_RISING = 1, /* the last one */
    LEVEL_HIGH = 4,

    KEY_POWER = 116,
};

static void write_cpus(struct dt *dt, const struct arm_dt *c)
{
    dt_node(dt, "cpus");
    dt_u32(dt, "#address-cells", 1);
    dt_u32(dt, "#size-cells", 0);
    for (unsigned i = 0; i < c->cpus; i++) {
        dt_node_at(dt, "cpu", gicv3_affinity(i));
        dt_string(dt, "device_type", "cpu");
        dt_string(dt, "compatible", "arm,neoverse-n1");
        dt_u32(dt, "reg", gicv3_affinity(i));
        if (c->cpus > 1)
            dt_string(dt, "enable-method", "psci");
        dt_u32(dt, "phandle", CPU_PHANDLE + i);
        dt_end(dt);
    }
    dt_end(dt);
}

static void write_psci(struct dt *dt)
{
    dt_node(dt, "psci");
    DT_STRINGS(dt, "compatible", "arm,psci-1.0", "arm,psci-0.2", "arm,psci");
    dt_string(dt, "method", "hvc");
    dt_end(dt);
}

static void write_timer(struct dt *dt)
{
    dt_node(dt, "timer");
    DT_STRINGS(dt, "compatible", "arm,armv8-timer", "arm,armv7-timer");
    dt_empty(dt, "always-on");
    DT_CELLS(dt, "interrupts", PPI, ARM_PPI_SECURE_TIMER - GICV3_PPI_FIRST, LEVEL_HIGH, PPI,
             ARM_PPI_PHYSICAL_TIMER - GICV3_PPI_FIRST, LEVEL_HIGH, PPI,
             ARM_PPI_VIRTUAL_TIMER - GICV3_PPI_FIRST, LEVEL_HIGH, PPI,
             ARM_PPI_HYP_TIMER - GICV3_PPI_FIRST, LEVEL_HIGH);
    dt_end(dt);
}

static void write_gic(struct dt *dt, const struct arm_dt *c)
{
    dt_node_at(dt, "intc", ARM_GIC_DIST);
    dt_string(dt, "compatible", "arm,gic-v3");
    dt_empty(dt, "interrupt-controller");
    dt_u32(dt, "#interrupt-cells", 3);
    dt_u32(dt, "#address-cells", 2);
    dt_u32(dt, "#size-cells", 2);
    dt_empty(dt, "ranges");
    dt_u32(dt, "#redistributor-regions", 1);
    DT_CELLS(dt, "reg", DT_HI_LO(ARM_GIC_DIST), 0, 0x10000, DT_HI_LO(ARM_GIC_REDIST), 0,
             c->cpus * GICV3_REDIST_BYTES);
    dt_u32(dt, "phandle", GIC_PHANDLE);
    dt_node_at(dt, "its", ARM_GIC_ITS);
    dt_string(dt, "compatible", "arm,gic-v3-its");
    dt_empty(dt, "msi-controller");
    dt_u32(dt, "#msi-cells", 1);
    dt_reg(dt, ARM_GIC_ITS, GICV3_ITS_BYTES);
    dt_u32(dt, "phandle", ITS_PHANDLE);
    dt_end(dt);
    dt_end(dt);
}

static void write_clock(struct dt *dt)
{
    dt_node(dt, "apb-pclk");
    dt_string(dt, "compatible", "fixed-clock");
    dt_u32(dt, "#clock-cells", 0);
    dt_u32(dt, "clock-frequency", PL011_CLOCK_HZ);
    dt_string(dt, "clock-output-names", "clk24mhz");
    dt_u32(dt, "phandle", CLOCK_PHANDLE);
    dt_end(dt);
}

/* Opens the node of one of ARM's PrimeCells at ADDRESS, up to its interrupt. */
static void begin_primecell(struct dt *dt, const char *name, const char *compatible, gpa_t address,
                            unsigned number)
{
    const char *const both[] = {compatible, "arm,primecell"};

    dt_node_at(dt, name, address);
    dt_strings(dt, "compatible", both, G_N_ELEMENTS(both));
    dt_reg(dt, address, 0x1000);
    DT_CELLS(dt, "interrupts", SPI, number, LEVEL_HIGH);
}

static void write_primecells(struct dt *dt)
{
    begin_primecell(dt, "pl011", "arm,pl011", ARM_UART, ARM_SPI_UART);
    DT_CELLS(dt, "clocks", CLOCK_PHANDLE, CLOCK_PHANDLE);
    DT_STRINGS(dt, "clock-names", "uartclk", "apb_pclk");
    dt_end(dt);

    begin_primecell(dt, "pl031", "arm,pl031", ARM_RTC, ARM_SPI_RTC);
    dt_u32(dt, "clocks", CLOCK_PHANDLE);
    dt_string(dt, "clock-names", "apb_pclk");
    dt_end(dt);

    begin_primecell(dt, "pl061", "arm,pl061", ARM_GPIO, ARM_SPI_GPIO);
    dt_u32(dt, "clocks", CLOCK_PHANDLE);
    dt_string(dt, "clock-names", "apb_pclk");
    dt_empty(dt, "gpio-controller");
    dt_u32(dt, "#gpio-cells", 2);
    dt_u32(dt, "phandle", GPIO_PHANDLE);
    dt_end(dt);
}

/* What a firmware looks for: where it reads what machine this is, and where it keeps its variables. */
static void write_firmware(struct dt *dt, const struct arm_dt *c)
{
    dt_node_at(dt, "fw-cfg", ARM_FW_CFG);
    dt_string(dt, "compatible", "qemu,fw-cfg-mmio");
    dt_reg(dt, ARM_FW_CFG, FW_CFG_BYTES);
    dt_empty(dt, "dma-coherent");
    dt_end(dt);
    dt_node_at(dt, "flash", ARM_FLASH);
    dt_string(dt, "compatible", "cfi-flash");
    dt_reg(dt, ARM_FLASH, c->flash);
    dt_u32(dt, "bank-width", ARM_FLASH_WIDTH);
    dt_end(dt);
}

static void write_power_key(struct dt *dt)
{
    dt_node(dt, "gpio-keys");
    dt_string(dt, "compatible", "gpio-keys");
    dt_node(dt, "poweroff");
    dt_string(dt, "label", "GPIO Key Poweroff");
    dt_u32(dt, "linux,code", KEY_POWER);
    DT_CELLS(dt, "gpios", GPIO_PHANDLE, ARM_GPIO_POWER, 0);
    dt_end(dt);
    dt_end(dt);
}

/* A row of "interrupt-map" behind pin and parent: the parent's address, and the interrupt. */
static unsigned intx_cells(uint32_t *row, unsigned line)
{
    const uint32_t cells[] = {0, 0, SPI, ARM_SPI_INTX + line, LEVEL_HIGH};

    memcpy(row, cells, sizeof(cells));
    return G_N_ELEMENTS(cells);
}

static void write_pci(struct dt *dt)
{
    dt_node_at(dt, "pcie", ARM_ECAM);
    dt_string(dt, "compatible", "pci-host-ecam-generic");
    dt_string(dt, "device_type", "pci");
    dt_u32(dt, "#address-cells", 3);
    dt_u32(dt, "#size-cells", 2);
    dt_u32(dt, "#interrupt-cells", 1);
    dt_reg(dt, ARM_ECAM, ARM_PCI_BUSES * PCI_ECAM_BUS);
    DT_CELLS(dt, "bus-range", 0, ARM_PCI_BUSES - 1);
    dt_u32(dt, "linux,pci-domain", 0);
    dt_empty(dt, "dma-coherent");
    DT_CELLS(dt, "msi-map", 0, ITS_PHANDLE, 0, 0x10000);
    DT_CELLS(dt, "ranges", 0x01000000, 0, 0, DT_HI_LO(ARM_PCI_IO), DT_HI_LO(ARM_PCI_PORTS),
             0x02000000, DT_HI_LO(ARM_MEM32), DT_HI_LO(ARM_MEM32), DT_HI_LO(ARM_MEM32_SIZE),
             0x43000000, DT_HI_LO(ARM_MEM64), DT_HI_LO(ARM_MEM64), DT_HI_LO(ARM_MEM64_SIZE));
    dt_interrupt_map(dt, GIC_PHANDLE, intx_cells);
    dt_end(dt);
}

uint8_t *arm_dt_make(const struct arm_dt *c, size_t *size, GError **err)
{
    struct dt dt;

    dt_begin(&dt, TREE_MOST);
    dt_string(&dt, "compatible", "linux,dummy-virt");
    dt_string(&dt, "model", "vmd virt-arm64");
    dt_u32(&dt, "#address-cells", 2);
    dt_u32(&dt, "#size-cells", 2);
    dt_u32(&dt, "interrupt-parent", GIC_PHANDLE);
    dt_empty(&dt, "dma-coherent");
    dt_node(&dt, "aliases");
    dt_string(&dt, "serial0", SERIAL);
    dt_end(&dt);
    dt_chosen(&dt, c->append, SERIAL, &c->chosen);
    dt_node_at(&dt, "memory", ARM_RAM);
    dt_string(&dt, "device_type", "memory");
    dt_reg(&dt, ARM_RAM, c->memory);
    dt_end(&dt);
    write_cpus(&dt, c);
    write_psci(&dt);
    write_timer(&dt);
    write_gic(&dt, c);
    write_clock(&dt);
    write_primecells(&dt);
    write_power_key(&dt);
    write_pci(&dt);
    if (c->flash)
        write_firmware(&dt, c);
    return dt_finish(&dt, size, err);
}
