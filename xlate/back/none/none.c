/*
 * For hosts without a back end: everything is interpreted, and asking for more is a clear error.
 * Without a struct back nobody calls the rest.
 */
#include "xlate/back/back.h"

bool back_new(const struct back_config *config, struct back **out, GError **err)
{
    return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                    "the translator generates no code for this host yet: use tier 0");
}

void back_free(struct back *back)
{
    g_assert(!back);
}

struct back_compiler *back_compiler_new(struct back *back)
{
    g_assert_not_reached();
}

void back_compiler_free(struct back_compiler *compiler)
{
    g_assert(!compiler);
}

int back_compile(struct back_compiler *compiler, const struct ir_unit *unit,
                 struct cache_place *place)
{
    g_assert_not_reached();
}

void back_interrupted(const struct back *back, const struct xl_cpu *cpu, const void *context,
                      struct back_place *out)
{
    g_assert_not_reached();
}

struct back_exit back_enter(struct back *back, struct xl_cpu *cpu, const struct cache_unit *unit)
{
    g_assert_not_reached();
}
