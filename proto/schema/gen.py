#!/usr/bin/env python3
"""Turns the schema into C and documents.

usage: gen.py --module NAME --prefix PREFIX --limits FILE --out DIR [--include FILE.schema=HEADER]... FILE.schema

The schema is lines of text; '#' begins a comment; indented lines belong to the item above.

    since 0.1.0                                       release of what follows
    string NAME MIN..MAX [format F] "doc"             a bounded string
    enum NAME "doc"                                   then lines: VALUE "doc"
    struct NAME "doc"                                 then lines: FIELD
    method NS.NAME ROLE [changes] [job] [fd] [fd-in] "doc"
                                                      then lines: in FIELD, out FIELD,
                                                      returns TYPE, fails KIND...
    event NS.NAME "doc"                               then lines: out FIELD
    error KIND CODE "doc" hint "text"

A FIELD is: name TYPE[?] [MIN..MAX] [= DEFAULT] [since RELEASE] "doc"
TYPE is bool, u8 to u64, i32, i64, double, string (with MIN..MAX), json, a name, or [TYPE] (MIN..MAX
elements). '?' makes it optional. Numbers are integers, names of base/limits.inc, KIB, MIB or GIB,
joined by '*'. Output depends on the input alone. Errors are FILE:LINE: text.
"""
import argparse
import json
import os
import re
import sys

INTS = {'u8': (1, 0, 2**8 - 1), 'u16': (2, 0, 2**16 - 1), 'u32': (4, 0, 2**32 - 1),
        'u64': (8, 0, 2**64 - 1), 'i32': (4, -2**31, 2**31 - 1), 'i64': (8, -2**63, 2**63 - 1)}
FORMATS = ('any', 'name', 'token', 'filter', 'path', 'mac', 'ifname', 'ip')
ROLES = ('read', 'operate', 'owner', 'admin')
METHOD_FLAGS = {'changes': 'RPC_CHANGES', 'job': 'RPC_JOB', 'fd': 'RPC_FD_OUT', 'fd-in': 'RPC_FD_IN'}
UNITS = {'KIB': 1 << 10, 'MIB': 1 << 20, 'GIB': 1 << 30}
TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\[\]|\{\}|\[|\]|\?|=|[A-Za-z0-9_.*:/+-]+|#.*|\S)')
IDENT = re.compile(r'^[a-z][a-z0-9_]*$')
DOTTED = re.compile(r'^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$')
KEBAB = re.compile(r'^[a-z0-9][a-z0-9_-]*$')
RESERVED = {'auto', 'break', 'case', 'char', 'const', 'continue', 'default', 'do', 'double', 'else',
            'enum', 'extern', 'float', 'for', 'goto', 'if', 'inline', 'int', 'long', 'register',
            'restrict', 'return', 'short', 'signed', 'sizeof', 'static', 'struct', 'switch',
            'typedef', 'union', 'unsigned', 'void', 'volatile', 'while', 'bool', 'true', 'false'}


class SchemaError(Exception):
    pass


class Where:
    def __init__(self, file, line):
        self.file, self.line = file, line

    def fail(self, text):
        raise SchemaError(f'{self.file}:{self.line}: {text}')


class String:
    kind = 'string'


class Enum:
    kind = 'enum'


class Struct:
    kind = 'struct'


class Method:
    pass


class Event:
    pass


class Error:
    pass


class Field:
    pass


class Line:
    """One line as tokens, read from the left."""

    def __init__(self, where, text):
        self.where, self.at = where, 0
        self.tokens = []
        pos = 0
        while pos < len(text):
            m = TOKEN.match(text, pos)
            if not m:
                break
            pos = m.end()
            tok = m.group(1)
            if tok.startswith('#'):
                break
            if tok == '"':
                where.fail('a string without its closing quote')
            self.tokens.append(tok)

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def next(self, what):
        tok = self.peek()
        if tok is None:
            self.where.fail(f'{what} expected, the line ends')
        self.at += 1
        return tok

    def accept(self, tok):
        if self.peek() == tok:
            self.at += 1
            return True
        return False

    def expect(self, tok):
        got = self.next(f"'{tok}'")
        if got != tok:
            self.where.fail(f"'{tok}' expected, not '{got}'")

    def name(self, what, pattern=IDENT):
        tok = self.next(what)
        if not pattern.match(tok) or tok in RESERVED:
            self.where.fail(f"'{tok}' is not {what}")
        return tok

    def text(self):
        tok = self.next('a text in quotes')
        if not tok.startswith('"'):
            self.where.fail(f"a text in quotes expected, not '{tok}'")
        try:
            return json.loads(tok)
        except ValueError as e:
            self.where.fail(f'bad text: {e}')

    def end(self):
        if self.peek() is not None:
            self.where.fail(f"'{self.peek()}' not expected here")


def read_limits(path):
    rows = {}
    with open(path, encoding='utf-8') as f:
        for n, text in enumerate(f, 1):
            m = re.match(r'LIMIT\((\w+),\s*(\d+),', text)
            if m:
                rows[m.group(1)] = int(m.group(2))
            elif text.startswith('LIMIT'):
                raise SchemaError(f'{path}:{n}: a row that is not LIMIT(NAME, NUMBER, ...)')
    return rows


class Schema:
    def __init__(self, limits):
        self.limits = limits
        self.types = {}
        self.items = []   # of the module itself, in order
        self.methods, self.events, self.errors = [], [], []
        self.since = None
        self.seen = {}

    # --- reading ----------------------------------------------------------------------

    def read(self, path, own):
        item = None
        self.since = None
        with open(path, encoding='utf-8') as f:
            for n, text in enumerate(f, 1):
                where = Where(path, n)
                if '\t' in text:
                    where.fail('tabs are not used here')
                line = Line(where, text.rstrip('\n'))
                if line.peek() is None:
                    continue
                if text[0] == ' ':
                    if item is None:
                        where.fail('an indented line belongs to nothing')
                    self.read_member(item, line)
                else:
                    self.finish(item)
                    item = self.read_item(line, own)
                line.end()
        self.finish(item)

    def read_item(self, line, own):
        word = line.next('an item')
        reader = getattr(self, 'read_' + word, None) if word in (
            'since', 'string', 'enum', 'struct', 'method', 'event', 'error') else None
        if not reader:
            line.where.fail(f"'{word}' is no kind of item")
        item = reader(line)
        if item is None:
            return None
        item.where, item.own = line.where, own
        if item.since is None:
            line.where.fail("'since RELEASE' must come before the first item")
        return item

    def read_since(self, line):
        self.since = self.release(line)

    def release(self, line):
        tok = line.next('a release')
        m = re.match(r'^(\d+)\.(\d\d?)\.(\d\d?)$', tok)
        if not m:
            line.where.fail(f"'{tok}' is not a release such as 0.1.0")
        return int(m.group(1)) * 10000 + int(m.group(2)) * 100 + int(m.group(3))

    def declare(self, line, name, item, table):
        if name in self.seen:
            line.where.fail(f"'{name}' was declared at {self.seen[name]}")
        self.seen[name] = f'{line.where.file}:{line.where.line}'
        item.name, item.since = name, self.since
        if table is not None:
            table[name] = item
        return item

    def read_string(self, line):
        s = self.declare(line, line.name('a type name'), String(), self.types)
        s.min, s.max = self.range(line, 0, 2**31 - 1)
        s.format = 'any'
        if line.accept('format'):
            s.format = line.next('a format')
            if s.format not in FORMATS:
                line.where.fail(f"no format '{s.format}'; there are {', '.join(FORMATS)}")
        s.doc = line.text()
        return s

    def read_enum(self, line):
        e = self.declare(line, line.name('a type name'), Enum(), self.types)
        e.values, e.doc = [], line.text()
        return e

    def read_struct(self, line):
        s = self.declare(line, line.name('a type name'), Struct(), self.types)
        s.fields, s.doc = [], line.text()
        return s

    def implied(self, line, name, doc):
        s = self.declare(line, name, Struct(), self.types)
        s.fields, s.doc, s.where = [], doc, line.where
        return s

    def read_method(self, line):
        m = self.declare(line, line.name('a method name', DOTTED), Method(), None)
        m.role = line.next('a role')
        if m.role not in ROLES:
            line.where.fail(f"no role '{m.role}'; there are {', '.join(ROLES)}")
        m.flags = []
        while line.peek() in METHOD_FLAGS:
            m.flags.append(line.next('a flag'))
        m.doc = line.text()
        base = m.name.replace('.', '_')
        m.params = self.implied(line, base + '_params', f'Parameters of {m.name}.')
        m.result, m.any, m.fails = None, False, []
        self.methods.append(m)
        return m

    def read_event(self, line):
        e = Event()
        name = line.name('an event name', DOTTED)
        self.declare(line, 'event ' + name, e, None)
        e.name, e.doc = name, line.text()
        e.data = self.implied(line, e.name.replace('.', '_') + '_event', f'What {e.name} carries.')
        self.events.append(e)
        return e

    def read_error(self, line):
        e = Error()
        name = line.name('a kind of error', KEBAB)
        self.declare(line, 'error ' + name, e, None)
        e.name = name
        e.code = self.number(line)
        e.doc = line.text()
        line.expect('hint')
        e.hint = line.text()
        self.errors.append(e)
        return e

    def read_member(self, item, line):
        if isinstance(item, Enum):
            value = line.name('a value', KEBAB) if line.peek() not in RESERVED else line.next('')
            if any(v == value for v, _ in item.values):
                line.where.fail(f"'{value}' is there twice")
            item.values.append((value, line.text()))
        elif isinstance(item, Struct):
            self.read_field(item, line)
        elif isinstance(item, Event):
            line.expect('out')
            self.read_field(item.data, line)
        elif isinstance(item, Method):
            self.read_clause(item, line)
        else:
            line.where.fail('this item has no members')

    def read_clause(self, m, line):
        word = line.next('in, out, returns or fails')
        if word == 'in':
            self.read_field(m.params, line)
        elif word == 'out':
            if m.result is None and not m.any:
                m.result = self.implied(line, m.name.replace('.', '_') + '_result',
                                        f'Result of {m.name}.')
            if m.any or m.result.name != m.name.replace('.', '_') + '_result':
                line.where.fail("'out' and 'returns' exclude each other")
            self.read_field(m.result, line)
        elif word == 'returns':
            if m.result is not None or m.any:
                line.where.fail("the result is already given")
            tok = line.next('a type')
            if tok == 'json':
                m.any = True
            elif isinstance(self.types.get(tok), Struct):
                m.result = self.types[tok]
            else:
                line.where.fail(f"'{tok}' is not a struct")
        elif word == 'fails':
            while line.peek() is not None:
                m.fails.append(line.next('a kind of error'))
        else:
            line.where.fail(f"'{word}' is not in, out, returns or fails")

    def number(self, line):
        tok = line.next('a number')
        value = 1
        for part in tok.split('*'):
            if re.match(r'^-?\d+$', part):
                value *= int(part)
            elif part in self.limits:
                value *= self.limits[part]
            elif part in UNITS:
                value *= UNITS[part]
            else:
                line.where.fail(f"'{part}' is neither a number nor a limit")
        return value

    def range(self, line, lowest, highest):
        """MIN..MAX, where each side is a product."""
        tok = line.next('a range')
        if tok.count('..') != 1:
            line.where.fail(f"'{tok}' is not MIN..MAX")
        ends = []
        for side in tok.split('..'):
            sub = Line(line.where, side)
            ends.append(self.number(sub))
            sub.end()
        if not lowest <= ends[0] <= ends[1] <= highest:
            line.where.fail(f"'{tok}' is no range within {lowest}..{highest}")
        return ends[0], ends[1]

    def has_range(self, line):
        return line.peek() is not None and '..' in line.peek() and line.peek()[0] != '"'

    def read_field(self, owner, line):
        f = Field()
        f.where, f.name = line.where, line.name('a field name')
        if any(g.name == f.name for g in owner.fields):
            line.where.fail(f"'{f.name}' is there twice")
        f.array = line.accept('[')
        f.type = line.next('a type')
        if f.array:
            line.expect(']')
        f.optional = line.accept('?')
        self.resolve(f, line)
        f.default = self.read_default(f, line) if line.accept('=') else None
        if f.optional and f.default is not None:
            line.where.fail('optional, or a default: not both')
        f.since = self.since
        if line.accept('since'):
            f.since = self.release(line)
            if owner.since and f.since > owner.since and not f.optional and f.default is None:
                line.where.fail('a member that came later must be optional or have a default')
        f.doc = line.text()
        owner.fields.append(f)

    def resolve(self, f, line):
        """Sets kind, size, min, max and the array's bounds from the type's name."""
        f.ref, f.format, f.size, f.min, f.max, f.least, f.most = None, 'any', 0, 0, 0, 0, 0
        if f.type == 'bool':
            f.kind, f.size = 'bool', 1
        elif f.type == 'double':
            f.kind, f.size = 'double', 8
        elif f.type == 'json':
            f.kind = 'json'
        elif f.type in INTS:
            f.size, f.min, f.max = INTS[f.type]
            f.kind = 'uint' if f.type[0] == 'u' else 'int'
            if not f.array and self.has_range(line):
                f.min, f.max = self.range(line, f.min, f.max)
        elif f.type == 'string':
            f.kind = 'string'
            if f.array:
                line.where.fail('an array of strings needs a named string type')
            f.min, f.max = self.range(line, 0, 2**31 - 1)
        elif f.type in self.types:
            t = self.types[f.type]
            f.kind, f.ref = t.kind, t
            if f.kind == 'string':
                f.min, f.max, f.format = t.min, t.max, t.format
            elif f.kind == 'enum':
                f.size = 4
        else:
            line.where.fail(f"no type '{f.type}' (types come before their use)")
        if f.array:
            if f.optional or f.kind == 'json':
                line.where.fail('an array is neither optional nor of json; write = []')
            f.least, f.most = self.range(line, 0, 2**31 - 1)

    def read_default(self, f, line):
        if f.array:
            line.expect('[]')
            if f.least:
                line.where.fail('the default is shorter than the least length')
            return []
        if f.kind == 'struct':
            line.expect('{}')
            for g in f.ref.fields:
                if not g.optional and g.default is None:
                    line.where.fail(f"'{f.ref.name}.{g.name}' has no default")
            return {}
        if f.kind == 'bool':
            tok = line.next('true or false')
            if tok not in ('true', 'false'):
                line.where.fail(f"'{tok}' is not true or false")
            return tok == 'true'
        if f.kind == 'enum':
            tok = line.next('a value')
            if tok not in [v for v, _ in f.ref.values]:
                line.where.fail(f"'{tok}' is no value of {f.ref.name}")
            return tok
        if f.kind in ('int', 'uint'):
            value = self.number(line)
            if not f.min <= value <= f.max:
                line.where.fail(f'the default {value} is not within {f.min}..{f.max}')
            return value
        if f.kind == 'string':
            value = line.text()
            if not f.min <= len(value.encode()) <= f.max:
                line.where.fail("the default's length is out of bounds")
            return value
        line.where.fail(f'a {f.kind} takes no default')

    def finish(self, item):
        if item is None:
            return
        if isinstance(item, Enum) and not item.values:
            item.where.fail('an enum without values')
        if isinstance(item, Struct) and not item.fields:
            item.where.fail('a struct without fields')
        if isinstance(item, Method):
            self.finish_method(item)
        if item.own:
            if isinstance(item, Method):
                self.items.append(item.params)
                if item.result is not None and item.result.name == item.name.replace('.', '_') + '_result':
                    self.items.append(item.result)
            elif isinstance(item, Event):
                self.items.append(item.data)
            elif isinstance(item, (String, Enum, Struct)):
                self.items.append(item)

    def finish_method(self, m):
        if 'job' in m.flags:
            if m.result is not None or m.any:
                m.where.fail('a job answers with job_ref; it returns nothing else')
            m.result = self.types.get('job_ref') or m.where.fail("a job needs the struct 'job_ref'")
        if 'changes' in m.flags:
            line = Line(m.where, 'key idempotency_key? "Idempotency key: a repeated request with '
                                 'the same key is carried out once."')
            self.read_field(m.params, line)
        if 'changes' in m.flags and 'fd' in m.flags:
            m.where.fail('a descriptor can not be remembered with a key: changes or fd, not both')
        if m.role == 'owner' and not any(f.name == 'vm' for f in m.params.fields):
            m.where.fail("the role owner needs a member 'vm'")
        kinds = [e.name for e in self.errors]
        for k in m.fails:
            if kinds and k not in kinds:
                m.where.fail(f"no kind of error '{k}'")


# --- names in C -----------------------------------------------------------------------

def upper(name):
    return name.replace('.', '_').replace('-', '_').upper()


def c_string(text):
    out = []
    for ch in text:
        if ch in '"\\':
            out.append('\\' + ch)
        elif ch == '\n':
            out.append('\\n')
        elif ' ' <= ch <= '~':
            out.append(ch)
        else:
            out.extend(f'\\{b:03o}' for b in ch.encode())
    return '"' + ''.join(out) + '"'


def c_scalar(f):
    if f.kind == 'bool':
        return 'bool'
    if f.kind == 'double':
        return 'double'
    if f.kind == 'enum':
        return f'enum {f.ref.name}'
    sign = 'u' if f.kind == 'uint' else ''
    return f'{sign}int{f.size * 8}_t'


def c_field(f):
    """The members that one field becomes."""
    if f.array:
        if f.kind == 'struct':
            return [f'struct {f.ref.name} **{f.name};', f'size_t n_{f.name};']
        if f.kind == 'string':
            return [f'char **{f.name};', f'size_t n_{f.name};']
        return [f'{c_scalar(f)} *{f.name};', f'size_t n_{f.name};']
    if f.kind == 'string':
        return [f'char *{f.name};']
    if f.kind == 'struct':
        return [f'struct {f.ref.name} *{f.name};']
    if f.kind == 'json':
        return [f'struct json_object *{f.name};']
    if f.optional:
        return [f'bool has_{f.name};', f'{c_scalar(f)} {f.name};']
    return [f'{c_scalar(f)} {f.name};']


def c_int(v):
    if v > 2**63 - 1:
        return f'UINT64_C({v})'
    return '(-INT64_C(9223372036854775807) - 1)' if v == -2**63 else f'INT64_C({v})'


def event_constant(mod, e):
    name = e.name[len(mod) + 1:] if e.name.startswith(mod + '.') else e.name
    return f'{upper(mod)}_EVENT_{upper(name)}'


def release_text(r):
    return f'{r // 10000}.{r // 100 % 100}.{r % 100}'


# --- the header -----------------------------------------------------------------------

class Output:
    def __init__(self):
        self.lines = []

    def __call__(self, *lines):
        self.lines.extend(lines)

    def save(self, path):
        text = '\n'.join(self.lines) + '\n'
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)


def banner(o, module, what):
    o(f'/* {what} of the {module} schema. Made by proto/schema/gen.py: change the schema instead. */')


def emit_header(s, args):
    o = Output()
    mod, guard = args.module, f'PROTO_SCHEMA_{args.module.upper()}_H'
    banner(o, mod, 'Types and tables')
    o(f'#ifndef {guard}', f'#define {guard}', '', '#include "proto/schema/codec.h"')
    for spec in args.include:
        o(f'#include "proto/schema/{spec.split("=")[1]}"')
    o('')
    for t in s.items:
        if t.kind == 'enum':
            emit_enum_decl(o, t)
        elif t.kind == 'struct':
            emit_struct_decl(o, t)
        elif t.kind == 'string':
            o(f'/* {t.doc} */', f'#define {upper(t.name)}_MAX {t.max}', '')
    if s.methods or s.events:
        emit_tables_decl(o, s, args)
    o('#endif')
    return o


def emit_enum_decl(o, e):
    o(f'/* {e.doc} */', f'enum {e.name} {{')
    for v, doc in e.values:
        o(f'    {upper(e.name)}_{upper(v)}, /* {doc} */')
    o('};', f'enum {{ {upper(e.name)}_COUNT = {len(e.values)} }};',
      f'extern const struct codec_enum {e.name}_values;',
      '/* The name on the wire; NULL for a number that is no value. */',
      f'static inline const char *{e.name}_to_string(enum {e.name} v)', '{',
      f'    return codec_enum_name(&{e.name}_values, v);', '}',
      f'static inline bool {e.name}_from_string(const char *text, enum {e.name} *out, GError **err)',
      '{', '    unsigned v;', '',
      f'    if (!codec_enum_parse(&{e.name}_values, text, &v, err))', '        return false;',
      f'    *out = (enum {e.name})v;', '    return true;', '}', '')


def emit_struct_decl(o, t):
    n = t.name
    o(f'/* {t.doc} */', f'struct {n} {{')
    if not t.fields:
        o('    char none; /* no members */')
    for f in t.fields:
        members = c_field(f)
        for m in members[:-1]:
            o('    ' + m)
        o(f'    {members[-1]} /* {f.doc} */')
    o('};', f'extern const struct codec_type {n}_type;',
      f'static inline struct {n} *{n}_new(void)', '{', f'    return codec_new(&{n}_type);', '}',
      f'static inline void {n}_free(struct {n} *obj)', '{', f'    codec_free(&{n}_type, obj);', '}',
      f'static inline struct {n} *{n}_copy(const struct {n} *obj)', '{',
      f'    return codec_copy(&{n}_type, obj);', '}',
      f'static inline bool {n}_decode(struct json_object *json, struct {n} **out, GError **err)',
      '{', f'    struct {n} *obj = codec_decode(&{n}_type, json, "{n}", err);', '',
      '    if (obj)', '        *out = obj;', '    return obj != NULL;', '}',
      f'static inline struct json_object *{n}_encode(const struct {n} *obj)', '{',
      f'    return codec_encode(&{n}_type, obj, 0);', '}',
      # The type has no typedef elsewhere; g_autoptr needs one.
      f'typedef struct {n} {n};',
      f'G_DEFINE_AUTOPTR_CLEANUP_FUNC({n}, {n}_free)', '')


def emit_tables_decl(o, s, args):
    p, mod = args.prefix, args.module
    if s.methods:
        o(f'enum {mod}_method {{')
        for m in s.methods:
            o(f'    {p}{upper(m.name)},')
        o('};', f'#define {upper(mod)}_METHODS {len(s.methods)}', '')
        emit_handlers_decl(o, s, args)
    if s.events:
        o(f'enum {mod}_event {{')
        for e in s.events:
            o(f'    {event_constant(mod, e)},')
        o('};', f'#define {upper(mod)}_EVENTS {len(s.events)}', '')
    if s.errors:
        o(f'/* Rows indexed by enum vmd_error. */',
          f'extern const struct rpc_error_row {mod}_errors[{len(s.errors)}];', '')
    o(f'extern const struct rpc_service {mod}_service;', '')


def emit_handlers_decl(o, s, args):
    mod = args.module
    o('/*', ' * One handler a method. PARAMS are checked, belong to the call, and live until it is',
      ' * answered; members may be taken by g_steal_pointer. A handler answers with METHOD_reply(),',
      ' * rpc_call_fail() or rpc_call_error(), at once or later, exactly once. NULL: unsupported.',
      ' */', f'struct {mod}_handlers {{')
    for m in s.methods:
        base = m.name.replace('.', '_')
        o(f'    void (*{base})(struct rpc_call *call, struct {m.params.name} *params);')
    o('};', '')
    o('/* Answers of rpc.h, by type of the result. */',
      'void rpc_call_reply(struct rpc_call *call, struct json_object *result);',
      'void rpc_call_reply_typed(struct rpc_call *call, const struct codec_type *type, const void *obj,',
      '                          int fd);', '')
    for m in s.methods:
        base = m.name.replace('.', '_')
        args_c, obj, fd = '', 'NULL', '-1'
        if m.any:
            o(f'/* Takes RESULT. */',
              f'static inline void {base}_reply(struct rpc_call *call, struct json_object *result)',
              '{', '    rpc_call_reply(call, result);', '}')
            continue
        if m.result is not None:
            args_c, obj = f', const struct {m.result.name} *result', 'result'
        if 'fd' in m.flags:
            args_c, fd = args_c + ', int fd', 'fd'
            o('/* Takes FD. */')
        typ = f'&{m.result.name}_type' if m.result is not None else 'NULL'
        o(f'static inline void {base}_reply(struct rpc_call *call{args_c})', '{',
          f'    rpc_call_reply_typed(call, {typ}, {obj}, {fd});', '}')
    o('')


# --- the tables -----------------------------------------------------------------------

def emit_source(s, args):
    o = Output()
    banner(o, args.module, 'Tables')
    o(f'#include "proto/schema/{args.module}.h"', '')
    for t in s.items:
        if t.kind == 'enum':
            o(f'static const char *const {t.name}__names[] = {{')
            o(*[f'    {c_string(v)},' for v, _ in t.values])
            o('};', f'const struct codec_enum {t.name}_values = {{"{t.name}", {t.name}__names, '
              f'{len(t.values)}}};', '')
        elif t.kind == 'struct':
            emit_type(o, t)
    if s.methods or s.events:
        emit_service(o, s, args)
    return o


def emit_type(o, t):
    if t.fields:
        o(f'static const struct codec_field {t.name}__fields[] = {{')
        for f in t.fields:
            emit_field(o, t, f)
        o('};')
    fields = f'{t.name}__fields' if t.fields else 'NULL'
    o(f'const struct codec_type {t.name}_type = {{', f'    "{t.name}", {c_string(t.doc)},',
      f'    sizeof(struct {t.name}), {fields}, {len(t.fields)}}};', '')


def emit_field(o, t, f):
    rows = [f'.name = "{f.name}"', f'.doc = {c_string(f.doc)}', f'.kind = CODEC_{f.kind.upper()}']
    flags = [n for n, on in (('CODEC_OPTIONAL', f.optional), ('CODEC_DEFAULT', f.default is not None),
                             ('CODEC_ARRAY', f.array)) if on]
    if f.format != 'any':
        rows.append(f'.format = CODEC_FORMAT_{f.format.upper()}')
    if flags:
        rows.append(f'.flags = {" | ".join(flags)}')
    rows.append(f'.since = {f.since}')
    if f.size:
        rows.append(f'.size = {"sizeof(" + c_scalar(f) + ")"}')
    rows.append(f'.offset = offsetof(struct {t.name}, {f.name})')
    if f.array:
        rows.append(f'.aux = offsetof(struct {t.name}, n_{f.name})')
        rows.append(f'.least = {f.least}, .most = {f.most}')
    elif f.optional and f.kind not in ('string', 'struct', 'json'):
        rows.append(f'.aux = offsetof(struct {t.name}, has_{f.name})')
    if f.kind in ('int', 'uint', 'string'):
        rows.append(f'.min = {c_int(f.min)}, .max = {c_int(f.max)}')
    if f.default is not None and not f.array:
        if f.kind == 'string':
            rows.append(f'.def_text = {c_string(f.default)}')
        elif f.kind == 'enum':
            rows.append(f'.def = {upper(f.ref.name)}_{upper(f.default)}')
        elif f.kind in ('int', 'uint'):
            rows.append(f'.def = (int64_t){c_int(f.default)}')
        elif f.kind == 'bool':
            rows.append(f'.def = {int(f.default)}')
    if f.kind == 'struct':
        rows.append(f'.type = &{f.ref.name}_type')
    if f.kind == 'enum':
        rows.append(f'.values = &{f.ref.name}_values')
    o('    {' + rows[0] + ',')
    o(*[f'     {r},' for r in rows[1:-1]])
    o(f'     {rows[-1]}}},')


def emit_service(o, s, args):
    mod, p = args.module, args.prefix
    o(f'static const struct rpc_method {mod}__methods[] = {{')
    for m in s.methods:
        flags = ' | '.join(METHOD_FLAGS[f] for f in m.flags) or '0'
        result = f'&{m.result.name}_type' if m.result is not None else 'NULL'
        o(f'    [{p}{upper(m.name)}] = {{.name = "{m.name}",', f'     .doc = {c_string(m.doc)},',
          f'     .role = RPC_ROLE_{m.role.upper()},', f'     .flags = {flags},',
          f'     .since = {m.since},', f'     .params = &{m.params.name}_type,',
          f'     .result = {result},', f'     .result_any = {"true" if m.any else "false"}}},')
    o('};', '')
    o(f'static const struct rpc_event {mod}__events[] = {{')
    for e in s.events:
        o(f'    [{event_constant(mod, e)}] = {{"{e.name}", {c_string(e.doc)}, {e.since},',
          f'     &{e.data.name}_type}},')
    o('};', '')
    if s.errors:
        o(f'const struct rpc_error_row {mod}_errors[{len(s.errors)}] = {{')
        for e in s.errors:
            o(f'    [VMD_ERROR_{upper(e.name)}] = {{"{e.name}", {e.code}, {c_string(e.doc)},',
              f'     {c_string(e.hint)}}},')
        o('};', '')
    o(f'static bool {mod}__dispatch(const void *handlers, size_t method, struct rpc_call *call,',
      '                            void *params)', '{',
      f'    const struct {mod}_handlers *h = handlers;', '', '    switch ((enum %s_method)method) {' % mod)
    for m in s.methods:
        base = m.name.replace('.', '_')
        o(f'    case {p}{upper(m.name)}:', f'        if (!h->{base})', '            return false;',
          f'        h->{base}(call, params);', '        return true;')
    o('    }', '    return false;', '}', '')
    o(f'static const char {mod}__discover[] =')
    text = json.dumps(openrpc(s, mod), separators=(',', ':'), ensure_ascii=True)
    for i in range(0, len(text), 90):
        o('    ' + c_string(text[i:i + 90]))
    o('    ;', '')
    o(f'const struct rpc_service {mod}_service = {{', f'    .name = "{mod}",',
      f'    .methods = {mod}__methods,', f'    .n_methods = G_N_ELEMENTS({mod}__methods),',
      f'    .events = {mod}__events,', f'    .n_events = G_N_ELEMENTS({mod}__events),',
      f'    .discover = {mod}__discover,', f'    .dispatch = {mod}__dispatch,', '};')


# --- the OpenRPC document -------------------------------------------------------------

PATTERNS = {'name': '^[A-Za-z0-9][A-Za-z0-9._-]*$', 'token': '^[!-~]+$', 'path': '^/',
            'filter': '^(\\*|[a-z0-9_]+(\\.[a-z0-9_]+)*(\\.\\*)?)$',
            'mac': '^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$', 'ifname': '^[^/\\s:]+$', 'ip': None}


def js_value(f):
    if f.kind == 'bool':
        return {'type': 'boolean'}
    if f.kind in ('int', 'uint'):
        return {'type': 'integer', 'minimum': f.min, 'maximum': f.max}
    if f.kind == 'double':
        return {'type': 'number'}
    if f.kind == 'json':
        return {}
    if f.ref is not None:
        return {'$ref': '#/components/schemas/' + f.ref.name}
    return {'type': 'string', 'minLength': f.min, 'maxLength': f.max}


def js_field(f):
    v = js_value(f)
    if f.array:
        v = {'type': 'array', 'items': v, 'minItems': f.least, 'maxItems': f.most}
    v['description'] = f.doc
    if f.default is not None:
        v['default'] = f.default
    return v


def js_type(t):
    if t.kind == 'enum':
        return {'description': t.doc, 'type': 'string', 'enum': [v for v, _ in t.values]}
    if t.kind == 'string':
        v = {'description': t.doc, 'type': 'string', 'minLength': t.min, 'maxLength': t.max}
        if PATTERNS.get(t.format):
            v['pattern'] = PATTERNS[t.format]
        return v
    return js_struct(t)


def js_struct(t):
    v = {'description': t.doc, 'type': 'object',
         'properties': {f.name: js_field(f) for f in t.fields}, 'additionalProperties': False}
    need = [f.name for f in t.fields if not f.optional and f.default is None]
    if need:
        v['required'] = need
    return v


def js_method(s, m):
    v = {'name': m.name, 'summary': m.doc, 'paramStructure': 'by-name',
         'params': [{'name': f.name, 'description': f.doc,
                     'required': not f.optional and f.default is None, 'schema': js_field(f)}
                    for f in m.params.fields],
         'result': {'name': 'result', 'schema': js_result(m)},
         'x-role': m.role, 'x-since': release_text(m.since),
         'x-changes': 'changes' in m.flags, 'x-job': 'job' in m.flags, 'x-fd': 'fd' in m.flags}
    if m.fails:
        v['errors'] = [{'code': e.code, 'message': e.name} for e in s.errors if e.name in m.fails]
    return v


def js_result(m):
    if m.any:
        return {}
    if m.result is None:
        return {'type': 'object', 'additionalProperties': False}
    if m.result.name == m.name.replace('.', '_') + '_result':
        return js_struct(m.result)
    return {'$ref': '#/components/schemas/' + m.result.name}


def used_types(s):
    """Named types that the methods and events lead to, in order of declaration."""
    seen = set()

    def visit(t):
        if t.name in seen:
            return
        seen.add(t.name)
        for f in getattr(t, 'fields', []):
            if f.ref is not None:
                visit(f.ref)
    for m in s.methods:
        visit(m.params)
        if m.result is not None:
            visit(m.result)
    for e in s.events:
        visit(e.data)
    for t in s.items:
        visit(t)
    return [t for t in s.types.values() if t.name in seen]


def is_implied(t):
    return t.kind == 'struct' and re.search(r'_(params|result|event)$', t.name) is not None \
        and getattr(t, 'own', None) is None


def openrpc(s, mod):
    newest = max([m.since for m in s.methods])
    return {'openrpc': '1.2.6',
            'info': {'title': 'vmd ' + mod, 'version': release_text(newest),
                     'license': {'name': 'GPL-2.0-or-later'}},
            'methods': [js_method(s, m) for m in s.methods],
            'components': {'schemas': {t.name: js_type(t) for t in used_types(s) if not is_implied(t)}},
            'x-events': [{'name': e.name, 'summary': e.doc, 'x-since': release_text(e.since),
                          'schema': js_struct(e.data)} for e in s.events],
            'x-errors': [{'code': e.code, 'message': e.name, 'summary': e.doc, 'hint': e.hint}
                         for e in s.errors]}


# --- the reference page and the words for completion ----------------------------------

def md_type(f):
    name = f.type
    if f.kind in ('int', 'uint') and not f.array and (f.min, f.max) != INTS[f.type][1:]:
        name += f' {f.min}..{f.max}'
    if f.kind == 'string' and f.ref is None:
        name += f' {f.min}..{f.max}'
    if f.array:
        name = f'[{name}] {f.least}..{f.most}'
    return name


def md_fields(o, fields):
    o('', '| member | type | default | |', '|---|---|---|---|')
    for f in fields:
        if f.default is not None:
            default = '`' + json.dumps(f.default) + '`'
        else:
            default = 'optional' if f.optional else 'required'
        o(f'| `{f.name}` | `{md_type(f)}` | {default} | {f.doc} |')
    o('')


def emit_reference(s, args):
    o = Output()
    o('# Reference of the ' + args.module + ' API', '',
      'Made from `proto/schema` at build time.', '', '## Methods', '')
    for m in s.methods:
        o(f'### {m.name}', '', m.doc, '')
        notes = [f'role: {m.role}', f'since: {release_text(m.since)}']
        notes += [{'changes': 'changes something', 'job': 'answers with a job',
                   'fd': 'the reply carries a file descriptor',
                   'fd-in': 'the request carries a file descriptor'}[f] for f in m.flags]
        o('; '.join(notes) + '.')
        if m.params.fields:
            md_fields(o, m.params.fields)
        if m.any:
            o('', 'Result: any JSON value.', '')
        elif m.result is None:
            o('', 'Result: an empty object.', '')
        elif js_result(m).get('$ref'):
            o('', f'Result: `{m.result.name}`.', '')
        else:
            o('', 'Result:')
            md_fields(o, m.result.fields)
        if m.fails:
            o('Errors: ' + ', '.join(m.fails) + '.', '')
    o('## Events', '')
    for e in s.events:
        o(f'### {e.name}', '', e.doc)
        if e.data.fields:
            md_fields(o, e.data.fields)
        o('')
    o('## Types', '')
    for t in used_types(s):
        if is_implied(t):
            continue
        o(f'### {t.name}', '', t.doc)
        if t.kind == 'enum':
            o('', *[f'- `{v}`: {doc}' for v, doc in t.values])
        elif t.kind == 'string':
            o('', f'A string of {t.min} to {t.max} bytes.')
        else:
            md_fields(o, t.fields)
        o('')
    if s.errors:
        o('## Errors', '', '| name | code | | what to do |', '|---|---|---|---|')
        for e in s.errors:
            o(f'| `{e.name}` | {e.code} | {e.doc} | {e.hint} |')
    return o


def emit_words(s, args):
    """Lines for shell completion: KIND NAME TEXT, separated by tabs."""
    o = Output()
    for m in s.methods:
        o(f'method\t{m.name}\t{m.doc}')
        for f in m.params.fields:
            o(f'param\t{m.name} {f.name}\t{f.doc}')
    for e in s.events:
        o(f'event\t{e.name}\t{e.doc}')
    for t in used_types(s):
        if t.kind == 'enum':
            for v, doc in t.values:
                o(f'value\t{t.name} {v}\t{doc}')
    return o


def main():
    ap = argparse.ArgumentParser(description='Turns the schema into C and documents.')
    ap.add_argument('--module', required=True)
    ap.add_argument('--prefix', default='')
    ap.add_argument('--limits', required=True)
    ap.add_argument('--out', required=True)
    ap.add_argument('--include', action='append', default=[], metavar='SCHEMA=HEADER')
    ap.add_argument('schema')
    args = ap.parse_args()
    try:
        s = Schema(read_limits(args.limits))
        for spec in args.include:
            s.read(spec.split('=')[0], own=False)
        s.read(args.schema, own=True)
    except (SchemaError, OSError) as e:
        print(e, file=sys.stderr)
        return 1
    out = os.path.join(args.out, args.module)
    emit_header(s, args).save(out + '.h')
    emit_source(s, args).save(out + '.c')
    if s.methods:
        emit_reference(s, args).save(out + '.md')
        emit_words(s, args).save(out + '.words')
        with open(out + '.json', 'w', encoding='utf-8') as f:
            json.dump(openrpc(s, args.module), f, indent=1)
            f.write('\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
