/* The worker's end. See compiler.h. */
#include "gpu/server/compiler.h"

#include "gpu/server/backend.h"
#include "gpu/server/compile_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct compiler {
    pthread_mutex_t lock; /* of all that follows, but for what of a compile is its session's */
    int socket;
    bool gone;
    uint64_t last;      /* number that was given */
    uint64_t held;      /* bytes of sources that are not over, and of files of those that are */
    GPtrArray *waiting; /* struct compile: those that are not over; owned where they were freed */
};

struct compile {
    struct compiler *compiler;
    uint64_t id;
    bool over;  /* under the lock; the rest stays from then on */
    bool freed; /* before it was over, of which nobody has said so yet */
    uint64_t held;
    struct compile_told told;
    int file; /* owned, of struct compile_file; -1: TEXT is the log */
    char text[COMPILE_TEXT];
};

struct compiler *compiler_new(int fd)
{
    struct compiler *c = g_new0(struct compiler, 1);

    pthread_mutex_init(&c->lock, NULL);
    c->socket = fd;
    c->waiting = g_ptr_array_new();
    return c;
}

void compiler_free(struct compiler *c)
{
    if (!c)
        return;
    for (guint i = 0; i < c->waiting->len; i++) {
        struct compile *left = g_ptr_array_index(c->waiting, i);
        g_assert(left->freed);
        g_free(left);
    }
    g_ptr_array_free(c->waiting, TRUE);
    close(c->socket);
    pthread_mutex_destroy(&c->lock);
    g_free(c);
}

/* --- what comes of them, under the lock ------------------------------------------------------- */

/* C holds BYTES. */
static void hold(struct compile *c, uint64_t bytes)
{
    c->compiler->held += bytes - c->held;
    c->held = bytes;
}

static bool may_hold(const struct compiler *c, uint64_t bytes)
{
    return bytes <= MIB(LIMIT_GPU_COMPILES_MIB) - c->held;
}

static void fail(struct compile *c, uint32_t result, const char *text)
{
    c->over = true;
    c->told = (struct compile_told){.result = result ? result : COMPILE_INTERNAL};
    g_strlcpy(c->text, text, sizeof(c->text));
    c->told.bytes[COMPILE_LOG] = strlen(c->text);
}

/* Takes FILE; false: it is not what it is to be. */
static bool take_file(struct compile *c, int file)
{
    autofd taken = file;
    struct compile_file head;
    struct stat st;
    uint64_t left = MIB(LIMIT_GPU_COMPILED_MIB);

    if (fstat(file, &st) < 0 || !S_ISREG(st.st_mode) ||
        pread(file, &head, sizeof(head), 0) != sizeof(head) || head.magic != COMPILE_MAGIC)
        return false;
    for (unsigned i = 0; i < COMPILE_PARTS; i++) {
        if (head.bytes[i] > left)
            return false;
        left -= head.bytes[i];
        c->told.bytes[i] = head.bytes[i];
    }
    if ((uint64_t)st.st_size != sizeof(head) + MIB(LIMIT_GPU_COMPILED_MIB) - left)
        return false;
    if (!may_hold(c->compiler, (uint64_t)st.st_size)) {
        fail(c, COMPILE_INTERNAL, "too much waits on the host that was compiled and is not read\n");
        return true;
    }
    hold(c, (uint64_t)st.st_size);
    c->told.result = head.result;
    c->file = steal_fd(&taken);
    c->over = true;
    return true;
}

/* Nothing more is said of C, which is not waited for any more. True: it is gone. */
static bool settle(struct compile *c)
{
    bool freed = c->freed;

    hold(c, 0);
    if (freed)
        g_free(c);
    return freed;
}

static void take_report(struct compiler *compiler, struct compile_report *report, int file)
{
    struct compile *c = NULL;
    guint i = 0;

    for (; !c && i < compiler->waiting->len; i++) {
        c = g_ptr_array_index(compiler->waiting, i);
        c = c->id == report->id ? c : NULL;
    }
    report->text[sizeof(report->text) - 1] = 0;
    if (c)
        g_ptr_array_remove_index_fast(compiler->waiting, i - 1);
    if (!c || settle(c)) {
        if (file >= 0)
            close(file);
        return;
    }
    if (file < 0)
        fail(c, report->result, report->text);
    else if (!take_file(c, file))
        fail(c, COMPILE_INTERNAL, "the compiler on the host gave what makes no sense\n");
}

static void lose(struct compiler *c)
{
    c->gone = true;
    while (c->waiting->len) {
        struct compile *lost = g_ptr_array_remove_index_fast(c->waiting, c->waiting->len - 1);
        if (!settle(lost))
            fail(lost, COMPILE_INTERNAL, "there is no compiler on the host any more\n");
    }
}

static void take_reports(struct compiler *c)
{
    struct compile_report report;
    int file, rc = 1;

    while (!c->gone && rc > 0) {
        rc = compile__receive(c->socket, &report, sizeof(report), &file, MSG_DONTWAIT);
        if (rc > 0 && report.magic == COMPILE_MAGIC)
            take_report(c, &report, file);
        else if (rc >= 0 && file >= 0)
            close(file);
        if (rc != -EAGAIN && rc <= 0)
            lose(c);
    }
}

/* --- compiles --------------------------------------------------------------------------------- */

static int file_of(const uint8_t *bytes, size_t length)
{
    const unsigned seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    autofd file = memfd_create("gpu-source", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t at = 0;
    ssize_t n = 0;

    while (file >= 0 && at < length && (n = write(file, bytes + at, length - at)) > 0)
        at += (size_t)n;
    return file >= 0 && at == length && fcntl(file, F_ADD_SEALS, seals) == 0 ? steal_fd(&file) : -1;
}

/* C's source is counted, where there is room for its BYTES. */
static bool make_room(struct compile *c, uint64_t bytes)
{
    pthread_mutex_lock(&c->compiler->lock);
    take_reports(c->compiler);
    bool may = may_hold(c->compiler, bytes);
    if (may)
        hold(c, bytes);
    pthread_mutex_unlock(&c->compiler->lock);
    return may;
}

/* Under the lock. 0; -EPIPE: there is no compiler; another -errno. */
static int send_source(struct compile *c, const char *target, int file)
{
    struct compiler *compiler = c->compiler;
    struct compile_order_record order = {.magic = COMPILE_MAGIC, .order = COMPILE_BEGIN};

    if (compiler->gone)
        return -EPIPE;
    if (compiler->waiting->len >= LIMIT_GPU_COMPILES_ALL)
        return -EAGAIN;
    g_strlcpy(order.target, target, sizeof(order.target));
    order.id = c->id = ++compiler->last;
    int rc = compile__send(compiler->socket, &order, sizeof(order), file, MSG_DONTWAIT);
    return rc == -ECONNRESET ? -EPIPE : rc;
}

struct compile *compiler_begin(struct compiler *compiler, const char *target, const uint8_t *source,
                               size_t length, int *rc)
{
    struct compile *c = g_new0(struct compile, 1);

    c->compiler = compiler;
    c->file = -1;
    autofd file = make_room(c, length) ? file_of(source, length) : -1;
    pthread_mutex_lock(&compiler->lock);
    int sent = file < 0 ? -ENOMEM : send_source(c, target, file);
    if (!sent)
        g_ptr_array_add(compiler->waiting, c);
    else
        hold(c, 0);
    if (sent == -EPIPE)
        fail(c, COMPILE_INTERNAL, "there is no compiler on the host any more\n");
    pthread_mutex_unlock(&compiler->lock);
    if (!sent || c->over)
        return c;
    *rc = file < 0 ? GPU_OUT_OF_MEMORY : GPU_OUT_OF_RESOURCES;
    g_free(c);
    return NULL;
}

bool compile_over(struct compile *c, struct compile_told *out)
{
    pthread_mutex_lock(&c->compiler->lock);
    if (!c->over)
        take_reports(c->compiler);
    bool over = c->over;
    if (over)
        *out = c->told;
    pthread_mutex_unlock(&c->compiler->lock);
    return over;
}

uint32_t compile_read(const struct compile *c, enum compile_part part, uint64_t offset, uint8_t *to,
                      uint32_t most)
{
    uint64_t begin = sizeof(struct compile_file), left = c->told.bytes[part];

    if (offset >= left)
        return 0;
    left = MIN(left - offset, (uint64_t)most);
    if (c->file < 0) {
        memcpy(to, c->text + offset, left);
        return (uint32_t)left;
    }
    for (unsigned i = 0; i < part; i++)
        begin += c->told.bytes[i];
    ssize_t n = pread(c->file, to, left, (off_t)(begin + offset));
    return n < 0 ? 0 : (uint32_t)n;
}

void compile_free(struct compile *c)
{
    if (!c)
        return;
    const struct compile_order_record order = {
        .magic = COMPILE_MAGIC, .order = COMPILE_END, .id = c->id};
    struct compiler *compiler = c->compiler;
    pthread_mutex_lock(&compiler->lock);
    bool over = c->over;
    if (over)
        hold(c, 0);
    else
        compile__send(compiler->socket, &order, sizeof(order), -1, MSG_DONTWAIT);
    c->freed = true; /* it counts until there is a report of it, also where the order is lost */
    pthread_mutex_unlock(&compiler->lock);
    if (!over)
        return;
    if (c->file >= 0)
        close(c->file);
    g_free(c);
}
