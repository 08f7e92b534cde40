/* machine/devices/serial, for chips: a chip's struct begins with struct serial. */
#ifndef MACHINE_DEVICES_SERIAL_PRIV_H
#define MACHINE_DEVICES_SERIAL_PRIV_H

#include "machine/devices/serial.h"

#include <pthread.h>

enum {
    SERIAL_TX_SIZE = 32768, /* a power of two, as the next */
    SERIAL_RX_SIZE = 4096,
};

/* What a chip does. All with the port's lock held. */
struct serial_chip {
    /* Input waits, or the other end may send now: takes what there is room for. */
    void (*input)(struct serial *s);
    /* The transmitter is no longer busy. */
    void (*sent)(struct serial *s);
    /* A break while nothing waits; false when the chip cannot take it. */
    bool (*brk)(struct serial *s);
    /* A firmware takes at most N bytes of input; returns how many. */
    size_t (*receive)(struct serial *s, uint8_t *data, size_t n);
    /* Drives the interrupt line after any of these. */
    void (*update)(struct serial *s);
};

struct serial {
    struct device dev;
    const struct serial_chip *chip;
    pthread_mutex_t lock; /* of all registers and rings; the line is driven under it */
    uint8_t tx_busy;
    uint8_t tx[SERIAL_TX_SIZE], rx[SERIAL_RX_SIZE];
    uint32_t tx_head, tx_len, rx_head, rx_len;

    bool room_wanted; /* input() took fewer bytes than it was given */
    bool tell_room;   /* there is room now: the loop tells the backend */
    bool stalled;     /* the backend took fewer bytes than it was given */
    bool draining;    /* the loop gives output: what more there is meanwhile, it goes on with */
    bool woken;       /* the loop has been told to come, or will by PACE */
    const struct serial_ops *ops;
    void *opaque;
    uv_async_t wake;
    uv_timer_t pace;
    unsigned handles; /* of those two, how many are open */
};

/* The rows of a chip's table for its port's part. */
#define SERIAL_STATE(chip, since)                                                                  \
    STATE_FIELD_U8(chip, serial.tx_busy, since), STATE_FIELD_U8(chip, serial.tx, since),           \
        STATE_FIELD_U8(chip, serial.rx, since), STATE_FIELD_U32(chip, serial.tx_head, since),      \
        STATE_FIELD_U32(chip, serial.tx_len, since), STATE_FIELD_U32(chip, serial.rx_head, since), \
        STATE_FIELD_U32(chip, serial.rx_len, since)

/* Sets up the port of a zeroed chip. False with ERR set when the loop gives no handle. */
bool serial__init(struct serial *s, uv_loop_t *loop, const struct serial_chip *chip,
                  const struct serial_ops *ops, void *opaque, GError **err);
/* The port's part was restored: whether it is in range; goes on where it is. Lock held. */
bool serial__restored(struct serial *s);
/* Closes the handles; then frees S, which g_new() made. */
void serial__free(struct serial *s);

/* Queues one byte for the backend; false when the ring is full. Lock held. */
bool serial__send(struct serial *s, uint8_t byte);
/* Takes a byte of waiting input; false when there is none. Lock held. */
bool serial__take(struct serial *s, uint8_t *byte);
/* Puts a byte back, to be taken next; false when there is no room. Lock held. */
bool serial__put_back(struct serial *s, uint8_t byte);

#endif
