/*
 * vm/console: one console of the VM and its clients.
 *
 * All output goes to a bounded log (base/seglog.h). A client is a stream socket and an offset into that
 * log, so a slow client costs no memory and holds nobody up; one that falls behind by more than the
 * log keeps is told how much it missed. Input of all clients is one stream to the guest; clients
 * are not read from while the guest's device has no room. A client that shuts down its sending side
 * is gone. Loop thread only.
 */
#ifndef VM_CONSOLE_H
#define VM_CONSOLE_H

#include "base/base.h"

#include <uv.h>

struct console;

struct console_ops {
    /* Gives the guest input; returns how many bytes were taken. */
    size_t (*input)(void *opaque, const uint8_t *data, size_t n);
    /* Sees all output, before the clients do. May be NULL. */
    void (*seen)(void *opaque, const uint8_t *data, size_t n);
};

/* A console NAME whose log lies in LOG_DIR. OPS and OPAQUE outlive it. NULL with ERR when the log
 * can't be begun. */
struct console *console_new(uv_loop_t *loop, const char *name, const char *log_dir,
                            const struct console_ops *ops, void *opaque, GError **err);
/* Ends all clients at once. Handles are freed by the loop's next turns. Takes NULL. */
void console_free(struct console *console);

const char *console_name(const struct console *console);

/* Takes output of the guest: all of it, always. */
void console_output(struct console *console, const uint8_t *data, size_t n);
/* The guest's device has room for input again. */
void console_input_room(struct console *console);

/*
 * Adds a client and returns its end of a new socket pair, which the caller owns; -1 with ERR
 * (VMD_ERROR_LIMIT beyond LIMIT_CONSOLE_CLIENTS). It first gets the last REPLAY bytes of the log.
 */
int console_attach(struct console *console, bool readonly, uint64_t replay, GError **err);

/* Types DATA; returns how many bytes were taken (the rest finds no room). */
size_t console_write(struct console *console, const uint8_t *data, size_t n);

/* Bytes of output since the console began, and the oldest offset kept. */
uint64_t console_total(const struct console *console);
uint64_t console_first(const struct console *console);
/* Reads the log as seglog_read() does. */
ssize_t console_read(struct console *console, uint64_t *offset, void *data, size_t n);

/*
 * No more output will come: each client is closed once it has all. DONE is called when the last is
 * gone, or after TIMEOUT_MS, when the rest are closed anyway.
 */
void console_drain(struct console *console, unsigned timeout_ms, void (*done)(void *opaque),
                   void *opaque);

#endif
