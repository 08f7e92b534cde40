/* The table of limits.inc as data, for the API and for docs. */
#include "base/base.h"

#define LIMIT(name, value, unit, doc) {#name, value, unit, doc},
static const struct limit rows[] = {
#include "base/limits.inc"
};
#undef LIMIT

const struct limit *limits_table(size_t *n)
{
    *n = G_N_ELEMENTS(rows);
    return rows;
}
