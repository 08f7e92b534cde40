/*
 * machine/boards: a whole machine but for its vCPUs, made from one description.
 *
 * The VM process fills struct board_config, calls board_new(), then makes its accelerator from
 * board_traits() and its vCPUs, then board_load() and board_cpu_start() for each vCPU. A reset is
 * the same again: stop all vCPUs, board_reset(), board_load(), board_cpu_start().
 *
 * What the board needs of vCPUs it gets through struct board_cpu_ops, so that it knows no
 * accelerator. Locking: devices lock for themselves; board_new(), board_free(), board_reset(),
 * board_load() and the state functions belong to the VM's control thread, the loop's, while no
 * vCPU runs. All else may be called on any thread unless it says otherwise.
 */
#ifndef MACHINE_BOARDS_BOARD_H
#define MACHINE_BOARDS_BOARD_H

#include "base/base.h"
#include "mem/clock.h"
#include "mem/irq.h"
#include "mem/isa.h"
#include "mem/mem.h"

#include <uv.h>

struct board;
struct cpu_plug;
struct pci_host;
struct pci_plug;

/* --- what the VM gives -------------------------------------------------------------------- */

/* In which state an x86 vCPU starts. */
enum board_mode {
    BOARD_MODE_RESET, /* at the ISA's own reset state; also what all other ISAs do */
    BOARD_MODE_PVH,   /* 32-bit protected mode, flat segments, no paging; args[0] is EBX */
    BOARD_MODE_LONG,  /* 64-bit mode, flat segments, paging by CR3; args[0] is RSI */
};

/* Where a vCPU starts or starts again: its program counter and first argument registers. */
struct board_start {
    gva_t pc;
    uint64_t args[4];
    enum board_mode mode;
    gpa_t cr3; /* BOARD_MODE_LONG */
};

enum board_cpu_status {
    BOARD_CPU_STOPPED,
    BOARD_CPU_STARTING, /* asked to start, has not run an instruction */
    BOARD_CPU_STARTED,
    BOARD_CPU_STOPPING, /* asked to stop, has not left guest code */
};

enum board_fence {
    BOARD_FENCE_CODE,     /* instruction fetch sees all earlier stores */
    BOARD_FENCE_TLB,      /* translations of [start, start + size) in all address spaces */
    BOARD_FENCE_TLB_ASID, /* the same, in address space ASID */
};

/* A remote fence. SIZE 0 with START 0, or UINT64_MAX: everything. */
struct board_fence_range {
    gva_t start;
    uint64_t size;
    uint64_t asid;
};

/* Why a machine asks to end or to start anew. */
enum board_request_kind {
    BOARD_REQUEST_POWEROFF, /* the guest shut down in order */
    BOARD_REQUEST_FAILED,   /* the guest powered off because of a failure; CODE says which */
    BOARD_REQUEST_REBOOT,   /* start again from board_load() */
};

struct board_request {
    enum board_request_kind kind;
    const char *source; /* who asked: "sbi-srst", "syscon"; a static string */
    uint32_t code;      /* the guest's own number: a failure code, an SBI reset type */
    uint32_t reason;    /* SBI reset reason; 0 for none */
};

/*
 * All of these may be called on any thread, vCPUs' included. set_irq() is called with a device's
 * lock held: it calls no device and waits for no vCPU. request() waits for no vCPU either.
 * board_new() calls none of them, so the vCPUs may be made after it.
 */
struct board_cpu_ops {
    /*
     * Drives interrupt input IRQ of CPU to LEVEL. IRQ is the accelerator's number: on RISC-V the
     * bit of mip. The supervisor software interrupt latches: true sets it, the guest clears it.
     */
    void (*set_irq)(void *opaque, unsigned cpu, unsigned irq, bool level);

    /*
     * x86: drives input GSI of the I/O APIC to LEVEL, and delivers a message that a device wrote to
     * the local APICs' addresses. NULL on other ISAs. Locks as for set_irq().
     */
    void (*gsi)(void *opaque, unsigned gsi, bool level);
    void (*msi)(void *opaque, uint64_t address, uint32_t data);

    /*
     * With split_irqchip, instead of gsi(): input PIN of the machine's own I/O APIC stands for a message
     * whose end board_eoi() is told of, or (USED false) for none. Locks as for set_irq().
     */
    void (*route)(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data);

    /* Starts a stopped CPU at its reset state with START. 0, -EALREADY if it isn't stopped, or -EPERM if the
     * guest may not have it now. */
    int (*start)(void *opaque, unsigned cpu, const struct board_start *start);
    /* The calling vCPU stops when its hypercall returns false. */
    void (*stop)(void *opaque, unsigned self);
    enum board_cpu_status (*status)(void *opaque, unsigned cpu);
    /* The guest has let go of CPU, by the plug: it is to run no more. On the vCPU's thread that did
     * it. NULL where no board has a plug. */
    void (*ejected)(void *opaque, unsigned cpu);

    /* Does a fence on each CPU of MASK and returns when all have done it; FROM is the caller. */
    void (*fence)(void *opaque, unsigned from, uint64_t mask, enum board_fence kind,
                  const struct board_fence_range *range);

    /* The guest asks for the machine's end or reset. Comes once or more; the first counts. */
    void (*request)(void *opaque, const struct board_request *request);
};

/* Where the guest's serial console goes. Both are called on the loop's thread, no lock held. */
struct board_console_ops {
    /* Takes at most N bytes; returns how many. After taking fewer, board_console_ready() asks
     * for the rest. */
    size_t (*output)(void *opaque, const uint8_t *data, size_t n);
    /* There is room again after board_console_input() took fewer bytes than it was given. */
    void (*input_room)(void *opaque);
};

/* A file to load: an open descriptor (kept open by the caller, read by pread) and its name for
 * messages. FD -1: none. */
struct board_file {
    int fd;
    const char *name;
};

struct board_config {
    enum isa isa;
    unsigned cpus;         /* from 1, as many as the machine has; hart ids equal indexes */
    unsigned boot_cpus;    /* as many of them may the guest start at first; 0: all */
    uint64_t memory;       /* bytes of RAM, page-aligned; the board adds it to MEM */
    uint64_t room;         /* bytes of sparse RAM above it, none of which is there; 0: none. Not x86 */
    uint64_t room_block;   /* bytes of its blocks */
    struct mem_map *mem;   /* empty; outlives the board */
    struct mem_map *ports; /* x86: the 64 KiB of I/O ports, as mem; NULL: there are none */
    bool split_irqchip;    /* x86: the I/O APIC is the machine's own, not the accelerator's */
    struct vm_clock *clock;
    uv_loop_t *loop; /* for timers and the console; outlives the board */

    struct board_file kernel, initrd, firmware;
    struct board_file vars; /* the firmware's variables, open for writing; FD -1: they are lost at the end */
    const char *append; /* kernel command line; NULL for none */

    const struct board_cpu_ops *cpu_ops;
    void *cpu_opaque;
    const struct board_console_ops *console_ops;
    void *console_opaque;
};

/* --- what the VM gets --------------------------------------------------------------------- */

/* Facts of a machine that its accelerator and its VM need. */
struct board_traits {
    const char *name;     /* "virt-riscv64" */
    uint64_t timebase_hz; /* of the guest's time register */
    bool firmware_mode;   /* vCPUs start in the mode of a firmware (M-mode), not of a kernel */
};

/*
 * Makes the machine: RAM, interrupt controllers, platform devices, PCI root; loads nothing. The
 * strings of CONFIG are copied, the rest of it is borrowed. NULL with ERR set on a configuration
 * that cannot be built: VMD_ERROR_INVALID, _LIMIT, or _UNSUPPORTED for an ISA without a machine.
 */
struct board *board_new(const struct board_config *config, GError **err);

/*
 * Frees the machine, its devices and PCI host; RAM stays with the map. The PCI functions have
 * been removed before. Runs no loop: handles are closed and freed by the loop's next turn, so
 * turn it once more before closing it. Takes NULL.
 */
void board_free(struct board *board);

const struct board_traits *board_traits(const struct board *board);

/* Puts all devices of the board and of its PCI host, which is quiet, to their reset state. */
void board_reset(struct board *board);

/*
 * Loads firmware, kernel, initrd and device tree to RAM. Before the first run and after every
 * board_reset(). Errors name the file and what is wrong with it.
 */
bool board_load(struct board *board, GError **err);

/* The guest may start the first CPUS processors from the next board_load() on. */
void board_set_boot_cpus(struct board *board, unsigned cpus);

/* Where CPU starts after board_load(). False: it waits for the guest to start it. */
bool board_cpu_start(const struct board *board, unsigned cpu, struct board_start *out);

/*
 * A call of vCPU CPU to the machine's built-in firmware (SBI). Replaces args[0] and args[1] with
 * the results. On the vCPU's thread. False: the vCPU must leave guest code, as it asked to stop
 * or to reset. Fits accel_hypercall_fn, with the board as its opaque.
 */
bool board_hypercall(void *board, unsigned cpu, uint64_t args[8]);

/*
 * An access of vCPU CPU to a system register that the machine has, the interrupt controller's:
 * ENCODING is op0 << 14 | op1 << 11 | CRn << 7 | CRm << 3 | op2. On the vCPU's thread. False: there
 * is none.
 */
bool board_sysreg(void *board, unsigned cpu, uint32_t encoding, bool write, uint64_t *value);

/* With split_irqchip: a local APIC has seen the end of interrupt VECTOR. Any thread. */
void board_eoi(void *board, uint8_t vector);

/* Outputs of a vCPU that the machine is wired to: an ARM vCPU's generic timers. */
enum board_cpu_line { BOARD_LINE_VIRTUAL_TIMER, BOARD_LINE_PHYSICAL_TIMER };

/* Output LINE of vCPU CPU is at LEVEL now. Any thread. */
void board_cpu_line(void *board, unsigned cpu, enum board_cpu_line line, bool level);

/* Presses the power button. False where the machine has none, or no driver in the guest listens to
 * it. Any thread. */
bool board_power_button(struct board *board);

/* Gives the serial console input. Returns how many of the N bytes were taken; after fewer,
 * input_room() tells when to go on. */
size_t board_console_input(struct board *board, const uint8_t *data, size_t n);

/* Sends the serial console a break. False while the guest has not read all earlier input. */
bool board_console_break(struct board *board);

/* The backend takes output again. */
void board_console_ready(struct board *board);

/* Gives all waiting output to the backend now; for the end of a guest. On the loop's thread. */
void board_console_flush(struct board *board);

/* By what processors come and go (machine/devices/cpu_plug.h): of the pc machine with more than
 * one. NULL: the guest starts and stops them by calls. */
struct cpu_plug *board_cpu_plug(struct board *board);

/* By what a guest that does not drive slots of PCI Express hears of cards
 * (machine/devices/pci_plug.h): of the pc machine. NULL: there is no such road. */
struct pci_plug *board_pci_plug(struct board *board);

/* The sparse RAM for memory that comes later; NULL where there is none. */
struct mem_ram *board_room(const struct board *board);

/* The host bridge that virtual PCI devices are plugged to (machine/bus/pci.h). */
struct pci_host *board_pci(struct board *board);

/* The clock was paused, resumed or set: timers are armed anew. On the control thread. */
void board_clock_changed(struct board *board);

/* --- saved state -------------------------------------------------------------------------- */

/* Appends the state of the platform devices (not of PCI devices, not RAM) to OUT. */
void board_state_save(struct board *board, GByteArray *out);

/* Reads it back into a board of the same configuration; on failure reset the board. */
bool board_state_load(struct board *board, const uint8_t *data, size_t length, size_t *used,
                      GError **err);

/* The same state as text for people, a device a line; the caller frees. */
char *board_state_print(struct board *board);

#endif
