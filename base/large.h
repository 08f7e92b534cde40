/*
 * Memory in the host's large pages, of 2 MiB. A first touch of a small page costs a fault, and in a
 * virtual machine that keeps shadow page tables some 10 us more, which no counter shows; a large
 * page costs that once for 512 of them.
 *
 * All of it is an offer: a host without large pages, or with none left, gives small ones. Any
 * thread.
 */
#ifndef BASE_LARGE_H
#define BASE_LARGE_H

#include "base/base.h"

#include <sys/mman.h>

enum { LARGE_PAGE = 2 * 1024 * 1024 };

/* As mmap() of BYTES wherever there is room, but at a multiple of LARGE_PAGE; MAP_FAILED with
 * errno. */
void *large_map(size_t bytes, int prot, int flags, int fd);

/*
 * Private memory of zeros in large pages, BYTES rounded up to them; nothing is there before it is
 * touched. NULL with errno. large_free() takes the same BYTES.
 */
void *large_alloc(size_t bytes);
void large_free(void *at, size_t bytes);

/*
 * The LARGE_PAGE bytes at AT of a shared mapping, at most a few of which are there, come now, as
 * one large page. The bytes that are there stay as they are, whoever uses them meanwhile. False:
 * the host gives none, and nothing has changed but that the first small page may be there.
 */
bool large_back_shared(void *at);

#endif
