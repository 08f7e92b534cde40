/*
 * xlate/back/interp: tier 0. Runs the IR as it stands, one insn after the other, with exact
 * arithmetic and every access by its full path. It is what other back ends are tested against.
 */
#ifndef XLATE_BACK_INTERP_INTERP_H
#define XLATE_BACK_INTERP_INTERP_H

#include "xlate/back/back.h"

struct interp;

struct interp_config {
    const struct ir_helper *helpers; /* by number; outlive the interpreter */
    uint32_t n_helpers;
    struct back_slow slow;
};

struct interp *interp_new(const struct interp_config *config);
/* Takes NULL. */
void interp_free(struct interp *interp);

/*
 * Runs UNIT once on the calling vCPU's thread; cpu->pc_page is the page it starts in. MISS: go on
 * at cpu->pc; STATE: the same, in cpu->mode; FAULT: cpu->fault is set and cpu->pc is the
 * instruction that faulted. Requests are the caller's to look at. One caller at a time.
 */
enum back_leave interp_run(struct interp *interp, struct xl_cpu *cpu, const struct ir_unit *unit);

#endif
