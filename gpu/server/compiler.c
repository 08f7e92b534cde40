/* The worker's end. See compiler.h. */
#include "gpu/server/compiler.h"

#include "gpu/server/backend.h"
#include "gpu/server/compile_priv.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct compiler {
    pthread_mutex_t lock; /* of all that follows, but for what of a compile is its session's */
    int socket;
    bool gone;
    uint64_t last;      /* number that was given */
    GPtrArray *waiting; /* struct compile, not owned: those that are not over */
};

struct compile {
    struct compiler *compiler;
    uint64_t id;
    bool over; /* under the lock; the rest stays from then on */
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
    g_assert(!c->waiting->len);
    g_ptr_array_free(c->waiting, TRUE);
    close(c->socket);
    pthread_mutex_destroy(&c->lock);
    g_free(c);
}

/* --- what comes of them, under the lock ------------------------------------------------------- */

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
    c->told.result = head.result;
    c->file = steal_fd(&taken);
    c->over = true;
    return true;
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
    if (!c && file >= 0)
        close(file);
    if (!c)
        return; /* it was ended meanwhile */
    g_ptr_array_remove_index_fast(compiler->waiting, i - 1);
    if (file < 0)
        fail(c, report->result, report->text);
    else if (!take_file(c, file))
        fail(c, COMPILE_INTERNAL, "the compiler on the host gave what makes no sense\n");
}

static void lose(struct compiler *c)
{
    c->gone = true;
    while (c->waiting->len)
        fail(g_ptr_array_remove_index_fast(c->waiting, c->waiting->len - 1), COMPILE_INTERNAL,
             "there is no compiler on the host any more\n");
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
    autofd file = memfd_create("gpu-source", MFD_CLOEXEC);
    size_t at = 0;
    ssize_t n = 0;

    while (file >= 0 && at < length && (n = write(file, bytes + at, length - at)) > 0)
        at += (size_t)n;
    return at == length ? steal_fd(&file) : -1;
}

struct compile *compiler_begin(struct compiler *compiler, const char *target, const uint8_t *source,
                               size_t length, int *rc)
{
    autofd file = file_of(source, length);
    struct compile_order_record order = {.magic = COMPILE_MAGIC, .order = COMPILE_BEGIN};
    struct compile *c = g_new0(struct compile, 1);

    g_strlcpy(order.target, target, sizeof(order.target));
    c->compiler = compiler;
    c->file = -1;
    pthread_mutex_lock(&compiler->lock);
    order.id = c->id = ++compiler->last;
    int sent = file < 0 ? -ENOMEM
               : compiler->gone
                   ? -EPIPE
                   : compile__send(compiler->socket, &order, sizeof(order), file, MSG_DONTWAIT);
    if (sent == -EPIPE || sent == -ECONNRESET)
        fail(c, COMPILE_INTERNAL, "there is no compiler on the host any more\n");
    else if (!sent)
        g_ptr_array_add(compiler->waiting, c);
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
    pthread_mutex_lock(&c->compiler->lock);
    if (!c->over) {
        g_ptr_array_remove_fast(c->compiler->waiting, c);
        compile__send(c->compiler->socket, &order, sizeof(order), -1, MSG_DONTWAIT);
    }
    pthread_mutex_unlock(&c->compiler->lock);
    if (c->file >= 0)
        close(c->file);
    g_free(c);
}
