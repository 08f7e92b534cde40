#include "gpu/soft/ptx/lex.h"

#include <glib.h>
#include <string.h>

enum { NUMBER_MAX = 64 }; /* characters of a number */

void ptx_lex_init(struct ptx_lexer *lexer, const char *text, size_t size)
{
    *lexer = (struct ptx_lexer){.at = text, .end = text + size, .line_start = text, .line = 1};
}

static void newline(struct ptx_lexer *lx)
{
    lx->line++;
    lx->line_start = lx->at + 1;
}

/* Past white space and comments. */
static void skip(struct ptx_lexer *lx)
{
    for (; lx->at < lx->end; lx->at++) {
        if (*lx->at == '\n') {
            newline(lx);
        } else if (*lx->at == '/' && lx->end - lx->at > 1 && lx->at[1] == '/') {
            while (lx->at + 1 < lx->end && lx->at[1] != '\n')
                lx->at++;
        } else if (*lx->at == '/' && lx->end - lx->at > 1 && lx->at[1] == '*') {
            lx->at += 2;
            while (lx->at < lx->end && !(*lx->at == '/' && lx->at[-1] == '*')) {
                if (*lx->at == '\n')
                    newline(lx);
                lx->at++;
            }
            if (lx->at == lx->end)
                return;
        } else if (!strchr(" \t\r\f\v", *lx->at) || !*lx->at) {
            return;
        }
    }
}

static bool is_name(char c)
{
    return g_ascii_isalnum(c) || c == '_' || c == '$' || c == '%';
}

/* The digits of a number in BASE to *OUT; what is too long for 64 bits is bad. */
static bool digits(const char *s, unsigned len, unsigned base, uint64_t *out)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < len; i++) {
        int d = g_ascii_xdigit_value(s[i]);

        if (d < 0 || d >= (int)base || __builtin_mul_overflow(v, base, &v) ||
            __builtin_add_overflow(v, d, &v))
            return false;
    }
    *out = v;
    return len > 0;
}

static bool decimal_float(struct ptx_token *t)
{
    char text[NUMBER_MAX + 1], *end;
    double v;

    if (t->len > NUMBER_MAX)
        return false;
    memcpy(text, t->text, t->len);
    text[t->len] = 0;
    v = g_ascii_strtod(text, &end);
    memcpy(&t->num, &v, sizeof(v));
    return *end == 0;
}

/* Section 4.4 of the PTX ISA: integers and floating-point constants. */
static void number(struct ptx_lexer *lx, struct ptx_token *t)
{
    const char *s = lx->at;
    bool real = false, ok;
    unsigned n;

    while (lx->at < lx->end &&
           (is_name(*lx->at) || *lx->at == '.' ||
            ((*lx->at == '+' || *lx->at == '-') && real && g_ascii_tolower(lx->at[-1]) == 'e'))) {
        real |= *lx->at == '.' && !(s[0] == '0' && lx->at > s + 1 && g_ascii_isalpha(s[1]));
        lx->at++;
    }
    t->len = n = lx->at - s;
    t->kind = PTX_INT;
    if (n == 10 && s[0] == '0' && (s[1] == 'f' || s[1] == 'F')) {
        t->kind = PTX_FLOAT32;
        ok = digits(s + 2, 8, 16, &t->num);
    } else if (n == 18 && s[0] == '0' && (s[1] == 'd' || s[1] == 'D')) {
        t->kind = PTX_FLOAT;
        ok = digits(s + 2, 16, 16, &t->num);
    } else if (real) {
        t->kind = PTX_FLOAT;
        ok = decimal_float(t);
    } else {
        n -= s[n - 1] == 'U';
        if (n > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
            ok = digits(s + 2, n - 2, 16, &t->num);
        else if (n > 2 && s[0] == '0' && (s[1] == 'b' || s[1] == 'B'))
            ok = digits(s + 2, n - 2, 2, &t->num);
        else
            ok = digits(s, n, n > 1 && s[0] == '0' ? 8 : 10, &t->num);
    }
    if (!ok)
        t->kind = PTX_BAD;
}

static void dotted(struct ptx_lexer *lx, struct ptx_token *t)
{
    t->kind = PTX_DOT;
    t->text = ++lx->at;
    while (lx->at < lx->end && (is_name(*lx->at) || (*lx->at == ':' && lx->end - lx->at > 2 &&
                                                     lx->at[1] == ':' && is_name(lx->at[2]))))
        lx->at += *lx->at == ':' ? 2 : 1;
    t->len = lx->at - t->text;
}

static void string(struct ptx_lexer *lx, struct ptx_token *t)
{
    t->kind = PTX_STRING;
    t->text = ++lx->at;
    while (lx->at < lx->end && *lx->at != '"' && *lx->at != '\n')
        lx->at++;
    t->len = lx->at - t->text;
    if (lx->at == lx->end || *lx->at != '"')
        t->kind = PTX_BAD;
    else
        lx->at++;
}

struct ptx_token ptx_lex_next(struct ptx_lexer *lexer)
{
    struct ptx_lexer *lx = lexer;
    struct ptx_token t = {0};

    skip(lx);
    t.text = lx->at;
    t.line = lx->line;
    t.column = lx->at - lx->line_start + 1;
    if (lx->at >= lx->end)
        return t;
    if (g_ascii_isdigit(*lx->at)) {
        number(lx, &t);
    } else if (is_name(*lx->at)) {
        t.kind = PTX_ID;
        while (lx->at < lx->end && is_name(*lx->at))
            lx->at++;
        t.len = lx->at - t.text;
    } else if (*lx->at == '.' && lx->end - lx->at > 1 && is_name(lx->at[1])) {
        dotted(lx, &t);
    } else if (*lx->at == '"') {
        string(lx, &t);
    } else {
        t.kind = *lx->at && strchr("{}()[],;:@!|<>+-=~&^*/%?", *lx->at) ? PTX_PUNCT : PTX_BAD;
        t.len = 1;
        lx->at++;
    }
    return t;
}
