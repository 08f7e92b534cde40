#!/usr/bin/env python3
"""Makes C handlers and a table from a list of integer operations (ops.txt).

    gen_ops.py ops.txt OUT.inc

A row: form | names | types | operands | expression. Forms are those of lanes.h; names is the instruction with its
modifiers before the type (or with {} in its place); types a list; operands letters, where t stands for the type's own width and W for twice that.
In expressions T is the type, U its unsigned and S its signed form, C what is computed with, B the bits.
"""
import re
import sys

WIDTH = {16: "h", 32: "w", 64: "d"}


def ctype(kind, bits):
    return f"{'int' if kind == 's' else 'uint'}{bits}_t"


def row(path, number, line, code, table):
    fields = [field.strip() for field in line.split("|", 4)]
    if len(fields) != 5:
        sys.exit(f"{path}:{number}: expected form | name | types | operands | expression")
    form, name, types, operands, expr = fields
    for spec in types.split():
        match = re.fullmatch(r"([usb])(16|32|64)", spec)
        if not match:
            sys.exit(f"{path}:{number}: no such type: {spec}")
        kind, bits = match[1], int(match[2])
        source = ctype(kind, bits)
        # Narrow types are computed in 32 bits, so that nothing overflows in C's int.
        compute = ctype(kind, max(bits, 32))
        double = {16: 32, 32: 64, 64: 128}[bits]
        wide = ctype(kind, double) if double < 128 else f"{'' if kind == 's' else 'unsigned '}__int128"
        letters = operands.replace("t", WIDTH[bits]).replace("W", WIDTH.get(double, "d"))
        result = {"h": "uint16_t", "w": "uint32_t", "d": "uint64_t"}.get(letters[0], source)
        key = name.replace("{}", spec) if "{}" in name else f"{name}.{spec}"
        ident = re.sub(r"\W", "_", key)
        body = expr
        for mark, text in (("T", source), ("U", ctype("u", bits)), ("S", ctype("s", bits)), ("C", compute),
                           ("X", wide), ("V", ctype("u", max(bits, 32))), ("B", str(bits))):
            body = re.sub(rf"\b{mark}\b", text, body)
        if form == "CMP":
            args = f"{ident}, {source}, {body}"
        elif form == "TRI":
            third = {"h": source, "w": "uint32_t", "d": "uint64_t"}[letters[3]] \
                if letters[3] != WIDTH[bits] else source
            args = f"{ident}, {source}, {compute}, {third}, {result}, {body}"
        else:
            args = f"{ident}, {source}, {compute}, {result}, {body}"
        code.append(f"DEFINE_{form}({args})")
        table.append(f'    {{"{key}", "{letters}", op_{ident}, 0}},')


def main(argv):
    path, out = argv
    code, table = [], []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                row(path, number, line, code, table)
    with open(out, "w", encoding="utf-8") as file:
        file.write("/* Made by gen_ops.py. */\n" + "\n".join(code))
        file.write("\n\nstatic const struct soft_opdef generated[] = {\n" + "\n".join(table) + "\n};\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
