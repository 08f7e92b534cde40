/*
 * machine/boot/dt: writes a flattened device tree from top to bottom.
 *
 * A thin layer over libfdt's sequential writer: the first failure sticks and is told at the end,
 * so a tree is written as a plain list of calls. Cells are given in host order. No locking.
 */
#ifndef MACHINE_BOOT_DT_H
#define MACHINE_BOOT_DT_H

#include "base/base.h"

struct dt {
    uint8_t *data; /* owned until dt_finish() */
    int error;     /* of libfdt; 0 while all is well */
    int size;
};

/* Begins a tree of at most SIZE bytes and opens its root node. */
void dt_begin(struct dt *dt, int size);

/* Closes the root; the tree's bytes, which the caller frees, or NULL with VMD_ERROR_LIMIT. */
uint8_t *dt_finish(struct dt *dt, size_t *size, GError **err);

void dt_node(struct dt *dt, const char *name);
/* A node "NAME@ADDRESS". */
void dt_node_at(struct dt *dt, const char *name, uint64_t address);
void dt_end(struct dt *dt);

void dt_empty(struct dt *dt, const char *name);
void dt_string(struct dt *dt, const char *name, const char *value);
/* N strings one after another. */
void dt_strings(struct dt *dt, const char *name, const char *const *values, size_t n);
void dt_bytes(struct dt *dt, const char *name, const void *value, size_t n);
void dt_cells(struct dt *dt, const char *name, const uint32_t *cells, size_t n);
void dt_u32(struct dt *dt, const char *name, uint32_t value);
void dt_u64(struct dt *dt, const char *name, uint64_t value);
/* "reg" under a parent with two cells of address and two of size. */
void dt_reg(struct dt *dt, uint64_t address, uint64_t size);

#define DT_CELLS(dt, name, ...)                                                                    \
    dt_cells((dt), (name), (const uint32_t[]){__VA_ARGS__},                                        \
             sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
#define DT_STRINGS(dt, name, ...)                                                                  \
    dt_strings((dt), (name), (const char *const[]){__VA_ARGS__},                                   \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* The two cells of a 64-bit number. */
#define DT_HI_LO(v) (uint32_t)((uint64_t)(v) >> 32), (uint32_t)(v)

#endif
