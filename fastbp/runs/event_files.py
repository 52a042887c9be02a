"""Event files for TensorBoard."""

from os import PathLike
from typing import Any

from fastbp.network import Network
from fastbp.optional import require
from fastbp.training.history import History


class EventFiles:
    """Callback of ``train`` that writes the history of each epoch for TensorBoard.

    Parameters
    ----------
    folder : path
        Folder of the event files.

    Raises
    ------
    MissingTensorboardError
        If tensorboardX is not installed.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        require("tensorboardX")
        self.folder = folder
        self._writer: Any = None

    def __call__(self, net: Network, history: History) -> None:
        """Write the last epoch."""
        epoch = len(history)
        if self._writer is None:
            from tensorboardX import SummaryWriter

            # A resumed run replaces this epoch and later ones in TensorBoard's display.
            self._writer = SummaryWriter(str(self.folder), purge_step=epoch)
        for name, column in history.columns().items():
            if name != "epoch":
                self._writer.add_scalar(name, column[-1], epoch)

    def close(self) -> None:
        """Write buffered events and close the file."""
        if self._writer is not None:
            self._writer.close()
