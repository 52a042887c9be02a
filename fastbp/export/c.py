"""A network and the preparation of its data as one C file that depends on nothing.

C99 and its mathematics, no memory of its own, nothing that is written to between calls: it runs
wherever there is a C compiler, in as many threads as one likes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from string import Template

import numpy as np

import fastbp
from fastbp.arrays import Array
from fastbp.data.columns import Columns
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target
from fastbp.export.forms import demand_forms
from fastbp.network import Network
from fastbp.persistence import write_whole

# What arithmetic is made in, and what ends its constants and the names of its functions.
TYPES = {"float32": ("float", "f"), "float64": ("double", "")}
NUMBERS_A_LINE = 6


def export_c(
    path: str | PathLike[str],
    net: Network,
    preparation: Preparation | None = None,
    name: str = "fastbp",
) -> None:
    """Write a network, and the preparation of its data if given, as C99 source.

    The file offers ``int NAME_predict``, for one row at a time, with these arguments:

    - ``const double *numbers``, ``const char *const *categories``, ``double *outputs``, if columns
      are prepared: numbers in their order, NAN where one is missing; categories as UTF-8, blanks
      around them do not matter, NULL or empty where one is missing.
    - ``const float *x``, ``double *outputs``, if they are not: x is of the network's dtype. Whoever
      has images of bytes divides them by 255, which ``Network.forward`` does by itself.
    - ``const float *x``, ``float *outputs``, without ``preparation``: both are.

    Outputs are probabilities, or values in their own units. It returns 0; or k if the k-th number,
    from 1, is not finite (of prepared ones: infinite, or too large), and leaves the outputs alone.
    ``int NAME_class(outputs)`` finds the class, where there are classes. The sizes are in enums;
    the names of columns, classes and values in arrays; all is explained at the file's top.

    Parameters
    ----------
    path : path
        The file appears whole or not at all; the same network gives the same bytes.
    net : Network
    preparation : Preparation, optional
    name : str
        What all names in the file begin with: letters, digits and underscores, a letter first.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If the name is not as described, the preparation is not this network's, parameters are not
        finite, a name or category has a zero byte, at which texts end in C, or an activation or
        the loss has no form in C, as the user's own have none.
    """
    demand_forms("c", "C", *net.layer_activations, net.loss_row)
    if not (isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name, re.ASCII)):
        raise ValueError(
            f"name must be letters, digits and underscores, a letter first, not {name!r}"
        )
    if preparation is not None:
        preparation.check_network(net.sizes[0], net.sizes[-1])
    if not np.isfinite(net.params).all():
        raise ValueError("the network has parameters that are not finite, which C has no form for")
    lines = _Source(net, preparation, name).lines()
    # What is wrong with a text is found before a file is begun.
    parts = [line.encode("ascii") + b"\n" for line in lines]
    write_whole(path, lambda file: file.writelines(parts))


def c_string(text: str) -> str:
    r"""Write text as a C string of ASCII: what is not plain as octal escapes, ``?`` as ``\?``.

    Raises
    ------
    ValueError
        If there is a zero byte in it.
    """
    if "\0" in text:
        raise ValueError(f"{text!r} has a zero byte, at which texts end in C")
    return '"' + "".join(map(_escaped, text.encode())) + '"'


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in '"\\?':  # ?? begins trigraphs
        return "\\" + character
    # Octal escapes end after three digits, hexadecimal ones where the digits do.
    return character if 32 <= byte < 127 else f"\\{byte:03o}"


def c_number(value: float, ending: str = "") -> str:
    """Write a finite number in hexadecimal, which C reads back to the last bit."""
    digits, exponent = value.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}{ending}"


# ---------------------------------------------------------------------- texts in C

COMMENT = """\
/* A dense network, $sizes, in $real; written by fastbp $version.
 *
 * Compile it by  cc -O3 -c model.c  and link with -lm. Options that let compilers forget about NaN
 * (-ffast-math) do not go with it. In other files
 *
 *     #define ${P}_DECLARATIONS
 *     #include "model.c"
 *
 * declares what it offers and defines nothing. Many threads may call it at the same time.
 *
 * int ${p}_predict($arguments)
 *     Predicts for one row.
$taken
 *     outputs (${P}_OUTPUTS): receives $given.
$returned
 *     Its numbers take $stack bytes of the stack."""

TAKEN_COLUMNS = """\
 *     numbers (${P}_NUMBERS): in the order below; NAN where one is missing.
 *     categories (${P}_CATEGORIES): in the order below, UTF-8, whatever blanks are around them;
 *         NULL or "" where one is missing."""

RETURNED_COLUMNS = """\
 *     Returns 0; or k if the k-th number, from 1, is infinite or too large, and leaves the outputs
 *         alone. What there are none of may be NULL."""

TAKEN_X = " *     x (${P}_INPUTS): numbers as the network takes them."

RETURNED_X = """\
 *     Returns 0; or k if the k-th number, from 1, is not finite, and leaves the outputs alone."""

ABOUT_CLASS = """\
 * int ${p}_class(const $result *outputs)
 *     Finds the class: the place of the largest output."""

PROLOGUE = """\
#include <math.h>
#include <stddef.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif
"""

EPILOGUE = """
#ifdef __cplusplus
}
#endif"""

LAYER = """
/* out (N) = x (M) W + b; params: W (M, N), row by row, then b (N). */
static void ${p}_layer(const $real *x, size_t M, const $real *params, size_t N, $real *out)
{
    size_t i, j;
    for (j = 0; j < N; j++)
        out[j] = 0;
    for (i = 0; i < M; i++, params += N)
        for (j = 0; j < N; j++)
            out[j] += x[i] * params[j];
    for (j = 0; j < N; j++)
        out[j] += params[j];
}"""

EACH = """
static void ${p}_$kind($real *a, size_t n)
{
    size_t k;
    for (k = 0; k < n; k++) {
        const $real z = a[k];
        a[k] = $formula;
    }
}"""

SOFTMAX = """
static void ${p}_softmax($real *a, size_t n)
{
    $real top = a[0], total = 0;
    size_t k;
    for (k = 1; k < n; k++)
        top = a[k] > top ? a[k] : top;
    for (k = 0; k < n; k++) {
        a[k] = exp$f(a[k] - top);
        total += a[k];
    }
    for (k = 0; k < n; k++)
        a[k] /= total;
}"""

MARK = r"""
/* Count the bytes of the blank that a text begins with, 0 if it begins with none. */
static size_t ${p}_blank(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] == ' ' || (s[0] >= 9 && s[0] <= 13))
        return 1;
    if (s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0))
        return 2;
    if ((s[0] == 0xE1 && s[1] == 0x9A && s[2] == 0x80)
        || (s[0] == 0xE2 && s[1] == 0x80 && s[2] >= 0x80 && s[2] <= 0x8A)
        || (s[0] == 0xE2 && s[1] == 0x80 && (s[2] == 0xA8 || s[2] == 0xA9 || s[2] == 0xAF))
        || (s[0] == 0xE2 && s[1] == 0x81 && s[2] == 0x9F)
        || (s[0] == 0xE3 && s[1] == 0x80 && s[2] == 0x80))
        return 3;
    return 0;
}

/* out (n) = 1 where the text, without blanks around it, is the one that is known; else 0. */
static void ${p}_mark(const char *text, const char *const *known, size_t n, $real *out)
{
    const char *next, *end;
    size_t k, size;
    text = text ? text : "";
    while ((size = ${p}_blank(text)) > 0)
        text += size;
    for (next = end = text; *next;) {
        size = ${p}_blank(next);
        next += size ? size : 1;
        end = size ? end : next;
    }
    size = (size_t)(end - text);
    for (k = 0; k < n; k++)
        out[k] = strlen(known[k]) == size && memcmp(known[k], text, size) == 0 ? 1 : 0;
}"""

CLASS = """
int ${p}_class(const $result *outputs)
{
    int best = 0, k;
    for (k = 1; k < ${P}_OUTPUTS; k++)
        best = outputs[k] > outputs[best] ? k : best;
    return best;
}"""

AS_IT_IS = """\
    for (k = 0; k < ${P}_INPUTS; k++)
        if (!isfinite(x[k]))
            return (int)k + 1;"""

NUMBERS = """\
    for (k = 0; k < ${P}_NUMBERS; k++) {
        x[k] = isnan(numbers[k]) ? 0 : ($real)((numbers[k] - ${p}_means[k]) / ${p}_scales[k]);
        if (!isfinite(x[k]))
            return (int)k + 1;
    }"""

FLAGS = """\
    for (k = 0; k < $flags; k++)
        x[${P}_NUMBERS + k] = ($real)(isnan(numbers[${p}_flagged[k]]) ? 1 : 0);"""

CATEGORIES = """\
    for (k = 0; k < ${P}_CATEGORIES; k++)
        ${p}_mark(categories[k], ${p}_known + ${p}_starts[k], ${p}_starts[k + 1] - ${p}_starts[k],
            x + $before + ${p}_starts[k]);"""


class _Source:
    """The source, line by line; ``_fill`` puts the names of this file into a text."""

    def __init__(self, net: Network, preparation: Preparation | None, name: str) -> None:
        self.net, self.name = net, name
        self.columns: Columns | None = None if preparation is None else preparation.columns
        self.target: Target | None = None if preparation is None else preparation.target
        self.real, self.ending = TYPES[net.dtype.name]
        self.result = self.real if preparation is None else "double"
        self.known = [] if self.columns is None else list(self.columns.categories.values())
        if self.target is None:
            self.classes = net.loss == "softmax_cross_entropy"
        else:
            self.classes = self.target.classes is not None
        # What is done to the numbers of each layer, one thing after the other, by name.
        self.steps = [[activation.name] for activation in net.layer_activations]
        assert net.loss_row.c is not None
        link, link_formula = net.loss_row.c
        self.steps[-1].append(link)
        self.formulas = {row.name: row.c or "" for row in net.layer_activations}
        self.formulas.setdefault(link, link_formula)

    def lines(self) -> Iterator[str]:
        """Write all of it."""
        yield from self._comment()
        yield PROLOGUE
        yield from self._offers()
        yield self._fill("\n#ifndef ${P}_DECLARATIONS")
        yield from self._texts()
        yield from self._tables()
        yield from self._functions()
        yield "\n#endif"
        yield EPILOGUE

    def _fill(self, text: str, **more: object) -> str:
        return Template(text).substitute(
            p=self.name,
            P=self.name.upper(),
            real=self.real,
            f=self.ending,
            result=self.result,
            **more,
        )

    def _comment(self) -> Iterator[str]:
        yield self._fill(
            COMMENT,
            sizes="-".join(map(str, self.net.sizes)),
            version=fastbp.__version__,
            arguments=self._arguments(),
            taken=self._fill(TAKEN_X if self.columns is None else TAKEN_COLUMNS),
            returned=RETURNED_X if self.columns is None else RETURNED_COLUMNS,
            given=self._given(),
            stack=self.net.dtype.itemsize * sum(self._buffers().values()),
        )
        if self.classes:
            yield self._fill(ABOUT_CLASS)
        yield " *"
        for kind, names in self._names().items():
            for k, text in enumerate(names):
                # A comment would end, or seem to begin another, in the midst of a name.
                shown = c_string(text).replace("*/", r"*\/").replace("/*", r"/\*")
                yield f" * {kind}[{k}]: {shown}"
        yield " */"

    def _arguments(self) -> str:
        if self.columns is None:
            return f"const {self.real} *x, {self.result} *outputs"
        return "const double *numbers, const char *const *categories, double *outputs"

    def _given(self) -> str:
        if self._scaled():
            return "values in their own units"
        return "probabilities" if self.classes else "the network's outputs"

    def _scaled(self) -> bool:
        return self.target is not None and self.target.classes is None

    def _names(self) -> dict[str, Sequence[str]]:
        """Name the places of the arguments."""
        names: dict[str, Sequence[str]] = {}
        if self.columns is not None:
            names = {"numbers": self.columns.numbers, "categories": tuple(self.columns.categories)}
        if self.target is not None:
            names["outputs"] = self.target.names
            if self.target.classes is not None:
                names["outputs"] = self.target.classes
        return {kind: given for kind, given in names.items() if given}

    def _offers(self) -> Iterator[str]:
        """Declare what callers see."""
        upper = self.name.upper()
        yield "enum {"
        if self.columns is not None:
            yield f"    {upper}_NUMBERS = {len(self.columns.numbers)},"
            yield f"    {upper}_CATEGORIES = {len(self.columns.categories)},"
        yield f"    {upper}_INPUTS = {self.net.sizes[0]},"
        yield f"    {upper}_OUTPUTS = {self.net.sizes[-1]}"
        yield "};"
        for kind, names in self._names().items():
            yield f"extern const char *const {self.name}_{kind}_names[{len(names)}];"
        yield f"int {self.name}_predict({self._arguments()});"
        if self.classes:
            yield f"int {self.name}_class(const {self.result} *outputs);"

    def _texts(self) -> Iterator[str]:
        for kind, names in self._names().items():
            yield from _array(
                f"const char *const {self.name}_{kind}_names", map(c_string, names), len(names), 1
            )

    def _tables(self) -> Iterator[str]:
        columns, target = self.columns, self.target
        if columns is not None and columns.numbers:
            yield from self._doubles("means", columns.means)
            yield from self._doubles("scales", columns.scales)
            if columns.flagged:
                yield from self._indices("flagged", columns.flagged)
        texts = [text for known in self.known for text in known]
        if texts:
            yield from _array(
                f"static const char *const {self.name}_known", map(c_string, texts), len(texts), 1
            )
            yield from self._indices("starts", np.cumsum([0, *map(len, self.known)]).tolist())
        if target is not None and target.means is not None and target.scales is not None:
            yield from self._doubles("output_means", target.means)
            yield from self._doubles("output_scales", target.scales)
        params = (c_number(value, self.ending) for value in self.net.params.tolist())
        yield from _array(
            f"static const {self.real} {self.name}_params", params, self.net.params.size
        )

    def _doubles(self, name: str, values: Array) -> Iterator[str]:
        numbers = map(c_number, values.tolist())
        return _array(f"static const double {self.name}_{name}", numbers, len(values))

    def _indices(self, name: str, values: Sequence[int]) -> Iterator[str]:
        return _array(f"static const size_t {self.name}_{name}", map(str, values), len(values))

    def _functions(self) -> Iterator[str]:
        yield self._fill(LAYER)
        for kind in sorted({step for steps in self.steps for step in steps} - {"identity"}):
            if kind == "softmax":
                yield self._fill(SOFTMAX)
            else:
                formula = self._fill(self.formulas[kind])
                yield self._fill(EACH, kind=kind, formula=formula)
        if any(self.known):
            yield self._fill(MARK)
        yield f"\nint {self.name}_predict({self._arguments()})\n{{"
        yield from self._predict()
        yield "    return 0;\n}"
        if self.classes:
            yield self._fill(CLASS)

    def _buffers(self) -> dict[str, int]:
        """Size the arrays of ``predict``: what is prepared, and two for layers by turns."""
        first = self.net.sizes[:1] if self.columns is not None else ()
        takers = {"x": first, "a": self.net.sizes[1::2], "b": self.net.sizes[2::2]}
        return {name: max(widths) for name, widths in takers.items() if widths}

    def _predict(self) -> Iterator[str]:
        widths = self.net.sizes[1:]
        buffers = ", ".join(f"{name}[{size}]" for name, size in self._buffers().items())
        yield f"    {self.real} {buffers};"
        yield "    size_t k;"
        yield from self._inputs()
        source, at = "x", 0
        for i, (N, steps) in enumerate(zip(widths, self.steps, strict=True)):
            M, to = self.net.sizes[i], "ab"[i % 2]
            yield f"    {self.name}_layer({source}, {M}, {self.name}_params + {at}, {N}, {to});"
            for step in steps:
                if step != "identity":
                    yield f"    {self.name}_{step}({to}, {N});"
            source, at = to, at + M * N + N
        told = f"{source}[k]"
        if self._scaled():
            told += f" * {self.name}_output_scales[k] + {self.name}_output_means[k]"
        yield self._fill("    for (k = 0; k < ${P}_OUTPUTS; k++)")
        yield f"        outputs[k] = {told};"

    def _inputs(self) -> Iterator[str]:
        """Prepare x, or look at it."""
        columns = self.columns
        if columns is None:
            yield self._fill(AS_IT_IS)
            return
        yield self._fill(NUMBERS) if columns.numbers else "    (void)numbers;"
        if columns.flagged:
            yield self._fill(FLAGS, flags=len(columns.flagged))
        before = len(columns.numbers) + len(columns.flagged)
        categories = any(self.known)
        yield self._fill(CATEGORIES, before=before) if categories else "    (void)categories;"


def _array(declared: str, items: Iterable[str], size: int, per_line: int = 0) -> Iterator[str]:
    """Define an array of so many items."""
    most = per_line or NUMBERS_A_LINE
    yield f"\n{declared}[{size}] = {{"
    line: list[str] = []
    for item in items:
        line.append(item)
        if len(line) == most:
            yield f"    {', '.join(line)},"
            line = []
    if line:
        yield f"    {', '.join(line)},"
    yield "};"
