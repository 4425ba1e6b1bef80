"""The contract: what a group of ranks can do, and the order in which its calls are carried out on all of them."""
