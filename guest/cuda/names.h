/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* guest/cuda/names: the tables made from functions.txt and errors.txt. */
#ifndef GUEST_CUDA_NAMES_H
#define GUEST_CUDA_NAMES_H

#include "guest/cuda/api.h"

/* A symbol of the library; what it is called with is the function's own business. */
struct cu_entry {
    const char *symbol, *name; /* NAME is how programs ask for it */
    int since;                 /* the version of CUDA that has it; 0: the only one of its name */
    int (*function)(void);
};
extern const struct cu_entry cu_entries[]; /* by symbol */
extern const size_t cu_n_entries;

struct cu_error {
    int number;
    const char *name, *text;
};
extern const struct cu_error cu_errors[];
extern const size_t cu_n_errors;

#if defined(__x86_64__)
#define CU_JUMP_TO  "jmp "
#define CU_JUMP_PLT "@PLT"
#elif defined(__aarch64__)
#define CU_JUMP_TO  "b "
#define CU_JUMP_PLT ""
#elif defined(__riscv)
#define CU_JUMP_TO  "tail "
#define CU_JUMP_PLT "@plt"
#else
#error "no jump is known for this ISA"
#endif

/* A symbol NAME that goes on at OF. */
#define CU_JUMP(name, of)                                                                          \
    __asm__(".text\n.globl " name "\n.type " name ", %function\n" name                             \
            ": " CU_JUMP_TO of CU_JUMP_PLT "\n.size " name ", . - " name "\n");

#endif
