"""The benchmark suite: ``make bench`` or ``python -m bench``. What it measures is in ``bench/README.md``."""
