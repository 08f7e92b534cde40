/*
 * Litmus tests: what two to four harts may see of one another's loads and stores (RVWMO: the ISA manual,
 * chapter 17 and its appendix; the tests' names are those of the literature). Each is run on many
 * places, in many rounds, by harts that change roles and come to each place at one time by their
 * clocks, give or take a little. An outcome that
 * the model forbids ends the program with the test's number. Others that x86-64 hosts allow are counted;
 * with a number of rounds in a1 (run_elf --arg), for a long run, each of them must come at least once.
 */
#include "hart.h"

#define ROUNDS 40 /* of a test, unless a1 says */
#define PLACES 64

/* A place: variables and what the harts saw, each in a cache line of its own. */
#define X  0
#define Y  64
#define Z  128
#define L  192
#define R0 256
#define R1 320
#define R2 384
#define R3 448
#define PLACE 512
#define OTHER 1 /* with an offset: anything but the value */

/* A row of the table: what each role runs (0: nothing), and up to three words of the outcome. */
.macro TEST kind, b0, b1, b2=0, b3=0, o1=-1, v1=0, o2=-1, v2=0, o3=-1, v3=0, o4=-1, v4=0
    .dword \kind, \b0, \b1, \b2, \b3, \o1, \v1, \o2, \v2, \o3, \v3, \o4, \v4
.endm
#define FORBIDDEN 0
#define ALLOWED   1
#define ROW       (13 * 8)

/* t1 is used */
.macro STORE value, at
    li t1, \value
    sd t1, \at(a0)
.endm

.macro LOAD into, at
    ld \into, \at(a0)
.endm

/* Keeps what was seen, after all that is under test. */
.macro SAW reg, at
    sd \reg, \at(a0)
.endm

.macro ADDRESS reg, at
    addi \reg, a0, \at
.endm

/* Stores by LR and SC, with their suffixes. t1, t3 and t4 are used. */
.macro STORE_SC value, at, lr, sc
    addi t1, a0, \at
    li t3, \value
9:  \lr t4, (t1)
    \sc t4, t3, (t1)
    bnez t4, 9b
.endm

BEGIN
    mv s0, a0 /* hart */
    mv s1, a1
    la s2, tests
    li s7, 1 /* number of the test */
next_test:
    li s3, ROUNDS
    beqz s1, next_round
    mv s3, s1
next_round:
    BARRIER
    add t0, s0, s3 /* roles go round */
    andi t0, t0, HARTS - 1
    slli t0, t0, 3
    add t0, t0, s2
    ld s4, 8(t0)
    li s5, PLACES
    la s6, places
    beqz s4, 2f
    rdtime s8 /* all begin at the next multiple of 4096 ticks */
    li t0, 4095
    or s8, s8, t0
1:  rdtime t0
    bltu t0, s8, 1b
    addi s8, s8, 8
    mv a0, s6
    rdcycle t0
    xor t0, t0, s5
    andi t0, t0, 31
3:  addi t0, t0, -1
    bgtz t0, 3b
    jalr s4
    addi s6, s6, PLACE
    addi s5, s5, -1
    bnez s5, 1b
2:  BARRIER
    bnez s0, 4f
    call look
4:  addi s3, s3, -1
    bnez s3, next_round
    addi s7, s7, 1
    addi s2, s2, ROW
    ld t0, 0(s2)
    bgez t0, next_test
    BARRIER
    beqz s0, 6f
5:  j 5b
6:  beqz s1, good
    /* What is allowed was seen. */
    la s2, tests
    la t1, seen
    li gp, 1000
7:  addi gp, gp, 1
    ld t0, 0(s2)
    bltz t0, good
    ld t2, 0(t1)
    addi t1, t1, 8
    addi s2, s2, ROW
    beqz t0, 7b
    bnez t2, 7b
    j failed
good:
PASS

/* Hart 0 compares every place with the outcome, and makes it 0. */
look:
    la a0, places
    li a1, PLACES
1:  addi a2, s2, 5 * 8
    addi a3, s2, ROW
2:  ld t0, 0(a2)
    ld t1, 8(a2)
    bltz t0, 5f
    andi t2, t0, OTHER
    sub t0, t0, t2
    add t0, t0, a0
    ld t0, 0(t0)
    sub t0, t0, t1
    snez t0, t0
    bne t0, t2, 6f
    addi a2, a2, 16
    bltu a2, a3, 2b
5:  mv gp, s7
    ld t0, 0(s2)
    beqz t0, failed
    la t1, seen
    addi t2, s7, -1
    slli t2, t2, 3
    add t1, t1, t2
    ld t2, 0(t1)
    addi t2, t2, 1
    sd t2, 0(t1)
6:  li t0, PLACE / 64
7:  sd zero, 0(a0)
    addi a0, a0, 64
    addi t0, t0, -1
    bnez t0, 7b
    addi a1, a1, -1
    bnez a1, 1b
    ret

/* --- message passing: a flag behind data ----------------------------------------------------- */
mp_fence:
    STORE 1, X
    fence w, w
    STORE 1, Y
    ret
mp_tso:
    STORE 1, X
    fence.tso
    STORE 1, Y
    ret
mp_amo_rl:
    STORE 1, X
    ADDRESS t2, Y
    amoswap.d.rl t3, t1, (t2)
    ret
mp_sc_rl:
    STORE 1, X
    STORE_SC 1, Y, lr.d, sc.d.rl
    ret
mp_read_fence:
    LOAD t1, Y
    fence r, r
    LOAD t2, X
    SAW t1, R0
    SAW t2, R1
    ret
mp_read_tso:
    LOAD t1, Y
    fence.tso
    LOAD t2, X
    SAW t1, R0
    SAW t2, R1
    ret
mp_read_amo_aq:
    ADDRESS t3, Y
    amoor.d.aq t1, zero, (t3)
    LOAD t2, X
    SAW t1, R0
    SAW t2, R1
    ret
mp_read_lr_aq:
    ADDRESS t3, Y
    lr.d.aq t1, (t3)
    LOAD t2, X
    SAW t1, R0
    SAW t2, R1
    ret
mp_read_address: /* the second address depends on the first value */
    LOAD t1, Y
    xor t3, t1, t1
    add t3, t3, a0
    ld t2, X(t3)
    SAW t1, R0
    SAW t2, R1
    ret

/* --- store buffering ------------------------------------------------------------------------- */
sb_x:
    STORE 1, X
    LOAD t2, Y
    SAW t2, R0
    ret
sb_y:
    STORE 1, Y
    LOAD t2, X
    SAW t2, R1
    ret
sb_x_fence:
    STORE 1, X
    fence rw, rw
    LOAD t2, Y
    SAW t2, R0
    ret
sb_y_fence:
    STORE 1, Y
    fence rw, rw
    LOAD t2, X
    SAW t2, R1
    ret
sb_x_wr:
    STORE 1, X
    fence w, r
    LOAD t2, Y
    SAW t2, R0
    ret
sb_y_wr:
    STORE 1, Y
    fence w, r
    LOAD t2, X
    SAW t2, R1
    ret
sb_x_tso:
    STORE 1, X
    fence.tso
    LOAD t2, Y
    SAW t2, R0
    ret
sb_y_tso:
    STORE 1, Y
    fence.tso
    LOAD t2, X
    SAW t2, R1
    ret
sb_x_amo:
    ADDRESS t1, X
    li t3, 1
    amoswap.d.aq zero, t3, (t1)
    LOAD t2, Y
    SAW t2, R0
    ret
sb_y_amo:
    ADDRESS t1, Y
    li t3, 1
    amoswap.d.aq zero, t3, (t1)
    LOAD t2, X
    SAW t2, R1
    ret
sb_x_sc:
    STORE_SC 1, X, lr.d, sc.d.aqrl
    ADDRESS t1, Y
    lr.d.aqrl t2, (t1)
    SAW t2, R0
    ret
sb_y_sc:
    STORE_SC 1, Y, lr.d, sc.d.aqrl
    ADDRESS t1, X
    lr.d.aqrl t2, (t1)
    SAW t2, R1
    ret
sb_z_fence:
    STORE 1, Z
    fence rw, rw
    LOAD t2, X
    SAW t2, R2
    ret
sb_y_z_fence:
    STORE 1, Y
    fence rw, rw
    LOAD t2, Z
    SAW t2, R1
    ret
/* Each sees its own store first. */
rfi_x:
    STORE 1, X
    LOAD t2, X
    LOAD t3, Y
    SAW t2, R0
    SAW t3, R1
    ret
rfi_y:
    STORE 1, Y
    LOAD t2, Y
    LOAD t3, X
    SAW t2, R2
    SAW t3, R3
    ret

/* --- load buffering -------------------------------------------------------------------------- */
lb_x_fence:
    LOAD t2, X
    fence r, w
    STORE 1, Y
    SAW t2, R0
    ret
lb_y_fence:
    LOAD t2, Y
    fence r, w
    STORE 1, X
    SAW t2, R1
    ret
lb_x_data:
    LOAD t2, X
    xor t1, t2, t2
    addi t1, t1, 1
    sd t1, Y(a0)
    SAW t2, R0
    ret
lb_y_data:
    LOAD t2, Y
    xor t1, t2, t2
    addi t1, t1, 1
    sd t1, X(a0)
    SAW t2, R1
    ret
lb_x_control:
    LOAD t2, X
    bnez t2, 1f
1:  STORE 1, Y
    SAW t2, R0
    ret
lb_y_control:
    LOAD t2, Y
    bnez t2, 1f
1:  STORE 1, X
    SAW t2, R1
    ret

/* --- 2+2W, S, R: the order of stores --------------------------------------------------------- */
w2_x:
    STORE 1, X
    fence w, w
    STORE 2, Y
    ret
w2_y:
    STORE 1, Y
    fence w, w
    STORE 2, X
    ret
w2_x_rl:
    STORE 1, X
    ADDRESS t2, Y
    li t1, 2
    amoswap.d.rl zero, t1, (t2)
    ret
w2_y_rl:
    STORE 1, Y
    ADDRESS t2, X
    li t1, 2
    amoswap.d.rl zero, t1, (t2)
    ret
s_write:
    STORE 2, X
    fence w, w
    STORE 1, Y
    ret
s_read:
    LOAD t2, Y
    fence r, w
    STORE 1, X
    SAW t2, R0
    ret
s_read_data:
    LOAD t2, Y
    xor t1, t2, t2
    addi t1, t1, 1
    sd t1, X(a0)
    SAW t2, R0
    ret
r_write:
    STORE 1, X
    fence w, w
    STORE 1, Y
    ret
r_read_fence:
    STORE 2, Y
    fence rw, rw
    LOAD t2, X
    SAW t2, R0
    ret
r_read:
    STORE 2, Y
    LOAD t2, X
    SAW t2, R0
    ret

/* --- coherence: one variable ----------------------------------------------------------------- */
co_write:
    STORE 1, X
    ret
co_write_two:
    STORE 1, X
    STORE 2, X
    ret
co_read_two:
    LOAD t1, X
    LOAD t2, X
    SAW t1, R0
    SAW t2, R1
    ret
co_load_store:
    LOAD t2, X
    STORE 2, X
    SAW t2, R0
    ret
co_store_load:
    STORE 1, X
    LOAD t2, X
    SAW t2, R0
    ret
co_write_other:
    STORE 2, X
    ret

/* --- sizes that differ ----------------------------------------------------------------------- */
mixed_all:
    STORE -1, X
    ret
mixed_whole: /* R0 = 1: half of it was seen */
    LOAD t1, X
    addi t2, t1, 1
    snez t1, t1
    snez t2, t2
    and t1, t1, t2
    SAW t1, R0
    ret
mixed_byte: /* a load of eight bytes over a byte just stored */
    li t1, 0x55
    sb t1, X+3(a0)
    LOAD t2, X
    srli t2, t2, 24
    andi t2, t2, 0xff
    SAW t2, R0
    ret
mixed_others:
    li t1, 0x77
    sb t1, X+2(a0)
    sb t1, X+4(a0)
    ret
mixed_sb_word:
    li t1, 1
    sw t1, X+4(a0)
    fence rw, rw
    lwu t2, Y+4(a0)
    SAW t2, R0
    ret
mixed_sb_double:
    STORE -1, Y
    fence rw, rw
    lwu t2, X+4(a0)
    SAW t2, R1
    ret
mixed_lr_high: /* an LR/SC loop on what another hart's word is half of */
    ADDRESS t1, X
    li t3, 1 << 32
1:  lr.d t2, (t1)
    add t2, t2, t3
    sc.d t4, t2, (t1)
    bnez t4, 1b
    ret
mixed_add_low:
    ADDRESS t1, X
    li t3, 1
    amoadd.w zero, t3, (t1)
    ret
mixed_store_low:
    li t3, 7
    sw t3, X(a0)
    ret
mixed_store_byte:
    li t3, 7
    sb t3, X+7(a0)
    ret
mixed_lr_word: /* a neighbour of what is stored: nothing of either is lost */
    ADDRESS t1, X
    li t3, 5
1:  lr.w t2, (t1)
    sc.w t4, t3, (t1)
    bnez t4, 1b
    ret
mixed_store_high:
    li t3, 6
    sw t3, X+4(a0)
    ret

/* --- LR and SC as a lock --------------------------------------------------------------------- */
lock_sd: /* released by a store behind a fence */
    ADDRESS t1, L
    li t3, 1
1:  lr.w.aq t2, (t1)
    bnez t2, 2f
    sc.w t2, t3, (t1)
    beqz t2, 3f
2:  pause
    j 1b
3:  LOAD t2, Z
    addi t2, t2, 1
    sd t2, Z(a0)
    fence rw, w
    sw zero, 0(t1)
    ret
lock_rl: /* by an AMO with release */
    ADDRESS t1, L
    li t3, 1
1:  lr.w.aq t2, (t1)
    bnez t2, 2f
    sc.w t2, t3, (t1)
    beqz t2, 3f
2:  pause
    j 1b
3:  LOAD t2, Z
    addi t2, t2, 1
    sd t2, Z(a0)
    amoswap.w.rl zero, zero, (t1)
    ret
sc_only_once: /* of all that reserve 0, one stores */
    ADDRESS t1, L
    ADDRESS t4, Z
    li t3, 1
1:  lr.d t2, (t1)
    bnez t2, 2f
    sc.d t2, t3, (t1)
    bnez t2, 1b
    amoadd.d zero, t3, (t4)
2:  ret

/* --- three and four harts -------------------------------------------------------------------- */
write_x:
    STORE 1, X
    ret
write_y:
    STORE 1, Y
    ret
iriw_x_y:
    LOAD t1, X
    fence r, r
    LOAD t2, Y
    SAW t1, R0
    SAW t2, R1
    ret
iriw_y_x:
    LOAD t1, Y
    fence r, r
    LOAD t2, X
    SAW t1, R2
    SAW t2, R3
    ret
iriw_x_y_aq:
    ADDRESS t3, X
    lr.d.aq t1, (t3)
    LOAD t2, Y
    SAW t1, R0
    SAW t2, R1
    ret
iriw_y_x_address:
    LOAD t1, Y
    xor t3, t1, t1
    add t3, t3, a0
    ld t2, X(t3)
    SAW t1, R2
    SAW t2, R3
    ret
wrc_pass:
    LOAD t2, X
    fence rw, w
    STORE 1, Y
    SAW t2, R0
    ret
wrc_pass_data:
    LOAD t2, X
    xor t1, t2, t2
    addi t1, t1, 1
    sd t1, Y(a0)
    SAW t2, R0
    ret
wrc_read:
    LOAD t1, Y
    fence r, r
    LOAD t2, X
    SAW t1, R1
    SAW t2, R2
    ret
isa2_pass:
    LOAD t2, Y
    fence r, w
    STORE 1, Z
    SAW t2, R0
    ret
isa2_read:
    LOAD t1, Z
    fence r, r
    LOAD t2, X
    SAW t1, R1
    SAW t2, R2
    ret
rwc_read:
    LOAD t1, X
    fence r, r
    LOAD t2, Y
    SAW t1, R0
    SAW t2, R1
    ret
rwc_write:
    STORE 1, Y
    fence rw, rw
    LOAD t2, X
    SAW t2, R2
    ret
w_rwc_read:
    LOAD t1, Y
    fence rw, rw
    LOAD t2, Z
    SAW t1, R0
    SAW t2, R1
    ret
w_rwc_write:
    STORE 1, Z
    fence rw, rw
    LOAD t2, X
    SAW t2, R2
    ret

    .section .data
    .balign 8
tests:
    TEST FORBIDDEN, mp_fence, mp_read_fence, o1=R0, v1=1, o2=R1, v2=0
    TEST FORBIDDEN, mp_tso, mp_read_tso, o1=R0, v1=1, o2=R1, v2=0
    TEST FORBIDDEN, mp_amo_rl, mp_read_amo_aq, o1=R0, v1=1, o2=R1, v2=0
    TEST FORBIDDEN, mp_sc_rl, mp_read_lr_aq, o1=R0, v1=1, o2=R1, v2=0
    TEST FORBIDDEN, mp_fence, mp_read_address, o1=R0, v1=1, o2=R1, v2=0
    TEST ALLOWED, sb_x, sb_y, o1=R0, v1=0, o2=R1, v2=0
    TEST ALLOWED, sb_x_tso, sb_y_tso, o1=R0, v1=0, o2=R1, v2=0
    TEST FORBIDDEN, sb_x_fence, sb_y_fence, o1=R0, v1=0, o2=R1, v2=0
    TEST FORBIDDEN, sb_x_wr, sb_y_wr, o1=R0, v1=0, o2=R1, v2=0
    TEST FORBIDDEN, sb_x_amo, sb_y_amo, o1=R0, v1=0, o2=R1, v2=0 /* 10 */
    TEST FORBIDDEN, sb_x_sc, sb_y_sc, o1=R0, v1=0, o2=R1, v2=0
    TEST ALLOWED, rfi_x, rfi_y, o1=R0, v1=1, o2=R1, v2=0, o3=R2, v3=1, o4=R3, v4=0
    TEST FORBIDDEN, rfi_x, rfi_y, o1=R0, v1=0
    TEST FORBIDDEN, rfi_x, rfi_y, o1=R2, v1=0
    TEST FORBIDDEN, lb_x_fence, lb_y_fence, o1=R0, v1=1, o2=R1, v2=1
    TEST FORBIDDEN, lb_x_data, lb_y_data, o1=R0, v1=1, o2=R1, v2=1
    TEST FORBIDDEN, lb_x_control, lb_y_control, o1=R0, v1=1, o2=R1, v2=1
    TEST FORBIDDEN, w2_x, w2_y, o1=X, v1=1, o2=Y, v2=1
    TEST FORBIDDEN, w2_x_rl, w2_y_rl, o1=X, v1=1, o2=Y, v2=1
    TEST FORBIDDEN, s_write, s_read, o1=R0, v1=1, o2=X, v2=2 /* 20 */
    TEST FORBIDDEN, s_write, s_read_data, o1=R0, v1=1, o2=X, v2=2
    TEST FORBIDDEN, r_write, r_read_fence, o1=Y, v1=2, o2=R0, v2=0
    TEST ALLOWED, r_write, r_read, o1=Y, v1=2, o2=R0, v2=0
    TEST FORBIDDEN, co_write, co_read_two, o1=R0, v1=1, o2=R1, v2=0
    TEST FORBIDDEN, co_write_two, co_read_two, o1=R0, v1=2, o2=R1, v2=1
    TEST FORBIDDEN, co_write_two, co_read_two, o1=R0, v1=2, o2=R1, v2=0
    TEST FORBIDDEN, co_write_two, co_read_two, o1=X, v1=1
    TEST FORBIDDEN, co_write, co_load_store, o1=R0, v1=1, o2=X, v2=1
    TEST FORBIDDEN, co_store_load, co_write_other, o1=R0, v1=0
    TEST FORBIDDEN, co_store_load, co_write_other, o1=R0, v1=2, o2=X, v2=1 /* 30 */
    TEST FORBIDDEN, mixed_all, mixed_whole, o1=R0, v1=1
    TEST FORBIDDEN, mixed_byte, mixed_others, o1=R0+OTHER, v1=0x55
    TEST FORBIDDEN, mixed_byte, mixed_others, o1=X+OTHER, v1=0x7755770000
    TEST FORBIDDEN, mixed_sb_word, mixed_sb_double, o1=R0, v1=0, o2=R1, v2=0
    TEST FORBIDDEN, mixed_lr_high, mixed_add_low, o1=X+OTHER, v1=0x100000001
    TEST FORBIDDEN, mixed_lr_high, mixed_store_low, o1=X+OTHER, v1=0x100000007
    TEST FORBIDDEN, mixed_lr_high, mixed_store_byte, o1=X+OTHER, v1=0x0700000100000000
    TEST FORBIDDEN, mixed_lr_word, mixed_store_high, o1=X+OTHER, v1=0x600000005
    TEST FORBIDDEN, lock_sd, lock_sd, o1=Z+OTHER, v1=2
    TEST FORBIDDEN, lock_rl, lock_rl, o1=Z+OTHER, v1=2 /* 40 */
    TEST FORBIDDEN, sc_only_once, sc_only_once, o1=Z+OTHER, v1=1
#if HARTS == 4
    TEST FORBIDDEN, write_x, write_y, iriw_x_y, iriw_y_x, R0, 1, R1, 0, R2, 1, R3, 0
    TEST FORBIDDEN, write_x, write_y, iriw_x_y_aq, iriw_y_x_address, R0, 1, R1, 0, R2, 1, R3, 0
    TEST FORBIDDEN, write_x, wrc_pass, wrc_read, 0, R0, 1, R1, 1, R2, 0
    TEST FORBIDDEN, write_x, wrc_pass_data, wrc_read, 0, R0, 1, R1, 1, R2, 0
    TEST FORBIDDEN, mp_fence, isa2_pass, isa2_read, 0, R0, 1, R1, 1, R2, 0
    TEST FORBIDDEN, write_x, rwc_read, rwc_write, 0, R0, 1, R1, 0, R2, 0
    TEST FORBIDDEN, mp_fence, w_rwc_read, w_rwc_write, 0, R0, 1, R1, 0, R2, 0
    TEST FORBIDDEN, sb_x_fence, sb_y_z_fence, sb_z_fence, 0, R0, 0, R1, 0, R2, 0
    TEST FORBIDDEN, lock_sd, lock_rl, lock_sd, lock_rl, Z+OTHER, 4 /* 50 */
    TEST FORBIDDEN, sc_only_once, sc_only_once, sc_only_once, sc_only_once, Z+OTHER, 1
#endif
    .dword -1
seen:
    .zero 64 * 8
    .balign 64
arrived: .word 0
    .balign 64
epoch: .word 0
    .balign 64
places:
    .zero PLACES * PLACE
