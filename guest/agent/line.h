/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/agent/line: the lines that host and agent exchange (docs/architecture/agent.md).
 *
 * A line is words with one space between them, ended by a newline. A word is of printable ASCII
 * without space; any other byte, and "%" itself, is "%" and two hexadecimal digits. No word is
 * empty, and none has a byte 0. Both sides share this; it needs nothing but the C library.
 */
#ifndef GUEST_AGENT_LINE_H
#define GUEST_AGENT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_MAX_BYTES 4096 /* with its newline */
#define LINE_MAX_WORDS 64
#define LINE_PORT      "org.vmd.agent.0" /* name of the virtio-serial port */
#define LINE_PROTOCOL  1                 /* version of what is said in these lines */

struct line_words {
    unsigned n;
    const char *word[LINE_MAX_WORDS + 1]; /* decoded; NULL after the last */
};

/*
 * Takes TEXT, a line of LENGTH bytes without its newline, apart; words point into TEXT, which is
 * changed, as is the byte behind it. False where it is not a line, or has more than LINE_MAX_WORDS
 * words.
 */
bool line_split(char *text, size_t length, struct line_words *out);

/* A line under construction; zeroed at first. */
struct line {
    size_t length;
    bool overflow; /* a word did not fit, or was empty: the line is of no use */
    char text[LINE_MAX_BYTES];
};

/* Appends a word, encoded. */
void line_add(struct line *line, const char *word);
/* Appends NAME=VALUE. */
void line_add_pair(struct line *line, const char *name, const char *value);
void line_add_number(struct line *line, uint32_t number);
/* Appends the newline; false where the line is of no use. */
bool line_end(struct line *line);

/* Whether WORD is a number of 0..MAX in decimal, without leading zeros. */
bool line_number(const char *word, uint32_t max, uint32_t *out);

/* Bytes that come in, until they are a line. Zeroed at first. */
struct line_reader {
    size_t length;
    bool ready;    /* TEXT is a whole line, which the next call forgets */
    bool too_long; /* what is left of such a line is skipped */
    char text[LINE_MAX_BYTES];
};

enum line_event { LINE_NONE, LINE_READY, LINE_TOO_LONG };

/*
 * Takes bytes of DATA up to the end of one line; *USED gets how many. LINE_READY: text and length
 * are that line, without its newline and ended by 0, until the next call. LINE_TOO_LONG: one line
 * was longer than LINE_MAX_BYTES, and is skipped; said once for it.
 */
enum line_event line_read(struct line_reader *reader, const uint8_t *data, size_t n, size_t *used);

#endif
