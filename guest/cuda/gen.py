#!/usr/bin/env python3
"""Turns the table of the driver API's functions (functions.txt) into C.

    gen.py FUNCTIONS ERRORS SOURCE

SOURCE gets the table that cuGetProcAddress() looks in, functions that say "not supported" for those the table says are
lacking, aliases, and the names of results. Errors are told as FILE:LINE.
"""
import re
import sys


def rows(path, counts):
    """(words, where) of each line, which has as many words as COUNTS[first word] says."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            where = f"{path}:{number}"
            least, most = counts.get(words[0], (1, 0))
            if not least <= len(words) <= most:
                sys.exit(f"{where}: what is '{' '.join(words)}'?")
            yield words, where


class Function:
    """A row of the table: a symbol, where its code is, and how cuGetProcAddress() knows it."""

    def __init__(self, kind, symbol, of, rest, where):
        self.kind, self.symbol, self.of = kind, symbol, of
        self.since = int(rest[0]) if rest and rest[0].isdigit() else 0
        if rest and not self.since:
            sys.exit(f"{where}: '{rest[0]}' is no version")
        self.name = rest[1] if len(rest) > 1 else re.sub(r"_v\d$", "", symbol)


def functions(path):
    found = {}
    for words, where in rows(path, {"have": (2, 4), "also": (3, 5), "lack": (2, 3)}):
        kind, symbol = words[:2]
        if not re.fullmatch(r"cu[A-Z]\w+", symbol):
            sys.exit(f"{where}: '{symbol}' is no function of the driver API")
        if symbol in found:
            sys.exit(f"{where}: '{symbol}' is there already")
        of = words[2] if kind == "also" else symbol
        if kind == "also" and (of not in found or found[of].kind != "have"):
            sys.exit(f"{where}: there is no '{of}'")
        found[symbol] = Function(kind, symbol, of, words[3 if kind == "also" else 2:], where)
    return list(found.values())


def main(argv):
    if len(argv) != 4:
        sys.exit(__doc__)
    all_of_them = functions(argv[1])
    out = ["/* Made from functions.txt and errors.txt. SPDX-License-Identifier: MIT */",
           '#include "guest/cuda/names.h"']
    out += [f"extern int {f.symbol}(void);" for f in all_of_them if f.kind == "have"]
    out += [f"CU_API int {f.symbol}(void);\nCU_API int {f.symbol}(void)\n{{\n"
            "    return CUDA_ERROR_NOT_SUPPORTED;\n}" for f in all_of_them if f.kind == "lack"]
    # An alias in C has to be where its function is; a jump of the right kind for each ISA has not.
    out += [f'CU_JUMP("{f.symbol}", "{f.of}")' for f in all_of_them if f.kind == "also"]
    out.append("const struct cu_entry cu_entries[] = {")
    out += [f'    {{"{f.symbol}", "{f.name}", {f.since}, {f.of}}},'
            for f in sorted(all_of_them, key=lambda f: f.symbol)]
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
