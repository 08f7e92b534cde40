#!/usr/bin/env python3
"""Makes an instruction set's decoder and tables from its text specification.

    gen_isa.py SPECIFICATION HEADER SOURCE

xlate/front/riscv64/riscv.isa describes the format of a specification by example. HEADER gets the
struct of a decoded instruction and the row numbers, SOURCE the decoder (a tree of switches) and the
table of rows. Errors are "file:line: what is wrong". Output depends on the input alone.
"""
import argparse
import itertools
import pathlib
import re
import sys


# What may be said of privilege, and the front end's number for it.
PRIVILEGES = {"priv=S": 1, "priv=M": 3, "priv=EL1": 1}


class SpecError(Exception):
    def __init__(self, where, text):
        super().__init__(f"{where}: {text}")


class Field:
    def __init__(self, name, bits, reserved, bias):
        self.name, self.bits, self.reserved, self.bias = name, bits, reserved, bias


class Row:
    """One instruction: its fixed bits, where its fields lie, what excludes it, what it means."""

    def __init__(self, where, name):
        self.where, self.name = where, name
        self.symbol = re.sub(r"\W", "_", name).upper()
        self.length = self.mask = self.match = 0
        self.fields = {}   # name -> (low bit, width)
        self.imm = []      # (low bit in the word, width, low bit in the value)
        self.imm_signed = False
        self.excluded = []  # (field or "imm", value)
        self.over = []
        self.only_if = []  # names of predicates of the word
        self.priv = 0
        self.ext = self.operands = ""
        self.emit = self.arg = None
        self.expand = None  # (name, {field: text})


class Spec:
    def __init__(self, path):
        self.path = path
        self.prefix = None
        self.lengths = [4]
        self.fields, self.rows, self.csrs = {}, [], []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = re.sub(r"(^|\s)#.*", "", line).rstrip()
            if line.strip():
                self.read_line(f"{path.name}:{number}", line)
        self.by_name = {row.name: row for row in self.rows}
        self.check()

    # --- reading ---------------------------------------------------------------------------

    def read_line(self, where, line):
        words = line.split()
        if re.search(r"\s\|(\s|$)", line):
            self.read_row(where, line)
        elif words[0] == "prefix" and len(words) == 2:
            self.prefix = words[1]
        elif words[0] == "lengths":
            self.lengths = [int(word) for word in words[1:]]
        elif words[0] == "field" and len(words) >= 3:
            reserved = [int(word[2:], 0) for word in words[3:] if word.startswith("!=")]
            bias = sum(int(word) for word in words[3:] if word.startswith("+"))
            self.fields[words[1]] = Field(words[1], int(words[2]), reserved, bias)
        elif words[0] == "csr" and len(words) == 3:
            self.csrs.append((int(words[1], 0), words[2]))
        else:
            raise SpecError(where, f"not understood: {line.strip()}")

    def read_row(self, where, line):
        columns = [column.strip() for column in re.split(r"\s\|(?=\s|$)", line)]
        if len(columns) != 6:
            raise SpecError(where, f"{len(columns)} columns in place of 6")
        row = Row(where, columns[0])
        if any(other.name == row.name for other in self.rows):
            raise SpecError(where, f"{row.name} is there twice")
        self.read_pattern(row, columns[1].split())
        row.ext, row.operands = columns[2], columns[5]
        self.read_needs(row, columns[3].split())
        self.read_meaning(row, columns[4].split())
        self.rows.append(row)

    def read_pattern(self, row, tokens):
        total = sum(self.width(row, token) for token in tokens)
        if total % 8 or total // 8 not in self.lengths:
            raise SpecError(row.where, f"the pattern has {total} bits")
        row.length, at = total // 8, total
        for token in tokens:
            at -= self.width(row, token)
            self.place(row, token, at)

    def width(self, row, token):
        if re.fullmatch(r"[01-]+", token):
            return len(token)
        if token in self.fields:
            return self.fields[token].bits
        match = re.fullmatch(r"u?imm\[([\d:,]+)\]", token)
        if not match:
            raise SpecError(row.where, f"no such field: {token}")
        return sum(high - low + 1 for high, low in self.pieces(match[1]))

    @staticmethod
    def pieces(text):
        for piece in text.split(","):
            high, _, low = piece.partition(":")
            yield int(high), int(low or high)

    def place(self, row, token, low):
        if re.fullmatch(r"[01-]+", token):
            for bit, character in enumerate(reversed(token)):
                if character != "-":
                    row.mask |= 1 << low + bit
                    row.match |= int(character) << low + bit
        elif token in self.fields:
            row.fields[token] = (low, self.fields[token].bits)
            row.excluded += [(token, value) for value in self.fields[token].reserved]
        else:
            row.imm_signed = token.startswith("imm")
            at = low + self.width(row, token)
            for high_bit, low_bit in self.pieces(token[token.index("[") + 1:-1]):
                width = high_bit - low_bit + 1
                at -= width
                row.imm.append((at, width, low_bit))

    def read_needs(self, row, words):
        for word in words:
            if word.startswith("over="):
                row.over.append(word[5:])
            elif word.startswith("if="):
                row.only_if.append(word[3:])
            elif word in PRIVILEGES:
                row.priv = PRIVILEGES[word]
            elif match := re.fullmatch(r"(\w+)!=(\d+)", word):
                name = "imm" if match[1] in ("imm", "uimm") else match[1]
                if name == "imm" and not row.imm or name != "imm" and name not in row.fields:
                    raise SpecError(row.where, f"{word}: the pattern has no such field")
                row.excluded.append((name, int(match[2])))
            else:
                raise SpecError(row.where, f"not understood: {word}")

    def read_meaning(self, row, words):
        if words[:1] == ["="]:
            pairs = dict(word.split("=", 1) for word in words[2:])
            row.expand = (words[1], pairs)
        elif len(words) == 2:
            row.emit, row.arg = words
        else:
            raise SpecError(row.where, "the meaning is neither an emitter with an argument nor a row")

    # --- checking --------------------------------------------------------------------------

    def check(self):
        for row in self.rows:
            if row.expand:
                self.check_expansion(row)
            for name in row.over:
                if name not in self.by_name:
                    raise SpecError(row.where, f"over={name}: no such row")
        for a, b in itertools.combinations(self.rows, 2):
            if a.length == b.length and not (a.match ^ b.match) & a.mask & b.mask:
                self.check_overlap(a, b)

    def check_expansion(self, row):
        name, pairs = row.expand
        target = self.by_name.get(name)
        if not target or target.expand:
            raise SpecError(row.where, f"{name} is no row with a meaning of its own")
        wanted = set(target.fields) | ({"imm"} if target.imm else set())
        if set(pairs) != wanted:
            raise SpecError(row.where, f"{name} has the fields {' '.join(sorted(wanted))}")
        for text in pairs.values():
            if not (text.isdigit() or text in row.fields or text in ("imm", "uimm") and row.imm):
                raise SpecError(row.where, f"no such field: {text}")

    def check_overlap(self, a, b):
        """Two rows may match the same word only where one says that it goes first."""
        mask, match = a.mask | b.mask, a.match | b.match
        for row in (a, b):
            for name, value in row.excluded:
                if self.fixed_value(row, name, mask, match) == value:
                    return
        for one, other in ((a, b), (b, a)):
            if other.name in one.over:
                if one.mask & other.mask != other.mask:
                    raise SpecError(one.where, f"is not narrower than {other.name}")
                return
            if any(other.name in self.by_name[name].over and name in one.over for name in one.over):
                return
        raise SpecError(b.where, f"{b.name} overlaps {a.name} ({a.where})")

    def fixed_value(self, row, name, mask, match):
        """The value that a field has in every word of (mask, match), or None."""
        if name == "imm":
            places = row.imm
        else:
            places = [(*row.fields[name], 0)]
        value = 0
        for low, width, to in places:
            bits = (1 << width) - 1
            if mask >> low & bits != bits:
                return None
            value |= (match >> low & bits) << to
        return value


# --- output --------------------------------------------------------------------------------


class Writer:
    def __init__(self, spec):
        self.spec, self.lines = spec, []
        self.prefix, self.upper = spec.prefix, spec.prefix.upper()

    def put(self, text="", depth=0):
        self.lines.append("    " * depth + text if text else "")

    def text(self):
        return "\n".join(self.lines) + "\n"

    def members(self):
        """Fields that rows with a meaning of their own have."""
        names = []
        for row in self.spec.rows:
            if not row.expand:
                names += [name for name in row.fields if name not in names]
        return sorted(names, key=lambda name: (-self.spec.fields[name].bits, name))

    # --- header ------------------------------------------------------------------------------

    def header(self):
        p, u = self.prefix, self.upper
        self.put(f"/* Made by tools/gen_isa.py from {self.spec.path.name}. */")
        self.put(f"#ifndef {u}_ISA_H")
        self.put(f"#define {u}_ISA_H")
        self.put()
        self.put("#include <stdint.h>")
        self.put()
        self.put(f"enum {p}_row_number {{")
        self.put(f"{u}_INVALID,", 1)
        for row in self.spec.rows:
            self.put(f"{u}_{row.symbol},", 1)
        self.put(f"{u}_ROWS", 1)
        self.put("};")
        self.put()
        self.put(f"enum {p}_extension {{")
        for name in self.extensions():
            self.put(f"{u}_EXT_{name},", 1)
        self.put(f"{u}_EXTENSIONS", 1)
        self.put("};")
        self.put()
        self.put("/* A decoded instruction. Fields that it lacks are 0. */")
        self.put(f"struct {p}_insn {{")
        self.put("uint32_t bits;", 1)
        self.put(f"uint16_t row; /* enum {p}_row_number: as written */", 1)
        self.put("uint16_t op;  /* what it means: itself, or what a compressed one stands for */", 1)
        self.put("int32_t imm;", 1)
        for name in self.members():
            self.put(f"uint{16 if self.spec.fields[name].bits > 8 else 8}_t {name};", 1)
        self.put("uint8_t length; /* bytes */", 1)
        self.put("};")
        self.put()
        self.put(f"struct {p}_translation;")
        self.put(f"typedef void (*{p}_emit_fn)(struct {p}_translation *t, "
                 f"const struct {p}_insn *insn, uint32_t arg);")
        self.put()
        self.put(f"struct {p}_row {{")
        self.put("const char *name, *operands;", 1)
        self.put("uint32_t match, mask;", 1)
        self.put("uint8_t length, extension, privilege;", 1)
        self.put(f"{p}_emit_fn emit; /* NULL for compressed rows */", 1)
        self.put("uint32_t arg;", 1)
        self.put("};")
        self.put()
        self.put(f"extern const struct {p}_row {p}_rows[{u}_ROWS];")
        self.put(f"extern const char *const {p}_extension_names[{u}_EXTENSIONS];")
        self.put(f"struct {p}_csr_name {{ uint16_t number; const char *name; }};")
        self.put(f"extern const struct {p}_csr_name {p}_csr_names[{len(self.spec.csrs)}];")
        self.put()
        self.put("/* Decodes the instruction in the low bits of WORD. INSN->row is 0 where it is none. */")
        self.put(f"void {p}_decode(uint32_t word, struct {p}_insn *insn);")
        self.put()
        for name in sorted({row.emit for row in self.spec.rows if row.emit}):
            self.put(f"void {p}_emit_{name}(struct {p}_translation *t, "
                     f"const struct {p}_insn *insn, uint32_t arg);")
        self.put()
        self.put("#endif")

    def extensions(self):
        return list(dict.fromkeys(row.ext for row in self.spec.rows))

    # --- source ------------------------------------------------------------------------------

    def source(self, includes):
        p, u = self.prefix, self.upper
        self.put(f"/* Made by tools/gen_isa.py from {self.spec.path.name}. */")
        for name in includes:
            self.put(f'#include "{name}"')
        self.put()
        self.put(f"const struct {p}_row {p}_rows[{u}_ROWS] = {{")
        for row in self.spec.rows:
            emit = f"{p}_emit_{row.emit}, {row.arg}" if row.emit else "0, 0"
            name = row.name.split("/")[0]
            self.put(f'[{u}_{row.symbol}] = {{"{name}", "{row.operands}", {row.match:#x}, '
                     f"{row.mask:#x}, {row.length}, {u}_EXT_{row.ext}, {row.priv}, {emit}}},", 1)
        self.put("};")
        self.put()
        self.put(f"const char *const {p}_extension_names[{u}_EXTENSIONS] = {{")
        for name in self.extensions():
            self.put(f'[{u}_EXT_{name}] = "{name}",', 1)
        self.put("};")
        self.put()
        self.put(f"const struct {p}_csr_name {p}_csr_names[{len(self.spec.csrs)}] = {{")
        for number, name in self.spec.csrs:
            self.put(f'{{{number:#x}, "{name}"}},', 1)
        self.put("};")
        for length in self.spec.lengths:
            rows = [row for row in self.spec.rows if row.length == length]
            self.put()
            self.put(f"static void decode{length}(uint32_t w, struct {p}_insn *insn)")
            self.put("{")
            self.tree(rows, 0, 1)
            self.put("}")
        self.put()
        self.put(f"void {p}_decode(uint32_t word, struct {p}_insn *insn)")
        self.put("{")
        if len(self.spec.lengths) == 2:
            self.put(f"*insn = (struct {p}_insn){{.length = (word & 3) == 3 ? 4 : 2}};", 1)
            self.put("insn->bits = insn->length == 4 ? word : (uint16_t)word;", 1)
            self.put("if (insn->length == 4)", 1)
            self.put("decode4(word, insn);", 2)
            self.put("else", 1)
            self.put("decode2((uint16_t)word, insn);", 2)
        else:
            self.put(f"*insn = (struct {p}_insn){{.length = 4, .bits = word}};", 1)
            self.put("decode4(word, insn);", 1)
        self.put("}")

    def tree(self, rows, tested, depth):
        """Code that finds the row of w among ROWS, whose bits of TESTED are known to agree."""
        common = ~tested & 0xffffffff
        for row in rows:
            common &= row.mask
        low, width = longest_run(common)
        groups = {}
        for row in rows:
            groups.setdefault(row.match >> low & (1 << width) - 1, []).append(row)
        if len(groups) < 2:
            if len(rows) > 1 and width and len(groups) == 1:
                self.put(f"if ((w >> {low} & {(1 << width) - 1:#x}) != {next(iter(groups)):#x})", depth)
                self.put("return;", depth + 1)
                self.tree(rows, tested | ((1 << width) - 1) << low, depth)
            else:
                self.chain(rows, tested, depth)
            return
        self.put(f"switch (w >> {low} & {(1 << width) - 1:#x}) {{", depth)
        for value in sorted(groups):
            self.put(f"case {value:#x}:", depth)
            self.tree(groups[value], tested | ((1 << width) - 1) << low, depth + 1)
            self.put("return;", depth + 1)
        self.put("}", depth)

    def chain(self, rows, tested, depth):
        for row in sorted(rows, key=lambda row: -bin(row.mask).count("1")):
            rest = row.mask & ~tested
            tests = [f"(w & {rest:#x}) == {row.match & rest:#x}"] if rest else []
            tests += [f"{self.bits_of(row, name)} != {value}" for name, value in row.excluded]
            tests += [f"{self.prefix}_if_{name}(w)" for name in row.only_if]
            if tests:
                self.put(f"if ({' && '.join(tests)}) {{", depth)
                self.fill(row, depth + 1)
                self.put("return;", depth + 1)
                self.put("}", depth)
            else:
                self.fill(row, depth)

    def bits_of(self, row, name):
        """An expression of a field's or the immediate's bits, not biased, not extended."""
        if name == "imm":
            return "(" + " | ".join(self.piece(*piece) for piece in row.imm) + ")"
        low, width = row.fields[name]
        return f"(w >> {low} & {(1 << width) - 1:#x})"

    @staticmethod
    def piece(low, width, to):
        text = f"(w >> {low} & {(1 << width) - 1:#x})"
        return f"{text} << {to}" if to else text

    def value_of(self, row, name):
        if name.isdigit():
            return name
        if name in ("imm", "uimm"):
            top = max(to + width for _, width, to in row.imm)
            text = self.bits_of(row, "imm")
            if not row.imm_signed:
                return text
            return f"(int32_t)({text} << {32 - top}) >> {32 - top}" if top < 32 else f"(int32_t){text}"
        bias = self.spec.fields[name].bias
        return self.bits_of(row, name) + (f" + {bias}" if bias else "")

    def fill(self, row, depth):
        u = self.upper
        op, pairs = row.expand or (row.name, {name: name for name in row.fields})
        if not row.expand and row.imm:
            pairs = dict(pairs, imm="imm")
        self.put(f"insn->row = {u}_{row.symbol};", depth)
        self.put(f"insn->op = {u}_{self.spec.by_name[op].symbol};", depth)
        for name, value in pairs.items():
            self.put(f"insn->{name} = {self.value_of(row, value)};", depth)


def longest_run(mask):
    """(low bit, width) of the longest run of ones; the lowest of equals."""
    best = (0, 0)
    for match in re.finditer("1+", bin(mask)[:1:-1]):
        if match.end() - match.start() > best[1]:
            best = (match.start(), match.end() - match.start())
    return best


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specification", type=pathlib.Path)
    parser.add_argument("header", type=pathlib.Path)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("--include", action="append", default=[], help="headers that SOURCE includes")
    args = parser.parse_args(argv)
    try:
        spec = Spec(args.specification)
    except SpecError as error:
        sys.exit(str(error))
    header, source = Writer(spec), Writer(spec)
    header.header()
    source.source(args.include)
    args.header.write_text(header.text(), encoding="utf-8")
    args.source.write_text(source.text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
