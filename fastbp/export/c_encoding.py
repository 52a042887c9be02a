"""The encoding of a network's inputs in C."""

from collections.abc import Callable, Iterator
from math import inf

from fastbp.export.c_literals import c_array
from fastbp.network import Network

# Fills the names and types of a file, and values, into a template.
Fill = Callable[..., str]

START = """
/* e = the inputs of the first layer for the inputs x of the network. */
static void ${p}_encode(const $real *x, const $real *params, $real *e)
{
    const $real *p = params + $start;
    size_t i = 0;
    memcpy(e, x, $plain * sizeof *e);
    e += $plain;
    (void)i;
    (void)p;"""

NUMBERS = """\
    for (i = 0; i < $n; i++, p += $size) {
        size_t j, k;
        for (j = 0; j < $width; j++) {
            const $real *v = p + $F * (2 + j);
            $real sum = p[$F * (2 + $width) + j];
            for (k = 0; k < $F; k++)
                sum += v[k] * cos$f(p[k] * x[i] * 0x1.921fb54442d18p+2$f + p[$F + k]);
            *e++ = sum;
        }
    }"""

BINS = """\
    for (i = 0; i < $n; i++, p += $size) {
        const $real *b = ${p}_bins + i * 4 * $T;
        size_t j, t;
        for (j = 0; j < $width; j++) {
            $real sum = p[$width * $T + j];
            for (t = 0; t < $T; t++) {
                $real share = (x[i] - b[t]) * b[$T + t];
                share = share < b[2 * $T + t] ? b[2 * $T + t] : share;
                share = share > b[3 * $T + t] ? b[3 * $T + t] : share;
                sum += p[j * $T + t] * share;
            }
            *e++ = sum;
        }
    }"""

TABLE = """\
    i = x[$column] >= 0 && x[$column] < $rows ? (size_t)x[$column] : 0;
    memcpy(e, p + $width * i, $width * sizeof *e);
    p += $rows * $width;
    e += $width;"""

SCALES = """\
    e -= $size;
    for (i = 0; i < $size; i++)
        e[i] *= p[i];"""


def function(net: Network, fill: Fill, literal: Callable[[float], str]) -> Iterator[str]:
    """Yield the function that encodes the inputs of a network with an encoding."""
    encoding = net.encoding
    assert encoding is not None
    plain, F, width = encoding.plain(net.sizes[0]), encoding.frequencies, encoding.width - 1
    if encoding.edges:
        table = encoding.bin_table().ravel().tolist()
        numbers = (
            "INFINITY" if n == inf else "-INFINITY" if n == -inf else literal(n) for n in table
        )
        yield from c_array(fill("static const $real ${p}_bins"), numbers, len(table))
    yield fill(START, start=net.layout.dense_params, plain=plain)
    if encoding.edges:
        T = encoding.bins
        yield fill(BINS, n=encoding.numbers, size=width * T + width, T=T, width=width)
    elif encoding.numbers:
        size = 2 * F + F * width + width
        yield fill(NUMBERS, n=encoding.numbers, size=size, F=F, width=width)
    for k, (rows, columns) in enumerate(encoding.tables):
        yield fill(TABLE, column=plain + k, rows=rows, width=columns)
    if encoding.scaling:
        yield fill(SCALES, size=net.layout.sizes[0])
    yield "}"
