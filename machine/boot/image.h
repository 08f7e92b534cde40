/*
 * machine/boot/image: reads kernels and firmware from files and puts them into guest memory.
 *
 * Files are not trusted: sizes are capped by base/limits.inc before anything is allocated, every
 * offset is checked, and a file that is no good is VMD_ERROR_INVALID with one line that names the
 * file and says what is wrong. No locking: boot is on the control thread.
 */
#ifndef MACHINE_BOOT_IMAGE_H
#define MACHINE_BOOT_IMAGE_H

#include "base/base.h"
#include "mem/isa.h"
#include "mem/mem.h"

enum image_format {
    IMAGE_RAW,     /* nothing known: bytes to load as they are */
    IMAGE_ELF,     /* ELF64, little-endian, of the right machine */
    IMAGE_LINUX,   /* a Linux "Image" of the right machine (RISC-V, ARM64) */
    IMAGE_BZIMAGE, /* a Linux bzImage (x86-64) */
};

/* A file in memory, unpacked if it was compressed, and what it is. */
struct image {
    const char *name; /* borrowed, for messages */
    enum image_format format;
    uint8_t *data; /* owned */
    size_t size;
};

/* Bytes of guest memory that a loaded image takes, and where it begins to run. */
struct image_place {
    gpa_t start, end; /* end is the first byte after it */
    gpa_t entry;
};

/*
 * Reads the file behind FD (from its start, by pread) into OUT: plain, gzip, zstd, or EFI zboot
 * with one of these inside. A file for another ISA than ISA is refused.
 */
bool image_read(int fd, const char *name, enum isa isa, struct image *out, GError **err);

/* The same for bytes in memory, which are copied. */
bool image_from_bytes(const uint8_t *data, size_t size, const char *name, enum isa isa,
                      struct image *out, GError **err);

/* Frees what image_read() allocated; a zeroed image is fine. */
void image_clear(struct image *image);
#define auto_image __attribute__((cleanup(image_clear))) struct image

/*
 * What a Linux Image says of itself: its offset from a 2 MiB boundary at or above the start of
 * RAM, and the memory it takes, bss included (never less than the file). RISC-V and ARM64 share
 * the layout (Documentation/arch/riscv/boot-image-header.rst).
 */
bool image_linux_header(const struct image *image, uint64_t *text_offset, uint64_t *image_size,
                        GError **err);

/* Copies IMAGE to START; it takes SIZE bytes there, zero beyond the file. */
bool image_load_flat(const struct image *image, struct mem_map *mem, gpa_t start, uint64_t size,
                     struct image_place *out, GError **err);

/*
 * Loads the segments of an ELF at their physical addresses, or all shifted so that the lowest is
 * at BASE when the file is position-independent or linked in the kernel's half of the virtual
 * address space. Nothing may be below FLOOR.
 */
bool image_load_elf(const struct image *image, struct mem_map *mem, gpa_t base, gpa_t floor,
                    struct image_place *out, GError **err);

/*
 * The number (4 or 8 bytes) in the first note of TYPE whose owner is OWNER. False where an ELF has
 * no such note, or a damaged one.
 */
bool image_elf_note(const struct image *image, const char *owner, uint32_t type, uint64_t *value);

/* The size of a file to load, refused over LIMIT bytes or when it is no regular file. */
bool image_file_size(int fd, const char *name, uint64_t limit, uint64_t *size, GError **err);

/* Reads exactly SIZE bytes of FD from its start to TO. */
bool image_file_read(int fd, const char *name, void *to, uint64_t size, GError **err);

#endif
