/*
 * What the boards share that start a firmware of their own: its image as ROM, the file with its variables,
 * and the kernel that it loads from fw_cfg.
 */
#ifndef MACHINE_BOARDS_FIRMWARE_H
#define MACHINE_BOARDS_FIRMWARE_H

#include "machine/boards/board.h"
#include "machine/devices/fw_cfg.h"

struct firmware {
    const struct board_config *config; /* borrowed */
    struct mem_ram *rom;
    uint64_t rom_size;
    int vars;           /* a file of what the variables' flash holds */
    uint64_t vars_size; /* 0: there are none */
    bool vars_are_lost; /* the file is one of memory, made here */
};

/* Makes FW one that firmware_close() takes. */
void firmware_init(struct firmware *fw);

/*
 * Looks at the configuration's firmware and variables, of at most MOST bytes each; variables come in
 * blocks of BLOCK bytes. Where no file is given for them they get LOST bytes that are gone with FW.
 */
bool firmware_open(struct firmware *fw, const struct board_config *config, uint64_t most,
                   uint64_t block, uint64_t lost, GError **err);
void firmware_close(struct firmware *fw);

/* Adds ROM for the firmware at GPA. */
bool firmware_add_rom(struct firmware *fw, gpa_t gpa, GError **err);

/* Reads the firmware into its ROM. */
bool firmware_load(struct firmware *fw, GError **err);

/* Gives the firmware kernel, initrd and command line, where there are any, by way of ITEMS. */
bool firmware_give_kernel(const struct firmware *fw, struct fw_cfg *items, GError **err);

#endif
