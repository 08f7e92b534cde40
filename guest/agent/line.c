/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* The protocol's lines; see line.h. */
#include "guest/agent/line.h"

#include <stdio.h>
#include <string.h>

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '%';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes the word of LENGTH bytes at TEXT in its place and ends it with a 0, which may lie behind
 * it. */
static bool decode(char *text, size_t length)
{
    char *to = text;

    for (size_t i = 0; i < length; i++) {
        if (text[i] != '%') {
            if (!is_plain((unsigned char)text[i]))
                return false;
            *to++ = text[i];
            continue;
        }
        if (length - i < 3)
            return false;
        int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
        if (high < 0 || low < 0 || !(high | low))
            return false;
        *to++ = (char)(high << 4 | low);
        i += 2;
    }
    *to = '\0';
    return length > 0;
}

bool line_split(char *text, size_t length, struct line_words *out)
{
    char *end = text + length;

    out->n = 0;
    for (char *at = text;; at++) {
        char *space = memchr(at, ' ', (size_t)(end - at));
        size_t n = (size_t)((space ? space : end) - at);
        if (out->n == LINE_MAX_WORDS || !decode(at, n))
            return false;
        out->word[out->n++] = at;
        if (!space)
            break;
        at = space;
    }
    out->word[out->n] = NULL;
    return true;
}

static void add_bytes(struct line *line, const char *bytes, size_t n)
{
    /* The newline always fits. */
    if (n > sizeof(line->text) - 1 - line->length) {
        line->overflow = true;
        return;
    }
    memcpy(line->text + line->length, bytes, n);
    line->length += n;
}

static void add_encoded(struct line *line, const char *text)
{
    for (; *text; text++) {
        char code[4];
        if (is_plain((unsigned char)*text)) {
            add_bytes(line, text, 1);
        } else {
            snprintf(code, sizeof(code), "%%%02x", (unsigned char)*text);
            add_bytes(line, code, 3);
        }
    }
}

void line_add(struct line *line, const char *word)
{
    if (line->length)
        add_bytes(line, " ", 1);
    if (!*word)
        line->overflow = true;
    add_encoded(line, word);
}

void line_add_pair(struct line *line, const char *name, const char *value)
{
    line_add(line, name);
    add_bytes(line, "=", 1);
    add_encoded(line, value);
}

void line_add_number(struct line *line, uint32_t number)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    line_add(line, text);
}

bool line_end(struct line *line)
{
    if (line->overflow || !line->length)
        return false;
    line->text[line->length++] = '\n';
    return true;
}

bool line_number(const char *word, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;
    size_t n = strlen(word);

    if (n == 0 || n > 10 || (n > 1 && word[0] == '0'))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (word[i] < '0' || word[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(word[i] - '0');
    }
    if (value > max)
        return false;
    *out = (uint32_t)value;
    return true;
}

enum line_event line_read(struct line_reader *r, const uint8_t *data, size_t n, size_t *used)
{
    if (r->ready)
        r->length = 0;
    r->ready = false;
    for (*used = 0; *used < n;) {
        char c = (char)data[(*used)++];
        if (r->too_long) {
            r->too_long = c != '\n';
            continue;
        }
        if (c == '\n') {
            r->text[r->length] = '\0';
            r->ready = true;
            return LINE_READY;
        }
        if (r->length == sizeof(r->text) - 1) {
            r->length = 0;
            r->too_long = true;
            return LINE_TOO_LONG;
        }
        r->text[r->length++] = c;
    }
    return LINE_NONE;
}
