/* See dt_parts.h. The binding of interrupt maps is IEEE 1275's for PCI. */
#include "machine/boards/dt_parts.h"

#include "machine/bus/pci.h"

#include <sys/random.h>

/* A kernel places itself by the one, and seeds its random generator by the other, before it has any
 * source of its own. */
static void write_seeds(struct dt *dt)
{
    uint8_t seed[8 + 32];

    if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        return;
    dt_bytes(dt, "kaslr-seed", seed, 8);
    dt_bytes(dt, "rng-seed", seed + 8, sizeof(seed) - 8);
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
    write_seeds(dt);
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
