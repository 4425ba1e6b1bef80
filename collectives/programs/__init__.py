"""What happens to the arrays of a collective: programs of steps, the rule of summation, and who counts how much.

`program` is the vocabulary; `shared_memory` and `exchanges` write programs with it. `bound` makes them ready for a
transport, `buffers` carries steps out in the plainest way, `timeline` gives them a clock over a `network`, `costs`
counts them, and `verify` proves that those of all ranks fit together.
"""
