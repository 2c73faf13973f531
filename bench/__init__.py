"""Measurements: `make bench`. Figures are ratios in one run, because machines are noisy and differ."""
