/* See dt_parts.h. The binding of interrupt maps is IEEE 1275's for PCI. */
#include "machine/boards/dt_parts.h"

#include "machine/bus/pci.h"

#include <sys/random.h>

/* A kernel's random generator is seeded from here before it has any other source. */
static void write_rng_seed(struct dt *dt)
{
    uint8_t seed[32];

    if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
        dt_bytes(dt, "rng-seed", seed, sizeof(seed));
}

void dt_chosen(struct dt *dt, const char *append, const char *console,
               const struct boot_chosen *chosen)
{
    g_autofree char *path = g_strdup_printf("%s:115200n8", console);

    dt_node(dt, "chosen");
    dt_string(dt, "bootargs", append ? append : "");
    dt_string(dt, "stdout-path", path);
    if (chosen->initrd_end) {
        dt_u64(dt, "linux,initrd-start", chosen->initrd_start);
        dt_u64(dt, "linux,initrd-end", chosen->initrd_end);
    }
    write_rng_seed(dt);
    dt_end(dt);
}

/* INTx of the first four slots; the mask makes the others follow them. */
void dt_interrupt_map(struct dt *dt, uint32_t parent, dt_intx_fn intx)
{
    enum { SLOTS = 4, PINS = 4, ROW = 5 + DT_INTX_CELLS };
    uint32_t cells[SLOTS * PINS * ROW];
    size_t n = 0;

    for (unsigned slot = 0; slot < SLOTS; slot++) {
        for (unsigned pin = 1; pin <= PINS; pin++) {
            const uint32_t head[] = {slot << 11, 0, 0, pin, parent};
            memcpy(cells + n, head, sizeof(head));
            n += G_N_ELEMENTS(head);
            n += intx(cells + n, pci_intx_line(slot, pin));
        }
    }
    dt_cells(dt, "interrupt-map", cells, n);
    DT_CELLS(dt, "interrupt-map-mask", (SLOTS - 1) << 11, 0, 0, 7);
}
