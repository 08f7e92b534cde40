#!/usr/bin/env python3
"""Turns the table of HIP's functions (functions.txt) into C, and into what the linker exports.

    gen.py FUNCTIONS ERRORS SOURCE MAP

SOURCE gets the functions that are guest/cuda's with a context at hand, those that say "not supported", aliases, the table
that hipGetProcAddress() looks in, and the names of results. MAP is a version script. Errors are told as FILE:LINE.
"""
import re
import sys

TYPES = {"p": "void *", "i": "int ", "l": "uint64_t "}


class Function:
    """A row of the table."""

    def __init__(self, words, where):
        least = {"have": 3, "same": 5, "also": 4, "lack": 3}.get(words[0])
        if len(words) != least:
            sys.exit(f"{where}: what is '{' '.join(words)}'?")
        self.kind, self.symbol, self.version = words[:3]
        self.of = words[3] if least > 3 else self.symbol
        self.arguments = words[4].replace("-", "") if least > 4 else ""
        if not re.fullmatch(r"(hip|__hip|hiprtc)[A-Z]\w+", self.symbol):
            sys.exit(f"{where}: '{self.symbol}' is no function of HIP's")
        if not re.fullmatch(r"\d\.\d", self.version) or set(self.arguments) - set(TYPES):
            sys.exit(f"{where}: '{self.version}' is no version, or '{self.arguments}' are no arguments")


def functions(path):
    found = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            f = Function(words, f"{path}:{number}")
            if f.symbol in found:
                sys.exit(f"{path}:{number}: '{f.symbol}' is there already")
            if f.kind == "also" and (f.of not in found or found[f.of].kind not in ("have", "same")):
                sys.exit(f"{path}:{number}: there is no '{f.of}'")
            found[f.symbol] = f
    return list(found.values())


def same(f):
    """The function F: guest/cuda's, behind a call that sees to a context."""
    names = [f"a{i}" for i in range(len(f.arguments))]
    takes = ", ".join(TYPES[kind] + name for kind, name in zip(f.arguments, names)) or "void"
    types = ", ".join(TYPES[kind].strip() for kind in f.arguments) or "void"
    return (f"extern int {f.of}({types});\nHIP_API int {f.symbol}({takes});\nHIP_API int {f.symbol}({takes})\n{{\n"
            f"    int rc = hip_enter();\n\n    return hip_left(rc ? rc : {f.of}({', '.join(names)}));\n}}")


def errors(path):
    out = ["const struct hip_error_name hip_errors[] = {"]
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#") or not line.strip():
                continue
            match = re.fullmatch(r"(\d+) (hip\w+) (.+)\n", line)
            if not match:
                sys.exit(f"{path}:{number}: expected: NUMBER NAME WORDS")
            out.append(f'    {{{match[1]}, "{match[2]}", "{match[3]}"}},')
    return out + ["};", "const size_t hip_n_errors = sizeof(hip_errors) / sizeof(hip_errors[0]);", ""]


def source(all_of_them, errors_path):
    out = ["/* Made from functions.txt and errors.txt. SPDX-License-Identifier: MIT */", '#include "guest/cuda/names.h"',
           '#include "guest/hip/entries.h"', "#include <stdint.h>"]
    out += [same(f) for f in all_of_them if f.kind == "same"]
    out += [f"extern int {f.symbol}(void);" for f in all_of_them if f.kind == "have"]
    out += [f"HIP_API int {f.symbol}(void);\nHIP_API int {f.symbol}(void)\n{{\n"
            "    return hip_left(hipErrorNotSupported);\n}" for f in all_of_them if f.kind == "lack"]
    out += [f'CU_JUMP("{f.symbol}", "{f.of}")' for f in all_of_them if f.kind == "also"]
    out.append("const struct hip_entry hip_entries[] = {")
    out += [f'    {{"{f.symbol}", (void *){f.of}}},' for f in sorted(all_of_them, key=lambda f: f.symbol)]
    out += ["};", "const size_t hip_n_entries = sizeof(hip_entries) / sizeof(hip_entries[0]);"]
    return "\n".join(out + errors(errors_path))


def exports(all_of_them):
    out, before = [], ""
    for version in sorted({f.version for f in all_of_them}):
        names = sorted(f.symbol for f in all_of_them if f.version == version)
        out.append(f"hip_{version} {{\nglobal:\n" + "".join(f"    {name};\n" for name in names) +
                   ("" if before else "local:\n    *;\n") + f"}}{before};\n")
        before = f" hip_{version}"
    return "\n".join(out)


def main(argv):
    if len(argv) != 5:
        sys.exit(__doc__)
    all_of_them = functions(argv[1])
    for path, text in ((argv[3], source(all_of_them, argv[2])), (argv[4], exports(all_of_them))):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv)
