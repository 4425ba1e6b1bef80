"""The files of compiled kernels of formulas: what `write_cpp.py` puts together for the compiler."""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.table import KERNELS
from dtrain.kernels.formula.vectors import body_of, is_compiled


def kernels() -> Iterator[Kernel]:
    """Those that can be written down."""
    return filter(is_compiled, KERNELS)


def list_text() -> str:
    """The kernels.inc."""
    lines = [f"FLOATS({kernel.name})" for kernel in kernels()]
    return "\n".join(["// Written by write_cpp.py, read by binding/kernel_list.h.", *lines, ""])


def contract_text() -> str:
    """How each kernel is called: how many inputs, and by which names its parameters are given."""
    lines = []
    for parameter in dict.fromkeys(name for kernel in kernels() for name in kernel.parameters):
        lines.append(f'inline constexpr char {parameter}_name[] = "{parameter}";')
    for kernel in kernels():
        arguments = ", ".join([str(len(kernel.inputs)), *(f"{name}_name" for name in kernel.parameters)])
        lines += [
            f"// {kernel.formula}",
            "template <typename T>",
            f"using {kernel.name}_fn = elementwise_fn<T>;",
            f"using {kernel.name}_arguments = Arguments<{arguments}>;",
        ]
    return "\n".join(["// Written by write_cpp.py.", *lines, ""])


def kernel_text() -> str:
    """The kernels as templates over a vector type."""
    lines = ["// Written by write_cpp.py."]
    for kernel in kernels():
        vectors = ", ".join(f"V {value.name}" for value in kernel.inputs)
        pointers = ", ".join(f"inputs[{number}]" for number in range(len(kernel.inputs)))
        given = " parameters" if kernel.parameters else ""
        lines += [
            "template <typename V>",
            f"void {kernel.name}(const ElementOf<V>* const* inputs, ElementOf<V>* out, std::int64_t n,",
            f"    const ElementOf<V>*{given}) {{",
            "  using T [[maybe_unused]] = ElementOf<V>;",
            *(f"  const V {name}(parameters[{number}]);" for number, name in enumerate(kernel.parameters)),
            f"  map<V>(out, n, [=]({vectors}) {{",
            *(f"    {line}" for line in body_of(kernel)),
            f"  }}, {pointers});",
            "}",
        ]
    return "\n".join([*lines, ""])
