/*
 * xlate/opt: IR to IR, cheap enough for every unit: each pass looks at each insn once.
 *
 *   merge   accesses off one base value share one TR over their whole range
 *   sweep   register writes that nothing can see, and values that nothing uses, go
 *
 * Folding and redundant register reads are the builder's (ir/fold.c). Finds are counted in
 * unit->pattern[]. Stateless: any thread, on its own unit.
 */
#ifndef XLATE_OPT_OPT_H
#define XLATE_OPT_OPT_H

#include "xlate/ir/ir.h"

/* The widest range that accesses share a TR for, in bytes: one that crosses a page makes all of
 * them slow, so it stays far below a page. */
enum { OPT_TR_SPAN = 128 };

/* All passes, in order. HELPERS is the table that the unit's calls refer to. */
void opt_unit(struct ir_unit *unit, const struct ir_helper *helpers);

void opt_merge(struct ir_unit *unit, const struct ir_helper *helpers);
void opt_sweep(struct ir_unit *unit, const struct ir_helper *helpers);

#endif
