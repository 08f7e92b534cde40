/*
 * gpu/server/compile_folder: the folder that a compiler writes in. What is in it is what a guest
 * likes: any number of files and folders, as deep as it gets, while it is looked at, too.
 */
#ifndef GPU_SERVER_COMPILE_FOLDER_H
#define GPU_SERVER_COMPILE_FOLDER_H

#include "base/base.h"

/* Whether there is no more in the folder PATH than LIMIT_GPU_COMPILE_* allow. */
bool compile_folder_is_within(const char *path);

/* Removes it with all in it, which nobody changes any more. False, with what is left: an error. */
bool compile_folder_remove(const char *path, GError **err);

#endif
