"""What is asked for, what the machine has, and the plan that follows: values, nothing is started."""
