"""Random training programs: generated from a seed, run on one process and on ranks, compared, and made small."""
