/*
 * vmctl/command: what a command of vmctl is, and what all of them use.
 *
 * The table of commands with their options is data: arguments are parsed, help, the manual page and
 * shell completion are made from it.
 */
#ifndef VMCTL_COMMAND_H
#define VMCTL_COMMAND_H

#include "proto/client/libvmd.h"

#include <stdio.h>

/* Exit statuses; vmctl(1) lists them from here. */
#define EXIT_ROWS(X)                                                                               \
    X(OK, 0, "Success. Of run, console and wait: the guest powered off.")                          \
    X(ERROR, 1, "An error without a status of its own.")                                           \
    X(USAGE, 2, "The command line is wrong.")                                                      \
    X(NO_DAEMON, 3, "No daemon could be reached or started, or it went away.")                     \
    X(NOT_FOUND, 4, "There is no such VM, file or job.")                                           \
    X(DENIED, 5, "The caller may not do this.")                                                    \
    X(STATE, 6, "Not possible in the present state; or taken, or busy.")                           \
    X(TIMEOUT, 7, "Not done in the time allowed.")                                                 \
    X(PANIC, 10, "The guest's kernel panicked, or powered off with a failure code.")               \
    X(RESET, 11, "The guest asked for a reset and its VM ends then.")                              \
    X(KILLED, 12, "The VM was killed.")                                                            \
    X(CRASHED, 13, "The VM's process died.")                                                       \
    X(START_FAILED, 14, "The VM could not be started.")

#define X(name, value, doc) VMCTL_EXIT_##name = (value),
enum vmctl_exit { EXIT_ROWS(X) };
#undef X

/* One option of a command. */
struct option_row {
    const char *name; /* "memory", for --memory; NULL ends a table */
    const char *arg;  /* "SIZE"; NULL for a flag */
    const char *doc;
    const char *choices; /* "riscv64 aarch64", for completion; or "@file", "@vm"; NULL */
};

/* The arguments of one call, parsed by a table. */
struct arguments {
    const struct command *command;
    GPtrArray *names, *values; /* options in order: name (borrowed), value ("" for a flag) */
    GPtrArray *positional;     /* borrowed */
};

struct command {
    const char *name;
    const char *synopsis; /* of its positional arguments: "VM" */
    const char *doc;      /* one line */
    const char *more;     /* further paragraphs for the manual, or NULL */
    const struct option_row *options;
    unsigned least, most;        /* positional arguments */
    const char *positional_kind; /* as option_row.choices */
    int (*run)(const struct arguments *args); /* an enum vmctl_exit */
};

extern const struct command *const commands[]; /* ends with NULL */
extern const struct option_row common_options[]; /* of all commands */
const struct command *command_find(const char *name);

/* Parses ARGV; false with VMD_ERROR_INVALID. */
bool arguments_parse(const struct command *command, int argc, char **argv, struct arguments *out,
                     GError **err);
void arguments_clear(struct arguments *args);
/* The last value of option NAME ("" for a flag), or NULL where it was not given. */
const char *arguments_get(const struct arguments *args, const char *name);
bool arguments_has(const struct arguments *args, const char *name);
/* A number of at most MAX into OUT, which keeps its value where the option was not given. */
bool arguments_number(const struct arguments *args, const char *name, uint64_t max, uint64_t *out,
                      GError **err);
const char *arguments_at(const struct arguments *args, unsigned index); /* positional; or NULL */

/* --- the daemon ------------------------------------------------------------------------------- */

/* Connects; where no daemon listens, starts the user's own. NULL after having said why; EXIT gets
 * the status. */
struct vmd_client *connect_daemon(int *status);

/* The daemon has gone away: connects with the next one, which may take a while to come. *CLIENT is
 * replaced, perhaps by NULL; then false, after having said why. */
bool reconnect_daemon(struct vmd_client **client, int *status);

/* Says what went wrong, and what to do; returns the exit status. Takes ERR. */
int fail(struct vmd_client *client, GError *err);
int usage_error(const struct command *command, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* A word that a command takes first, as in "vmctl xlate stats". */
struct part_row {
    const char *name;
    int (*run)(struct vmd_client *client, const struct arguments *args);
    unsigned most; /* positional arguments, with the word */
};

/* Connects and runs the part that the first argument names. */
int run_part(const struct arguments *args, const struct part_row *parts, size_t n);

/* The status that says how a run ended. */
int status_of_end(const struct vm_end *end);

/* --- output ----------------------------------------------------------------------------------- */

/* Prints JSON for programs (indented where standard output is a terminal). */
void print_json(struct json_object *json);

/* A table for people: cells are added row by row, then printed with columns aligned. */
struct table;
struct table *table_new(const char *const *headers, unsigned columns);
void table_add(struct table *table, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void table_print(struct table *table, FILE *to); /* and frees */

/* "3 min ago" and "1 h 02 min"; the caller frees. */
char *format_age(uint64_t time_ns);
char *format_duration(uint64_t ns);

/* --- consoles --------------------------------------------------------------------------------- */

enum console_left {
    CONSOLE_ENDED,    /* the VM has no more output */
    CONSOLE_DETACHED, /* the person typed the escape */
    CONSOLE_SIGNAL,   /* SIGINT, SIGTERM or SIGHUP */
    CONSOLE_FAILED,   /* standard output refused, or the socket failed; ERR says which */
};

/* Keeps SIGINT, SIGTERM and SIGHUP until console_stream(), which then returns at once. */
void console_hold_signals(void);

/*
 * Connects standard input and output with the console socket FD (taken) until one of the above. On
 * a terminal: raw, with ^] as the escape.
 */
enum console_left console_stream(int fd, bool readonly, GError **err);

#endif
