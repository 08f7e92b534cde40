/*
 * What the parser's parts share: one struct ptx_parser a module, used by one thread, gone when it is loaded.
 * Functions return false after the first error, which is then in the parser and stays.
 */
#ifndef GPU_SOFT_PTX_PARSE_H
#define GPU_SOFT_PTX_PARSE_H

#include "gpu/soft/ptx/edit.h"
#include "gpu/soft/ptx/lex.h"
#include "gpu/soft/soft_priv.h"

enum { PTX_MODS = 16, PTX_MOD_LEN = 40, PTX_OPERANDS = 8, PTX_ELEMENTS = 8, PTX_KEY = 160 };

struct ptx_type {
    char kind; /* u, s, b, f (IEEE), g (bfloat16), p */
    uint8_t size;  /* bytes; of one element where packed */
    uint8_t packed; /* 1, or 2 for f16x2 and the like */
};

enum ptx_sym_kind { SYM_REG, SYM_VAR, SYM_FUNCTION, SYM_PROTO, SYM_TABLE, SYM_LABEL };

struct ptx_sym {
    enum ptx_sym_kind kind;
    char width;                 /* SYM_REG: p, h, w, d */
    enum soft_space_kind space; /* SYM_VAR */
    bool kernel_param, dynamic; /* SYM_VAR */
    uint32_t count;             /* SYM_REG: registers NAME0 ... of NAME<count>; 0: NAME itself */
    uint32_t index;             /* SYM_LABEL: operation; SYM_TABLE: table */
    uint64_t addr, size;        /* SYM_VAR; SYM_REG: offset of the first */
    struct soft_global *global; /* SYM_VAR of SPACE_GLOBAL and SPACE_CONST; else NULL */
    struct soft_function *fn;   /* SYM_FUNCTION */
    struct soft_call *proto;    /* SYM_PROTO: sizes of arguments and results; owned */
};

struct ptx_scope {
    GHashTable *syms; /* name: struct ptx_sym */
    struct ptx_scope *up;
    uint32_t param_mark;
};

enum ptx_atom_kind { ATOM_REG, ATOM_INT, ATOM_F32, ATOM_F64, ATOM_VAR, ATOM_FUNCTION, ATOM_SPECIAL, ATOM_SINK, ATOM_NAME };

struct ptx_atom {
    enum ptx_atom_kind kind;
    char width;             /* of a register */
    bool invert, negate;
    int32_t reg;
    uint64_t value;         /* number, or offset from a variable; special register */
    struct ptx_sym *sym;
    struct ptx_token token; /* where, and ATOM_NAME: what */
};

struct ptx_operand {
    bool memory, vector, paired; /* [a], {a, b}, a|next */
    unsigned n;
    int64_t offset;              /* of [a+offset] */
    struct ptx_atom atom[PTX_ELEMENTS];
};

struct ptx_insn {
    struct ptx_token token;
    int32_t guard;
    uint8_t guarded;
    char op[PTX_MOD_LEN];
    char mod[PTX_MODS][PTX_MOD_LEN];
    unsigned mods, n;
    struct ptx_operand operand[PTX_OPERANDS];
};

/* A branch to a label that may come later. */
struct ptx_fixup {
    unsigned op;        /* whose imm becomes the target, or */
    GArray *table;      /* whose element OP does */
    struct ptx_scope *scope;
    struct ptx_token label;
};

struct ptx_parser {
    struct ptx_lexer lexer;
    struct ptx_token tok;
    struct soft_module *module;
    struct ptx_edits *edits;  /* NULL: the text is not to be edited */
    struct ptx_scope *top, *scope;
    int error;
    GString *log;
    uint32_t shared;          /* bytes of the module's own shared variables */
    bool entry_shared;        /* a kernel has shared variables of its own */
    bool entry_used_shared;
    /* Of the function at hand. */
    struct soft_function *fn;
    GArray *ops;              /* struct soft_op */
    GArray *fixups;
    GPtrArray *scopes;        /* all of them, to free */
    GByteArray *consts;
    GHashTable *const_at;     /* value and width: offset */
    GPtrArray *interned;      /* keys of const_at */
    uint32_t params;          /* bytes in use now */
    uint32_t shared_end;
};

/* ---- parse.c ---- */

/* Notes the first error at token AT; always false. */
bool ptx_fail(struct ptx_parser *p, int error, const struct ptx_token *at, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
bool ptx_next(struct ptx_parser *p);
bool ptx_is(const struct ptx_parser *p, char punct);
bool ptx_is_dot(const struct ptx_parser *p, const char *name);
bool ptx_accept(struct ptx_parser *p, char punct);
bool ptx_expect(struct ptx_parser *p, char punct);
bool ptx_int(struct ptx_parser *p, int64_t *out);
bool ptx_type(const char *name, size_t len, struct ptx_type *out);
bool ptx_token_is(const struct ptx_token *t, const char *text);
/* Where T begins in the text. */
const char *ptx_begin(const struct ptx_token *t);

struct ptx_sym *ptx_find(struct ptx_parser *p, struct ptx_scope *scope, const struct ptx_token *name);
/* A new symbol in the innermost scope, or NULL when the name is taken there. */
struct ptx_sym *ptx_declare(struct ptx_parser *p, const struct ptx_token *name, enum ptx_sym_kind kind);
struct ptx_scope *ptx_scope_push(struct ptx_parser *p);

/* ---- var.c ---- */

/* Declarations that begin with a state space (the token at hand), up to and with the semicolon; FIRST is where their
 * linkage, or that, begins in the text. */
bool ptx_variables(struct ptx_parser *p, bool external, const char *first);
/* One .param or .reg declaration of a list "(...)": its symbol, and offset and size from *BYTES on. */
bool ptx_formal(struct ptx_parser *p, uint32_t *bytes, struct soft_formal *out, bool declare);

/* ---- body.c ---- */

/* The body of p->fn, from its brace to its end. */
bool ptx_body(struct ptx_parser *p);
bool ptx_callprototype(struct ptx_parser *p, const struct ptx_token *name);

/* ---- insn.c ---- */

bool ptx_operand(struct ptx_parser *p, struct ptx_operand *out);
/* One instruction from its guard to its semicolon, into operations. */
bool ptx_instruction(struct ptx_parser *p);

/* ---- lower.c and lower_*.c ---- */

bool ptx_lower(struct ptx_parser *p, struct ptx_insn *in);
bool ptx_lower_call(struct ptx_parser *p, struct ptx_insn *in);
struct soft_op *ptx_emit(struct ptx_parser *p, const struct ptx_insn *in, soft_run *run);
int32_t ptx_temp(struct ptx_parser *p, char width);
int32_t ptx_reg_alloc(struct ptx_parser *p, char width, uint32_t count);
int32_t ptx_const(struct ptx_parser *p, uint64_t value, char width);
/* Where ATOM's value of WIDTH is, as a source or (DEST) a destination; ops for it are emitted. */
bool ptx_source(struct ptx_parser *p, const struct ptx_insn *in, const struct ptx_atom *atom,
                char width, int32_t *out);
bool ptx_dest(struct ptx_parser *p, const struct ptx_atom *atom, char width, int32_t *out);
/* Operation KEY with given places of operands. */
bool ptx_emit_key(struct ptx_parser *p, const struct ptx_insn *in, const char *key, int32_t d,
                  int32_t a, int32_t b);
bool ptx_has(const struct ptx_insn *in, const char *mod);
/* The last modifier as a type, or the one before it for BACK = 1, and so on. */
bool ptx_insn_type(struct ptx_parser *p, const struct ptx_insn *in, unsigned back, struct ptx_type *out);
char ptx_width(unsigned size);
unsigned ptx_stride(char width);
void ptx_skip_begin(struct ptx_parser *p, struct ptx_insn *in, unsigned *skip);
void ptx_skip_end(struct ptx_parser *p, unsigned skip);

typedef bool ptx_lower_fn(struct ptx_parser *p, struct ptx_insn *in);
ptx_lower_fn ptx_lower_ld, ptx_lower_st, ptx_lower_atom, ptx_lower_cvta, ptx_lower_isspacep,
    ptx_lower_cp_async, ptx_lower_nothing, ptx_lower_mov, ptx_lower_setp, ptx_lower_set,
    ptx_lower_selp, ptx_lower_slct, ptx_lower_cvt, ptx_lower_bra, ptx_lower_brx, ptx_lower_ret,
    ptx_lower_bar, ptx_lower_shfl, ptx_lower_vote, ptx_lower_match, ptx_lower_redux, ptx_lower_plain,
    ptx_lower_warpsync, ptx_lower_exit;

#endif
