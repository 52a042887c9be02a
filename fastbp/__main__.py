"""``python -m fastbp`` runs the command ``fastbp``."""

from fastbp.cli.command import main

if __name__ == "__main__":
    raise SystemExit(main())
