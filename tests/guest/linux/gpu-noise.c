/*
 * A program that means harm: it maps the GPU's function and writes into all of its channels, as
 * fast as it can, what no library would: counters that cannot be, records that are nearly right,
 * numbers of programs that come and go, doorbells. gpu-noise ROUNDS SEED; it prints when it is
 * through. gpu-noise ROUNDS SEED PORT says as bad things by a serial port, and opens it again
 * whenever nobody hears it.
 */
#include "gpu/protocol/ring.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OPS = 100 }; /* more than there are */

static uint64_t state;

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Small numbers, edges and anything. */
static uint64_t number(void)
{
    static const uint64_t edges[] = {0, 1, UINT32_MAX, UINT64_MAX, INT64_MAX, 1 << 20, 4096};

    switch (draw() % 4) {
    case 0:
        return draw();
    case 1:
        return edges[draw() % (sizeof(edges) / sizeof(edges[0]))];
    default:
        return draw() % 8;
    }
}

static void *map(const char *folder, const char *name, size_t bytes)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_SYNC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    return at;
}

/* The function's folder; its memory is switched on. */
static void find(char *folder, size_t most)
{
    glob_t all;
    char device[16];

    glob("/sys/bus/pci/devices/*/device", 0, NULL, &all);
    for (size_t i = 0; i < all.gl_pathc; i++) {
        FILE *f = fopen(all.gl_pathv[i], "r");
        if (f && fgets(device, sizeof(device), f) && strtol(device, NULL, 16) == GPU_PCI_DEVICE)
            snprintf(folder, most, "%.*s", (int)(strlen(all.gl_pathv[i]) - 7), all.gl_pathv[i]);
        if (f)
            fclose(f);
    }
    globfree(&all);
    char path[300];
    snprintf(path, sizeof(path), "%s/enable", folder);
    FILE *f = fopen(path, "w");
    if (f) {
        fputs("1", f);
        fclose(f);
    }
}

/* A call whose head is right, mostly: its bytes. */
static uint32_t make(uint64_t words[14])
{
    uint32_t bytes = 16 + 8 * (uint32_t)(draw() % 12);
    const struct gpu_call_head head = {.bytes = draw() % 16 ? bytes : (uint32_t)number(),
                                       .op = (uint16_t)(draw() % OPS),
                                       .flags = (uint16_t)(draw() % 3),
                                       .seq = (uint32_t)draw(),
                                       .payload = draw() % 2 ? 0 : (uint32_t)number()};

    memcpy(words, &head, sizeof(head));
    for (unsigned i = 2; i < bytes / 8; i++)
        words[i] = number();
    return bytes;
}

/* It comes behind the last one. */
static void call(volatile uint8_t *channel)
{
    volatile struct gpu_channel *shared = (volatile struct gpu_channel *)channel;
    uint64_t words[14];
    uint32_t tail = shared->calls_tail, bytes = make(words);

    for (unsigned i = 0; i < bytes / 8; i++)
        *(volatile uint64_t *)(channel + GPU_CALLS_AT + (tail + 8 * i) % GPU_RING_BYTES) = words[i];
    gpu_store(&shared->calls_tail, tail + bytes);
}

/* What a program says first. */
static void make_hello(uint64_t words[3])
{
    const struct gpu_call_head head = {.bytes = 24, .op = GPU_OP_HELLO, .seq = 1};

    memcpy(words, &head, sizeof(head));
    words[2] = (uint64_t)GPU_OLDEST << 32 | GPU_VERSION;
}

/* A program as it should be begins, so that what follows is looked at. */
static void begin(volatile uint8_t *channel)
{
    volatile struct gpu_channel *shared = (volatile struct gpu_channel *)channel;
    uint64_t words[3];

    make_hello(words);
    shared->calls_tail = 0;
    shared->answers_head = 0;
    gpu_store(&shared->guest_open, (uint32_t)draw() | 1);
    for (unsigned i = 0; i < 3; i++)
        ((volatile uint64_t *)(channel + GPU_CALLS_AT))[i] = words[i];
    gpu_store(&shared->calls_tail, sizeof(words));
}

static void do_harm(volatile uint8_t *channel)
{
    volatile struct gpu_channel *shared = (volatile struct gpu_channel *)channel;

    switch (draw() % 16) {
    case 0:
        ((volatile uint32_t *)channel)[draw() % (sizeof(*shared) / 4)] = (uint32_t)number();
        break;
    case 1:
        *(volatile uint64_t *)(channel + GPU_CALLS_AT + draw() % GPU_RING_BYTES / 8 * 8) = number();
        break;
    case 2:
        gpu_store(&shared->guest_open, (uint32_t)number());
        break;
    case 3:
        begin(channel);
        break;
    case 4:
        gpu_store(&shared->answers_head, shared->answers_tail);
        break;
    default:
        call(channel);
    }
}

/* Says BYTES at the port, without hearing anything; false: nobody takes them. */
static bool say(int fd, const void *words, uint32_t bytes)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    for (uint32_t at = 0; at < bytes;) {
        ssize_t n = write(fd, (const char *)words + at, bytes - at);
        at += n > 0 ? (uint32_t)n : 0;
        if (n <= 0 && (poll(&p, 1, 100) <= 0 || p.revents & POLLHUP))
            return false;
    }
    return true;
}

static int noise_at(const char *path, unsigned long rounds)
{
    char heard[512];
    uint64_t words[14] = {0};
    int fd = -1;

    for (; rounds; rounds--) {
        bool again = fd < 0 || draw() % 256 == 0;
        if (again && fd >= 0)
            close(fd);
        if (again && (fd = open(path, O_RDWR | O_NONBLOCK)) < 0) {
            perror(path);
            return 1;
        }
        if (again && draw() % 4)
            make_hello(words);
        uint32_t bytes = again ? 24 : make(words);
        bool takes = say(fd, words, bytes);
        while (draw() % 8 && read(fd, heard, sizeof(heard)) > 0)
            ;
        if (!takes) {
            close(fd);
            fd = -1;
        }
    }
    puts("noise: over");
    return 0;
}

int main(int argc, char **argv)
{
    char folder[260] = "";

    if (argc < 3 || argc > 4)
        return 2;
    state = strtoull(argv[2], NULL, 10) | 1;
    if (argc == 4)
        return noise_at(argv[3], strtoul(argv[1], NULL, 10));
    find(folder, sizeof(folder));
    volatile uint32_t *registers = map(folder, "resource0", GPU_REG_BYTES);
    volatile uint8_t *window = map(folder, "resource2", GPU_SHARED_BYTES);
    for (unsigned long i = strtoul(argv[1], NULL, 10); i; i--) {
        unsigned channel = (unsigned)(draw() % GPU_CHANNELS);
        do_harm(window + (size_t)channel * GPU_CHANNEL_BYTES);
        if (draw() % 4 == 0)
            registers[GPU_REG_DOORBELL / 4 + channel] = 1;
        if (draw() % 64 == 0)
            registers[draw() % (GPU_REG_BYTES / 4)] = (uint32_t)draw();
    }
    puts("noise: over");
    return 0;
}
