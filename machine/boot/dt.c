/* See the header. Every call does nothing once an error stuck. */
#include "machine/boot/dt.h"

#include <inttypes.h>
#include <libfdt.h>
#include <stdio.h>

/* Keeps the first error; true while there is none. */
static bool keep(struct dt *dt, int rc)
{
    if (rc < 0 && !dt->error)
        dt->error = rc;
    return !dt->error;
}

void dt_begin(struct dt *dt, int size)
{
    *dt = (struct dt){.data = g_malloc0((size_t)size), .size = size};
    if (keep(dt, fdt_create(dt->data, size)))
        keep(dt, fdt_finish_reservemap(dt->data));
    dt_node(dt, "");
}

uint8_t *dt_finish(struct dt *dt, size_t *size, GError **err)
{
    uint8_t *data = g_steal_pointer(&dt->data);

    if (!dt->error && keep(dt, fdt_end_node(data)))
        keep(dt, fdt_finish(data));
    if (dt->error) {
        g_free(data);
        vmd_fail(err, VMD_ERROR_LIMIT, "the device tree cannot be made: %s",
                 fdt_strerror(dt->error));
        return NULL;
    }
    *size = fdt_totalsize(data);
    return data;
}

void dt_node(struct dt *dt, const char *name)
{
    if (!dt->error)
        keep(dt, fdt_begin_node(dt->data, name));
}

void dt_node_at(struct dt *dt, const char *name, uint64_t address)
{
    char full[64];

    snprintf(full, sizeof(full), "%s@%" PRIx64, name, address);
    dt_node(dt, full);
}

void dt_end(struct dt *dt)
{
    if (!dt->error)
        keep(dt, fdt_end_node(dt->data));
}

void dt_bytes(struct dt *dt, const char *name, const void *value, size_t n)
{
    if (!dt->error)
        keep(dt, fdt_property(dt->data, name, value, (int)n));
}

void dt_empty(struct dt *dt, const char *name)
{
    dt_bytes(dt, name, NULL, 0);
}

void dt_string(struct dt *dt, const char *name, const char *value)
{
    dt_bytes(dt, name, value, strlen(value) + 1);
}

void dt_strings(struct dt *dt, const char *name, const char *const *values, size_t n)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (size_t i = 0; i < n; i++)
        g_string_append_len(all, values[i], (gssize)strlen(values[i]) + 1);
    dt_bytes(dt, name, all->str, all->len);
}

void dt_cells(struct dt *dt, const char *name, const uint32_t *cells, size_t n)
{
    g_autofree uint32_t *be = g_new(uint32_t, n);

    for (size_t i = 0; i < n; i++)
        be[i] = GUINT32_TO_BE(cells[i]);
    dt_bytes(dt, name, be, n * sizeof(*be));
}

void dt_u32(struct dt *dt, const char *name, uint32_t value)
{
    DT_CELLS(dt, name, value);
}

void dt_u64(struct dt *dt, const char *name, uint64_t value)
{
    DT_CELLS(dt, name, DT_HI_LO(value));
}

void dt_reg(struct dt *dt, uint64_t address, uint64_t size)
{
    DT_CELLS(dt, "reg", DT_HI_LO(address), DT_HI_LO(size));
}
