/*
 * base/imagelock: one writer or many readers of a disk's image, over all processes of the host. Any thread.
 */
#ifndef BASE_IMAGELOCK_H
#define BASE_IMAGELOCK_H

#include "base/base.h"

/*
 * Locks FD for one writer or many readers by the byte ranges that QEMU's tools use too (open file
 * description locks, so that they end with the descriptor). VMD_ERROR_BUSY names the holder where
 * /proc tells it. PATH is for messages.
 */
bool imagelock_take(int fd, const char *path, bool readonly, GError **err);

#endif
