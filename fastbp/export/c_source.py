"""The source of an exported C file, line by line."""

import functools
from collections.abc import Generator, Iterator, Sequence
from string import Template

import numpy as np

from fastbp.arrays import Array
from fastbp.data.columns import Columns
from fastbp.data.encodings import ENCODINGS
from fastbp.data.preparation import Preparation
from fastbp.data.statistics import CLIP, FAR
from fastbp.data.targets import Target
from fastbp.export import c_encoding
from fastbp.export import c_templates as templates
from fastbp.export.c_literals import c_array, c_number, c_string
from fastbp.kernels.normalisation import EPSILON
from fastbp.network import Network
from fastbp.version import __version__

# For each dtype: its type in C, and the suffix of its constants and mathematical functions.
C_TYPES = {"float32": ("float", "f"), "float64": ("double", "")}


class Source:
    """The C source of a network, and of the preparation of its data if there is one."""

    def __init__(self, nets: Sequence[Network], preparation: Preparation | None, name: str) -> None:
        net = nets[0]
        self.nets, self.net, self.name = nets, net, name
        # Where the code finds the parameters of the network that it computes.
        self.params = f"{name}_params" if len(nets) == 1 else "params"
        self.columns: Columns | None = None if preparation is None else preparation.columns
        self.target: Target | None = None if preparation is None else preparation.target
        self.real, self.suffix = C_TYPES[net.dtype.name]
        self.result = self.real if preparation is None else "double"
        # The values of each column of categories, in the order of its inputs or codes.
        self.values: list[tuple[str, ...]] = []
        if self.columns is not None:
            self.values = [self.columns.coded(name) for name in self.columns.categories]
        if self.target is None:
            self.has_classes = net.loss == "softmax_cross_entropy"
        else:
            self.has_classes = self.target.classes is not None
        # The names of the functions applied to the products of each layer, in order.
        self.functions = [[activation.name] for activation in net.layer_activations]
        assert net.loss_row.c is not None
        link, link_formula = net.loss_row.c
        self.functions[-1].append(link)
        self.formulas = {row.name: row.c or "" for row in net.layer_activations}
        self.formulas.setdefault(link, link_formula)

    def lines(self) -> Iterator[str]:
        """Yield the whole source."""
        yield from self._comment()
        yield templates.PROLOGUE
        yield from self._declarations()
        yield self._fill("\n#ifndef ${P}_DECLARATIONS")
        yield from self._names()
        yield from self._tables()
        yield from self._functions()
        yield "\n#endif"
        yield templates.EPILOGUE

    def _fill(self, text: str, **values: object) -> str:
        """Replace ``$name`` in a template by the names and types of this file and ``values``."""
        return Template(text).substitute(
            p=self.name,
            P=self.name.upper(),
            real=self.real,
            f=self.suffix,
            result=self.result,
            **values,
        )

    def _comment(self) -> Iterator[str]:
        has_columns = self.columns is not None
        inputs = templates.INPUTS_COLUMNS if has_columns else templates.INPUTS_X
        yield self._fill(
            templates.COMMENT,
            sizes="-".join(map(str, self.net.sizes)),
            version=__version__,
            arguments=self._arguments(),
            inputs=self._fill(inputs),
            returns=templates.RETURNS_COLUMNS if has_columns else templates.RETURNS_X,
            outputs=self._output_description(),
            stack=self.net.dtype.itemsize * sum(self._buffers().values()),
        )
        if self.has_classes:
            yield self._fill(templates.CLASS_COMMENT)
        yield " *"
        for argument, names in self._argument_names().items():
            for k, text in enumerate(names):
                # A name must neither end the comment nor seem to begin another.
                literal = c_string(text).replace("*/", r"*\/").replace("/*", r"/\*")
                yield f" * {argument}[{k}]: {literal}"
        yield " */"

    def _arguments(self) -> str:
        if self.columns is None:
            return f"const {self.real} *x, {self.result} *outputs"
        return "const double *numbers, const char *const *categories, double *outputs"

    def _output_description(self) -> str:
        if self._is_scaled():
            return "values in their own units"
        return "probabilities" if self.has_classes else "the network's outputs"

    def _is_scaled(self) -> bool:
        return self.target is not None and self.target.classes is None

    def _argument_names(self) -> dict[str, Sequence[str]]:
        """Return, for each argument with named elements, their names."""
        names: dict[str, Sequence[str]] = {}
        if self.columns is not None:
            names = {"numbers": self.columns.numbers, "categories": tuple(self.columns.categories)}
        if self.target is not None:
            names["outputs"] = self.target.classes or self.target.names
        return {argument: elements for argument, elements in names.items() if elements}

    def _declarations(self) -> Iterator[str]:
        upper = self.name.upper()
        yield "enum {"
        if self.columns is not None:
            yield f"    {upper}_NUMBERS = {len(self.columns.numbers)},"
            yield f"    {upper}_CATEGORIES = {len(self.columns.categories)},"
        yield f"    {upper}_INPUTS = {self.net.sizes[0]},"
        yield f"    {upper}_OUTPUTS = {self.net.sizes[-1]}"
        yield "};"
        for argument, names in self._argument_names().items():
            yield f"extern const char *const {self.name}_{argument}_names[{len(names)}];"
        yield f"int {self.name}_predict({self._arguments()});"
        if self.has_classes:
            yield f"int {self.name}_class(const {self.result} *outputs);"

    def _names(self) -> Iterator[str]:
        for argument, names in self._argument_names().items():
            declaration = f"const char *const {self.name}_{argument}_names"
            yield from c_array(declaration, map(c_string, names), len(names), per_line=1)

    def _tables(self) -> Iterator[str]:
        columns, target = self.columns, self.target
        if columns is not None and columns.numbers:
            yield from self._doubles("means", columns.raw_means)
            yield from self._doubles("scales", columns.scales)
            if columns.flagged:
                yield from self._indices("flagged", columns.flagged)
        texts = [text for values in self.values for text in values]
        if texts:
            declaration = f"static const char *const {self.name}_values"
            yield from c_array(declaration, map(c_string, texts), len(texts), per_line=1)
            yield from self._indices("starts", np.cumsum([0, *map(len, self.values)]).tolist())
        if columns is not None and columns.encodings:
            encodings = [ENCODINGS.index(columns.encoding(name)) for name in columns.categories]
            yield from self._indices("encodings", encodings)
            yield from self._indices("places", self._places(columns))
        if target is not None and target.means is not None and target.scales is not None:
            yield from self._doubles("output_means", target.means)
            yield from self._doubles("output_scales", target.scales)
        if target is not None and target.low is not None and target.high is not None:
            yield from self._doubles("output_low", target.low)
            yield from self._doubles("output_high", target.high)
        every = np.concatenate([net.params for net in self.nets])
        params = (c_number(value, self.suffix) for value in every.tolist())
        declaration = f"static const {self.real} {self.name}_params"
        yield from c_array(declaration, params, every.size)

    def _doubles(self, name: str, values: Array) -> Iterator[str]:
        numbers = map(c_number, values.tolist())
        return c_array(f"static const double {self.name}_{name}", numbers, len(values))

    def _indices(self, name: str, values: Sequence[int]) -> Iterator[str]:
        return c_array(f"static const size_t {self.name}_{name}", map(str, values), len(values))

    @staticmethod
    def _places(columns: Columns) -> list[int]:
        """Return the index of the first input of each column of categories."""
        places, at = {}, len(columns.numbers) + len(columns.flagged)
        for name, width in columns.category_widths.items():
            places[name] = at
            at += width
        return [places[name] for name in columns.categories]

    def _functions(self) -> Iterator[str]:
        yield self._fill(templates.LAYER)
        for function in sorted({name for names in self.functions for name in names} - {"identity"}):
            if function == "softmax":
                yield self._fill(templates.SOFTMAX)
            else:
                formula = self._fill(self.formulas[function])
                yield self._fill(templates.ELEMENTWISE, function=function, formula=formula)
        layers = range(self.net.layout.layers)
        if self.net.layout.members > 1:
            yield self._fill(templates.MEMBER_LAYER)
        if any(map(self.net.layout.is_normed, layers)):
            norm = templates.SCALE if self.net.layout.batch_norm else templates.NORMALISE
            yield self._fill(norm, epsilon=c_number(EPSILON, self.suffix))
        if any(map(self.net.layout.is_parametric, layers)):
            yield self._fill(templates.BLEND)
        if any(map(self.net.layout.is_residual, layers)):
            yield self._fill(templates.ADD)
        if self.net.encoding is not None:
            literal = functools.partial(c_number, suffix=self.suffix)
            yield from c_encoding.function(self.net, self._fill, literal)
        if any(self.values):
            is_mixed = self.columns is not None and self.columns.encodings
            yield self._fill(templates.CODE if is_mixed else templates.ONE_HOT)
        yield f"\nint {self.name}_predict({self._arguments()})\n{{"
        yield from self._predict()
        yield "    return 0;\n}"
        if self.has_classes:
            yield self._fill(templates.CLASS)

    def _buffers(self) -> dict[str, int]:
        """Return the sizes of the arrays of ``predict``.

        They are x if it is prepared, e if it is encoded, a, b for the layers, z for parametric
        activations, the sum of the members of an ensemble, and the mean of several networks.
        """
        prepared = self.net.sizes[:1] if self.columns is not None else ()
        encoded = self.net.layout.sizes[:1] if self.net.encoding is not None else ()
        layers = {"a": self.net.sizes[1::2], "b": self.net.sizes[2::2]}
        means = self.net.sizes[-1:] if len(self.nets) > 1 else ()
        straight = self.net.sizes[1:-1] if self.net.layout.parametric else ()
        sums = self.net.sizes[-1:] if self.net.layout.members > 1 else ()
        widths = {"x": prepared, "e": encoded, **layers, "z": straight, "sum": sums, "mean": means}
        return {name: max(sizes) for name, sizes in widths.items() if sizes}

    def _predict(self) -> Iterator[str]:
        buffers = ", ".join(f"{name}[{size}]" for name, size in self._buffers().items())
        yield f"    {self.real} {buffers};"
        yield "    size_t k, member;" if self.net.layout.members > 1 else "    size_t k;"
        yield from self._prepare()
        output = yield from self._network() if len(self.nets) == 1 else self._networks()
        if self._is_scaled():
            output += f" * {self.name}_output_scales[k] + {self.name}_output_means[k]"
        yield self._fill("    for (k = 0; k < ${P}_OUTPUTS; k++)")
        yield f"        outputs[k] = {output};"
        if self.target is not None and self.target.low is not None:
            yield self._fill(templates.CLIP)

    def _networks(self) -> Generator[str, None, str]:
        """Yield the statements that compute the mean of the outputs; return its expression."""
        count, size = len(self.nets), self.net.params.size
        yield "    size_t m;"
        yield self._fill("    for (k = 0; k < ${P}_OUTPUTS; k++)")
        yield "        mean[k] = 0;"
        yield f"    for (m = 0; m < {count}; m++) {{"
        yield f"        const {self.real} *params = {self.name}_params + m * {size};"
        output = yield from self._network()
        yield self._fill("    for (k = 0; k < ${P}_OUTPUTS; k++)")
        yield f"        mean[k] += {output};"
        yield "    }"
        return f"mean[k] / {count}"

    def _network(self) -> Generator[str, None, str]:
        """Yield the statements that compute the outputs; return the expression of one."""
        source, members = "x", self.net.layout.members
        if self.net.encoding is not None:
            source = "e"
            yield f"    {self.name}_encode(x, {self.params}, e);"
        if members == 1:
            return (yield from self._layers(source))
        yield self._fill("    for (k = 0; k < ${P}_OUTPUTS; k++)")
        yield "        sum[k] = 0;"
        yield f"    for (member = 0; member < {members}; member++) {{"
        output = yield from self._layers(source)
        yield self._fill("    for (k = 0; k < ${P}_OUTPUTS; k++)")
        yield f"        sum[k] += {output};"
        yield "    }"
        return f"sum[k] / {members}"

    def _sums(self, i: int, source: str, out: str) -> str:
        """Return the statement that computes z of a layer."""
        layout = self.net.layout
        (M, N), k, layer = layout.sizes[i : i + 2], layout.members, "layer"
        W, b, r = (
            f"{self.params} + {start}"
            for start in (layout.weight_starts[i], layout.bias_starts[i], layout.factors_at(i)[0])
        )
        places = f"{W}, {b}, {N}"
        if k > 1 and i < layout.layers - 1:
            layer, places = "member_layer", f"{W}, {b}, {r}, {N}, member, {k}"
        elif k > 1:
            places = f"{W} + member * {M * N}, {b} + member * {N}, {N}"
        return f"    {self.name}_{layer}({source}, {M}, {places}, {out});"

    def _layers(self, source: str) -> Generator[str, None, str]:
        """Yield the statements that compute all layers; return the expression of an output."""
        for i, functions in enumerate(self.functions):
            N, out = self.net.layout.sizes[i + 1], "ab"[i % 2]
            yield self._sums(i, source, out)
            if self.net.layout.is_normed(i):
                function, start = "normalise", self.net.layout.norm_at(i)[0]
                places = f"{self.params} + {start}"
                if self.net.layout.batch_norm:
                    function, start = "scale", self.net.layout.averages_at(i)[0]
                    places += f", {self.params} + {start}"
                yield f"    {self.name}_{function}({out}, {N}, {places});"
            bends = self.net.layout.is_parametric(i)
            if bends:
                yield f"    memcpy(z, {out}, {N} * sizeof *z);"
            for function in functions:
                if function != "identity":
                    yield f"    {self.name}_{function}({out}, {N});"
            if bends:
                start, _ = self.net.layout.alphas_at(i)
                yield f"    {self.name}_blend(z, {N}, {self.params} + {start}, {out});"
            if self.net.layout.is_residual(i):
                yield f"    {self.name}_add({source}, {N}, {out});"
            source = out
        return f"{source}[k]"

    def _prepare(self) -> Iterator[str]:
        """Yield the statements that compute x from the columns, or check x."""
        columns = self.columns
        if columns is None:
            yield self._fill(templates.CHECK_X)
            return
        if columns.numbers and columns.scaling == "robust":
            yield self._fill(templates.SCALE_ROBUSTLY, far=FAR, clip=CLIP)
        elif columns.numbers:
            yield self._fill(templates.SCALE_NUMBERS)
        else:
            yield "    (void)numbers;"
        if columns.flagged:
            yield self._fill(templates.FLAG_MISSING, flags=len(columns.flagged))
        if columns.encodings:
            yield self._fill(templates.ENCODE_MIXED)
        elif any(self.values):
            offset = len(columns.numbers) + len(columns.flagged)
            yield self._fill(templates.ENCODE_CATEGORIES, offset=offset)
        else:
            yield "    (void)categories;"
