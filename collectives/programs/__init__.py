"""What happens to the arrays of a collective: the rule of summation, and who counts how much."""
