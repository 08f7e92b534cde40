/*
 * PTX text as tokens. The text is borrowed and need not end with a NUL. No state but the object's.
 */
#ifndef GPU_SOFT_PTX_LEX_H
#define GPU_SOFT_PTX_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ptx_kind {
    PTX_END,
    PTX_BAD,     /* a character or number that PTX doesn't have */
    PTX_ID,      /* name, %register, opcode */
    PTX_DOT,     /* .directive or .modifier, without the dot; may hold "::" */
    PTX_INT,     /* num */
    PTX_FLOAT,   /* num: bits of a double */
    PTX_FLOAT32, /* num: bits of a float */
    PTX_STRING,
    PTX_PUNCT,   /* text[0] */
};

struct ptx_token {
    enum ptx_kind kind;
    const char *text;
    unsigned len;
    unsigned line, column; /* from 1 */
    uint64_t num;
};

struct ptx_lexer {
    const char *at, *end, *line_start;
    unsigned line;
};

void ptx_lex_init(struct ptx_lexer *lexer, const char *text, size_t size);

/* The next token; PTX_END for ever at the end. */
struct ptx_token ptx_lex_next(struct ptx_lexer *lexer);

#endif
