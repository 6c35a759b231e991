"""neargate: AWS Fargate on machines you own. Start reading at `main.py` (the composition root)."""

__version__ = "0.1.0"
