/*
 * The table of operations by their names: made once, read only afterwards.
 */
#include "gpu/soft/exec/lanes.h"

static GHashTable *table_new(void)
{
    static const struct exec_ops *const all[] = {&exec_ops_int, &exec_ops_wide, &exec_ops_float, &exec_ops_half};
    GHashTable *table = g_hash_table_new(g_str_hash, g_str_equal);

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        for (unsigned k = 0; k < all[i]->n; k++)
            g_hash_table_insert(table, (char *)all[i]->ops[k].key, (void *)&all[i]->ops[k]);
    }
    return table;
}

const struct soft_opdef *soft_opdef_find(const char *key)
{
    static gsize table;

    if (g_once_init_enter(&table))
        g_once_init_leave(&table, (gsize)table_new());
    return g_hash_table_lookup((GHashTable *)table, key);
}
