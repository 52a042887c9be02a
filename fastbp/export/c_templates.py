"""The texts of an exported C file; `$name` is replaced by `string.Template`."""

COMMENT = """\
/* A dense network, $sizes, in $real; written by fastbp $version.
 *
 * Compile it with  cc -O3 -c model.c  and link with -lm. Do not use options such as -ffast-math,
 * which assume that no number is NaN. In other files
 *
 *     #define ${P}_DECLARATIONS
 *     #include "model.c"
 *
 * includes the declarations only. Any number of threads may call the functions at the same time.
 *
 * int ${p}_predict($arguments)
 *     Predicts for one row.
$inputs
 *     outputs (${P}_OUTPUTS): receives $outputs.
$returns
 *     It uses $stack bytes of stack for its arrays."""

INPUTS_COLUMNS = """\
 *     numbers (${P}_NUMBERS): in the order below; NAN where one is missing.
 *     categories (${P}_CATEGORIES): in the order below, UTF-8; surrounding blanks are ignored;
 *         NULL or "" where one is missing."""

RETURNS_COLUMNS = """\
 *     Returns 0; or k if the k-th number, from 1, is infinite or too large; the outputs are then
 *         unchanged. An argument of size 0 may be NULL."""

INPUTS_X = " *     x (${P}_INPUTS): the inputs of the network."

RETURNS_X = """\
 *     Returns 0; or k if the k-th number, from 1, is not finite; the outputs are then unchanged."""

CLASS_COMMENT = """\
 * int ${p}_class(const $result *outputs)
 *     Returns the class: the index of the largest output."""

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
/* out (N) = x (M) W + b; W (M, N), row by row. */
static void ${p}_layer(const $real *x, size_t M, const $real *W, const $real *b, size_t N,
    $real *out)
{
    size_t i, j;
    for (j = 0; j < N; j++)
        out[j] = 0;
    for (i = 0; i < M; i++, W += N)
        for (j = 0; j < N; j++)
            out[j] += x[i] * W[j];
    for (j = 0; j < N; j++)
        out[j] += b[j];
}"""

MEMBER_LAYER = """
/* out (N) = ((x (M) r) W) s + b of a member; the parameters are W (M, N), b, r and s, and those of
 * all members follow each other. */
static void ${p}_member_layer(const $real *x, size_t M, const $real *W, const $real *b,
    const $real *r, size_t N, size_t member, size_t members, $real *out)
{
    const $real *const s = r + members * M + member * N;
    size_t i, j;
    for (j = 0; j < N; j++)
        out[j] = 0;
    for (i = 0; i < M; i++, W += N)
        for (j = 0; j < N; j++)
            out[j] += x[i] * r[member * M + i] * W[j];
    for (j = 0; j < N; j++)
        out[j] = out[j] * s[j] + b[member * N + j];
}"""

ELEMENTWISE = """
static void ${p}_$function($real *a, size_t n)
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
    $real largest = a[0], total = 0;
    size_t k;
    for (k = 1; k < n; k++)
        largest = a[k] > largest ? a[k] : largest;
    for (k = 0; k < n; k++) {
        a[k] = exp$f(a[k] - largest);
        total += a[k];
    }
    for (k = 0; k < n; k++)
        a[k] /= total;
}"""

NORMALISE = """
/* a (n) = gains (a - mean) / deviation + shifts; params: the gains (n), then the shifts (n). */
static void ${p}_normalise($real *a, size_t n, const $real *params)
{
    $real mean = 0, square = 0, inverse;
    size_t k;
    for (k = 0; k < n; k++)
        mean += a[k];
    mean /= ($real)n;
    for (k = 0; k < n; k++) {
        a[k] -= mean;
        square += a[k] * a[k];
    }
    inverse = 1 / sqrt$f(square / ($real)n + $epsilon);
    for (k = 0; k < n; k++)
        a[k] = a[k] * inverse * params[k] + params[n + k];
}"""

SCALE = """
/* a (n) = gains (a - means) / sqrt(variances + epsilon) + shifts.
 * params: the gains (n), then the shifts (n); averages: the means (n), then the variances (n). */
static void ${p}_scale($real *a, size_t n, const $real *params, const $real *averages)
{
    size_t k;
    for (k = 0; k < n; k++)
        a[k] = (a[k] - averages[k]) / sqrt$f(averages[n + k] + $epsilon) * params[k]
            + params[n + k];
}"""

BLEND = """
/* a (n) = z + alpha (a - z) for a = f(z). */
static void ${p}_blend(const $real *z, size_t n, const $real *alphas, $real *a)
{
    size_t k;
    for (k = 0; k < n; k++)
        a[k] = z[k] + alphas[k] * (a[k] - z[k]);
}"""

ADD = """
/* out (n) += a (n). */
static void ${p}_add(const $real *a, size_t n, $real *out)
{
    size_t k;
    for (k = 0; k < n; k++)
        out[k] += a[k];
}"""

BLANK = r"""
/* The number of bytes of the blank at the start of a text; 0 if it does not start with one. */
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
"""

# Set ``text`` and ``size`` to the text without surrounding blanks.
TRIM = """\
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
"""

ONE_HOT = (
    BLANK
    + """
/* out (n) = 1 where the text without surrounding blanks equals the category, else 0. */
static void ${p}_one_hot(const char *text, const char *const *categories, size_t n, $real *out)
{
"""
    + TRIM
    + """\
    for (k = 0; k < n; k++)
        out[k] = strlen(categories[k]) == size && memcmp(categories[k], text, size) == 0 ? 1 : 0;
}"""
)

CODE = (
    BLANK
    + """
/* 1 + the index of the text without surrounding blanks in the categories (n); 0 if not found. */
static size_t ${p}_code(const char *text, const char *const *categories, size_t n)
{
"""
    + TRIM
    + """\
    for (k = 0; k < n; k++)
        if (strlen(categories[k]) == size && memcmp(categories[k], text, size) == 0)
            return k + 1;
    return 0;
}"""
)

CLASS = """
int ${p}_class(const $result *outputs)
{
    int best = 0, k;
    for (k = 1; k < ${P}_OUTPUTS; k++)
        best = outputs[k] > outputs[best] ? k : best;
    return best;
}"""

CHECK_X = """\
    for (k = 0; k < ${P}_INPUTS; k++)
        if (!isfinite(x[k]))
            return (int)k + 1;"""

SCALE_NUMBERS = """\
    for (k = 0; k < ${P}_NUMBERS; k++) {
        x[k] = isnan(numbers[k]) ? 0 : ($real)((numbers[k] - ${p}_means[k]) / ${p}_scales[k]);
        if (!isfinite(x[k]))
            return (int)k + 1;
    }"""

SCALE_ROBUSTLY = """\
    for (k = 0; k < ${P}_NUMBERS; k++) {
        double z = 0;
        if (isinf(numbers[k]))
            return (int)k + 1;
        if (!isnan(numbers[k]) && ${p}_scales[k] > 0)
            z = (numbers[k] - ${p}_means[k]) / ${p}_scales[k];
        z = z > $far ? $far : z < -$far ? -$far : z;
        x[k] = ($real)(z / sqrt(1 + (z / $clip) * (z / $clip)));
    }"""

FLAG_MISSING = """\
    for (k = 0; k < $flags; k++)
        x[${P}_NUMBERS + k] = ($real)(isnan(numbers[${p}_flagged[k]]) ? 1 : 0);"""

ENCODE_CATEGORIES = """\
    for (k = 0; k < ${P}_CATEGORIES; k++)
        ${p}_one_hot(categories[k], ${p}_values + ${p}_starts[k],
            ${p}_starts[k + 1] - ${p}_starts[k], x + $offset + ${p}_starts[k]);"""

# Encodings are 0, 1 and 2, in the order of ``data.encodings.ENCODINGS``.
ENCODE_MIXED = """\
    for (k = 0; k < ${P}_CATEGORIES; k++) {
        const size_t n = ${p}_starts[k + 1] - ${p}_starts[k];
        const size_t code = ${p}_code(categories[k], ${p}_values + ${p}_starts[k], n);
        $real *const out = x + ${p}_places[k];
        size_t j;
        if (${p}_encodings[k] == 0)
            for (j = 0; j < n; j++)
                out[j] = ($real)(code == j + 1 ? 1 : 0);
        else if (${p}_encodings[k] == 1)
            *out = ($real)(code == 0 ? 0 : code == 1 ? -1 : 1);
        else
            *out = ($real)code;
    }"""

CLIP = """\
    for (k = 0; k < ${P}_OUTPUTS; k++) {
        if (outputs[k] < ${p}_output_low[k])
            outputs[k] = ${p}_output_low[k];
        if (outputs[k] > ${p}_output_high[k])
            outputs[k] = ${p}_output_high[k];
    }"""
