/*
 * The device tree of virt-riscv64, from the bindings of Linux 6.12 (riscv/cpus, sifive,plic,
 * pci-host-ecam-generic, ns16550a, google,goldfish-rtc, syscon-poweroff) and the Devicetree
 * Specification 0.4.
 */
#include "machine/boards/dt_parts.h"
#include "machine/boards/virt_riscv64.h"
#include "machine/bus/pci.h"
#include "machine/devices/hart_irq.h"
#include "machine/devices/plic.h"
#include "machine/devices/syscon.h"
#include "machine/devices/uart16550.h"

#define TREE_MOST 32768
#define SERIAL    "/soc/serial@10000000"

/* Phandles; a hart's own and its interrupt controller's are two a hart. */
enum {
    PLIC_PHANDLE = 1,
    SYSCON_PHANDLE = 2,
    HART_PHANDLE = 16,
    NO_IRQ = -1, /* "interrupts-extended": a context that isn't wired to anything */
};

/* In the canonical order of the ISA manual; the first six are one word of "riscv,isa". */
static const char *const isa_extensions[] = {
    "i",     "m",        "a",           "f",   "d",   "c",   "zicbom", "zicboz", "zicntr",
    "zicsr", "zifencei", "zihintpause", "zba", "zbb", "zbs", "sstc",   "svvptc",
};

static uint32_t hart_phandle(unsigned cpu)
{
    return HART_PHANDLE + 2 * cpu;
}

static uint32_t intc_phandle(unsigned cpu)
{
    return hart_phandle(cpu) + 1;
}

static char *isa_string(void)
{
    GString *s = g_string_new("rv64");

    for (size_t i = 0; i < G_N_ELEMENTS(isa_extensions); i++) {
        if (strlen(isa_extensions[i]) > 1)
            g_string_append_c(s, '_');
        g_string_append(s, isa_extensions[i]);
    }
    return g_string_free(s, FALSE);
}

static void write_hart(struct dt *dt, unsigned cpu)
{
    g_autofree char *isa = isa_string();

    dt_node_at(dt, "cpu", cpu);
    dt_string(dt, "device_type", "cpu");
    dt_string(dt, "compatible", "riscv");
    dt_u32(dt, "reg", cpu);
    dt_string(dt, "status", "okay");
    dt_string(dt, "riscv,isa", isa);
    dt_string(dt, "riscv,isa-base", "rv64i");
    dt_strings(dt, "riscv,isa-extensions", isa_extensions, G_N_ELEMENTS(isa_extensions));
    dt_u32(dt, "riscv,cbom-block-size", 64);
    dt_u32(dt, "riscv,cboz-block-size", 64);
    dt_string(dt, "mmu-type", "riscv,sv48");
    dt_u32(dt, "phandle", hart_phandle(cpu));
    dt_node(dt, "interrupt-controller");
    dt_u32(dt, "#address-cells", 0);
    dt_u32(dt, "#interrupt-cells", 1);
    dt_empty(dt, "interrupt-controller");
    dt_string(dt, "compatible", "riscv,cpu-intc");
    dt_u32(dt, "phandle", intc_phandle(cpu));
    dt_end(dt);
    dt_end(dt);
}

static void write_cpus(struct dt *dt, const struct virt_dt *c)
{
    char core[16];

    dt_node(dt, "cpus");
    dt_u32(dt, "#address-cells", 1);
    dt_u32(dt, "#size-cells", 0);
    dt_u32(dt, "timebase-frequency", VIRT_TIMEBASE_HZ);
    for (unsigned i = 0; i < c->cpus; i++)
        write_hart(dt, i);
    dt_node(dt, "cpu-map");
    dt_node(dt, "cluster0");
    for (unsigned i = 0; i < c->cpus; i++) {
        g_snprintf(core, sizeof(core), "core%u", i);
        dt_node(dt, core);
        dt_u32(dt, "cpu", hart_phandle(i));
        dt_end(dt);
    }
    dt_end(dt);
    dt_end(dt);
    dt_end(dt);
}

/* "interrupts-extended": for each hart its phandle and input A, then B. */
static void write_hart_irqs(struct dt *dt, unsigned cpus, uint32_t a, uint32_t b)
{
    uint32_t cells[LIMIT_XLATE_VCPUS * 4];

    for (unsigned i = 0; i < cpus; i++) {
        cells[4 * i] = cells[4 * i + 2] = intc_phandle(i);
        cells[4 * i + 1] = a;
        cells[4 * i + 3] = b;
    }
    dt_cells(dt, "interrupts-extended", cells, 4 * cpus);
}

static void write_plic(struct dt *dt, const struct virt_dt *c)
{
    dt_node_at(dt, "interrupt-controller", VIRT_PLIC);
    DT_STRINGS(dt, "compatible", "sifive,plic-1.0.0", "riscv,plic0");
    dt_reg(dt, VIRT_PLIC, 0x600000);
    dt_empty(dt, "interrupt-controller");
    dt_u32(dt, "#interrupt-cells", 1);
    dt_u32(dt, "#address-cells", 0);
    dt_u32(dt, "riscv,ndev", PLIC_SOURCES);
    write_hart_irqs(dt, c->cpus, c->firmware_mode ? HART_IRQ_M_EXT : (uint32_t)NO_IRQ,
                    HART_IRQ_S_EXT);
    dt_u32(dt, "phandle", PLIC_PHANDLE);
    dt_end(dt);
}

static void write_aclint(struct dt *dt, const struct virt_dt *c)
{
    dt_node_at(dt, "clint", VIRT_ACLINT);
    DT_STRINGS(dt, "compatible", "sifive,clint0", "riscv,clint0");
    dt_reg(dt, VIRT_ACLINT, 0x10000);
    write_hart_irqs(dt, c->cpus, HART_IRQ_M_SOFT, HART_IRQ_M_TIMER);
    dt_end(dt);
}

static void write_uart(struct dt *dt)
{
    dt_node_at(dt, "serial", VIRT_UART);
    dt_string(dt, "compatible", "ns16550a");
    dt_reg(dt, VIRT_UART, 0x100);
    dt_u32(dt, "clock-frequency", UART16550_CLOCK_HZ);
    dt_u32(dt, "interrupt-parent", PLIC_PHANDLE);
    dt_u32(dt, "interrupts", VIRT_IRQ_UART);
    dt_end(dt);
}

static void write_rtc(struct dt *dt)
{
    dt_node_at(dt, "rtc", VIRT_RTC);
    dt_string(dt, "compatible", "google,goldfish-rtc");
    dt_reg(dt, VIRT_RTC, 0x1000);
    dt_u32(dt, "interrupt-parent", PLIC_PHANDLE);
    dt_u32(dt, "interrupts", VIRT_IRQ_RTC);
    dt_end(dt);
}

static void write_syscon(struct dt *dt)
{
    dt_node_at(dt, "test", VIRT_SYSCON);
    DT_STRINGS(dt, "compatible", "sifive,test1", "sifive,test0", "syscon");
    dt_reg(dt, VIRT_SYSCON, 0x1000);
    dt_u32(dt, "phandle", SYSCON_PHANDLE);
    dt_end(dt);
}

static void write_finisher(struct dt *dt, const char *name, const char *compatible, uint32_t value)
{
    dt_node(dt, name);
    dt_string(dt, "compatible", compatible);
    dt_u32(dt, "regmap", SYSCON_PHANDLE);
    dt_u32(dt, "offset", 0);
    dt_u32(dt, "value", value);
    dt_end(dt);
}

static unsigned intx_cells(uint32_t *cells, unsigned line)
{
    cells[0] = VIRT_IRQ_INTX + line;
    return 1;
}

static void write_pci(struct dt *dt, const struct virt_dt *c)
{
    gpa_t mem64 = virt_mem64(c->span);

    dt_node_at(dt, "pci", VIRT_ECAM);
    dt_string(dt, "compatible", "pci-host-ecam-generic");
    dt_string(dt, "device_type", "pci");
    dt_u32(dt, "#address-cells", 3);
    dt_u32(dt, "#size-cells", 2);
    dt_u32(dt, "#interrupt-cells", 1);
    dt_reg(dt, VIRT_ECAM, VIRT_PCI_BUSES * PCI_ECAM_BUS);
    DT_CELLS(dt, "bus-range", 0, VIRT_PCI_BUSES - 1);
    dt_u32(dt, "linux,pci-domain", 0);
    dt_empty(dt, "dma-coherent");
    DT_CELLS(dt, "ranges", 0x02000000, DT_HI_LO(VIRT_MEM32), DT_HI_LO(VIRT_MEM32),
             DT_HI_LO(VIRT_MEM32_SIZE), 0x43000000, DT_HI_LO(mem64), DT_HI_LO(mem64),
             DT_HI_LO(VIRT_MEM64_SIZE));
    dt_interrupt_map(dt, PLIC_PHANDLE, intx_cells);
    dt_end(dt);
}

static void write_soc(struct dt *dt, const struct virt_dt *c)
{
    dt_node(dt, "soc");
    dt_string(dt, "compatible", "simple-bus");
    dt_u32(dt, "#address-cells", 2);
    dt_u32(dt, "#size-cells", 2);
    dt_empty(dt, "ranges");
    write_syscon(dt);
    write_rtc(dt);
    if (c->firmware_mode)
        write_aclint(dt, c);
    write_plic(dt, c);
    write_uart(dt);
    write_pci(dt, c);
    dt_end(dt);
}

uint8_t *virt_dt_make(const struct virt_dt *c, size_t *size, GError **err)
{
    struct dt dt;

    dt_begin(&dt, TREE_MOST);
    dt_string(&dt, "compatible", "riscv-virtio");
    dt_string(&dt, "model", "vmd virt-riscv64");
    dt_u32(&dt, "#address-cells", 2);
    dt_u32(&dt, "#size-cells", 2);
    dt_node(&dt, "aliases");
    dt_string(&dt, "serial0", SERIAL);
    dt_end(&dt);
    dt_chosen(&dt, c->append, SERIAL, &c->chosen);
    dt_node_at(&dt, "memory", VIRT_RAM);
    dt_string(&dt, "device_type", "memory");
    dt_reg(&dt, VIRT_RAM, c->memory);
    dt_end(&dt);
    write_cpus(&dt, c);
    write_soc(&dt, c);
    write_finisher(&dt, "poweroff", "syscon-poweroff", SYSCON_POWEROFF);
    write_finisher(&dt, "reboot", "syscon-reboot", SYSCON_REBOOT);
    return dt_finish(&dt, size, err);
}
