/* What is sent to a keyboard or mouse is lost, as on a board with empty sockets. */
#include "machine/devices/i8042.h"

#include <pthread.h>

enum { PORT_DATA = 0, PORT_COMMAND = 4 };

enum {
    STATUS_OUTPUT = 1 << 0, /* a byte waits to be read */
    STATUS_SYSTEM = 1 << 2, /* the self-test has passed */
    STATUS_COMMAND = 1 << 3,
    STATUS_UNLOCKED = 1 << 4,
};

enum {
    READ_CONTROL = 0x20,
    WRITE_CONTROL = 0x60,
    DISABLE_MOUSE = 0xa7,
    ENABLE_MOUSE = 0xa8,
    SELF_TEST = 0xaa,
    TEST_KEYBOARD = 0xab,
    DISABLE_KEYBOARD = 0xad,
    ENABLE_KEYBOARD = 0xae,
    READ_OUTPUT_PORT = 0xd0,
    WRITE_OUTPUT_PORT = 0xd1,
    PULSE = 0xf0, /* to 0xff: lines 0 to 3 whose bits are clear; line 0 is reset */
};

enum {
    CONTROL_KEYBOARD_OFF = 1 << 4,
    CONTROL_MOUSE_OFF = 1 << 5,
    OUTPUT_NOT_RESET = 1 << 0,
    OUTPUT_A20 = 1 << 1,
    SELF_TEST_PASSED = 0x55,
};

struct i8042 {
    struct device dev;
    pthread_mutex_t lock;
    uint8_t control;
    uint8_t output_port;
    uint8_t data, data_full;
    uint8_t awaiting; /* the command whose byte comes next; 0: none */
    uint8_t last_was_command;

    void (*reset)(void *opaque);
    void *opaque;
};

static void answer(struct i8042 *kbc, uint8_t byte)
{
    kbc->data = byte;
    kbc->data_full = 1;
}

/* True when it asks for a reset. Lock held. */
static bool command(struct i8042 *kbc, uint8_t byte)
{
    kbc->awaiting = 0;
    switch (byte) {
    case READ_CONTROL:
        answer(kbc, kbc->control);
        break;
    case WRITE_CONTROL:
    case WRITE_OUTPUT_PORT:
        kbc->awaiting = byte;
        break;
    case DISABLE_MOUSE:
        kbc->control |= CONTROL_MOUSE_OFF;
        break;
    case ENABLE_MOUSE:
        kbc->control &= (uint8_t)~CONTROL_MOUSE_OFF;
        break;
    case SELF_TEST:
        answer(kbc, SELF_TEST_PASSED);
        break;
    case TEST_KEYBOARD:
        answer(kbc, 0);
        break;
    case DISABLE_KEYBOARD:
        kbc->control |= CONTROL_KEYBOARD_OFF;
        break;
    case ENABLE_KEYBOARD:
        kbc->control &= (uint8_t)~CONTROL_KEYBOARD_OFF;
        break;
    case READ_OUTPUT_PORT:
        answer(kbc, kbc->output_port);
        break;
    default:
        return byte >= PULSE && !(byte & OUTPUT_NOT_RESET);
    }
    return false;
}

static bool data(struct i8042 *kbc, uint8_t byte)
{
    uint8_t awaiting = kbc->awaiting;

    kbc->awaiting = 0;
    if (awaiting == WRITE_CONTROL)
        kbc->control = byte;
    if (awaiting != WRITE_OUTPUT_PORT)
        return false;
    kbc->output_port = byte | OUTPUT_NOT_RESET;
    return !(byte & OUTPUT_NOT_RESET);
}

static int i8042_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct i8042 *kbc = opaque;

    *value = 0xff;
    pthread_mutex_lock(&kbc->lock);
    if (offset == PORT_COMMAND) {
        *value = STATUS_SYSTEM | STATUS_UNLOCKED | (kbc->data_full ? STATUS_OUTPUT : 0) |
                 (kbc->last_was_command ? STATUS_COMMAND : 0);
    } else if (offset == PORT_DATA) {
        *value = kbc->data;
        kbc->data_full = 0;
    }
    pthread_mutex_unlock(&kbc->lock);
    return 0;
}

static int i8042_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *kbc = opaque;
    bool reset = false;

    pthread_mutex_lock(&kbc->lock);
    if (offset == PORT_COMMAND || offset == PORT_DATA) {
        kbc->last_was_command = offset == PORT_COMMAND;
        reset = kbc->last_was_command ? command(kbc, (uint8_t)value) : data(kbc, (uint8_t)value);
    }
    pthread_mutex_unlock(&kbc->lock);
    if (reset)
        kbc->reset(kbc->opaque);
    return 0;
}

static void i8042_reset(struct device *dev)
{
    struct i8042 *kbc = container_of(dev, struct i8042, dev);

    kbc->control = CONTROL_KEYBOARD_OFF | CONTROL_MOUSE_OFF;
    kbc->output_port = OUTPUT_NOT_RESET | OUTPUT_A20;
    kbc->data = kbc->data_full = kbc->awaiting = kbc->last_was_command = 0;
}

static bool i8042_restored(struct device *dev)
{
    return true;
}

static void i8042_free(struct device *dev)
{
    struct i8042 *kbc = container_of(dev, struct i8042, dev);

    pthread_mutex_destroy(&kbc->lock);
    g_free(kbc);
}

static const struct state_field i8042_fields[] = {
    STATE_FIELD_U8(struct i8042, control, 1),  STATE_FIELD_U8(struct i8042, output_port, 1),
    STATE_FIELD_U8(struct i8042, data, 1),     STATE_FIELD_U8(struct i8042, data_full, 1),
    STATE_FIELD_U8(struct i8042, awaiting, 1), STATE_FIELD_U8(struct i8042, last_was_command, 1),
};

static const struct state_desc i8042_state = {
    .name = "i8042",
    .version = 1,
    .size = sizeof(struct i8042),
    .n_fields = G_N_ELEMENTS(i8042_fields),
    .fields = i8042_fields,
};

static const struct device_class i8042_class = {
    .name = "i8042",
    .size = I8042_PORTS,
    .regs = {.read = i8042_read, .write = i8042_write, .sizes = 1},
    .state = &i8042_state,
    .reset = i8042_reset,
    .restored = i8042_restored,
    .free = i8042_free,
};

struct i8042 *i8042_new(void (*reset)(void *opaque), void *opaque)
{
    struct i8042 *kbc = g_new0(struct i8042, 1);

    kbc->dev.class = &i8042_class;
    pthread_mutex_init(&kbc->lock, NULL);
    kbc->reset = reset;
    kbc->opaque = opaque;
    return kbc;
}

struct device *i8042_device(struct i8042 *i8042)
{
    return &i8042->dev;
}
