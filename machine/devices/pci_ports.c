/* See the header. The address is written by 4 bytes; single bytes there are other registers. */
#include "machine/devices/pci_ports.h"

enum { PORT_ADDRESS = 0, PORT_RESET = 1, PORT_DATA = 4 };

enum { RESET_NOW = 1 << 2 }; /* a rising edge resets */

#define ADDRESS_ENABLE (UINT32_C(1) << 31)
#define ADDRESS_BITS   UINT32_C(0x80fffffc)

struct pci_ports {
    struct device dev;
    uint32_t address;
    uint8_t control;

    struct mem_map *mem;
    gpa_t ecam;
    void (*reset)(void *opaque);
    void *opaque;
};

/* Where in ECAM an access to the data port at OFFSET goes; false: nowhere. */
static bool find(struct pci_ports *ports, uint64_t offset, gpa_t *out)
{
    uint32_t address = __atomic_load_n(&ports->address, __ATOMIC_RELAXED);

    if (offset < PORT_DATA || !(address & ADDRESS_ENABLE))
        return false;
    *out = ports->ecam + ((address & 0x00ffff00) << 4) + (address & 0xfc) + (offset - PORT_DATA);
    return true;
}

static int ports_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct pci_ports *ports = opaque;
    gpa_t at;

    *value = (UINT64_C(1) << 8 * size) - 1;
    if (offset == PORT_ADDRESS && size == 4)
        *value = __atomic_load_n(&ports->address, __ATOMIC_RELAXED);
    else if (offset == PORT_RESET && size == 1)
        *value = __atomic_load_n(&ports->control, __ATOMIC_RELAXED);
    else if (find(ports, offset, &at))
        return mem_map_device_read(ports->mem, at, size, value);
    return 0;
}

static int ports_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_ports *ports = opaque;
    gpa_t at;

    if (offset == PORT_ADDRESS && size == 4) {
        __atomic_store_n(&ports->address, (uint32_t)value & ADDRESS_BITS, __ATOMIC_RELAXED);
    } else if (offset == PORT_RESET && size == 1) {
        uint8_t was = __atomic_exchange_n(&ports->control, (uint8_t)value, __ATOMIC_RELAXED);
        if (value & ~was & RESET_NOW)
            ports->reset(ports->opaque);
    } else if (find(ports, offset, &at)) {
        return mem_map_device_write(ports->mem, at, size, value);
    }
    return 0;
}

static void ports_reset(struct device *dev)
{
    struct pci_ports *ports = container_of(dev, struct pci_ports, dev);

    ports->address = 0;
    ports->control = 0;
}

static bool ports_restored(struct device *dev)
{
    struct pci_ports *ports = container_of(dev, struct pci_ports, dev);

    return (ports->address & ~ADDRESS_BITS) == 0;
}

static void ports_free(struct device *dev)
{
    g_free(container_of(dev, struct pci_ports, dev));
}

static const struct state_field ports_fields[] = {
    STATE_FIELD_U32(struct pci_ports, address, 1),
    STATE_FIELD_U8(struct pci_ports, control, 1),
};

static const struct state_desc ports_state = {
    .name = "pci-ports",
    .version = 1,
    .size = sizeof(struct pci_ports),
    .n_fields = G_N_ELEMENTS(ports_fields),
    .fields = ports_fields,
};

static const struct device_class ports_class = {
    .name = "pci-ports",
    .size = PCI_PORTS,
    .regs = {.read = ports_read, .write = ports_write, .sizes = 1 | 2 | 4},
    .state = &ports_state,
    .reset = ports_reset,
    .restored = ports_restored,
    .free = ports_free,
};

struct pci_ports *pci_ports_new(struct mem_map *mem, gpa_t ecam, void (*reset)(void *opaque),
                                void *opaque)
{
    struct pci_ports *ports = g_new0(struct pci_ports, 1);

    ports->dev.class = &ports_class;
    ports->mem = mem;
    ports->ecam = ecam;
    ports->reset = reset;
    ports->opaque = opaque;
    return ports;
}

struct device *pci_ports_device(struct pci_ports *ports)
{
    return &ports->dev;
}
