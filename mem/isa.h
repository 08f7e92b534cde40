/* mem/isa.h: the guest instruction sets there are. */
#ifndef MEM_ISA_H
#define MEM_ISA_H

enum isa { ISA_RISCV64, ISA_AARCH64, ISA_X86_64 };

#endif
