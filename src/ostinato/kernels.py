"""How this package compiles its hot loops: one decorator, and the few primitives kernels share.

Rule of this file: the only place that knows numba. Modules named `*kernels` import it, and are imported
only inside the functions that need them, so that `import ostinato` stays light.

Trap: numba's disk cache looks at a kernel's own file only. Whoever changes a function here must touch the
files that call it (or run `make clean`).
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, errors, event, types
from numba.extending import intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

# What kernels take; numba looks at the arguments it gets, not at these. Scalars are Any: int, or what
# an array's element is to Python.
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

F = TypeVar("F", bound=Callable[..., Any])

ANNOUNCE_AFTER_S = 2.0
MAPPED = 4 << 20  # bytes from which an array is a mapping of its own
_HUGE = 2 << 20  # bytes of a large page


def kernel(function: F, *, nogil: bool = False) -> F:
    """Compile on first call for the types it is called with; the machine code is cached on disk.

    `error_model="numpy"`: no hidden branch for a division by zero; kernels check their own.
    `nogil`: other threads run meanwhile; for kernels that only read what nobody writes.
    """
    try:
        return numba.njit(function, cache=True, nogil=nogil, error_model="numpy")  # type: ignore[no-any-return]
    except RuntimeError:  # nowhere to write a cache: compile for this process alone
        return numba.njit(function, nogil=nogil, error_model="numpy")  # type: ignore[no-any-return]


def inlined(function: F) -> F:
    """A kernel that becomes part of whoever calls it, so that loops around it can become vector code."""
    return numba.njit(function, forceinline=True, error_model="numpy")  # type: ignore[no-any-return]


def threaded_kernel(function: F) -> F:
    """A kernel that several threads may run at once."""
    return kernel(function, nogil=True)


class _Announcer(event.Listener):
    """Says once, on the `ostinato` logger, that kernels are being compiled when that takes over two seconds."""

    def __init__(self) -> None:
        self._depth = 0
        self._spent_s = 0.0
        self._started = 0.0
        self._timer: threading.Timer | None = None
        self._said = False

    def on_start(self, event: Any) -> None:
        self._depth += 1
        if self._depth == 1 and not self._said:
            self._started = time.monotonic()
            self._timer = threading.Timer(max(0.0, ANNOUNCE_AFTER_S - self._spent_s), self._say)
            self._timer.daemon = True
            self._timer.start()

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._spent_s += time.monotonic() - self._started

    def _say(self) -> None:
        self._said = True
        logging.getLogger("ostinato").warning("compiling kernels; this happens once, the result is cached")


event.register("numba:compile", _Announcer())  # type: ignore[no-untyped-call]


def _load_u64(typing_context: Any, buffer: Any, index: Any) -> Any:
    """load_u64(buffer, i64 index): the 8 bytes from buffer[index] on as a u64, at any alignment, unchecked.

    The caller has checked that they are there; the buffer is contiguous, of bytes or of larger items.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args), align=1)

    return types.uint64(buffer, types.int64), generate


def _store_u64(typing_context: Any, buffer: Any, index: Any, word: Any) -> Any:
    """store_u64(buffer, i64 index, u64 word): the inverse of load_u64, unchecked like it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature, args), align=1)
        return context.get_dummy_value()

    return types.void(buffer, types.int64, types.uint64), generate


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())


def _prefetch(typing_context: Any, buffer: Any, index: Any) -> Any:
    """prefetch(buffer, i64 index): ask for the cache line of buffer[index]; never faults, may be anywhere.

    For an array of two dimensions the index counts items, not rows.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        byte, number = ir.IntType(8), ir.IntType(32)
        place = builder.bitcast(builder.gep(array.data, [args[1]]), byte.as_pointer())
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
            function = ir.Function(builder.module, kind, name)
        # for reading, to be kept in all levels, of data
        builder.call(function, [place, *(ir.Constant(number, k) for k in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(buffer, types.int64), generate


def _contiguous(*buffers: Any) -> None:
    """Refuse, at compile time, arrays whose items do not lie side by side."""
    for buffer in buffers:
        if buffer.layout != "C":
            raise errors.TypingError(f"expected a contiguous array, got {buffer}")


def _get(typing_context: Any, buffer: Any, index: Any) -> Any:
    """get(buffer, i64 index) -> its item, unchecked and without numba's turn for negative numbers."""
    _contiguous(buffer)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.load(builder.gep(array.data, [args[1]]))

    return buffer.dtype(buffer, types.int64), generate


def _put(typing_context: Any, buffer: Any, index: Any, item: Any) -> Any:
    """put(buffer, i64 index, item): the inverse of get."""
    _contiguous(buffer)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        builder.store(args[2], builder.gep(array.data, [args[1]]))
        return context.get_dummy_value()

    return types.void(buffer, types.int64, buffer.dtype), generate


def _copy(typing_context: Any, target: Any, at: Any, source: Any, start: Any, count: Any) -> Any:
    """copy(target, i64 at, source, i64 start, i64 count): items of one size from one array to another, or within one,
    unchecked."""
    _contiguous(target, source)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, begin = (
            builder.gep(context.make_array(signature.args[k])(context, builder, args[k]).data, [args[k + 1]])
            for k in (0, 2)
        )
        itemsize = context.get_abi_sizeof(context.get_data_type(target.dtype))
        cgutils.raw_memmove(builder, to, begin, args[4], itemsize)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), generate


def _bytes_at(typing_context: Any, address: Any, size: Any) -> Any:
    """bytes_at(i64 address, i64 size) -> u8[size] of memory that Python keeps alive: the caller answers for both."""
    kind = types.Array(types.uint8, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(kind)(context, builder)
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        one = ir.Constant(ir.IntType(64), 1)
        arrayobj.populate_array(  # type: ignore[no-untyped-call]
            array, data=pointer, shape=[args[1]], strides=[one], itemsize=one, meminfo=None
        )
        return array._getvalue()

    return kind(types.int64, types.int64), generate


def _float_bits(typing_context: Any, number: Any) -> Any:
    """float_bits(f64) -> u64: its bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.uint64(types.float64), generate


def _float_of(typing_context: Any, bits: Any) -> Any:
    """float_of(u64) -> f64: the number with these bits."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), generate


bytes_at: Callable[[Any, Any], NDArray[np.uint8]] = cast("Any", intrinsic(_bytes_at))
copy: Callable[[NDArray[Any], Any, NDArray[Any], Any, Any], None] = cast("Any", intrinsic(_copy))
get: Callable[[NDArray[Any], Any], Any] = cast("Any", intrinsic(_get))
put: Callable[[NDArray[Any], Any, Any], None] = cast("Any", intrinsic(_put))
load_u64: Callable[[NDArray[Any], Any], Any] = cast("Any", intrinsic(_load_u64))
prefetch: Callable[[NDArray[Any], Any], None] = cast("Any", intrinsic(_prefetch))
float_bits: Callable[[Any], Any] = cast("Any", intrinsic(_float_bits))
float_of: Callable[[Any], Any] = cast("Any", intrinsic(_float_of))
store_u64: Callable[[NDArray[Any], Any, Any], None] = cast("Any", intrinsic(_store_u64))


def aligned(shape: int, dtype: Any) -> NDArray[Any]:
    """Zeros beginning on a cache line (64 bytes), so that a node of eight float64 is one line.

    Large ones are mappings of their own: untouched pages take no memory, what is freed goes back to the system
    at once, and 2 MiB pages (where Linux gives them) make random reads cheaper.
    """
    size = shape * np.dtype(dtype).itemsize
    if size >= MAPPED and hasattr(mmap, "MAP_PRIVATE"):
        # private: a forked child must not write into its parent's buffer
        mapping = mmap.mmap(-1, size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel built without them
                mapping.madvise(mmap.MADV_HUGEPAGE)
        # huge pages begin at multiples of their size; what lies before stays untouched
        begin = -np.frombuffer(mapping, np.uint8).ctypes.data % _HUGE
        return np.frombuffer(mapping, dtype, shape, begin)
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype)
