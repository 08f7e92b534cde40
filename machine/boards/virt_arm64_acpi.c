/*
 * The ACPI tables of virt-arm64, for a firmware to hand on: hardware-reduced, PSCI by HVC, messages of PCI
 * functions to the ITS. Reset and power-off are PSCI's; the power button comes through the generic
 * event device.
 *
 * Specification: ACPI 6.5, 5.2.12 (MADT), 5.2.25 (GTDT) and 5.2.30 (PPTT); Arm DEN0049 (IORT), issue D.
 */
#include "machine/boards/acpi_parts.h"
#include "machine/boards/virt_arm64.h"

enum { PSCI_COMPLIANT = 1, PSCI_USE_HVC = 2 }; /* FADT, ARM boot architecture */

enum { MADT_GICC = 11, MADT_GICD = 12, MADT_GICR = 14, MADT_ITS = 15, MADT_ENABLED = 1 };

enum { GTDT_LEVEL_HIGH_ALWAYS_ON = 4 };

enum {
    IORT_HEADER = 48, /* of the table, with what is before its nodes */
    IORT_ITS_GROUP = 0,
    IORT_ROOT_COMPLEX = 2,
    IORT_ITS_BYTES = 24,
    IORT_ROOT_BYTES = 36,
    IORT_MAPPING_BYTES = 20,
    IORT_COHERENT = 1,
    IORT_CPM_DACS = 3, /* how device accesses reach caches */
    IORT_ADDRESS_BITS = 64,
};

enum { SPCR_PL011 = 3 };

/* --- MADT ----------------------------------------------------------------------------------- */

static void put_gicc(struct acpi_set *set, unsigned cpu)
{
    uint64_t affinity = gicv3_affinity(cpu);

    acpi_put(set, MADT_GICC | 80 << 8, 4);
    acpi_put(set, cpu, 4); /* of the CPU interface */
    acpi_put(set, cpu, 4); /* the processor's _UID */
    acpi_put(set, MADT_ENABLED, 4);
    acpi_put(set, 0, 4);                /* no parking protocol */
    acpi_put(set, ARM_PPI_PMU, 4);      /* nothing drives it; without a number kernels warn */
    acpi_put(set, 0, 8);
    acpi_put_zeros(set, 8 + 8 + 8 + 4); /* interfaces in memory; maintenance interrupt */
    acpi_put(set, 0, 8);                /* its redistributor is in the range below */
    acpi_put(set, affinity >> 24 << 32 | (affinity & 0xffffff), 8); /* as MPIDR has it */
    acpi_put_zeros(set, 4); /* efficiency class, overflow interrupt of profiling */
}

static void add_madt(struct acpi_set *set, unsigned cpus)
{
    acpi_table_begin(set, "APIC", 5);
    acpi_put_zeros(set, 8);
    acpi_put(set, MADT_GICD | 24 << 8, 4);
    acpi_put(set, 0, 4);
    acpi_put(set, ARM_GIC_DIST, 8);
    acpi_put(set, 0, 4);
    acpi_put(set, 3, 4); /* GICv3 */
    for (unsigned i = 0; i < cpus; i++)
        put_gicc(set, i);
    acpi_put(set, MADT_GICR | 16 << 8, 4);
    acpi_put(set, ARM_GIC_REDIST, 8);
    acpi_put(set, cpus * GICV3_REDIST_BYTES, 4);
    acpi_put(set, MADT_ITS | 20 << 8, 4);
    acpi_put(set, 0, 4); /* what IORT calls it */
    acpi_put(set, ARM_GIC_ITS, 8);
    acpi_put(set, 0, 4);
    acpi_table_end(set, true);
}

/* --- GTDT, IORT ----------------------------------------------------------------------------- */

static void put_timer(struct acpi_set *set, uint32_t intid)
{
    acpi_put(set, intid, 4);
    acpi_put(set, intid ? GTDT_LEVEL_HIGH_ALWAYS_ON : 0, 4);
}

static void add_gtdt(struct acpi_set *set)
{
    acpi_table_begin(set, "GTDT", 3);
    acpi_put(set, UINT64_MAX, 8); /* no counter in memory */
    acpi_put(set, 0, 4);
    put_timer(set, ARM_PPI_SECURE_TIMER);
    put_timer(set, ARM_PPI_PHYSICAL_TIMER);
    put_timer(set, ARM_PPI_VIRTUAL_TIMER);
    put_timer(set, ARM_PPI_HYP_TIMER);
    acpi_put(set, UINT64_MAX, 8);
    acpi_put_zeros(set, 8); /* no timers of the platform */
    put_timer(set, 0);      /* no virtual timer of EL2 */
    acpi_table_end(set, true);
}

static void put_node(struct acpi_set *set, unsigned type, unsigned bytes, unsigned revision,
                     unsigned mappings)
{
    acpi_put(set, type, 1);
    acpi_put(set, bytes + mappings * IORT_MAPPING_BYTES, 2);
    acpi_put(set, revision, 1);
    acpi_put(set, 0, 4);
    acpi_put(set, mappings, 4);
    acpi_put(set, mappings ? bytes : 0, 4); /* where they are */
}

/* All requesters go to the ITS as they are. */
static void add_iort(struct acpi_set *set)
{
    acpi_table_begin(set, "IORT", 0);
    acpi_put(set, 2, 4); /* nodes */
    acpi_put(set, IORT_HEADER, 4);
    acpi_put(set, 0, 4);
    put_node(set, IORT_ITS_GROUP, IORT_ITS_BYTES, 0, 0);
    acpi_put(set, 1, 4);
    acpi_put(set, 0, 4); /* the ITS of MADT */
    put_node(set, IORT_ROOT_COMPLEX, IORT_ROOT_BYTES, 1, 1);
    acpi_put(set, IORT_COHERENT, 4);
    acpi_put(set, (uint32_t)IORT_CPM_DACS << 24, 4);
    acpi_put(set, 0, 4); /* no ATS */
    acpi_put(set, 0, 4); /* segment */
    acpi_put(set, IORT_ADDRESS_BITS, 4);
    acpi_put(set, 0, 4); /* from requester 0, */
    acpi_put(set, UINT16_MAX, 4);
    acpi_put(set, 0, 4); /* to device 0, */
    acpi_put(set, IORT_HEADER, 4);
    acpi_put(set, 0, 4);
    acpi_table_end(set, true);
}

/* One package of processors, each with caches that nobody asks for. */
static void add_pptt(struct acpi_set *set, unsigned cpus)
{
    enum { NODE = 20, PACKAGE = 1, ID_VALID = 2, LEAF = 8 };
    acpi_table_begin(set, "PPTT", 2);

    for (unsigned i = 0; i <= cpus; i++) {
        uint32_t root = i ? 36 : 0; /* the first node, right behind the header */
        acpi_put(set, NODE << 8, 4);
        acpi_put(set, i ? ID_VALID | LEAF : PACKAGE, 4);
        acpi_put(set, root, 4);
        acpi_put(set, i ? i - 1 : 0, 4);
        acpi_put(set, 0, 4); /* no resources of its own */
    }
    acpi_table_end(set, true);
}

/* --- DSDT ----------------------------------------------------------------------------------- */

static void add_uart(struct aml *aml)
{
    aml_device(aml, "COM0");
    aml_name_string(aml, "_HID", "ARMH0011");
    aml_name_int(aml, "_UID", 0);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_memory32(aml, (uint32_t)ARM_UART, 0x1000);
    aml_interrupt(aml, GICV3_SPI_FIRST + ARM_SPI_UART, false);
    aml_end(aml);
    aml_end(aml);
}

static void add_pci(struct aml *aml)
{
    acpi_pci_begin(aml, ARM_PCI_BUSES, NULL);
    aml_window_ports(aml, ARM_PCI_IO, ARM_PCI_PORTS);
    aml_window_memory(aml, ARM_MEM32, ARM_MEM32_SIZE, false);
    aml_window_memory(aml, ARM_MEM64, ARM_MEM64_SIZE, true);
    aml_end(aml);
    acpi_prt(aml, GICV3_SPI_FIRST + ARM_SPI_INTX);
    aml_end(aml);
}

static uint32_t add_dsdt(struct acpi_set *set, unsigned cpus)
{
    uint32_t at = acpi_table_begin(set, "DSDT", 2);
    struct aml aml;

    aml_begin(&aml, set->bytes);
    aml_scope(&aml, "\\_SB_");
    acpi_processors(&aml, cpus);
    add_uart(&aml);
    add_pci(&aml);
    acpi_ecam(&aml, ARM_ECAM, ARM_PCI_BUSES);
    acpi_ged(&aml, ARM_GED, GICV3_SPI_FIRST + ARM_SPI_GED, NULL, 0);
    aml_end(&aml);
    acpi_table_end(set, false);
    return at;
}

uint32_t arm_acpi_make(struct acpi_set *set, unsigned cpus)
{
    struct acpi_fadt fadt = {
        .arm_flags = PSCI_COMPLIANT | PSCI_USE_HVC,
        .dsdt = add_dsdt(set, cpus),
    };
    struct acpi_uart uart = {
        .type = SPCR_PL011,
        .gic = true,
        .base = ARM_UART,
        .width = 4,
        .gsi = GICV3_SPI_FIRST + ARM_SPI_UART,
    };

    acpi_add_fadt(set, &fadt);
    add_madt(set, cpus);
    add_gtdt(set);
    add_pptt(set, cpus);
    acpi_add_mcfg(set, ARM_ECAM, ARM_PCI_BUSES);
    acpi_add_spcr(set, &uart);
    add_iort(set);
    return acpi_finish(set);
}
