/*
 * The software GPU where threads work together: cooperative grids, tiles of a
 * warp, staged copies, memory of the host, barriers of parts of a block, locks
 * between blocks, and launches at once from several threads of the host.
 */
#include "gpu/soft/soft.h"
#include "tests/unit/unit.h"

#include <glib.h>
#include <pthread.h>
#include <string.h>

struct rig {
  struct soft_space *space;
  struct soft_module *module;
};

static struct soft_module *load(struct soft_space *space, const char *text) {
  g_autofree char *log = NULL;
  struct soft_module *m = NULL;
  int e = soft_module_load(space, text, strlen(text), &m, &log);

  ck_assert_msg(e == SOFT_OK, "%d: %s", e, log ? log : "");
  return m;
}

static char *kernels(unsigned n) {
  static const char *const names[] = {"together.sm_80.ptx",
                                      "together.sm_90.ptx"};
  g_autofree char *path =
      g_strdup_printf("%s/%s", g_getenv("VMD_GPU_KERNELS"), names[n]);
  char *text;

  ck_assert_msg(g_file_get_contents(path, &text, NULL, NULL), "%s", path);
  return text;
}

static void rig_load(struct rig *r, const char *text) {
  r->space = soft_space_new(64 << 20);
  r->module = load(r->space, text);
}

static void rig_free(struct rig *r) {
  soft_module_unload(r->module);
  soft_space_free(r->space);
}

static uint64_t put(struct soft_space *space, const void *data, uint64_t size) {
  uint64_t addr;

  ck_assert_int_eq(soft_space_alloc(space, size, &addr), SOFT_OK);
  if (data)
    memcpy(soft_space_host(space, addr, size), data, size);
  return addr;
}

static int launch_any(struct soft_module *m, const char *name, bool cooperative,
                      uint32_t blocks, uint32_t threads, const uint64_t *args,
                      char **log) {
  struct soft_launch l = {.grid = {blocks, 1, 1},
                          .block = {threads, 1, 1},
                          .threads = 2,
                          .cooperative = cooperative};
  uint8_t params[256] = {0};
  struct soft_param p;

  ck_assert_msg(soft_module_function(m, name, &l.function) == SOFT_OK, "%s",
                name);
  for (unsigned i = 0; soft_function_param(l.function, i, &p) == SOFT_OK; i++)
    memcpy(params + p.offset, &args[i], p.size);
  l.params = params;
  l.param_bytes = sizeof(params);
  return soft_launch_run(&l, log);
}

static void launch(struct soft_module *m, const char *name, bool cooperative,
                   uint32_t blocks, uint32_t threads, const uint64_t *args) {
  g_autofree char *log = NULL;
  int e = launch_any(m, name, cooperative, blocks, threads, args, &log);

  ck_assert_msg(e == SOFT_OK, "%s: %d: %s", name, e, log ? log : "");
}

/* Every round each number becomes its right neighbour's and one more; all have
 * to have read before one writes. */
START_TEST(grid) {
  enum { N = 256, ROUNDS = 5 };
  g_autofree char *text = kernels(_i);
  struct rig r;
  int data[N];

  rig_load(&r, text);
  for (int i = 0; i < N; i++)
    data[i] = i * i;
  uint64_t a = put(r.space, data, sizeof(data));
  launch(r.module, "grid_rounds", true, 4, N / 4, (uint64_t[]){a, N, ROUNDS});
  const int *got = soft_space_host(r.space, a, sizeof(data));
  for (int i = 0; i < N; i++)
    ck_assert_int_eq(got[i], data[(i + ROUNDS) % N] + ROUNDS);
  uint64_t used = soft_space_used(r.space);
  ck_assert_int_eq(launch_any(r.module, "grid_rounds", true, 257, 1,
                              (uint64_t[]){a, 257, 1}, NULL),
                   SOFT_COOPERATIVE_LAUNCH_TOO_LARGE);
  ck_assert_uint_eq(soft_space_used(r.space), used);
  rig_free(&r);
}
END_TEST

START_TEST(tiles) {
  g_autofree char *text = kernels(_i);
  struct rig r;

  rig_load(&r, text);
  uint64_t o = put(r.space, NULL, 64 * 4);
  launch(r.module, "tiles", false, 1, 64, (uint64_t[]){o});
  const int *got = soft_space_host(r.space, o, 64 * 4);
  for (int i = 0; i < 64; i++)
    ck_assert_int_eq(got[i], 8 * (i & ~7) + 28 + (i & 1 ? 16000 : 0));
  rig_free(&r);
}
END_TEST

/* From the host's memory through shared memory into the host's memory. */
START_TEST(staged) {
  enum { N = 512, FROM = 0x100000, TO = 0x200000 };
  g_autofree char *text = kernels(_i);
  g_autofree char *log = NULL;
  struct rig r;
  int in[N], out[N] = {0};

  rig_load(&r, text);
  for (int i = 0; i < N; i++)
    in[i] = 7 * i - 1000;
  ck_assert_int_eq(soft_space_map(r.space, FROM, in, sizeof(in)), SOFT_OK);
  ck_assert_int_eq(soft_space_map(r.space, TO, out, sizeof(out)), SOFT_OK);
  launch(r.module, "staged", false, N / 256, 256, (uint64_t[]){FROM, TO});
  for (int i = 0; i < N; i++)
    ck_assert_int_eq(out[i], in[(i & ~255) + 255 - (i & 255)]);
  ck_assert_int_eq(soft_space_release(r.space, TO), SOFT_OK);
  ck_assert_int_eq(launch_any(r.module, "staged", false, 1, 256,
                              (uint64_t[]){FROM, TO}, &log),
                   SOFT_ILLEGAL_ADDRESS);
  rig_free(&r);
}
END_TEST

/* ---- One instruction, one result a thread ---- */

static uint32_t same(unsigned tid) { return tid < 32 ? ~0u : 0; }

static uint32_t leader(unsigned tid) { return tid % 32 ? 0 : 100; }

static uint32_t produced(unsigned tid) {
  return tid < 32 ? 0 : 1000 + tid - 32;
}

static uint32_t branched(unsigned tid) {
  static const uint32_t by[] = {11, 22, 33};

  return by[tid % 3];
}

static uint32_t count(unsigned tid) {
  (void)tid;
  return 22; /* multiples of 3 below 64 */
}

/* Of 64 threads; %r1 is the thread, %r0 its result. */
static const struct {
  const char *name, *code;
  uint32_t (*want)(unsigned tid);
} rows[] = {
    {"match.all",
     "min.u32 %r2, %r1, 32; setp.lt.u32 %p0, %r1, 32; selp.u32 %r2, 5, %r1, "
     "%p0; match.all.sync.b32 %r0|%p1, %r2, -1;",
     same},
    {"elect", "elect.sync %r2|%p0, -1; selp.u32 %r0, 100, %r2, %p0;", leader},
    {"bar.arrive",
     "mov.u32 %r0, 0; setp.lt.u32 %p0, %r1, 32; @!%p0 bra USE; shl.b32 %r2, "
     "%r1, 2; mov.u32 %r3, s; add.u32 %r2, %r2, %r3;\n"
     "add.u32 %r4, %r1, 1000; st.shared.u32 [%r2], %r4; bar.arrive 1, 64; bra "
     "OUT;\n"
     "USE: bar.sync 1, 64; sub.u32 %r2, %r1, 32; shl.b32 %r2, %r2, 2; mov.u32 "
     "%r3, s; add.u32 %r2, %r2, %r3; ld.shared.u32 %r0, [%r2]; OUT:",
     produced},
    {"brx.idx",
     "rem.u32 %r2, %r1, 3; T: .branchtargets A, B, C; brx.idx %r2, T; A: "
     "mov.u32 %r0, 11; bra OUT; B: mov.u32 %r0, 22; bra OUT;\n"
     "C: mov.u32 %r0, 33; OUT:",
     branched},
    {"bar.red.popc",
     "rem.u32 %r2, %r1, 3; setp.eq.u32 %p0, %r2, 0; barrier.cta.red.popc.u32 "
     "%r0, 0, %p0;",
     count},
    {"barrier in registers",
     "mov.u32 %r2, 3; mov.u32 %r3, 64; bar.sync %r2, %r3; mov.u32 %r0, 22;",
     count},
};

#define HEAD ".version 8.0\n.target sm_90\n.address_size 64\n"
#define REGS                                                                   \
  ".reg .b32 %%r<8>; .reg .b64 %%d<8>; .reg .pred %%p<4>; .shared .align 8 "   \
  ".b8 s[256];\n"

START_TEST(row) {
  g_autofree char *text =
      g_strdup_printf(HEAD ".visible .entry k(.param .u64 p) {\n" REGS
                           "ld.param.u64 %%d7, [p]; mov.u32 %%r1, %%tid.x; "
                           "mad.wide.u32 %%d7, %%r1, 4, %%d7;\n%s\n"
                           "st.global.u32 [%%d7], %%r0; ret; }\n",
                      rows[_i].code);
  struct rig r;

  rig_load(&r, text);
  uint64_t o = put(r.space, NULL, 64 * 4);
  launch(r.module, "k", false, 1, 64, (uint64_t[]){o});
  const uint32_t *got = soft_space_host(r.space, o, 64 * 4);
  for (unsigned i = 0; i < 64; i++)
    ck_assert_msg(got[i] == rows[_i].want(i), "%s, thread %u: %#x",
                  rows[_i].name, i, got[i]);
  rig_free(&r);
}
END_TEST

/* Threads that wait for ever: the launch ends and says so. */
static const char *const stuck[] = {
    "setp.lt.u32 %p0, %r1, 32; @%p0 bra A; bar.sync 2, 64; bra OUT; A: "
    "bar.sync 1, 64; OUT:",
    "bar.sync 1, 96;",
    "setp.ge.u32 %p0, %r1, 32; @%p0 bra OUT; bar.sync 1, 64; OUT:",
};

START_TEST(deadlock) {
  g_autofree char *log = NULL;
  g_autofree char *regs = g_strdup_printf(REGS), *text = NULL;
  struct rig r;

  text = g_strconcat(HEAD ".visible .entry k() {\n", regs,
                     "mov.u32 %r1, %tid.x;\n", stuck[_i], "ret; }\n", NULL);
  rig_load(&r, text);
  for (unsigned cooperative = 0; cooperative < 2; cooperative++) {
    g_clear_pointer(&log, g_free);
    ck_assert_int_eq(launch_any(r.module, "k", cooperative, 1, 64, NULL, &log),
                     SOFT_LAUNCH_TIMEOUT);
    ck_assert_msg(log && strstr(log, "wait for one another for ever"), "%s",
                  log ? log : "no log");
  }
  rig_free(&r);
}
END_TEST

/* ---- Launches at once ---- */

/* Every lane of every block takes one lock around an addition that is no atomic
 * operation. */
static const char locked[] = HEAD
    ".visible .entry k(.param .u64 lock, .param .u64 sum, .param .u64 own) {\n"
    ".reg .b32 %r<8>; .reg .b64 %d<8>; .reg .pred %p<4>;\n"
    "ld.param.u64 %d1, [lock]; ld.param.u64 %d2, [sum]; ld.param.u64 %d3, "
    "[own];\n"
    "AGAIN: atom.global.acquire.gpu.cas.b32 %r1, [%d1], 0, 1; setp.ne.u32 %p1, "
    "%r1, 0; @%p1 bra AGAIN;\n"
    "ld.global.u32 %r2, [%d2]; add.u32 %r2, %r2, 1; st.global.u32 [%d2], %r2;\n"
    "atom.global.release.gpu.exch.b32 %r3, [%d1], 0;\n"
    "mov.u32 %r4, %tid.x; mad.wide.u32 %d3, %r4, 4, %d3; atom.global.add.u32 "
    "%r5, [%d3], %r4; ret; }\n";

enum { HOSTS = 4, TURNS = 6, BLOCKS = 3, THREADS = 32 };

struct host {
  pthread_t thread;
  struct soft_space *space;
  struct soft_module *module; /* NULL: each turn loads its own */
  uint64_t lock, sum;
};

static void *host_run(void *arg) {
  struct host *h = arg;

  for (unsigned turn = 0; turn < TURNS; turn++) {
    struct soft_module *m = h->module ? h->module : load(h->space, locked);
    uint64_t own = put(h->space, NULL, THREADS * 4);

    launch(m, "k", false, BLOCKS, THREADS, (uint64_t[]){h->lock, h->sum, own});
    const uint32_t *got = soft_space_host(h->space, own, THREADS * 4);
    for (unsigned i = 0; i < THREADS; i++)
      ck_assert_uint_eq(got[i], BLOCKS * i);
    ck_assert_int_eq(soft_space_release(h->space, own), SOFT_OK);
    if (!h->module)
      soft_module_unload(m);
  }
  return NULL;
}

/* Even rows: one space for all threads of the host; from the third on each
 * launch has a module of its own. */
START_TEST(at_once) {
  unsigned n = _i % 2 ? HOSTS : 1;
  struct host hosts[HOSTS] = {0};

  for (unsigned i = 0; i < HOSTS; i++) {
    struct host *h = &hosts[i];

    if (i >= n) {
      *h = hosts[0];
      continue;
    }
    h->space = soft_space_new(1 << 20);
    h->module = _i < 2 ? load(h->space, locked) : NULL;
    h->lock = put(h->space, NULL, 4);
    h->sum = put(h->space, NULL, 4);
  }
  for (unsigned i = 0; i < HOSTS; i++)
    ck_assert_int_eq(
        pthread_create(&hosts[i].thread, NULL, host_run, &hosts[i]), 0);
  for (unsigned i = 0; i < HOSTS; i++)
    pthread_join(hosts[i].thread, NULL);
  for (unsigned i = 0; i < n; i++) {
    ck_assert_uint_eq(
        *(uint32_t *)soft_space_host(hosts[i].space, hosts[i].sum, 4),
        HOSTS / n * TURNS * BLOCKS * THREADS);
    soft_module_unload(hosts[i].module);
    soft_space_free(hosts[i].space);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gpu_soft_together");
  TCase *tc = tcase_create("together");

  tcase_set_timeout(tc, 120);
  tcase_add_loop_test(tc, grid, 0, 2);
  tcase_add_loop_test(tc, tiles, 0, 2);
  tcase_add_loop_test(tc, staged, 0, 2);
  tcase_add_loop_test(tc, row, 0, G_N_ELEMENTS(rows));
  tcase_add_loop_test(tc, deadlock, 0, G_N_ELEMENTS(stuck));
  tcase_add_loop_test(tc, at_once, 0, 4);
  suite_add_tcase(suite, tc);
  return unit_run(suite);
}
