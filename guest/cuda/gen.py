#!/usr/bin/env python3
"""Turns the table of the driver API's functions (functions.txt) into C.

    gen.py FUNCTIONS ERRORS SOURCE

SOURCE gets the table that cuGetProcAddress() looks in, functions that say "not supported" for those the table says are
lacking, aliases, and the names of results. Errors are told as FILE:LINE.
"""
import re
import sys


def rows(path, counts):
    """(words, where) of each line, which has one of COUNTS[first word] words."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            where = f"{path}:{number}"
            if len(words) != counts.get(words[0], counts.get("*")):
                sys.exit(f"{where}: what is '{' '.join(words)}'?")
            yield words, where


def functions(path):
    have, also, lack = [], [], []
    for words, where in rows(path, {"have": 2, "also": 3, "lack": 2}):
        if not re.fullmatch(r"cu[A-Z]\w+", words[1]):
            sys.exit(f"{where}: '{words[1]}' is no function of the driver API")
        if words[1] in have + lack or words[1] in dict(also):
            sys.exit(f"{where}: '{words[1]}' is there already")
        if words[0] == "also" and words[2] not in have:
            sys.exit(f"{where}: there is no '{words[2]}'")
        {"have": have, "lack": lack}.get(words[0], []).append(words[1])
        if words[0] == "also":
            also.append((words[1], words[2]))
    return have, also, lack


def main(argv):
    if len(argv) != 4:
        sys.exit(__doc__)
    have, also, lack = functions(argv[1])
    out = ["/* Made from functions.txt and errors.txt. SPDX-License-Identifier: MIT */",
           '#include "guest/cuda/names.h"']
    out += [f"extern int {name}(void);" for name in have]
    out += [f"CU_API int {name}(void);\nCU_API int {name}(void)\n{{\n    return CUDA_ERROR_NOT_SUPPORTED;\n}}"
            for name in lack]
    # An alias in C has to be where its function is; a jump of the right kind for each ISA has not.
    out += [f'CU_JUMP("{name}", "{of}")' for name, of in also]
    out.append("const struct cu_entry cu_entries[] = {")
    out += [f'    {{"{name}", {of}}},'
            for name, of in sorted([(n, n) for n in have + lack] + also)]
    out += ["};", "const size_t cu_n_entries = sizeof(cu_entries) / sizeof(cu_entries[0]);"]
    out.append("const struct cu_error cu_errors[] = {")
    with open(argv[2], encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#") or not line.strip():
                continue
            match = re.fullmatch(r"(\d+) (CUDA_\w+) (.+)\n", line)
            if not match:
                sys.exit(f"{argv[2]}:{number}: expected: NUMBER NAME WORDS")
            out.append(f'    {{{match[1]}, "{match[2]}", "{match[3]}"}},')
    out += ["};", "const size_t cu_n_errors = sizeof(cu_errors) / sizeof(cu_errors[0]);", ""]
    with open(argv[3], "w", encoding="utf-8") as file:
        file.write("\n".join(out))


if __name__ == "__main__":
    main(sys.argv)
