/*
 * gpu/server/session_priv: what the files of a session share: its objects by their handles, the
 * call that is handled, and answers that come later. All of it is the session thread's, but for
 * what a struct pending says.
 */
#ifndef GPU_SERVER_SESSION_PRIV_H
#define GPU_SERVER_SESSION_PRIV_H

#include "gpu/server/compiler.h"
#include "gpu/server/move.h"
#include "gpu/server/session.h"

#include <pthread.h>

enum object_kind {
    OBJECT_CONTEXT,
    OBJECT_MODULE,
    OBJECT_KERNEL,
    OBJECT_STREAM,
    OBJECT_EVENT,
    OBJECT_BATCH,
    OBJECT_COMPILE
};

/* What a handle of the guest's stands for. */
struct object {
    enum object_kind kind;
    uint64_t id;
    struct object *context; /* itself for one */
    struct object *module;  /* of a kernel */
    GByteArray *made;       /* owned: the records that make it again; NULL: no record does */
    GByteArray *image;      /* owned: of a module; NULL: it was too large to be kept */
    union {
        struct gpu_context *ctx;
        struct gpu_module *mod;
        struct gpu_stream *stream;
        struct gpu_event *event;
        GByteArray *batch;       /* owned: whole records */
        struct compile *compile; /* owned; of no context */
        struct {
            struct gpu_kernel *kernel;
            uint32_t params_bytes;
            unsigned max_threads;
        };
    };
};

/* A call whose answer waits for what a stream does, or memory that an operation of a stream needs.
 */
struct pending {
    struct session *session;
    uint16_t op;
    uint32_t seq;
    bool silent;            /* nobody wants the answer */
    struct object *context; /* gone with it */
    struct gpu_stream *stream;
    struct gpu_event *event;
    bool own_event;              /* made for this, and freed with it */
    struct gpu_context *buffers; /* the payload is of its buffers; NULL: of the heap */
    uint8_t *payload;            /* owned */
    uint32_t payload_bytes;
    uint64_t bytes, address; /* of an allocation; 0 */
    bool by_host;            /* done when DONE is, which a backend's thread sets: atomic */
    bool done;
    struct compile *compile; /* an object's, which this waits for; NULL */
    struct gpu_answer_compile compiled;
    /* Of a gate: */
    uint64_t gate;
    int state; /* while answers are made */
    bool told;
    bool open, passed; /* under the session's lock of gates */
};

/* A stream that was told to wait for a value, and may wait still. */
struct value_wait {
    struct gpu_stream *stream;
    struct object *context;
    struct gpu_event *event; /* owned: behind the latest such wait; NULL: the stream tells */
    unsigned records;        /* of the event, since it was last seen to have come */
};

struct session {
    const struct session_env *env;
    struct link *link;
    GHashTable *objects; /* uint64_t * -> struct object *, owned */
    GPtrArray *contexts; /* struct object, those of them that are contexts */
    GPtrArray *pending;  /* of struct pending *, owned */
    GByteArray *image;   /* of the next module */
    int late;            /* first asynchronous call that failed since the last answer */
    pthread_mutex_t gates;
    pthread_cond_t gate_opened;
    bool greeted;
    unsigned major, minor; /* compute capability of another device, which the program began with;
                            * 0: it began here */
    unsigned streams, compiles;
    uint64_t batched;          /* bytes of all batches */
    uint64_t kept;             /* bytes of all modules' images */
    GByteArray *program;       /* owned: the record that told its name; NULL */
    struct session_seat *seat; /* NULL: it cannot be held */
    struct watched watched;
    uint64_t submitted; /* operations, since its contexts were seen to be idle */
    struct gpu_quota quota; /* its part of the worker's */
    uint64_t held_ns;       /* since when its next record is; 0: it is not */
    GArray *value_waits;    /* of struct value_wait, one a stream at most; see session_hold.c */
};

/* The call at hand and the answer to it. */
struct call {
    uint16_t op;
    uint32_t seq;
    bool async;
    bool later;                  /* a struct pending has the answer */
    const struct object *waited; /* the context whose work it waits for: its prints are told of */
    const void *fields;
    const uint8_t *payload;
    uint32_t payload_bytes;
    uint8_t *answer; /* its fields, zeros at first */
    uint8_t *out;    /* its payload, as much as the table allows */
    uint32_t out_bytes;
};

typedef int (*call_fn)(struct session *s, struct call *c);
/* The handler of OP, or NULL. */
call_fn session__context_call(unsigned op);
call_fn session__module_call(unsigned op);
call_fn session__memory_call(unsigned op);
call_fn session__stream_call(unsigned op);
call_fn session__batch_call(unsigned op);
call_fn session__usage_call(unsigned op);
call_fn session__compile_call(unsigned op);
/* Whether what P waits for is compiled: GPU_NOT_READY, or GPU_SUCCESS with its answer. */
int session__compile_state(struct pending *p);
/* Whether answers wait for nothing but that, which takes its time. */
bool session__only_compiles(const struct session *s);
/* Frees what is in the batch O. */
void session__batch_clear(struct session *s, struct object *o);

/* Whether RECORD, which is next, waits for the meter; it is asked for again and again. */
bool session__hold(struct session *s, const uint8_t *record);
void session__hold_end(struct session *s);
/* STREAM, of CONTEXT, was told to wait for a value; and STREAM, or all of CONTEXT where that is
 * NULL, is about to go. */
void session__value_wait(struct session *s, struct gpu_stream *stream, struct object *context);
void session__value_waits_end(struct session *s, const struct gpu_stream *stream,
                              const struct object *context);
/* A while; false: the program is gone. */
bool session__hold_pause(struct session *s);
/* Counts launches that are over: whether there are others, which nobody else will tell of. */
bool session__look(struct session *s);

struct object *session__find(struct session *s, enum object_kind kind, uint64_t id);
/* An object of that id, which may have none yet; NULL with *RC. */
struct object *session__add(struct session *s, enum object_kind kind, uint64_t id,
                            struct object *context, int *rc);
void session__drop(struct session *s, struct object *o);
/* The stream of that id; of a context its default stream. With the context it is in. */
struct gpu_stream *session__stream(struct session *s, uint64_t id, struct object **context);

/* BYTES of the host's memory for a copy in CONTEXT. */
uint8_t *session__buffer(struct session *s, const struct object *context, size_t bytes);
void session__buffer_free(struct session *s, const struct object *context, uint8_t *buffer);
/* The answer P keeps BUFFER until it is given. */
void session__keep(struct session *s, struct pending *p, uint8_t *buffer, uint32_t answered);
/* Whether one more answer may be put off. Copies take fewer, so that there is always room to wait
 * for them. */
static inline bool session__may_wait(const struct session *s)
{
    return s->pending->len < LIMIT_GPU_QUEUED;
}

/* Answers the call SEQ; FLAGS are those of enum gpu_answer_flag. False: the program is gone. */
bool session__answer(struct session *s, uint16_t op, uint32_t seq, int result, const void *fields,
                     const uint8_t *payload, uint32_t payload_bytes, uint16_t flags);
/* Frees what of P is the context's. */
void session__let_go(struct pending *p);
/* Ends what runs in all contexts, and frees all that is in them. */
void session__end_contexts(struct session *s);

/* Puts CALL's answer off. */
struct pending *session__later(struct session *s, struct call *c, struct object *context);
/* The answer comes when all that is in STREAM now is done. */
int session__after(struct session *s, struct pending *p, struct gpu_stream *stream);

/* The session goes into a call of the backend's: for the record OP, or to ask how far something is;
 * and is out again. Never one within another. See session_watch.c. */
void session__enter(struct session *s, unsigned op);
void session__enter_query(struct session *s);
void session__leave(struct session *s);
/* Something that was waited for is over. */
void session__idle(struct session *s);

/* Keeps the call that made, or changed, an object, as long as that is there. See session_keep.c. */
void session__remember(struct session *s, const struct gpu_call_head *head, const void *fields,
                       const uint8_t *payload);
/* The image that was sent is the module O's, as far as images are kept; and is no more. */
void session__keep_image(struct session *s, struct object *o);
void session__forget_image(struct session *s, struct object *o);
/* Makes the call of RECORD again, LENGTH bytes, which nobody answers: its result. Not of those that
 * an answer may be put off of. */
int session__replay(struct session *s, const uint8_t *record, size_t length);

/* One record. False: the program is gone, or cannot be understood. */
bool session__take(struct session *s, const uint8_t *record, int length);
/* Answers what is done. False: the program is gone. */
bool session__answer_pending(struct session *s);
/* A session over LINK, without a program's hello; and its end, with all that it has. */
struct session *session__new(const struct session_env *env, struct link *link,
                             struct session_seat *seat);
void session__free(struct session *s);
/* Waits until nothing runs and nobody waits, and parks until the hold ends. RECORD has
 * GPU_RECORD_MOST bytes. False: the program is gone. See session_rest.c. */
bool session__rest(struct session *s, uint8_t *record);

/* Calls a handler's answer of OP's own type. */
#define ANSWER(c, type) ((struct gpu_answer_##type *)(c)->answer)
#define FIELDS(c, type) ((const struct gpu_call_##type *)(c)->fields)
#define OPS(s)          ((s)->env->backend->ops)

#endif
