"""What happens to the arrays of a collective: programs of steps, the rule of summation, and who counts how much.

`program` is the vocabulary, `shared_memory` and `exchanges` write programs with it, `bound` makes them ready for a
transport, `costs` counts them and `verify` proves that those of all ranks fit together.
"""
