#!/usr/bin/env python3
"""Test vectors of floating-point functions, computed with integers alone.

  exact_gen.py [-level N] -rMODE -exact|-notexact -tininessbefore|-tininessafter FUNCTION

It has the command line and the output of Berkeley TestFloat's testfloat_gen, for fp_diff where
that is not at hand: singles and doubles in arithmetic, square roots, conversions and rounding to
integers, in every mode. No operand is a NaN. An invalid operation gives the default NaN, or the
integer that A64 and RISC-V share. Where EXACT_GEN_WRONG is set in the environment, one bit of the
last vector's result is wrong, to see that this is noticed.
"""
import math
import os
import random
import sys

NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
FORMATS = {'f32': (8, 24), 'f64': (11, 53)}  # bits of the exponent, of the significand
COUNT = 400


class Format:
    def __init__(self, name):
        self.exponent_bits, self.p = FORMATS[name]
        self.bits = self.exponent_bits + self.p
        self.bias = (1 << (self.exponent_bits - 1)) - 1
        self.least = 1 - self.bias  # the least exponent of a normal number
        self.infinity = ((1 << self.exponent_bits) - 1) << (self.p - 1)
        self.nan = self.infinity | 1 << (self.p - 2)
        self.sign = 1 << (self.bits - 1)

    def unpack(self, word):
        """(negative, m, e): the number is m * 2**e; m is None for an infinity."""
        exponent, fraction = (word & ~self.sign) >> (self.p - 1), word & ((1 << (self.p - 1)) - 1)
        if exponent == self.infinity >> (self.p - 1):
            return bool(word & self.sign), None, 0
        if exponent:
            fraction |= 1 << (self.p - 1)
        return bool(word & self.sign), fraction, max(exponent, 1) - self.bias - (self.p - 1)

    def signed(self, negative, word):
        return word | self.sign if negative else word

    def round(self, negative, m, e, sticky, mode, before):
        """m * 2**e, and a little more where STICKY: the nearest number by MODE, with flags."""
        if not m and not sticky:
            return self.signed(negative, 0), 0
        m, e = m << (self.p + 3), e - self.p - 3
        top = m.bit_length() - 1 + e
        least = max(top, self.least)
        rounded, inexact = integral(negative, m, e - least + self.p - 1, sticky, mode)
        free, _ = integral(negative, m, e - top + self.p - 1, sticky, mode)
        tiny = top < self.least if before else top + (free >> self.p) < self.least
        flags = NX if inexact else 0
        if tiny and inexact:
            flags |= UF
        # The significand's top bit, where there is one, counts one up in the exponent.
        word = rounded + ((least - self.least) << (self.p - 1))
        if word >= self.infinity:
            flags |= OF | NX
            away = mode in ('near_even', 'near_maxMag') or mode == ('min' if negative else 'max')
            word = self.infinity if away else self.infinity - 1
        return self.signed(negative, word), flags


def integral(negative, m, e, sticky, mode):
    """The integer that m * 2**e, and a little more where STICKY, becomes by MODE; is it another?"""
    if e >= 0:
        floor, rest, half = m << e, int(sticky), 2
    else:
        floor, rest, half = m >> -e, (m & ((1 << -e) - 1)) << 1 | int(sticky), 1 << -e
    up = {'near_even': rest > half or (rest == half and floor & 1), 'near_maxMag': rest >= half,
          'minMag': False, 'min': negative and rest, 'max': not negative and rest,
          'odd': rest and not floor & 1}[mode]
    return floor + bool(up), rest != 0


def total(numbers, mode):
    """The exact sum as (negative, m, e)."""
    e = min(number[2] for number in numbers)
    value = sum((-1 if negative else 1) * (m << (k - e)) for negative, m, k in numbers)
    signs = {negative for negative, _, _ in numbers}
    negative = value < 0 if value else signs.pop() if len(signs) == 1 else mode == 'min'
    return negative, abs(value), e


def multiply_add(f, a, b, c, mode, before):
    """a * b + c; C is None for a product alone."""
    (sa, ma, ea), (sb, mb, eb) = f.unpack(a), f.unpack(b)
    product = sa != sb
    infinite_c = c is not None and f.unpack(c)[1] is None
    if ma is None or mb is None:
        if ma == 0 or mb == 0 or (infinite_c and f.unpack(c)[0] != product):
            return f.nan, NV
        return f.signed(product, f.infinity), 0
    if c is None:
        return f.round(product, ma * mb, ea + eb, False, mode, before)
    if infinite_c:
        return c, 0
    negative, m, e = total([(product, ma * mb, ea + eb), f.unpack(c)], mode)
    return f.round(negative, m, e, False, mode, before)


def add(f, a, b, mode, before):
    return multiply_add(f, a, f.bias << (f.p - 1), b, mode, before)


def divide(f, a, b, mode, before):
    (sa, ma, ea), (sb, mb, eb) = f.unpack(a), f.unpack(b)
    negative = sa != sb
    if (ma is None and mb is None) or (ma == 0 and mb == 0):
        return f.nan, NV
    if ma is None or mb == 0:
        return f.signed(negative, f.infinity), 0 if ma is None else DZ
    if mb is None:
        return f.signed(negative, 0), 0
    quotient, rest = divmod(ma << 2 * f.p, mb)
    return f.round(negative, quotient, ea - eb - 2 * f.p, rest != 0, mode, before)


def root(f, a, mode, before):
    negative, m, e = f.unpack(a)
    if m == 0:
        return a, 0
    if negative:
        return f.nan, NV
    if m is None:
        return a, 0
    shift = 2 * f.p + (e & 1)  # an even exponent has a root
    m, e = m << shift, e - shift
    whole = math.isqrt(m)
    return f.round(False, whole, e // 2, whole * whole != m, mode, before)


def to_integer(f, a, kind, mode):
    bits, signed = int(kind[-2:]), kind[0] == 'i'
    least, most = (-1 << (bits - 1), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    negative, m, e = f.unpack(a)
    value, inexact = (1 << 200, False) if m is None else integral(negative, m, e, False, mode)
    value = -value if negative else value
    if not least <= value <= most:
        return min(max(value, least), most) & ((1 << bits) - 1), NV
    return value & ((1 << bits) - 1), NX if inexact else 0


def from_integer(kind, f, a, mode, before):
    bits = int(kind[-2:])
    negative = kind[0] == 'i' and a >> (bits - 1) == 1
    return f.round(negative, (1 << bits) - a if negative else a, 0, False, mode, before)


def to_integral(f, a, mode, exact):
    negative, m, e = f.unpack(a)
    if m is None or e >= 0:
        return a, 0
    value, inexact = integral(negative, m, e, False, mode)
    return f.round(negative, value, 0, False, mode, False)[0], NX if inexact and exact else 0


def convert(to, f, a, mode, before):
    negative, m, e = f.unpack(a)
    if m is None:
        return to.signed(negative, to.infinity), 0
    return to.round(negative, m, e, False, mode, before)


def floating(rng, f):
    """Often near zero, one, the least and the greatest normal number, or a power of two."""
    edge = rng.choice((0, 1 << (f.p - 1), f.bias << (f.p - 1), f.infinity, None, None))
    any_exponent = rng.randrange((1 << f.exponent_bits) - 1)
    exponent = f.bias + rng.randrange(-f.p - 3, f.p + 3) if rng.random() < 0.7 else any_exponent
    fraction = rng.choice((0, (1 << (f.p - 1)) - 1, rng.getrandbits(f.p - 1)))
    word = exponent << (f.p - 1) | fraction
    if edge is not None:
        word = min(max(edge + rng.choice((-2, -1, 0, 0, 1, 2)), 0), f.infinity)
    return f.signed(rng.random() < 0.5, word)


def integer(rng, bits):
    word = rng.getrandbits(bits) >> rng.randrange(bits)
    return (word << rng.choice((0, 0, rng.randrange(bits)))) & ((1 << bits) - 1)


def function(name, mode, exact, before):
    """(what makes an operand, their number, digits of one, what computes, digits of the result)."""
    source, what = name.split('_', 1)
    if source not in FORMATS:
        f, bits = Format(what[3:]), int(source[-2:])
        return (lambda rng: integer(rng, bits), 1, bits // 4,
                lambda a: from_integer(source, f, a, mode, before), f.bits // 4)
    f = Format(source)
    operands, compute, bits = {
        'add': (2, lambda a, b: add(f, a, b, mode, before), f.bits),
        'sub': (2, lambda a, b: add(f, a, b ^ f.sign, mode, before), f.bits),
        'mul': (2, lambda a, b: multiply_add(f, a, b, None, mode, before), f.bits),
        'div': (2, lambda a, b: divide(f, a, b, mode, before), f.bits),
        'sqrt': (1, lambda a: root(f, a, mode, before), f.bits),
        'mulAdd': (3, lambda a, b, c: multiply_add(f, a, b, c, mode, before), f.bits),
        'roundToInt': (1, lambda a: to_integral(f, a, mode, exact), f.bits),
    }.get(what) or (
        (1, lambda a: convert(Format(what[3:]), f, a, mode, before), Format(what[3:]).bits)
        if what[3:] in FORMATS else (1, lambda a: to_integer(f, a, what[3:], mode), int(what[-2:])))
    return lambda rng: floating(rng, f), operands, f.bits // 4, compute, bits // 4


def main(arguments):
    mode = next(a[2:] for a in arguments if a.startswith('-r'))
    make, operands, digits, compute, result_digits = function(
        arguments[-1], mode, '-exact' in arguments, '-tininessbefore' in arguments)
    rng = random.Random(arguments[-1] + mode)
    for i in range(COUNT):
        values = [make(rng) for _ in range(operands)]
        result, flags = compute(*values)
        if i == COUNT - 1 and 'EXACT_GEN_WRONG' in os.environ:
            result ^= 1
        print(*('%0*X' % (digits, value) for value in values), '%0*X' % (result_digits, result),
              '%02X' % flags)


if __name__ == '__main__':
    main(sys.argv[1:])
