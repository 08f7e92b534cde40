/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * vmgpu-smi: what the GPU of this guest is, how busy it is, and which programs use it.
 *
 * It comes to the worker as programs do, by a channel of its own, which it gives back; it makes no
 * context. How busy the device is, is what two answers say that are a while apart.
 */
#include "guest/cuda/channel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 32, APART_MS = 500, NO_ACCESS = 304, NO_DEVICE = 100, BUSY = 802, OLD = 801 };

struct answer {
    struct gpu_answer_usage head;
    struct gpu_usage_row rows[ROWS];
    unsigned n;
};

struct device {
    uint64_t memory;
    char name[129];
};

static int usage(FILE *to)
{
    fputs("usage: vmgpu-smi [--json | --loop SECONDS]\n"
          "Shows this guest's GPUs, how busy they are, and the guest's programs that use them.\n",
          to);
    return to == stdout ? 0 : 2;
}

static const char *why(int rc)
{
    switch (rc) {
    case NO_DEVICE:
        return "this guest has no GPU that can be reached: mapping one takes root";
    case BUSY:
        return "all channels of the GPU are in use";
    case OLD:
        return "the host's side does not say who uses the GPU";
    case NO_ACCESS:
        return "not allowed";
    default:
        return "the GPU does not answer";
    }
}

static int read_device(struct channel *c, unsigned index, struct device *out)
{
    const struct gpu_call_device call = {.device = index};
    struct gpu_answer_device head;
    char payload[2048];
    struct channel_data data = {.answer = &head, .out = payload, .out_most = sizeof(payload)};
    int rc = channel_call(c, GPU_OP_DEVICE, &call, &data);
    size_t at = (size_t)head.attributes * sizeof(int), length = head.name;

    memset(out, 0, sizeof(*out));
    if (rc)
        return rc;
    out->memory = head.memory;
    if (at > data.out_bytes || length > data.out_bytes - at || length >= sizeof(out->name))
        return OLD;
    memcpy(out->name, payload + at, length);
    return 0;
}

/* What the worker says now; a name is text whatever it says. */
static int ask(struct channel *c, struct answer *out)
{
    struct channel_data data = {
        .answer = &out->head, .out = out->rows, .out_most = sizeof(out->rows)};
    int rc = channel_call(c, GPU_OP_USAGE, NULL, &data);

    out->n = rc ? 0 : data.out_bytes / sizeof(out->rows[0]);
    for (unsigned i = 0; i < out->n; i++) {
        char *name = out->rows[i].name;
        name[sizeof(out->rows[i].name) - 1] = 0;
        for (; *name; name++)
            *name = *name >= ' ' && *name <= '~' ? *name : '?';
    }
    return rc;
}

static void wait_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static double percent(uint64_t now, uint64_t before, uint64_t passed)
{
    return passed && now > before ? 100.0 * (double)(now - before) / (double)passed : 0;
}

static uint64_t time_before(const struct answer *a, uint64_t id)
{
    for (unsigned i = 0; i < a->n; i++) {
        if (a->rows[i].id == id)
            return a->rows[i].time;
    }
    return 0;
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void print_table(const struct device *d, const struct answer *was, const struct answer *now)
{
    const struct gpu_answer_usage *h = &now->head;
    uint64_t passed = h->now - was->head.now;
    char bound[24] = "any number";

    if (h->in_flight_most)
        snprintf(bound, sizeof(bound), "%" PRIu32, h->in_flight_most);
    printf("%s\n", d->name);
    printf("busy        %.1f %%\n", percent(h->time, was->head.time, passed));
    printf("time        %.3f s, %" PRIu64 " launches\n", (double)h->time / 1e9, h->launches);
    printf("memory      %.1f MiB of %.1f MiB\n", mib(h->memory), mib(h->memory_most));
    printf("in flight   %" PRIu32 " of %s\n", h->in_flight, bound);
    if (h->weight)
        printf("share       %" PRIu32 "\n", h->weight);
    printf("\n%8s %7s %11s %12s %10s  %s\n", "PID", "BUSY", "TIME", "MEMORY", "LAUNCHES",
           "PROGRAM");
    for (unsigned i = 0; i < now->n; i++) {
        const struct gpu_usage_row *r = &now->rows[i];
        printf("%8" PRIu32 " %5.1f %% %9.3f s %8.1f MiB %10" PRIu64 "  %s\n", r->pid,
               percent(r->time, time_before(was, r->id), passed), (double)r->time / 1e9,
               mib(r->memory), r->launches, r->name[0] ? r->name : "?");
    }
    if (!now->n)
        printf("%8s\n", "none");
}

/* Names are printable: only these two need a word before them. */
static void print_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
    putchar('"');
}

static void print_json(const struct device *d, const struct answer *was, const struct answer *now)
{
    const struct gpu_answer_usage *h = &now->head;
    uint64_t passed = h->now - was->head.now;

    printf("{\"device\":");
    print_string(d->name);
    printf(",\"busy\":%.1f,\"time_ns\":%" PRIu64 ",\"launches\":%" PRIu64 ",\"memory\":%" PRIu64
           ",\"memory_most\":%" PRIu64 ",\"in_flight\":%" PRIu32 ",\"in_flight_most\":%" PRIu32
           ",\"share\":%" PRIu32 ",\"programs\":[",
           percent(h->time, was->head.time, passed), h->time, h->launches, h->memory,
           h->memory_most, h->in_flight, h->in_flight_most, h->weight);
    for (unsigned i = 0; i < now->n; i++) {
        const struct gpu_usage_row *r = &now->rows[i];
        printf("%s{\"pid\":%" PRIu32 ",\"name\":", i ? "," : "", r->pid);
        print_string(r->name);
        printf(",\"busy\":%.1f,\"time_ns\":%" PRIu64 ",\"launches\":%" PRIu64 ",\"memory\":%" PRIu64
               ",\"in_flight\":%" PRIu32 "}",
               percent(r->time, time_before(was, r->id), passed), r->time, r->launches, r->memory,
               r->in_flight);
    }
    puts("]}");
}

/* Two answers, and what is between them; a channel is held meanwhile and no longer. */
static int show(bool json)
{
    struct answer was = {0}, now = {0};
    struct device device;
    int rc;
    struct channel *c = channel_open(&rc);

    if (c) {
        rc = read_device(c, 0, &device);
        rc = rc ? rc : ask(c, &was);
        if (!rc)
            wait_ms(APART_MS);
        rc = rc ? rc : ask(c, &now);
        channel_close(c);
    }
    if (rc) {
        fprintf(stderr, "vmgpu-smi: %s (%d)\n", why(rc), rc);
        return 1;
    }
    if (json)
        print_json(&device, &was, &now);
    else
        print_table(&device, &was, &now);
    return fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
    char *end = NULL;
    unsigned long every = 0;
    int rc;

    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    if (argc == 3 && strcmp(argv[1], "--loop") == 0)
        every = strtoul(argv[2], &end, 10);
    if ((argc != 1 && !json && !every) || (end && *end) || every > 3600)
        return usage(stderr);
    while ((rc = show(json)) == 0 && every) {
        wait_ms((unsigned)every * 1000);
        putchar('\n');
    }
    return rc;
}
