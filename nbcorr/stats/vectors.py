"""Vector registers for numba: sixteen unsigned integers of 32 bits at a time.

LLVM compiles these operations for any processor, but only one with AVX-512 has `compress` as an
instruction; elsewhere the sort built on them does not pay (see `vectorised`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16
LLVM_WITH_COMPRESS = 20

INT1, INT16, INT32, INT64 = (ir.IntType(width) for width in (1, 16, 32, 64))
REGISTER, MASK = ir.VectorType(INT32, LANES), ir.VectorType(INT1, LANES)
UNKNOWN = ir.Constant(REGISTER, ir.Undefined)


@functools.cache
def vectorised() -> bool:
    """Whether this processor, by this LLVM, compresses a register in one instruction."""
    new = llvm.llvm_version_info[0] >= LLVM_WITH_COMPRESS
    return new and bool(llvm.get_host_cpu_features().get("avx512f", False))


class Register(types.Type):
    """Numba's type of a register; lanes chosen from one are the bits of a uint16."""

    def __init__(self) -> None:
        super().__init__(name="uint32x16")


@register_model(Register)
class _RegisterModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Register) -> None:
        super().__init__(manager, kind, REGISTER)


register = Register()
lanes = types.uint16


def _numbers(values: Any) -> ir.Constant:
    return ir.Constant(REGISTER, [INT32(value) for value in values])


def _bits(chosen: Any) -> ir.Constant:
    return ir.Constant(MASK, [INT1(int(each)) for each in chosen])


def _address(context: Any, builder: Any, array: types.Array, value: Any, at: Any) -> Any:
    if array.layout != "C" or array.dtype != types.uint32:
        raise TypeError(f"registers are kept in {array}; expected contiguous uint32")
    data = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [at]), REGISTER.as_pointer())


def _spread(builder: Any, value: Any) -> Any:
    single = builder.insert_element(UNKNOWN, value, INT32(0))
    return builder.shuffle_vector(single, UNKNOWN, _numbers([0] * LANES))


def _called(builder: Any, name: str, *values: Any) -> Any:
    kind = ir.FunctionType(REGISTER, [value.type for value in values])
    name = f"llvm.{name}.v{LANES}i32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


@intrinsic
def load(typing, array, at):  # type: ignore[no-untyped-def]
    """The elements of `array` from `at` on."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.load(_address(context, builder, array, *values), align=4)

    return register(array, types.int64), make


@intrinsic
def store(typing, array, at, value):  # type: ignore[no-untyped-def]
    """Write a whole register to `array` from `at` on."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        builder.store(values[2], _address(context, builder, array, *values[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, register), make


@intrinsic
def spread(typing, value):  # type: ignore[no-untyped-def]
    """One number in every lane."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return _spread(builder, *values)

    return register(types.uint32), make


@intrinsic
def below(typing, value, bound):  # type: ignore[no-untyped-def]
    """The lanes whose number is below that of `bound`."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.bitcast(builder.icmp_unsigned("<", *values), INT16)

    return lanes(register, register), make


@intrinsic
def both(typing, value, other):  # type: ignore[no-untyped-def]
    """Bitwise and."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.and_(*values)

    return register(register, register), make


@intrinsic
def differing(typing, value, other):  # type: ignore[no-untyped-def]
    """Bitwise exclusive or."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.xor(*values)

    return register(register, register), make


@intrinsic
def choose(typing, chosen, value, other):  # type: ignore[no-untyped-def]
    """`value` in the chosen lanes, `other` in the rest."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.select(builder.bitcast(values[0], MASK), *values[1:])

    return register(lanes, register, register), make


@intrinsic
def smaller(typing, value, other):  # type: ignore[no-untyped-def]
    """The smaller number in each lane."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return _called(builder, "umin", *values)

    return register(register, register), make


@intrinsic
def larger(typing, value, other):  # type: ignore[no-untyped-def]
    """The larger number in each lane."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return _called(builder, "umax", *values)

    return register(register, register), make


@intrinsic
def compress(typing, value, chosen):  # type: ignore[no-untyped-def]
    """The chosen lanes moved to the front; what follows them is not defined."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        mask = builder.bitcast(values[1], MASK)
        return _called(builder, "experimental.vector.compress", values[0], mask, UNKNOWN)

    return register(register, lanes), make


@intrinsic
def front(typing, count):  # type: ignore[no-untyped-def]
    """The first `count` lanes, from none to all."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.trunc(builder.sub(builder.shl(INT64(1), *values), INT64(1)), INT16)

    return lanes(types.int64), make


@intrinsic
def others(typing, chosen):  # type: ignore[no-untyped-def]
    """The lanes that are not chosen."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.not_(*values)

    return lanes(lanes), make


@intrinsic
def size(typing, chosen):  # type: ignore[no-untyped-def]
    """How many lanes are chosen."""

    def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.zext(builder.ctpop(*values), INT64)

    return types.int64(lanes), make


def sorter(rows: int) -> Any:
    """An intrinsic that sorts `count` elements of an array, up to `rows` registers, in place."""

    @intrinsic
    def sort_registers(typing, array, start, count):  # type: ignore[no-untyped-def]
        def make(context, builder, signature, values):  # type: ignore[no-untyped-def]
            bound = _spread(builder, builder.trunc(values[2], INT32))
            addresses, inside, registers = [], [], []
            for first in range(0, rows * LANES, LANES):
                at = builder.add(values[1], INT64(first))
                addresses.append(_address(context, builder, array, values[0], at))
                positions = _numbers(range(first, first + LANES))
                inside.append(builder.icmp_unsigned("<", positions, bound))
                loaded = builder.load(addresses[-1], align=4)
                # What lies past the end must stay there: no key is larger than this.
                registers.append(builder.select(inside[-1], loaded, _numbers([-1] * LANES)))
            ordered = Network(builder, registers).sorted()
            for address, mask, keys in zip(addresses, inside, ordered, strict=True):
                past = builder.load(address, align=4)
                builder.store(builder.select(mask, keys, past), address, align=4)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64), make

    return sort_registers


class Network:
    """A sorting network over all elements of some registers, whose number is a power of two.

    Batcher, "Sorting networks and their applications", *AFIPS* 32 (1968). A sorted sequence runs
    down the registers in one lane and on in the next, so that most comparisons are between
    registers as they are; at the end the elements are brought into the order of memory.
    """

    def __init__(self, builder: Any, registers: list[Any]) -> None:
        self.builder, self.registers = builder, list(registers)

    def sorted(self) -> list[Any]:
        """The registers that hold, one after the other, the elements in ascending order."""
        for i, j in batcher(len(self.registers)):
            self.compare(i, j)
        for group in (2, 4, 8, 16):
            self.merge(group)
        return self.lane_by_lane()

    def compare(self, i: int, j: int) -> None:
        """The smaller elements to register i, the larger to j."""
        self.registers[i], self.registers[j] = self.ends(self.registers[i], self.registers[j])

    def ends(self, a: Any, b: Any) -> tuple[Any, Any]:
        """The smaller and the larger of the elements in each lane."""
        return _called(self.builder, "umin", a, b), _called(self.builder, "umax", a, b)

    def moved(self, keys: Any, flip: int) -> Any:
        """Each lane exchanged with the one whose number differs in the bits of `flip`."""
        order = _numbers(lane ^ flip for lane in range(LANES))
        return self.builder.shuffle_vector(keys, UNKNOWN, order)

    def merge(self, group: int) -> None:
        """Sort every `group` lanes, the halves of which are sorted: a bitonic merge."""
        self.turn(group)
        step = group // 4
        while step:
            lower = _bits(lane & step == 0 for lane in range(LANES))
            for row, keys in enumerate(self.registers):
                ends = self.ends(keys, self.moved(keys, step))
                self.registers[row] = self.builder.select(lower, *ends)
            step //= 2
        step = len(self.registers) // 2
        while step:
            for row in range(len(self.registers)):
                if row & step == 0:
                    self.compare(row, row + step)
            step //= 2

    def turn(self, group: int) -> None:
        """Compare the first half of each group with the second half read backwards."""
        rows = len(self.registers)
        lower = _bits(lane & group // 2 == 0 for lane in range(LANES))
        for row in range((rows + 1) // 2):
            last = rows - 1 - row
            backwards = self.moved(self.registers[last], group - 1)
            low, high = self.ends(self.registers[row], backwards)
            self.registers[row] = self.builder.select(lower, low, high)
            if last > row:
                upper = self.builder.select(lower, high, low)
                self.registers[last] = self.moved(upper, group - 1)

    def lane_by_lane(self) -> list[Any]:
        """Transpose: perfect shuffles, one for each bit of a register's number."""
        half = len(self.registers) // 2
        zipped = [lane + second for lane in range(LANES) for second in (0, LANES)]
        orders = _numbers(zipped[:LANES]), _numbers(zipped[LANES:])
        for _ in range(half.bit_length()):
            pairs = zip(self.registers[:half], self.registers[half:], strict=True)
            self.registers = [
                self.builder.shuffle_vector(*pair, order) for pair in pairs for order in orders
            ]
        return self.registers


def batcher(n: int) -> Iterator[tuple[int, int]]:
    """The comparisons of Batcher's odd-even merge sort of n numbers, n a power of two."""
    merged = 1
    while merged < n:
        step = merged
        while step:
            for start in range(step % merged, n - step, 2 * step):
                for i in range(start, min(start + step, n - step)):
                    if i // (2 * merged) == (i + step) // (2 * merged):
                        yield i, i + step
            step //= 2
        merged *= 2
