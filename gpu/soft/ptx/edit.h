/*
 * A module's text for a device that places variables itself: with those at the addresses that they have here.
 *
 * While a module is parsed it is noted what in its text names variables. Such a variable is then no more declared, and its
 * address is a number: before an instruction that has it, this is moved to a register. Constants become global memory, so that
 * they can be anywhere. Variables with addresses of functions in their first values stay the device's, which alone knows
 * those. Debug information, which names variables too, is left out.
 */
#ifndef GPU_SOFT_PTX_EDIT_H
#define GPU_SOFT_PTX_EDIT_H

#include "gpu/soft/ptx/lex.h"
#include "gpu/soft/soft_priv.h"

struct ptx_edits {
    GArray *all;         /* struct edit */
    const char *insn;    /* where the instruction at hand begins */
    unsigned declare;    /* index of the edit that declares registers of the function at hand */
    unsigned used, most; /* registers: of that instruction; of one of the function's at most */
    unsigned statement;  /* edits before the declarations at hand, */
    bool fixed, kept;    /* what they declare: variables with a number for an address, and others */
    bool self;           /* of which one has its own address for a value */
};

void ptx_edits_init(struct ptx_edits *edits);
void ptx_edits_clear(struct ptx_edits *edits);
/* TEXT of LEN bytes as edited, to g_free(). */
char *ptx_edits_apply(struct ptx_edits *edits, const char *text, size_t len);

/* All of these do nothing where EDITS is NULL. */

/* BODY: behind a function's brace; and the function is over. */
void ptx_edit_function(struct ptx_edits *edits, const char *body);
void ptx_edit_function_end(struct ptx_edits *edits);
void ptx_edit_insn(struct ptx_edits *edits, const struct ptx_token *first);
/* An operand of the instruction, from NAME to END, is G's address and OFFSET. */
void ptx_edit_operand(struct ptx_edits *edits, const struct ptx_token *name, const char *end, const struct soft_global *g,
                      uint64_t offset);
/* TOKEN, where it is ".const", is to be ".global". */
void ptx_edit_const(struct ptx_edits *edits, const struct ptx_token *token);
/* Declarations of .global or .const begin; one is G; a first value of OF's, from FROM to END, is G's address and an offset, ADDRESS;
 * and they end. FIRST is their first token, SPACE their state space. False: some of them are the device's to place. */
void ptx_edit_variables(struct ptx_edits *edits);
void ptx_edit_variable(struct ptx_edits *edits, const struct soft_global *g);
void ptx_edit_value(struct ptx_edits *edits, const char *from, const char *end, const struct soft_global *of,
                    const struct soft_global *g, uint64_t address);
bool ptx_edit_variables_end(struct ptx_edits *edits, const char *first, const struct ptx_token *space, const char *end);
/* What is from FROM to END is for debuggers. */
void ptx_edit_drop(struct ptx_edits *edits, const char *from, const char *end);

#endif
