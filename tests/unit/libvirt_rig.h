/* Frames of libvirt's to and from a server on a loop, for its tests. Waits are for bytes, with
 * patience. */
#ifndef TESTS_UNIT_LIBVIRT_RIG_H
#define TESTS_UNIT_LIBVIRT_RIG_H

#include "proto/libvirt/calls.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <uv.h>

enum { RIG_PATIENCE_S = 20, RIG_REMOTE = 0x20008086 };

/* Turns the loop until a client sees something or the time is over. */
static inline void rig_turn(uv_loop_t *loop, int64_t until)
{
    ck_assert_msg(g_get_monotonic_time() < until, "nothing came in time");
    uv_run(loop, UV_RUN_NOWAIT);
    g_usleep(200);
}

static inline int64_t rig_patience(void)
{
    return g_get_monotonic_time() + RIG_PATIENCE_S * G_USEC_PER_SEC;
}

/* A call's frame, appended to OUT. ARGS may be NULL. */
static inline void rig_call(GByteArray *out, int32_t procedure, uint32_t serial,
                            const struct libvirt_layout *layout, const void *args)
{
    struct libvirt_head head = {
        .program = RIG_REMOTE, .version = 1, .procedure = procedure, .serial = serial};
    size_t start = libvirt_frame_begin(out, &head);

    if (layout)
        ck_assert_int_eq(libvirt_write(layout, args, out), 0);
    ck_assert_int_eq(libvirt_frame_end(out, start), 0);
}

static inline void rig_send(uv_loop_t *loop, int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    for (int64_t until = rig_patience(); len > 0; rig_turn(loop, until)) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return; /* disconnected: the test looks at that */
        at += MAX(n, 0);
        len -= (size_t)MAX(n, 0);
    }
}

/* The next LEN bytes into OUT; false where the server has disconnected. */
static inline bool rig_bytes(uv_loop_t *loop, int fd, uint8_t *out, size_t len)
{
    for (int64_t until = rig_patience(); len > 0; rig_turn(loop, until)) {
        ssize_t n = recv(fd, out, len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        out += MAX(n, 0);
        len -= (size_t)MAX(n, 0);
    }
    return true;
}

/* The next frame: its head, and what follows it. NULL where the server has disconnected. */
static inline GByteArray *rig_frame(uv_loop_t *loop, int fd, struct libvirt_head *head)
{
    uint8_t bytes[LIBVIRT_HEAD_BYTES];

    if (!rig_bytes(loop, fd, bytes, sizeof(bytes)))
        return NULL;
    ck_assert_int_eq(libvirt_head_read(bytes, head), 0);
    GByteArray *rest = g_byte_array_new();
    g_byte_array_set_size(rest, head->length - LIBVIRT_HEAD_BYTES);
    ck_assert(rig_bytes(loop, fd, rest->data, rest->len));
    return rest;
}

/* The next frame is an error of CODE; its message holds TEXT. */
static inline void rig_error(uv_loop_t *loop, int fd, int32_t code, const char *text)
{
    struct libvirt_head head;
    struct libvirt_error error;
    g_autoptr(GByteArray) got = rig_frame(loop, fd, &head);

    ck_assert_ptr_nonnull(got);
    ck_assert_int_eq(head.type, 1);
    ck_assert_int_eq(head.status, 1);
    ck_assert_int_eq(libvirt_read(&libvirt_error_layout, got->data, got->len, &error), 0);
    ck_assert_msg(error.code == code, "%d: %s", error.code, error.message);
    ck_assert_int_eq(error.level, 2);
    ck_assert_msg(strstr(error.message, text) != NULL, "%s", error.message);
    libvirt_clear(&libvirt_error_layout, &error);
}

#endif
