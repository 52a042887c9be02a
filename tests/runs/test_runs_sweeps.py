"""Sweeps."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from command import file_names, rows, run
from run_cases import PLAIN, started

from fastbp.runs import Settings, sweeps


def test_a_sweep_fails_if_all_runs_diverge(tmp_path: Path) -> None:
    text = "train --epochs 2 --optimizer sgd --sweep lr=1e6,1e5 --picture none --out run"
    done = run(*text.split(), "--hidden", "64", "64", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "is not finite" in done.stderr.splitlines()[-1]
    assert re.search(r"^training stopped +the loss is not finite", done.stdout, re.MULTILINE)
    assert "with learning rate 100000. " in done.stderr or "rate 1000000. " in done.stderr


def test_a_sweep_that_was_killed_between_runs_is_not_replaced(tmp_path: Path) -> None:
    text = "train spiral --epochs 500 --hidden 16 --sweep seed=0,1,2,3 --jobs 1 --picture none"
    with started(tmp_path, *text.split(), "--out", "run") as process:
        process.kill()
    assert not (tmp_path / "run" / "sweep.csv").exists()
    refused = run(*text.split(), "--out", "run", cwd=tmp_path)
    assert refused.returncode == 2
    assert "run contains an unfinished sweep" in refused.stderr
    done = run(*text.split(), "--out", "run", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # A sweep of other values replaces the previous one completely.
    command = text.replace("0,1,2,3", "4,5").split()
    assert run(*command, "--out", "run", cwd=tmp_path).returncode == 2
    other = run(*command, "--out", "run", "--overwrite", cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    assert file_names(tmp_path / "run" / "trials") == ["001", "002"]


def test_samples_are_drawn_from_all_combinations() -> None:
    settings = Settings(sweep={"hidden": [4, 8], "seed": list(range(10_000))}, samples=50)
    drawn = sweeps.combinations(settings)
    assert len({tuple(one.items()) for one in drawn}) == 50
    assert {one["hidden"] for one in drawn} == {4, 8}
    assert max(one["seed"] for one in drawn) > 5000
    few = Settings(sweep={"hidden": [4, 8], "lr": [0.1, 0.2, 0.3]}, samples=50)
    assert len({tuple(one.items()) for one in sweeps.combinations(few)}) == 6


@pytest.mark.parametrize("values", [{"lr": [0.1, 1e-1]}, {"hidden": [8, 16, [8]]}])
def test_values_given_twice_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sweep: '\w+' has the value \S+ twice"):
        sweeps.combinations(Settings(sweep=values))


def test_a_sweep_ranks_and_keeps_the_best(tmp_path: Path) -> None:
    command = "train spiral --epochs 8 --sweep hidden=4,32x16 lr=0.001,0.02 --out run --jobs 2"
    done = run(*command.split(), *PLAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ranking = rows(tmp_path / "run" / "sweep.csv")
    scores = [float(row["validation_accuracy"]) for row in ranking]
    assert len(scores) == 4
    assert ranking[0]["validation_rows"] == "600"
    # The only network that is printed is the best, at the end.
    (network,) = re.findall(r"^network +(\S+), relu", done.stdout, re.MULTILINE)
    assert network == f"2-{ranking[0]['hidden'].replace('x', '-')}-3"
    assert done.stdout.index("best run") < done.stdout.index("network")
    assert scores == sorted(scores, reverse=True)
    assert {(row["hidden"], row["lr"]) for row in ranking} == {
        (hidden, lr) for hidden in ("4", "32x16") for lr in ("0.001", "0.02")
    }
    best = tmp_path / "run" / ranking[0]["folder"] / "model.safetensors"
    assert best.read_bytes() == (tmp_path / "run" / "model.safetensors").read_bytes()
    printed = re.findall(
        r"^(?:ranking)? +(\d)\. validation accuracy ([\d.]+)%", done.stdout, re.MULTILINE
    )
    assert [int(place) for place, _ in printed] == [1, 2, 3, 4]
    assert [float(value) for _, value in printed] == pytest.approx(
        [100 * s for s in scores], abs=0.006
    )
    # A run of the sweep equals a run of its description file.
    alone = run("train", f"run/{ranking[1]['folder']}/run.toml", "--out", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "alone" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / ranking[1]["folder"] / "model.safetensors"
    ).read_bytes()


def test_a_sweep_of_samples_is_stopped_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(
        'data = "spiral"\nepochs = 300\nhidden = 16\nsamples = 5\nout = "run"\njobs = 2\n'
        'picture = "none"\ncheckpoint_epochs = 5\n'
        '[sweep]\nlr = "1e-3..1e-1"\nbatch_size = [32, 64]\n'
    )
    with started(tmp_path, "train", "sweep.toml") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    assert "Traceback" not in (tmp_path / "log").read_text()
    done = run("train", "sweep.toml", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = rows(tmp_path / "run" / "sweep.csv")
    assert len(first) == 5
    assert len({row["lr"] for row in first}) == 5
    assert all(1e-3 <= float(row["lr"]) <= 1e-1 for row in first)
    whole = run("train", "sweep.toml", "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    second = rows(tmp_path / "whole" / "sweep.csv")
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in first]
    assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in second]


def test_seeds_are_ranked_on_the_same_rows(tmp_path: Path) -> None:
    text = "train iris --sweep seed=1,2,3 --hidden 16 --epochs 5 --out s"
    done = run(*text.split(), *PLAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    described = [path.read_text() for path in (tmp_path / "s" / "trials").glob("*/run.toml")]
    assert len(described) == 3
    assert all("split_seed = 0" in text for text in described)
    best = rows(tmp_path / "s" / "sweep.csv")[0]
    # Repeated alone from its description, the best run has the same score.
    again = run("train", f"s/{best['folder']}/run.toml", *PLAIN, "--out", "t", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    score = f"{float(best['validation_accuracy']):.2%}"
    assert re.search(rf"^validation accuracy +{score}", again.stdout, re.MULTILINE)
