"""Markdown tables about ranks: measured on two, and by a model for up to 256 machines.

The model: a step on p machines takes the time of one machine for its rows, and that of a sum over
all. A sum of n bytes by reduce-scatter and allgather takes 2 log2(p) alpha + 2 (p - 1) / p n beta,
with alpha seconds for each message and beta seconds for each byte (R. Thakur, R. Rabenseifner and
W. Gropp, "Optimization of Collective Communication Operations in MPICH", 2005).
"""

import math
from collections.abc import Iterator
from typing import Any

from measurements import TIMES, Results, format_number, markdown, select

MACHINES = (2, 4, 16, 64, 256)
# For each network: Gbit/s and the latency of a message in seconds, typical for Ethernet by TCP, for
# fast Ethernet, and for RDMA.
NETWORKS = ((1, 50e-6), (10, 20e-6), (100, 2e-6))
NUMBER_BYTES = 4


def sum_seconds(numbers: int, machines: int, alpha: float, beta: float) -> float:
    """Return the seconds of a sum of float32 numbers over some machines."""
    rounds = 2 * math.ceil(math.log2(machines))
    return rounds * alpha + 2 * (machines - 1) / machines * NUMBER_BYTES * numbers * beta


def fitted(messages: list[list[float]], ranks: int) -> tuple[float, float]:
    """Return alpha and beta from measured sums: of the smallest and the largest message."""
    rounds = 2 * math.ceil(math.log2(ranks))
    alpha = messages[0][1] * 1e-6 / rounds
    numbers, spent = messages[-1]
    share = 2 * (ranks - 1) / ranks * NUMBER_BYTES * numbers
    return alpha, (spent * 1e-6 - rounds * alpha) / share


def measured(results: Results) -> Iterator[dict[str, Any]]:
    """Yield what ``test_processes`` has measured."""
    for one in select(results, "ranks"):
        if len(one["extra_info"].get("rows", ())) > 1:
            yield one["extra_info"]


def ranks(results: Results) -> str:
    """Compare steps of two ranks with those of one process, and with the model."""
    for info in measured(results):
        alpha, beta = fitted(info["messages"], info["ranks"])
        rows = []
        for row in info["rows"]:
            numbers = [row[name] for name in ("one", "part", "ranks", "message")]
            expected = row["part"] + 1e6 * sum_seconds(row["params"], info["ranks"], alpha, beta)
            rows.append(
                [
                    f"{row['network']}, {row['batch']}",
                    *(format_number(each) for each in numbers),
                    format_number(expected),
                    format_number(row["one"] / row["ranks"], TIMES),
                    format_number(row["one"] / row["message"], TIMES),
                ]
            )
        head = ["µs per step: network, rows of all ranks", "one process"]
        head += ["two, nothing added up", "two ranks, shared memory", "two ranks, MPI_Allreduce"]
        head += ["the latter by the model", "one / shared memory", "one / MPI_Allreduce"]
        return markdown(head, rows)
    return ""


def rank_scaling(results: Results) -> str:
    """Show the expected efficiency of many machines, each with the rows of one process."""
    for info in measured(results):
        rows = []
        for row in info["rows"]:
            for rate, alpha in NETWORKS:
                beta = 8e-9 / rate
                sums = {
                    machines: 1e6 * sum_seconds(row["params"], machines, alpha, beta)
                    for machines in MACHINES
                }
                shares = [row["one"] / (row["one"] + spent) for spent in sums.values()]
                dominates = [machines for machines, spent in sums.items() if spent > row["one"]]
                rows.append(
                    [
                        f"{row['network']}, {row['batch']}",
                        f"{rate}",
                        *(f"{100 * share:.0f} %" for share in shares),
                        f"from {dominates[0]}" if dominates else "never",
                    ]
                )
        head = ["network, rows of each machine", "Gbit/s"]
        head += [f"{machines} machines" for machines in MACHINES]
        return markdown([*head, "the sum takes most of the time"], rows)
    return ""
