"""Histories to draw."""

from fastbp.training.history import History


def history(
    epochs: int, metric: str = "accuracy", first: float = 2.0, held: bool = True
) -> History:
    made = History(metric)
    made.loss = [first / epoch for epoch in range(1, epochs + 1)]
    made.metric = [1.0 - 1.0 / (epoch + 1) for epoch in range(1, epochs + 1)]
    if held:
        made.validation_loss = [1.1 * loss for loss in made.loss]
        made.validation_metric = [0.9 * value for value in made.metric]
    return made
