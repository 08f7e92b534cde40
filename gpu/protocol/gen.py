#!/usr/bin/env python3
"""Turns the table of ring records (records.txt) into C.

    gen.py TABLE HEADER SOURCE

HEADER gets a struct for each record's and answer's fields and the numbers, SOURCE the table by which
record_check() tells what may be in a record. Errors are told as FILE:LINE.
"""
import re
import sys

WIDTHS = {"u32": 4, "u64": 8}
LICENCE = "SPDX-License-Identifier: MIT"


class Part:
    """A record or an answer: its fields in order, and what may follow them."""

    def __init__(self, payload):
        self.payload = payload
        self.fields = []  # (type, name, least, most)

    def size(self):
        return sum(WIDTHS[kind] for kind, *_ in self.fields)


class Record:
    def __init__(self, name, number, payload, later):
        self.name, self.number, self.later = name, number, later
        self.call, self.answer = Part(payload), None


class Table:
    """What the file says, read and checked."""

    def __init__(self, path):
        self.path, self.line = path, 0
        self.constants, self.records = [], []
        self.part = None
        with open(path, encoding="utf-8") as file:
            for self.line, text in enumerate(file, 1):
                words = text.split("#")[0].split()
                if words:
                    self.row(words)
        self.finish()

    def fail(self, text):
        sys.exit(f"{self.path}:{self.line}: {text}")

    def number(self, text):
        try:
            return int(text, 0)
        except ValueError:
            self.fail(f"'{text}' is no number")

    def row(self, words):
        handler = {"const": self.const, "record": self.record, "answer": self.answer,
                   "u32": self.field, "u64": self.field}.get(words[0])
        if not handler:
            self.fail(f"'{words[0]}' is nothing this table knows")
        handler(words)

    def const(self, words):
        if len(words) != 3:
            self.fail("expected: const NAME NUMBER")
        self.constants.append((words[1], self.number(words[2])))

    def payload(self, words):
        """Takes "payload N" off the front of WORDS."""
        if words[:1] != ["payload"]:
            return 0
        if len(words) < 2:
            self.fail("payload without a size")
        most = self.number(words[1])
        del words[:2]
        return most

    def record(self, words):
        self.finish()
        if len(words) < 3 or not re.fullmatch(r"[a-z][a-z0-9_]*", words[1]):
            self.fail("expected: record NAME NUMBER")
        name, number, rest = words[1], self.number(words[2]), words[3:]
        if any(r.name == name or r.number == number for r in self.records):
            self.fail(f"record {name} or number {number} is there already")
        record = Record(name, number, self.payload(rest), rest == ["later"])
        if rest not in ([], ["later"]):
            self.fail(f"what is '{' '.join(rest)}'?")
        self.records.append(record)
        self.part = record.call

    def answer(self, words):
        if not self.records or self.records[-1].answer:
            self.fail("an answer without its record")
        rest = words[1:]
        self.records[-1].answer = self.part = Part(self.payload(rest))
        if rest:
            self.fail(f"what is '{' '.join(rest)}'?")

    def field(self, words):
        if not self.part:
            self.fail("a field outside of a record")
        width = WIDTHS[words[0]]
        if len(words) not in (2, 3):
            self.fail("expected: TYPE NAME [LEAST..MOST]")
        if self.part.size() % width:
            self.fail(f"'{words[1]}' is not aligned")
        least, most = 0, (1 << 8 * width) - 1
        if len(words) == 3:
            ends = words[2].split("..")
            if len(ends) != 2:
                self.fail(f"'{words[2]}' are no bounds")
            least, most = map(self.number, ends)
        if not 0 <= least <= most < 1 << 8 * width:
            self.fail(f"the bounds of '{words[1]}' are none")
        self.part.fields.append((words[0], words[1], least, most))

    def finish(self):
        if self.records and not self.records[-1].answer:
            self.fail(f"record {self.records[-1].name} has no answer")
        for record in self.records[-1:]:
            for part in (record.call, record.answer):
                if part.size() % 8:
                    self.fail(f"the fields of {record.name} do not fill words of 8 bytes")


def struct(name, part):
    if not part.fields:
        return []
    ctype = {"u32": "uint32_t", "u64": "uint64_t"}
    out = [f"struct {name} {{"]
    out += [f"    {ctype[kind]} {field};" for kind, field, *_ in part.fields]
    out += ["};", f"_Static_assert(sizeof(struct {name}) == {part.size()}, \"as on the wire\");"]
    return out


def header(table):
    out = [f"/* Made from {table.path.rsplit('/', 1)[-1]}. {LICENCE} */",
           "#ifndef GPU_PROTOCOL_RECORDS_H", "#define GPU_PROTOCOL_RECORDS_H", "#include <stdint.h>"]
    out += [f"#define GPU_{name} {value:#x}" + ("u" if value < 1 << 32 else "ull")
            for name, value in table.constants]
    out.append("enum gpu_op {")
    out += [f"    GPU_OP_{record.name.upper()} = {record.number}," for record in table.records]
    out.append(f"    GPU_OP_END = {max(r.number for r in table.records) + 1},")
    out.append("};")
    for record in table.records:
        out += struct(f"gpu_call_{record.name}", record.call)
        out += struct(f"gpu_answer_{record.name}", record.answer)
    return out + ["#endif", ""]


def source(table):
    out = [f"/* Made from {table.path.rsplit('/', 1)[-1]}. {LICENCE} */",
           '#include "gpu/protocol/record.h"']
    for record in table.records:
        if record.call.fields:
            out.append(f"static const struct record_field fields_{record.name}[] = {{")
            out += [f"    {{{least:#x}ull, {most:#x}ull, {WIDTHS[kind]}}},"
                    for kind, _, least, most in record.call.fields]
            out.append("};")
    out.append("static const struct record_desc descs[GPU_OP_END] = {")
    for r in table.records:
        fields = f"fields_{r.name}" if r.call.fields else "0"
        out.append(f"    [{r.number}] = {{\"{r.name}\", {fields}, {len(r.call.fields)}, {r.call.size()}, "
                   f"{r.call.payload}, {r.answer.size()}, {r.answer.payload}, {int(r.later)}}},")
    out += ["};", "const struct record_desc *record_desc(unsigned op)", "{",
            "    return op < GPU_OP_END && descs[op].name ? &descs[op] : 0;", "}", ""]
    return out


def main(argv):
    if len(argv) != 4:
        sys.exit(__doc__)
    table = Table(argv[1])
    for path, lines in ((argv[2], header(table)), (argv[3], source(table))):
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv)
