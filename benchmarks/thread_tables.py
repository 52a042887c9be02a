"""Markdown tables about several threads."""

from measurements import (
    TIMES,
    Results,
    format_number,
    markdown,
    select,
    thread_count,
)

PRODUCT_SIZE = 3000  # rows and columns of the product that large steps are compared with


def ratio_rows(results: Results, subject: str, *keys: str) -> list[list[str]]:
    """Return a row for each network of a subject: the times under ``keys`` and their ratio."""
    infos = [one["extra_info"] for one in select(results, subject)]
    return [
        [
            f"{info['network']}, {info['batch']}",
            *(format_number(info[key]) for key in keys),
            format_number(info["ratio"], TIMES),
        ]
        for info in infos
        if "ratio" in info
    ]


def many(results: Results) -> str:
    """Compare two fits in two Python threads with one fit."""
    rows = ratio_rows(results, "many", "one_s", "two_s")
    head = ["network, batch", "one fit, s", "two fits in two threads, s", "two / one"]
    return markdown(head, rows)


def threads(results: Results) -> str:
    """Compare a step on all threads with a step on one."""
    infos = [one["extra_info"] for one in select(results, "threads")]
    infos = [info for info in infos if "ratio" in info]
    rows = ratio_rows(results, "threads", "one_us", "all_us")
    rows = [
        [*row, format_number(info.get("model"), TIMES), str(info["taken"])]
        for row, info in zip(rows, infos, strict=True)
    ]
    count = infos[0]["all"] if infos else 0
    head = ["µs per step: network, batch", "one thread", f"{count} threads", "one thread / all"]
    return markdown([*head, "by the model", "threads chosen by fastbp"], rows)


def rate(results: Results) -> str:
    """Compare the rate of large steps with that of one large matrix product."""
    rows, network = [], ""
    for one in select(results, "rate"):
        info = one["extra_info"]
        if "steps_gflops" in info:
            network = f"{info['network']}, {info['batch']}"
            product, taken = info["product_gflops"], info["steps_gflops"]
            share = f"{100 * taken / product:.0f} %"
            name = thread_count(info["threads"])
            rows.append([name, format_number(product), format_number(taken), share])
    head = [
        "GFLOP/s",
        f"a product of {PRODUCT_SIZE:,} rows and columns",
        f"steps of {network}",
        "share",
    ]
    return markdown(head, rows)


def thread_model(results: Results) -> str:
    """Show what the model of threads expects of more cores than were measured."""
    for one in select(results, "thread model"):
        model = one["extra_info"]["model"]
        cores = [int(count) for count in next(iter(model.values()))]
        rows = [
            [
                network,
                *(f"{format_number(ratio, TIMES)} ({taken})" for ratio, taken in row.values()),
            ]
            for network, row in model.items()
        ]
        head = [f"{count} cores" for count in cores]
        return markdown(["network, batch", *head], rows)
    return ""
