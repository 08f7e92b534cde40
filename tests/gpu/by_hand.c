/* See by_hand.h. */
#include "tests/gpu/by_hand.h"

#include "tests/unit/unit.h"

#include <sys/socket.h>

static void *serve(void *opaque)
{
    const struct by_hand *h = opaque;
    struct link *link = link_stream(h->its);

    session_run(&h->env, link);
    link_free(link);
    return NULL;
}

void by_hand_begin(struct by_hand *h)
{
    int fds[2];

    ck_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    h->its = fds[0];
    h->fd = fds[1];
    h->thread = g_thread_new("session", serve, h);
}

void by_hand_end(struct by_hand *h)
{
    shutdown(h->fd, SHUT_RDWR);
    g_thread_join(h->thread);
    close(h->its);
    close(h->fd);
}

void by_hand_say(const struct by_hand *h, unsigned op, uint16_t flags, const void *fields,
                 const void *payload, uint32_t bytes)
{
    const struct record_desc *desc = record_desc(op);
    struct gpu_call_head head = {.bytes = record_call_bytes(desc->call_bytes, bytes),
                                 .op = (uint16_t)op,
                                 .flags = flags,
                                 .payload = bytes};
    g_autofree uint8_t *record = g_malloc0(head.bytes);

    memcpy(record, &head, sizeof(head));
    memcpy(record + sizeof(head), fields, desc->call_bytes);
    memcpy(record + sizeof(head) + desc->call_bytes, payload, bytes);
    ck_assert_int_eq(send(h->fd, record, head.bytes, 0), (ssize_t)head.bytes);
}

int by_hand_ask(const struct by_hand *h, unsigned op, const void *fields, const void *payload,
                uint32_t bytes)
{
    struct gpu_answer_head answer;
    uint8_t rest[256];

    by_hand_say(h, op, 0, fields, payload, bytes);
    ck_assert_int_eq(recv(h->fd, &answer, sizeof(answer), MSG_WAITALL), (ssize_t)sizeof(answer));
    ssize_t more = (ssize_t)(answer.bytes - sizeof(answer));
    ck_assert(more <= (ssize_t)sizeof(rest));
    ck_assert(!more || recv(h->fd, rest, (size_t)more, MSG_WAITALL) == more);
    return (int)answer.result;
}
