"""drivers: one module per isolation tier, strangers to each other, behind the interface of base.py."""
